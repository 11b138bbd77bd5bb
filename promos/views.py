"""`POST /redeem-code/`: a code in the hands of whoever is signed in.

A page's form is answered with a redirect and a message, a program that asks for JSON with JSON.
Tries are counted by account and by address, and refused where nobody can count them: a code that
an operator chose himself is only as hard to guess as guessing is slow.
"""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import orjson
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.generic import View
from django_ratelimit.core import is_ratelimited

from accounts.models import Account, Ban
from bsod.lib import clock
from bsod.lib.counters import STORE_AWAY
from promos.rules import Why
from promos.service import Redeemed, Refused, redeem
from proxy.errors import ApiError, Code

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Lazy

log = logging.getLogger("bsod.promos")

_JSON, _HTML = "application/json", "text/html"
_HOME = "/"


def account_of(group: str, request: HttpRequest) -> str:
    return str(request.user.pk)


RATES = ((account_of, "10/m"), ("ip", "30/m"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a try has come to, for a page and for a program alike."""

    text: "Lazy | str"
    code: Code | None = None
    """None: it was redeemed."""
    wait: int | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> JsonResponse:
        if self.code is None:
            return JsonResponse(self.more)
        said = ApiError(self.code, str(self.text), retry_after=self.wait, extra=self.more)
        return JsonResponse(said.body(), status=said.status, headers=said.headers())


REFUSALS = {
    Why.BANNED: Answer(_("This account is banned: it can redeem nothing."), Code.ACCOUNT_BANNED),
    Why.INVALID: Answer(
        _(
            "This code cannot be redeemed: it is mistyped, used up or not valid now. Compare it "
            "letter by letter, or ask whoever gave it to you."
        ),
        Code.PROMO_INVALID,
    ),
    Why.ALREADY: Answer(
        _(
            "You have redeemed this offer already; what it gave is in your balance. Nothing was "
            "added."
        ),
        Code.PROMO_REDEEMED,
    ),
    Why.NOT_NEW: Answer(
        _("This code is for new accounts that have used nothing yet. Ask for another one."),
        Code.PROMO_NEW_USERS_ONLY,
    ),
}
_SIGN_IN = Answer(_("Sign in first, then redeem the code."), Code.NOT_SIGNED_IN)
_UNREADABLE = Answer(_("Send the code as the field 'code', a text."), Code.INVALID_VALUE)
_TOO_OFTEN = Answer(_("Too many tries. Next one in 60 s."), Code.RATE_LIMIT_EXCEEDED, 60)
_AWAY = Answer(_("Codes cannot be redeemed just now; try again."), Code.QUOTA_UNAVAILABLE, 10)


class RedeemCode(View):
    """The one form. Django's middleware has checked its CSRF token."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if not request.user.is_authenticated:
            if _wants_json(request):
                return _SIGN_IN.as_json()
            return redirect_to_login(next_place(request))
        answer = _try(request)
        return answer.as_json() if _wants_json(request) else _as_page(request, answer)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response


def too_often(request: HttpRequest) -> bool:
    """Count a try; whether it is one too many for its account or its address."""
    tries = [
        is_ratelimited(request, group="redeem-code", key=key, rate=rate, increment=True)
        for key, rate in RATES
    ]
    return any(tries)


def _try(request: HttpRequest) -> Answer:
    try:
        if too_often(request):
            return _TOO_OFTEN
    except STORE_AWAY:
        return _AWAY
    text = code_of(request)
    if text is None:
        return _UNREADABLE
    try:
        return _given(redeem(cast(Account, request.user), text, clock.now()))
    except Refused as refused:
        return _refusal(refused)
    except DatabaseError as error:
        log.error("a code was not redeemed: %s", type(error).__name__)
        return _AWAY


def code_of(request: HttpRequest) -> str | None:
    """What was sent as the code; None where nothing that could be one was."""
    if request.content_type != _JSON:
        return request.POST.get("code", "").strip() or None
    try:
        sent = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return None
    text = sent.get("code") if isinstance(sent, dict) else None
    return text if isinstance(text, str) and text.strip() else None


def _given(done: Redeemed) -> Answer:
    parts = ", ".join(f"+{amount} {bucket}" for bucket, amount in done.granted)
    until = done.expires_at
    text = gettext("Redeemed: %(parts)s.") % {"parts": parts}
    if until:
        text += " " + gettext("It expires on %(day)s UTC.") % {"day": f"{until:%Y-%m-%d %H:%M}"}
    body = {
        "object": "redemption",
        "granted": {str(bucket): amount for bucket, amount in done.granted},
        "expires_at": _moment(until),
    }
    return Answer(text, more=body)


def _refusal(refused: Refused) -> Answer:
    answer = REFUSALS[refused.why]
    if refused.why is not Why.BANNED:
        return answer
    return replace(answer, more={"ban": _ban(refused.ban)})


def _ban(ban: Ban | None) -> dict[str, Any] | None:
    if ban is None:  # switched off, not banned
        return None
    return {"reason": ban.reason, "until": _moment(ban.until)}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


# ---- how it is said


def _wants_json(request: HttpRequest) -> bool:
    """As Accept says; where it says nothing, as the request itself is written."""
    usual = [_JSON, _HTML] if request.content_type == _JSON else [_HTML, _JSON]
    return request.get_preferred_type(usual) == _JSON


def _as_page(request: HttpRequest, answer: Answer) -> HttpResponseBase:
    """Back to the page the form was on. What happened is a message there, without the code."""
    say = messages.error if answer.code else messages.success
    say(request, str(answer.text))
    response = HttpResponseRedirect(next_place(request))
    response.status_code = 303
    return response


def next_place(request: HttpRequest) -> str:
    """The page the form was on, as it says itself, if that is a path of this site."""
    wanted = request.POST.get("next", "")
    local = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if local and wanted.startswith("/") else _HOME
