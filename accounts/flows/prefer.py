"""Language and theme: kept in the account, and in a cookie for the pages to read. And whether it
is written to about the keys it has donated.

A guest has the cookies alone; signing in brings the account's own choice to this browser.
"""

from typing import Any

from django.conf import settings
from django.http import HttpResponseBase

from accounts.models import Account

THEME_COOKIE = "theme"
_SWITCH = {"on": True, "off": False}
THEMES = ("system", "light", "dark")
_YEAR = 365 * 86_400


def prefer(
    account: Account | None,
    response: HttpResponseBase,
    language: str = "",
    theme: str = "",
    donation_notices: str = "",
) -> None:
    """Keep what is said; what is empty or unknown stays as it was."""
    said: dict[str, Any] = {}
    if language in dict(settings.LANGUAGES):
        said["language"] = language
    if theme in THEMES:
        said["theme"] = theme
    if donation_notices in _SWITCH:
        said["donation_notices"] = _SWITCH[donation_notices]
    if account is not None and said:
        Account.objects.filter(pk=account.pk).update(**said)
    _remember(response, said.get("language", ""), said.get("theme", ""))


def bring(account: Account, response: HttpResponseBase) -> None:
    """At sign-in: this browser shows what the account prefers."""
    _remember(response, account.language, account.theme)


def _remember(response: HttpResponseBase, language: str, theme: str) -> None:
    for name, value in ((settings.LANGUAGE_COOKIE_NAME, language), (THEME_COOKIE, theme)):
        if value:
            response.set_cookie(
                name, value, max_age=_YEAR, secure=settings.PRODUCTION, samesite="Lax"
            )
