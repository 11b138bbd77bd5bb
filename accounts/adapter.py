"""How allauth does things here: our words, our paths, the site's own address in every link.

Mail goes out after the transaction that asks for it: a mail server may take seconds, and a lock
must not. One that is away is told to the person and to the log, without the address.
"""

import logging
import re
import unicodedata
from smtplib import SMTPException
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from accounts.flows.close_account import GONE
from accounts.flows.find_ban import find_ban
from accounts.flows.prefer import bring
from accounts.models import Account

log = logging.getLogger("bsod.accounts")
RESERVED = {"admin", "administrator", "root", "system", "support", "bsod", "console", "anonymous"}
_WRONG = _("Wrong name or password.")
_AGAIN = {
    "reauthenticate": _("Use the password"),
    "mfa_reauthenticate": _("Use a code"),
    "mfa_reauthenticate:webauthn": _("Use a passkey"),
}
_NAME = re.compile(r"\w[\w.+-]{1,62}\w")


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "account_inactive": _("This account is switched off."),
        "duplicate_email": _("This address is yours already."),
        "email_password_mismatch": _WRONG,
        "username_password_mismatch": _WRONG,
        "invalid_login": _WRONG,
        "enter_current_password": _("This is not your password."),
        "incorrect_password": _("This is not your password."),
        "incorrect_code": _("Wrong or used code. Wait for the next one."),
        "username_taken": _("This name is taken."),
        "username_blacklisted": _("This name is taken."),
        "invalid_password_reset": _("This link has been used or is too old."),
        "unverified_primary_email": _("Confirm the address first."),
    }

    # ---- what may be said

    def clean_username(self, username: str, shallow: bool = False) -> str:
        name = unicodedata.normalize("NFKC", username).strip()
        if not _NAME.fullmatch(name):
            raise ValidationError(
                _("3 to 64 letters, digits and . + - _, with a letter or digit at both ends.")
            )
        if name.casefold() in RESERVED or name.casefold().startswith(GONE):
            raise ValidationError(self.error_messages["username_taken"])
        clean: str = super().clean_username(name, shallow)
        return clean

    def is_safe_url(self, url: str | None) -> bool:
        """Only paths of our own: a form must not send anybody elsewhere."""
        own = bool(url) and str(url).startswith("/") and str(url).isprintable()
        return own and url_has_allowed_host_and_scheme(url, allowed_hosts=None)

    def get_client_ip(self, request: HttpRequest) -> str:
        address: str = import_string(settings.RATELIMIT_IP_META_KEY)(request)
        return address

    # ---- the way in

    def get_login_stages(self) -> list[str]:
        return ["accounts.stages.ConfirmMail", "allauth.mfa.stages.AuthenticateStage"]

    def pre_login(self, request: HttpRequest, user: Account, **more: Any) -> HttpResponse | None:
        ban = find_ban(user)
        if ban is not None:
            return render(request, "account/banned.html", {"ban": ban}, status=403)
        stopped: HttpResponse | None = super().pre_login(request, user, **more)
        return stopped

    def post_login(self, request: HttpRequest, user: Account, **more: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **more)
        bring(user, response)
        return response

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        ways: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        return [{**way, "description": _AGAIN.get(way["id"], way["description"])} for way in ways]

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account")

    # ---- mail

    def get_reset_password_from_key_url(self, key: str) -> str:
        uid, _dash, token = key.partition("-")
        return _absolute("account_reset_password_from_key", uid, token)

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return _absolute("account_confirm_email", emailconfirmation.key)

    def format_email_subject(self, subject: str) -> str:
        return f"BSOD: {subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        said = {
            **context,
            "email": email,
            "site": settings.SITE_URL,
            "signup_url": _absolute("account_signup"),
            "password_reset_url": context.get("password_reset_url")
            if "key" in context
            else _absolute("account_reset_password"),
        }
        message = self.render_mail(template_prefix, email, said)
        transaction.on_commit(lambda: self._post(message))

    def _post(self, message: EmailMessage) -> None:
        try:
            message.send()
        except (SMTPException, OSError) as error:
            # Neither the address nor what the server said of it belongs into a log.
            log.error("A mail could not be sent: %s", type(error).__name__)
            messages.error(
                self.request,
                _("The mail could not be sent. It is not your fault: try again in a few minutes."),
            )


def _absolute(name: str, *args: str) -> str:
    """The site's own address: whatever Host a request has claimed, links lead here."""
    return f"{settings.SITE_URL}{reverse(name, args=args)}"
