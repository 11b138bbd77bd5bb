"""Second factors: what of them is kept sealed, and what a code or a passkey may look like.

The seeds of authenticator apps and recovery codes lie in the vault like provider keys. A code is
good once, for as long as any of its neighbours would be.
"""

import ipaddress
from typing import Any

from allauth.account.adapter import get_adapter as account_adapter
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import DefaultMFAAdapter, get_adapter
from allauth.mfa.app_settings import TOTP_PERIOD, TOTP_TOLERANCE
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from bsod.lib.vault import Vault, VaultError

_OWNER = "second factor"
_SEALED = ("secret", "seed")
_CODE_LIVES = TOTP_PERIOD * (2 * TOTP_TOLERANCE + 1)
_LONGEST_NAME, _LONGEST_CREDENTIAL = 60, 100_000


class Factors(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": _("Wrong or used code. Wait for the next one."),
        "unverified_email": _("Confirm your mail address first."),
    }

    def encrypt(self, text: str) -> str:
        return _vault().seal(_OWNER, text)

    def decrypt(self, encrypted_text: str) -> str:
        return _vault().open(_OWNER, encrypted_text)

    def get_totp_issuer(self) -> str:
        return "BSOD"

    def get_totp_label(self, user: Account) -> str:
        return user.username

    def generate_authenticator_name(self, user: Account, type: str) -> str:
        count = Authenticator.objects.filter(user=user, type=type).count()
        return gettext("Passkey {number}").format(number=count + 1)

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {"id": host_of(_request()), "name": "BSOD"}


def _vault() -> Vault:
    return Vault(tuple(settings.VAULT_KEYS))


def _request() -> HttpRequest:
    request: HttpRequest = account_adapter().request
    return request


def host_of(request: HttpRequest) -> str:
    """The host a passkey belongs to: the site's own, or whatever a private site is called by."""
    if settings.PRODUCTION:
        return str(settings.SITE_URL).partition("://")[2].partition(":")[0]
    return request.get_host().rpartition("]")[2].partition(":")[0] or "localhost"


def passkeys_work(request: HttpRequest) -> bool:
    """Browsers keep passkeys for names, not for addresses."""
    try:
        ipaddress.ip_address(request.get_host().rpartition("]")[0][1:] or host_of(request))
    except ValueError:
        return True
    return False


def reseal() -> tuple[int, list[str]]:
    """Seal every factor under the first vault key; returns how many, and those that do not open."""
    count, broken = 0, []
    for row in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN):
        try:
            data = {name: _vault().rotate(text) if name in _SEALED else text
                    for name, text in row.data.items()}  # fmt: skip
        except VaultError:
            broken.append(f"second factor {row.pk}")
            continue
        Authenticator.objects.filter(pk=row.pk, data=row.data).update(data=data)
        count += 1
    return count, broken


# ---- forms


class FreshCode:
    """A code that was right is right once, however long the clock's tolerance lets it live."""

    user: Account

    def clean_code(self) -> str:
        code: str = super().clean_code()  # type: ignore[misc]  # of the form beside it
        mark = f"code-used:{self.user.pk}:{normalize_user_code(code)}"
        if not cache.add(mark, 1, timeout=_CODE_LIVES):
            raise _refused()
        return code


class Credential(forms.JSONField):
    """A stranger's JSON: too long or too deep is as wrong as malformed."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > _LONGEST_CREDENTIAL:
            raise _refused()
        try:
            return super().to_python(value)
        except (RecursionError, ValueError):
            raise _refused() from None


class SoundCredential(forms.Form):
    """Whatever the parser of passkeys trips over is a wrong code, no fault of ours."""

    credential = Credential()

    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]  # of the form beside it
        except ValidationError:
            raise
        except Exception:
            raise _refused() from None


def _refused() -> ValidationError:
    refused: ValidationError = get_adapter().validation_error("incorrect_code")
    return refused


class SignInPasskey(SoundCredential, LoginWebAuthnForm):  # type: ignore[misc]  # allauth has no types
    pass


class SecondPasskey(SoundCredential, AuthenticateWebAuthnForm):  # type: ignore[misc]  # as above
    pass


class AgainPasskey(SoundCredential, ReauthenticateWebAuthnForm):  # type: ignore[misc]  # as above
    pass


class NewPasskey(AddWebAuthnForm):  # type: ignore[misc]  # as above
    """A passkey that signs in alone: it is made for that, so nothing is left to choose."""

    name = forms.CharField(label=_("Name"), max_length=_LONGEST_NAME, required=False)
    credential = Credential()
    passwordless = None

    def clean(self) -> dict[str, Any]:
        self.cleaned_data["passwordless"] = True
        try:
            clean: dict[str, Any] = super().clean()
        except ValidationError:
            raise
        except Exception:
            raise _refused() from None
        return clean


class PasskeyName(EditWebAuthnForm):  # type: ignore[misc]  # as above
    name = forms.CharField(label=_("Name"), max_length=_LONGEST_NAME)
