"""A new key's text between the form and the page that shows it: once, sealed, and not for long."""

from dataclasses import dataclass

from django.http import HttpRequest

from accounts.keys.models import ApiKey
from accounts.keys.service import keys_of
from bsod.console.pages import owner
from bsod.lib import clock
from bsod.lib.vault import VaultError
from proxy.pool import vault

LONGEST = 600  # seconds
_NAME = "fresh_key"


@dataclass(frozen=True, slots=True)
class Fresh:
    key: ApiKey
    text: str


def keep(request: HttpRequest, key: ApiKey, text: str) -> None:
    sealed = vault().seal(_owner(key.pk), text)
    request.session[_NAME] = [key.pk, clock.unix(clock.now()), sealed]


def taken(request: HttpRequest) -> Fresh | None:
    """What is to be shown now; after this nobody has it but who looks."""
    kept = request.session.pop(_NAME, None)
    if not kept or clock.unix(clock.now()) - kept[1] > LONGEST:
        return None
    key = keys_of(owner(request)).filter(pk=kept[0]).first()
    try:
        return Fresh(key, vault().open(_owner(kept[0]), kept[2])) if key else None
    except VaultError:
        return None


def _owner(key: int) -> str:
    return f"fresh-key:{key}"
