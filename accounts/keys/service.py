"""What is done to keys: mint, revoke."""

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.core.exceptions import ValidationError

from accounts.caps import checked
from accounts.keys.models import ApiKey, every_permission
from accounts.keys.tokens import mint
from accounts.models import Account
from bsod.lib import clock
from bsod.lib.terms import Permission

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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

    Raises ValidationError on an unknown permission or bucket, a negative cap, a network that
    is none, or an operator key for somebody who is not staff.
    """
    if operator and not account.is_staff:
        raise ValidationError("Operator keys are for staff only.")
    text, token = mint()
    key = ApiKey(
        public_id=token.public_id,
        digest=token.digest,
        last4=text[-4:],
        account=account,
        name=name,
        permissions=_permissions(permissions),
        caps=checked(caps or {}),
        requests_per_minute=requests_per_minute,
        open_calls=open_calls,
        allowed_models=list(allowed_models),
        networks=_networks(networks),
        expires_at=expires_at,
        unlimited=unlimited,
        operator=operator,
    )
    key.full_clean()
    key.save()
    return key, text


def revoke(key: ApiKey) -> None:
    """The key's next request gets 401, on every worker. Revoking twice changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=clock.now())


def _permissions(asked: Sequence[str] | None) -> list[str]:
    if asked is None:
        return every_permission()
    unknown = set(asked) - set(Permission)
    if unknown:
        raise ValidationError(f"Unknown permission: {', '.join(sorted(unknown))}.")
    return sorted(set(asked))


def _networks(networks: Sequence[str]) -> list[str]:
    try:
        return [str(_plain(ipaddress.ip_network(network, strict=False))) for network in networks]
    except ValueError as error:
        raise ValidationError(f"Not a network: {error}.") from None


def _plain(network: Network) -> Network:
    """An IPv4 network written as IPv6 (`::ffff:…/n`) as itself: that is how clients are seen."""
    mapped = network.network_address
    if isinstance(mapped, ipaddress.IPv6Address) and mapped.ipv4_mapped and network.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped.ipv4_mapped, network.prefixlen - 96))
    return network
