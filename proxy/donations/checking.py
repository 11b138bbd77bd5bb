"""Whether a donated key may come in: everything that is found out before anything is kept.

The secret is in memory only. A key that does not work leaves no trace here, and whether somebody
else has given one already is answered in one way, whoever that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import QuerySet

from accounts.models import Account
from bsod.lib import clock, ids
from bsod.lib.terms import Blame
from proxy import probe
from proxy.donations.models import LONGEST_NOTE, MOST_CALLS, Donation
from proxy.models import Offer, Provider, ProviderKey
from proxy.pool import vault
from proxy.probe import Finding
from proxy.service import Unknown, askable, written

_LOCAL = "local"  # the kind of the bundled model: its key is ours
_SHORTEST, _LONGEST = 8, 512  # letters of a secret


class Refused(Exception):
    """It was not done, and nothing has changed. The text says why; `param`: which field."""

    def __init__(self, code: str, text: str, param: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.param = code, text, param


@dataclass(frozen=True, slots=True)
class Checked:
    """What a probe says of a key that nobody has given yet."""

    works: bool
    reason: str
    """A sentence: why it does not work, or that it does."""
    models: tuple[str, ...] | None = None
    """Those it opens; None: the provider gave no list."""
    code: str = ""
    """Why it would be refused."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A secret that has been looked at, where it is for, and what the probe said."""

    provider: Provider
    uid: str
    secret: str
    sealed: str
    fingerprint: str
    found: Finding
    opens: tuple[str, ...] | None


def choices() -> QuerySet[Provider]:
    """The providers that a key can be given for."""
    open_ = Provider.objects.filter(deleted_at=None, lock_text="")
    return open_.exclude(kind=_LOCAL).order_by("slug")


def try_key(provider_slug: str, secret: str) -> Tried:
    """Probe a secret for a provider. Raises Refused: the switch is off, no such provider, no key,
    one that is here already, one that does not work."""
    if not settings.DONATIONS:
        raise Refused("switched_off", "Keys are not accepted just now.")
    provider = choices().filter(slug=provider_slug).first()
    if provider is None:
        raise Refused("unknown_provider", "Choose one of the providers listed.", "provider")
    secret, box, uid = _secret(secret), vault(), ids.ulid()
    fingerprint = box.fingerprint(secret)
    if here(provider, fingerprint):
        raise duplicate()
    sealed = box.seal(uid, secret)
    found = live_probe(ProviderKey(uid=uid, provider=provider, sealed=sealed))
    if not found.works:
        raise refused(found)
    return Tried(provider, uid, secret, sealed, fingerprint, found, opened(found))


def live_probe(key: ProviderKey) -> Finding:
    """The list of models, and then a real answer: a list is given to accounts without money too."""
    listed = probe.list_models(key)
    if not listed.works:
        return listed
    answered = probe.call(key)
    return Finding(answered.blame, answered.note, listed.models, answered.wait)


def opened(found: Finding) -> tuple[str, ...] | None:
    """The names of the models that a key opens, as clients ask for them."""
    if found.models is None:
        return None
    plain = {model.id.removeprefix("models/") for model in found.models}
    return tuple(sorted(name for name in plain if askable(name)))


def refused(found: Finding) -> Refused:
    return Refused("does_not_work", _WHY.get(found.blame, _WHY[Blame.FAILURE]), "secret")


_WHY = {
    Blame.AUTH: "The provider does not know this key.",
    Blame.BILLING: "The provider refuses this key: its account has no credit or no permission.",
    Blame.CONNECT: "The provider cannot be reached just now. Try again later.",
    Blame.FAILURE: "The provider did not answer properly. Try again later.",
}


def here(provider: Provider, fingerprint: str) -> bool:
    """Whether the same secret is in the pool, or given and not taken back."""
    mine = {"provider": provider, "fingerprint": fingerprint}
    pooled = ProviderKey.objects.filter(**mine, deleted_at=None)
    return pooled.exists() or Donation.objects.filter(**mine, ended_at=None).exists()


def duplicate() -> Refused:
    return Refused("duplicate", "This key is here already.", "secret")


def _secret(text: str) -> str:
    try:
        secret = written(text)
    except Unknown as error:
        raise Refused("invalid_key", str(error), "secret") from None
    if not _SHORTEST <= len(secret) <= _LONGEST:
        raise Refused("invalid_key", f"A key has {_SHORTEST} to {_LONGEST} characters.", "secret")
    return secret


# ---- what the donor says beside it


def check_donor(donor: Account) -> None:
    """Raises Refused for an account that is stopped."""
    now = clock.now()
    banned = any(ban.stands(now) for ban in donor.bans.filter(lifted_at=None))
    if banned or not donor.is_active:
        raise Refused("banned", "This account is stopped.")


def check_note(note: str) -> str:
    text = note.strip().replace("\r\n", "\n")
    if len(text) > LONGEST_NOTE:
        raise Refused("invalid_note", f"A note has at most {LONGEST_NOTE} characters.", "note")
    if any(not letter.isprintable() and letter not in "\n\t" for letter in text):
        raise Refused("invalid_note", "A note is plain text.", "note")
    return text


def check_cap(cap: int | None) -> int | None:
    if cap is not None and (type(cap) is not int or not 1 <= cap <= MOST_CALLS):
        raise Refused(
            "invalid_cap", f"A cap is 1 to {MOST_CALLS} calls a day, or none.", "daily_cap"
        )
    return cap


def check_models(
    provider: Provider, opens: Sequence[str] | None, models: Sequence[str] | None
) -> list[str] | None:
    """The donor's choice among the models that his key opens."""
    if models is None:
        return None
    if not models:
        raise Refused("invalid_models", "Choose at least one model, or leave all.", "models")
    known = opens
    if known is None:
        offers = Offer.objects.filter(provider=provider, gone_at=None)
        known = list(offers.values_list("model__name", flat=True))
    odd = next((name for name in models if not isinstance(name, str) or name not in known), None)
    if odd is not None:
        raise Refused("invalid_models", f"The key does not open {str(odd)[:100]!r}.", "models")
    return sorted(set(models))
