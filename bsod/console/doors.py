"""What every request passes before its page: how often one may try, and whether one is banned.

One table says how often, by the names of the routes in `accounts/urls.py` and of donations; a test
holds that none of them takes a form uncounted. Tries are counted before a password is looked at, by
what was typed and by where it came from. What was typed is counted as it is: to look up whose it is
would tell whether two names are one person's. Closed while nobody can count.
"""

import unicodedata
from collections.abc import Callable
from typing import Any

from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_ratelimit.core import get_usage

from accounts.flows.find_ban import find_ban
from accounts.models import Account, Ban
from bsod.console.errors import refuse, wants_json
from bsod.lib.counters import STORE_AWAY

Key = str | Callable[[str, HttpRequest], str]
Rate = tuple[Key, str]


def typed(field: str) -> Key:
    """Whatever stands in a field, in one spelling."""

    def said(group: str, request: HttpRequest) -> str:
        text = request.POST.get(field, "")[:1000]
        return unicodedata.normalize("NFKC", text).strip().casefold()

    return said


def pending(group: str, request: HttpRequest) -> str:
    """Who is half signed in: a new session must not buy new tries at somebody's code."""
    login = request.session.get(LOGIN_SESSION_KEY)
    login = login if isinstance(login, dict) else {}
    return str(login.get("user_pk") or login.get("email") or request.session.session_key)


_WHO: Key = "user_or_ip"
_GUESS: tuple[Rate, ...] = ((_WHO, "5/m"), (_WHO, "30/h"))
_CHANGE: tuple[Rate, ...] = ((_WHO, "30/m"),)
LIMITS: dict[str, tuple[Rate, ...]] = {
    "account_login": ((typed("login"), "5/m"), (typed("login"), "30/h"), ("ip", "20/m")),
    "mfa_authenticate": ((pending, "5/m"), (pending, "30/h"), ("ip", "20/m")),
    "mfa_login_webauthn": (("ip", "20/m"),),
    "account_logout": _CHANGE,
    # Whoever has an address is told by mail that somebody registers with it.
    "account_signup": (("ip", "10/m"), ("ip", "60/h"), (typed("email"), "10/h")),
    "account_send_again": ((pending, "1/m"), (pending, "5/h"), ("ip", "10/m")),
    "account_confirm_email": (("ip", "20/m"),),
    "account_reset_password": ((typed("email"), "3/h"), ("ip", "10/m"), ("ip", "60/h")),
    "account_reset_password_from_key": (("ip", "20/m"),),
    "account_preferences": (("user_or_ip", "60/m"),),
    "account_reauthenticate": _GUESS,
    "mfa_reauthenticate": _GUESS,
    "mfa_reauthenticate_webauthn": _GUESS,
    "account_email": ((_WHO, "5/m"), (_WHO, "20/h")),
    "account_change_password": _GUESS,
    "account_set_password": _GUESS,
    "usersessions_list": _CHANGE,
    "mfa_activate_totp": _GUESS,
    "mfa_deactivate_totp": _CHANGE,
    "mfa_generate_recovery_codes": _CHANGE,
    "mfa_add_webauthn": _CHANGE,
    "mfa_remove_webauthn": _CHANGE,
    "mfa_edit_webauthn": _CHANGE,
    "account_export": ((_WHO, "5/h"),),
    "account_delete": ((_WHO, "5/m"),),
    "donate_key": ((_WHO, "5/h"),),  # each asks a provider
    "donation_action": ((_WHO, "60/m"),),
}
# Asked by a page's script, while somebody types.
ASKED: dict[str, tuple[Rate, ...]] = {
    "account_name_free": (("ip", "60/m"),),
    "mfa_login_webauthn": (("ip", "60/m"),),
}
# These say it in the API's own words.
_TELL_THEMSELVES = ("/playground/run/", "/playground/live-session/", "/playground/video-status/")
_LEFT_OPEN = ("account_logout", "account_preferences")


class Doors(MiddlewareMixin):
    """The middleware; it looks at a request when its route is known."""

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        found = request.resolver_match
        name = (found.url_name or "") if found else ""
        return self._counted(request, name) or self._banned(request, name)

    def _counted(self, request: HttpRequest, name: str) -> HttpResponse | None:
        rates = (LIMITS if request.method == "POST" else ASKED).get(name, ())
        try:
            wait = max((_over(request, name, key, rate) for key, rate in rates), default=0)
        except STORE_AWAY:
            return refuse(request, 503, wait=10)
        if not wait:
            return None
        answer = refuse(request, 429, text=next_try(wait))
        answer["Retry-After"] = str(wait)
        return answer

    def _banned(self, request: HttpRequest, name: str) -> HttpResponse | None:
        """A ban ends the session; what it is for, and for how long, is told once more."""
        if request.path in _TELL_THEMSELVES or name in _LEFT_OPEN:
            return None
        person = request.user
        ban = find_ban(person) if isinstance(person, Account) else None
        if ban is None:
            return None
        logout(request)
        return _told(request, ban)


def _over(request: HttpRequest, group: str, key: Key, rate: str) -> int:
    """Counts this try; in how many seconds the next one is welcome where it was one too many."""
    usage = get_usage(request, group=group, key=key, rate=rate, method=request.method,
                      increment=True)  # fmt: skip
    if usage is None or not usage["should_limit"]:
        return 0
    return max(1, int(usage["time_left"]))


def next_try(wait: int) -> str:
    """When, in words; minutes are rounded up."""
    if wait < 120:
        return ngettext("Next one in %(n)s s.", "Next one in %(n)s s.", wait) % {"n": wait}
    minutes = -(-wait // 60)
    return ngettext("Next one in %(n)s min.", "Next one in %(n)s min.", minutes) % {"n": minutes}


def _told(request: HttpRequest, ban: Ban) -> HttpResponse:
    if not wants_json(request):
        return render(request, "account/banned.html", {"ban": ban}, status=403)
    until = ban.until.isoformat().replace("+00:00", "Z") if ban.until else None
    said = {"message": _("This account is banned."), "type": "permission_error", "param": None,
            "code": "account_banned", "ban": {"reason": ban.reason, "until": until}}  # fmt: skip
    return JsonResponse({"error": said}, status=403, headers={"Cache-Control": "no-store"})
