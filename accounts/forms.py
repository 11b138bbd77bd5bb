"""The forms of signing in and of one's account: allauth's checks under our labels and hints.

Every field says what it is to a password manager (`autocomplete`), keeps what was typed where that
is no secret, and shows what is wrong beside itself. The password is asked for once and can be
looked at, instead of being typed twice unseen.
"""

from typing import Any

from allauth.account import forms as account
from allauth.mfa.base import forms as second
from allauth.mfa.totp.forms import ActivateTOTPForm
from django import forms
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.factors import FreshCode
from accounts.models import Account
from bsod.lib import clock

_LONG = {"password": 1024, "mail": 254}
LONG_ENOUGH = _("8 characters or more. A few words are better than a riddle.")


def dress(field: forms.Field, label: Any, hint: Any = "", **attrs: Any) -> None:
    """Our looks on a field of allauth's, whose placeholder goes: it would stand in for a label."""
    field.label, field.help_text = label, hint
    field.widget.attrs.pop("placeholder", None)
    field.widget.attrs.update({"class": "input", **attrs})
    field.widget.attrs["maxlength"] = longest = attrs.get("maxlength", _LONG["password"])
    field.max_length = longest  # type: ignore[attr-defined]  # of a text field
    field.validators = [*field.validators, forms.CharField(max_length=longest).validators[0]]


def plain(text: dict[str, Any]) -> dict[str, Any]:
    """Names are typed as they are."""
    return {**text, "autocapitalize": "none", "autocorrect": "off", "spellcheck": "false"}


class SignIn(account.LoginForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = plain({"autocomplete": "username webauthn", "maxlength": _LONG["mail"]})
        dress(self.fields["login"], _("Username or email"), **name)
        dress(self.fields["password"], _("Password"), autocomplete="current-password")


class Register(account.SignupForm):  # type: ignore[misc]  # allauth has no types
    accept = forms.BooleanField(error_messages={"required": _("Accept the terms to go on.")})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = plain({"autocomplete": "username", "maxlength": 64})
        dress(self.fields["username"], _("Username"), **name)
        dress(self.fields["email"], _("Email"), _("We send one link to confirm it."),
              autocomplete="email", maxlength=_LONG["mail"])  # fmt: skip
        dress(self.fields["password1"], _("Password"), LONG_ENOUGH, autocomplete="new-password")
        if not settings.TERMS_URL:
            del self.fields["accept"]

    def signup(self, request: HttpRequest, user: Account) -> None:
        if settings.TERMS_URL:
            user.terms_accepted_at = clock.now()
            user.save(update_fields=["terms_accepted_at"])

    def try_save(self, request: HttpRequest) -> Any:
        if self.account_already_exists:
            # The time of the other answer, whose account gets a password.
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)


class Forgot(account.ResetPasswordForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields["email"], _("Email"), autocomplete="email", maxlength=_LONG["mail"])


class OnePassword:
    """A new password, asked for once."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("password2", None)
        dress(self.fields["password1"], _("New password"), LONG_ENOUGH,
              autocomplete="new-password")  # fmt: skip


class NewPassword(OnePassword, account.ResetPasswordKeyForm):  # type: ignore[misc]  # allauth has no types
    pass


class FirstPassword(OnePassword, account.SetPasswordForm):  # type: ignore[misc]  # allauth has no types
    pass


class ChangePassword(OnePassword, account.ChangePasswordForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields["oldpassword"], _("Password now"), autocomplete="current-password")


class Again(account.ReauthenticateForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields["password"], _("Password"), autocomplete="current-password")


class NewMail(account.AddEmailForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields["email"], _("New email"), autocomplete="email",
              maxlength=_LONG["mail"])  # fmt: skip


class CodeField:
    """A code of digits, which a phone offers by itself."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields["code"], pgettext_lazy("of an app", "Code"), autocomplete="one-time-code",
              inputmode="numeric", maxlength=20, spellcheck="false")  # fmt: skip


class SecondCode(CodeField, FreshCode, second.AuthenticateForm):  # type: ignore[misc]  # allauth has no types
    pass


class AgainCode(CodeField, FreshCode, second.ReauthenticateForm):  # type: ignore[misc]  # allauth has no types
    pass


class FirstCode(CodeField, FreshCode, ActivateTOTPForm):  # type: ignore[misc]  # allauth has no types
    pass
