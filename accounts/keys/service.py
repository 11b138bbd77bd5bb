"""What is done to keys: mint, change, replace, revoke. Everybody calls these.

The hidden key of an account's console is nobody's to touch: it is not among `keys_of`.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.audit import Verb, record
from accounts.caps import checked
from accounts.keys.models import ApiKey, every_permission
from accounts.keys.tokens import mint
from accounts.models import Account
from bsod.lib import clock
from bsod.lib.terms import Permission

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST_LISTED = 500  # models or networks of one key
LONGEST_GRACE = timedelta(days=30)
# What an owner may say of a key, at its making or later.
OWN = (
    "name", "permissions", "caps", "requests_per_minute", "open_calls", "allowed_models",
    "networks", "expires_at",
)  # fmt: skip
# They turn the text around that stands beside a name.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def create_key(
    account: Account,
    name: str = "default",
    *,
    permissions: Sequence[str] | None = None,
    caps: Mapping[str, int] | None = None,
    requests_per_minute: int | None = None,
    open_calls: int | None = None,
    allowed_models: Sequence[str] = (),
    networks: Sequence[str] = (),
    expires_at: datetime | None = None,
    unlimited: bool = False,
    operator: bool = False,
) -> tuple[ApiKey, str]:
    """Mint a key; returns its row and its full text, which nobody can show again.

    Raises ValidationError on an unknown permission or bucket, a negative cap, a name or a network
    that is none, or an operator key for somebody who is not staff.
    """
    if operator and not account.is_staff:
        raise ValidationError("Operator keys are for staff only.")
    text, token = mint()
    key = ApiKey(
        public_id=token.public_id,
        digest=token.digest,
        last4=text[-4:],
        account=account,
        name=_name(name),
        permissions=_permissions(permissions),
        caps=checked(caps or {}),
        requests_per_minute=requests_per_minute,
        open_calls=open_calls,
        allowed_models=_names(allowed_models),
        networks=_networks(networks),
        expires_at=expires_at,
        unlimited=unlimited,
        operator=operator,
    )
    key.full_clean()
    key.save()
    return key, text


def keys_of(account: Account) -> QuerySet[ApiKey]:
    """The keys an account may see and act on."""
    return ApiKey.objects.filter(account=account, console=False)


def change(key: ApiKey, **said: Any) -> ApiKey:
    """Change what its owner may say of a key (`OWN`); it holds from the next request on.

    Raises ValidationError, like `create_key`, and for a key that is revoked: the row is as it was.
    """
    unknown = set(said) - set(OWN)
    if unknown:
        raise ValidationError(f"Nobody can change: {', '.join(sorted(unknown))}.")
    clean = {"name": _name, "permissions": _permissions, "caps": checked, "networks": _networks,
             "allowed_models": _names}  # fmt: skip
    with transaction.atomic():
        fresh = ApiKey.objects.select_for_update().get(pk=key.pk)
        if fresh.revoked_at:
            raise ValidationError(_("A revoked key cannot be changed."))
        for name, value in said.items():
            setattr(fresh, name, clean[name](value) if name in clean else value)
        fresh.full_clean()
        fresh.save(update_fields=[*said])
    return fresh


def rotate(key: ApiKey, grace: timedelta = timedelta(0)) -> tuple[ApiKey, str]:
    """A new secret for whoever uses a key; the old one works until the grace is over.

    The new key has all the old one's rights, and a daily cap of its own: until the grace is over
    both may be used. Returns the new row and its text. Raises ValidationError.
    """
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise ValidationError(f"The grace may be up to {LONGEST_GRACE.days} days.")
    now = clock.now()
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().get(pk=key.pk)
        if not old.alive(now):
            raise ValidationError(_("Only a key that works can be replaced."))
        more = {name: getattr(old, name) for name in OWN} | {"unlimited": old.unlimited}
        made, text = create_key(old.account, **more, operator=old.operator)
        ends = min(filter(None, (old.expires_at, now + grace)))
        ApiKey.objects.filter(pk=old.pk).update(
            **({"expires_at": ends} if grace else {"revoked_at": now})
        )
    return made, text


@transaction.atomic
def revoke(key: ApiKey, *, by: Account | None = None, reason: str = "") -> bool:
    """The key's next request gets 401, on every worker. Revoking twice changes nothing; returns
    whether it has. `by` is an admin who does it to somebody's key: that is kept."""
    done = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=clock.now())
    if done and by is not None:
        record(by, Verb.KEY_REVOKE, key, reason=reason, account=key.account_id)
    return bool(done)


def _name(text: str) -> str:
    """A name in one line, of what can be seen: it stands in tables, sentences and files."""
    name = " ".join(text.split())
    hidden = any(unicodedata.category(character) == "Cc" for character in name)
    seen = not name or any(map(str.isprintable, name))
    if hidden or not seen or _TURNING.search(name):
        raise ValidationError(_("A name is made of characters that can be seen."), code="name")
    return name


def _permissions(asked: Sequence[str] | None) -> list[str]:
    if asked is None:
        return every_permission()
    unknown = set(asked) - set(Permission)
    if unknown:
        raise ValidationError(f"Unknown permission: {', '.join(sorted(unknown))}.")
    return sorted(set(asked))


def _names(models: Sequence[str]) -> list[str]:
    """Model ids, each once, in their order."""
    names = list(dict.fromkeys(name.strip() for name in models if name.strip()))
    if len(names) > MOST_LISTED or any(len(name) > 256 for name in names):
        text = _("At most %(most)s models of 256 characters can be listed.")
        raise ValidationError(text, "allowed_models", {"most": MOST_LISTED})
    return names


def _networks(networks: Sequence[str]) -> list[str]:
    if len(networks) > MOST_LISTED:
        text = _("At most %(most)s networks can be listed.")
        raise ValidationError(text, "networks", {"most": MOST_LISTED})
    return [str(_plain(_network(network))) for network in networks]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        said = _("Not a network: %(text)s.")
        raise ValidationError(said, "networks", {"text": text[:80]}) from None


def _plain(network: Network) -> Network:
    """An IPv4 network written as IPv6 (`::ffff:…/n`) as itself: that is how clients are seen."""
    mapped = network.network_address
    if isinstance(mapped, ipaddress.IPv6Address) and mapped.ipv4_mapped and network.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped.ipv4_mapped, network.prefixlen - 96))
    return network
