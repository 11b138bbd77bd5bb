"""`/status/`, `/status/raw/`, `/health/` and `/metrics`: how calls fare and who answers.

For anybody but `/metrics`, so they name no key, no host and nobody's account; made at most once in
five seconds, however many ask. All of them say what `proxy/figures.py` reads.
"""

import hmac
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bsod import poolview, scrape, standing, statuspage
from bsod.api import AlwaysJson
from bsod.console.pages import packed_page
from bsod.incidents import models as incidents
from bsod.lib import clock
from proxy import figures, stats
from proxy.errors import ApiError, Code, invalid
from proxy.figures import WINDOWS
from proxy.histogram import BOUNDS, BUCKETS

SECONDS = 5.0  # for which an answer that was made is given
USUAL = "24h"
_JSON, _HTML = "application/json", "text/html"
Made = TypeVar("Made")


class Fresh(Generic[Made]):
    """Answers, each of which is made at most once in five seconds. One thread makes it anew, the
    others wait for that."""

    def __init__(self, make: Callable[..., Made]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: dict[tuple[Any, ...], tuple[float, Made]] = {}

    def get(self, *of: Any) -> Made:
        with self._lock:
            until, made = self._made.get(of, (0.0, None))
            if made is None or clock.monotonic() >= until:
                made = self._make(*of)
                self._made[of] = clock.monotonic() + SECONDS, made
            return made


def _standing() -> standing.Standing:
    return standing.stand(snapshots.get(), clock.now())


def _status(window: str) -> dict[str, Any]:
    now, own = clock.now(), standings.get()
    rows = {name: figures.calls(figures.of_window(WINDOWS[name], now)) for name in WINDOWS}
    open_calls, open_streams = figures.open_now(now)
    return {
        "object": "status",
        **own.told(),
        "checked_at": clock.unix(now),
        "open_calls": open_calls,
        "open_streams": open_streams,
        "window": window,
        **figures.told(figures.tally(rows[window])),
        "windows": {name: figures.told(figures.tally(some)) for name, some in rows.items()},
        "by_route": _named("route", rows[window], lambda row: row.key.route),
        "by_model": _named("model", rows[window], lambda row: row.key.model),
        "by_provider": _named("provider", rows[window], lambda row: row.key.provider),
        "incidents": _incidents(now),
    }


def _named(
    what: str, rows: list[figures.Counted], name: Callable[[figures.Counted], str]
) -> list[dict[str, Any]]:
    """A tally for each name there is, the busiest first."""
    found = figures.by(rows, name)
    order = sorted(found, key=lambda known: (-found[known].requests, known))
    return [{what: known, **figures.told(found[known])} for known in order if known]


def _raw(window: str) -> dict[str, Any]:
    now = clock.now()
    whole = window == "all"
    rows = (
        figures.counted(stats.Step.EVER, stats.beginning(stats.Step.EVER, now))
        if whole
        else figures.of_window(WINDOWS[window], now)
    )
    return {
        "object": "status.counters",
        "window": window,
        "bounds_seconds": BOUNDS,
        "counters": [_counter(row) for row in sorted(rows, key=lambda row: row.key)],
        "incidents": _incidents(now),
    }


def _incidents(now: datetime) -> list[dict[str, Any]]:
    """What admins have said of the days the page shows bars of."""
    return [one.told() for one in incidents.recent(now, timedelta(days=statuspage.DAYS))]


def _counter(row: figures.Counted) -> dict[str, Any]:
    cell = row.cell
    return {
        **row.key._asdict(),
        "count": cell[0],
        "attempts": cell[1],
        "prompt_tokens": cell[2],
        "completion_tokens": cell[3],
        "latency": _histogram(cell[4], cell[stats.LATENCY : stats.LATENCY + BUCKETS]),
        "first_byte": _histogram(cell[5], cell[stats.FIRST : stats.FIRST + BUCKETS]),
    }


def _histogram(micros: int, counts: Any) -> dict[str, Any]:
    """Counts of the buckets between the bounds; the last is for what is beyond them."""
    return {"count": sum(counts), "sum_seconds": micros / 1e6, "buckets": list(counts)}


def _health() -> dict[str, Any]:
    now, own = clock.now(), standings.get()
    recent = figures.tally(figures.calls(figures.of_window(WINDOWS["1h"], now)))
    return {
        "object": "health",
        **own.told(),
        "checked_at": clock.unix(now),
        "keys": own.keys,
        "recent": {"window": "1h", **figures.told(recent)},
    }


def _metrics() -> bytes:
    return generate_latest(scrape.registry(standings.get(), clock.now()))


def _board(window: str, language: str) -> SafeString:
    return statuspage.board(standings.get(), window, language, clock.now())


snapshots, standings, boards = Fresh(poolview.current), Fresh(_standing), Fresh(_board)
statuses, counters, healths, texts = Fresh(_status), Fresh(_raw), Fresh(_health), Fresh(_metrics)


def forget() -> None:
    """For tests: what was made is made anew."""
    for fresh in (snapshots, standings, boards, statuses, counters, healths, texts):
        fresh._made.clear()


class Public(APIView):
    """An answer for anybody, that others may keep for five seconds too."""

    authentication_classes: list[type] = []
    permission_classes = [AllowAny]
    content_negotiation_class = AlwaysJson

    def perform_authentication(self, request: Request) -> None:
        """Nobody is asked who he is: REST framework would put nobody in the place of the user whose
        session it is, and a page around its answer would ask him to sign in."""

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        answer: Response = super().finalize_response(request, response, *args, **kwargs)
        if answer.status_code == 200 and "Cache-Control" not in answer:
            answer["Cache-Control"] = f"public, max-age={SECONDS:.0f}"
        return answer


def _window(request: Request, *known: str, default: str) -> str:
    """What `?window=` says. ApiError 400."""
    window = request.query_params.get("window", default)
    if window not in known:
        raise invalid("window", f"'window' must be one of {', '.join(known)}.")
    return str(window)


@method_decorator(packed_page, name="dispatch")
class Status(Public):
    def get(self, request: Request) -> HttpResponseBase:
        window = _window(request, *WINDOWS, default=USUAL)
        # JSON is first: whoever does not care is a program.
        if request.get_preferred_type([_JSON, _HTML]) != _HTML:
            answer: HttpResponseBase = Response(statuses.get(window))
        else:
            board = boards.get(window, get_language() or settings.LANGUAGE_CODE)
            # Around the board stands who is looking: nobody may keep that.
            answer = render(request._request, "monitoring/status.html", {"board": board})
            answer["Cache-Control"] = "no-store"
        answer["Vary"] = "Accept, Accept-Language, Cookie"
        return answer


class Raw(Public):
    def get(self, request: Request) -> Response:
        return Response(counters.get(_window(request, *WINDOWS, "all", default="all")))


class Health(Public):
    def get(self, request: Request) -> Response:
        return Response(healths.get())


class Metrics(Public):
    """For an admin's session, or a scraper's token."""

    authentication_classes = [SessionAuthentication]

    def get(self, request: Request) -> HttpResponse:
        if not (_scraper(request) or _admin(request)):
            raise ApiError(
                Code.INVALID_API_KEY,
                "Sign in as an admin, or send the METRICS_TOKEN of this server as "
                "'Authorization: Bearer <token>'.",
                headers={"www-authenticate": "Bearer"},
            )
        answer = HttpResponse(texts.get(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
        answer["Cache-Control"] = "no-store"
        return answer


def _scraper(request: Request) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    own = settings.METRICS_TOKEN
    given = token.strip().encode("utf-8", "surrogateescape")
    return bool(own) and scheme.lower() == "bearer" and hmac.compare_digest(given, own.encode())


def _admin(request: Request) -> bool:
    return bool(request.user.is_active and getattr(request.user, "is_staff", False))
