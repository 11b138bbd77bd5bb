"""The settings of signing in (django-allauth), and by what mail goes out.

How often anybody may try is counted in `bsod/console/doors.py`, for all forms alike: allauth's own
counting is off, for its lists do not fit the store of counters, and tell nobody when.
"""

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

PASSWORDS: dict[str, Any] = {
    "PASSWORD_HASHERS": [
        "django.contrib.auth.hashers.Argon2PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ],
    "AUTH_PASSWORD_VALIDATORS": [
        {"NAME": f"django.contrib.auth.password_validation.{name}"}
        for name in (
            "UserAttributeSimilarityValidator",
            "MinimumLengthValidator",
            "CommonPasswordValidator",
            "NumericPasswordValidator",
        )
    ],
}
ALLAUTH: dict[str, Any] = {
    "ACCOUNT_ADAPTER": "accounts.adapter.Adapter",
    "ACCOUNT_RATE_LIMITS": False,
    "ACCOUNT_LOGIN_METHODS": {"username", "email"},
    "ACCOUNT_SIGNUP_FIELDS": ["username*", "email*", "password1*"],
    # An address is confirmed before the first session: only so can a taken one be answered alike.
    "ACCOUNT_EMAIL_VERIFICATION": "mandatory",
    "ACCOUNT_PREVENT_ENUMERATION": True,
    "ACCOUNT_EMAIL_NOTIFICATIONS": True,
    "ACCOUNT_CHANGE_EMAIL": True,
    "ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION": True,
    "ACCOUNT_LOGIN_TIMEOUT": 3600,
    "ACCOUNT_REAUTHENTICATION_REQUIRED": True,
    "ACCOUNT_SESSION_REMEMBER": True,
    "ACCOUNT_FORMS": {
        "login": "accounts.forms.SignIn",
        "signup": "accounts.forms.Register",
        "reset_password": "accounts.forms.Forgot",
        "reset_password_from_key": "accounts.forms.NewPassword",
        "change_password": "accounts.forms.ChangePassword",
        "set_password": "accounts.forms.FirstPassword",
        "reauthenticate": "accounts.forms.Again",
        "add_email": "accounts.forms.NewMail",
    },
    "MFA_ADAPTER": "accounts.factors.Factors",
    "MFA_RATE_LIMITS": False,
    "MFA_SUPPORTED_TYPES": ["totp", "webauthn", "recovery_codes"],
    "MFA_PASSKEY_LOGIN_ENABLED": True,
    "MFA_RECOVERY_CODES_SHOW_ONCE": True,
    "MFA_TOTP_TOLERANCE": 1,
    "MFA_FORMS": {
        "authenticate": "accounts.forms.SecondCode",
        "reauthenticate": "accounts.forms.AgainCode",
        "activate_totp": "accounts.forms.FirstCode",
        "login_webauthn": "accounts.factors.SignInPasskey",
        "authenticate_webauthn": "accounts.factors.SecondPasskey",
        "reauthenticate_webauthn": "accounts.factors.AgainPasskey",
        "add_webauthn": "accounts.factors.NewPasskey",
        "edit_webauthn": "accounts.factors.PasskeyName",
    },
}
_WAYS = ("smtp", "smtps", "smtp+tls", "smtp+ssl", "consolemail", "filemail")


def mail(url: str) -> dict[str, Any]:
    """Django's mail settings out of `EMAIL_URL`, which is never shown: it has a password."""
    way = url.partition("://")[0]
    if way not in _WAYS:
        raise ImproperlyConfigured(
            "EMAIL_URL must begin with smtp+tls://, smtp+ssl:// or smtp:// "
            "(consolemail:// prints mails, filemail:///folder keeps them)"
        )
    try:
        found = dict(environ.Env.email_url_config(url))
    except ValueError:
        raise ImproperlyConfigured("EMAIL_URL is malformed: quote what is special") from None
    folder = found.pop("EMAIL_FILE_PATH") or ""
    if way.startswith("smtp") and not found["EMAIL_HOST"]:
        raise ImproperlyConfigured("EMAIL_URL names no host: smtp+tls://user:password@host:587")
    return {
        **{name: value for name, value in found.items() if value is not None},
        "EMAIL_FILE_PATH": f"/{folder.lstrip('/')}" if folder else None,
        "EMAIL_TIMEOUT": 10,
    }
