"""Refusals as a browser or a script is told them: a blue page, or JSON in the API's own shape.

The page says what happened, whose fault it is, what it cost and what to do next (LOOK §7).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override
from django_ratelimit.core import is_ratelimited

from bsod.lib import clock, ids
from bsod.lib.counters import STORE_AWAY

View = Callable[..., HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Kind:
    code: str
    title: Any
    text: Any
    steps: tuple[tuple[Any, Any], ...] = ()


_HOME = (_("Begin at the start"), _("The first page leads everywhere."))
_TELL = (_("Tell us"), _("The request id is all we need."))
_AGAIN = (_("Load the page again"), _("Most faults pass by then."))
KINDS = {
    400: Kind("invalid_request", _("We could not read that."),
              _("The request was malformed, so nothing was done and nothing was charged."),
              (_AGAIN, _HOME, _TELL)),
    403: Kind("forbidden", _("This page has expired."),
              _("What was sent did not come from a fresh page of ours, so nothing was done. "
                "Load the page again and send it once more."),
              (_AGAIN, (_("Allow cookies"), _("Signing in and sending forms need them.")), _TELL)),
    404: Kind("not_found", _("There is no such page."),
              _("The address may be misspelt, or what was here is gone. Nothing was charged."),
              ((_("Check the address"), _("One letter is enough to miss.")), _HOME, _TELL)),
    405: Kind("method_not_allowed", _("Not in this way."),
              _("This address takes another kind of request. Nothing was done."), (_HOME, _TELL)),
    429: Kind("rate_limit_exceeded", _("Too many tries."),
              _("Nothing was done and nothing was charged."),
              ((_("Wait a moment"), _("Every try begins the count anew.")), _HOME, _TELL)),
    500: Kind("internal_error", _("We broke something."),
              _("It is not your fault. Your quota is untouched."), (_AGAIN, _HOME, _TELL)),
    503: Kind("unavailable", _("Not just now."),
              _("Something this page needs is away. "
                "It is not your fault, and nothing was charged."),
              (_AGAIN, _HOME, _TELL)),
}  # fmt: skip


def wants_json(request: HttpRequest) -> bool:
    """A script: it sends JSON, or takes it before HTML."""
    if request.content_type == "application/json":
        return True
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def refuse(
    request: HttpRequest, status: int, *, text: str = "", param: str | None = None, wait: int = 0
) -> HttpResponse:
    """The refusal, for whoever asks. `wait`: in how many seconds another try is welcome."""
    kind, request_id = KINDS[status], ids.ulid()
    if wants_json(request):
        with override("en"):
            said = {"message": text or f"{kind.title} {kind.text}", "param": param,
                    "type": "server_error" if status >= 500 else "invalid_request_error",
                    "code": kind.code}  # fmt: skip
            answer: HttpResponse = JsonResponse({"error": said}, status=status)
    else:
        facts = {"status": status, "kind": kind, "text": text, "wait": wait,
                 "request_id": request_id, "now": clock.now()}  # fmt: skip
        answer = render(request, "error.html", facts, status=status)
    answer["X-Request-ID"] = request_id
    answer["Cache-Control"] = "no-store"
    if wait:
        answer["Retry-After"] = str(wait)
    return answer


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return refuse(request, 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return refuse(request, 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return refuse(request, 403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return refuse(request, 404)


def broken(request: HttpRequest) -> HttpResponse:
    """Our own fault: the page asks nothing of a database that may be what broke."""
    kind, request_id = KINDS[500], ids.ulid()
    if wants_json(request):
        return refuse(request, 500)
    facts = {"status": 500, "kind": kind, "request_id": request_id, "now": clock.now()}
    page = render_to_string("error.html", facts)
    return HttpResponse(page, status=500, headers={"X-Request-ID": request_id})


def limited(group: str, rate: str, wait: int) -> Callable[[View], View]:
    """Let a person do something only so often; closed while nobody can count."""

    def around(view: View) -> View:
        @wraps(view)
        def counted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                over = is_ratelimited(
                    request, group=group, key="user_or_ip", rate=rate, method="POST",
                    increment=True,
                )  # fmt: skip
            except STORE_AWAY:
                return refuse(request, 503, wait=10)
            return refuse(request, 429, wait=wait) if over else view(request, *args, **kwargs)

        return counted

    return around
