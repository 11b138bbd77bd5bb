"""`GET /catalog/`: the models of every provider, whether they can be had, and when again if not.

For anybody, without a key: so it names no key and no host, and it is made at most once in five
seconds, however many ask. When a model is expected back is told as a time and as seconds from the
moment the page was made.
"""

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
from django.http import HttpResponse, HttpResponseBase
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from bsod import poolview
from bsod.api import AlwaysJson
from bsod.lib import clock
from proxy import showing
from proxy.catalogue import Catalogue, ModelInfo
from proxy.gateway.models import Page, matches, page
from proxy.pool import Snapshot, retry_after
from proxy.showing import Look, State

SECONDS = 5.0  # for which a page that was made is shown


class Catalog(APIView):
    authentication_classes: list[type] = []
    permission_classes = [AllowAny]
    content_negotiation_class = AlwaysJson

    def get(self, request: Request) -> HttpResponseBase:
        now = _pages.current()
        known = matches(request.headers.get("If-None-Match", ""), now.tag)
        answer = HttpResponse(b"" if known else now.body, status=304 if known else 200)
        answer["Content-Type"] = "application/json"
        answer["ETag"] = now.tag
        answer["Cache-Control"] = f"public, max-age={SECONDS:.0f}"
        return answer


class Pages:
    """The page as it was made last. One thread makes it anew, the others wait for that."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._lock = seconds, threading.Lock()
        self._shown: Catalogue | None = None
        self._heads: Mapping[str, bytes] = {}
        self._page, self._until = page(b""), 0.0

    def current(self) -> Page:
        with self._lock:
            if clock.monotonic() >= self._until:
                self._page = page(catalog(self._refreshed(), self._heads))
                self._until = clock.monotonic() + self._seconds
            return self._page

    def _refreshed(self) -> Snapshot:
        snapshot = poolview.current()
        if snapshot.catalogue is not self._shown:
            self._shown, self._heads = snapshot.catalogue, showing.heads(snapshot)
        return snapshot


_pages = Pages(SECONDS)


def catalog(snapshot: Snapshot, heads: Mapping[str, bytes]) -> bytes:
    """What the page says of a snapshot of the pool, now. `heads`: `showing.heads` of it."""
    made, models = clock.monotonic(), snapshot.catalogue.models
    look = Look(snapshot, made, clock.now().date())
    offered: dict[int, list[ModelInfo]] = {provider: [] for provider in snapshot.slugs}
    for name in heads:
        for offer in models[name].offers:
            offered[offer.provider].append(models[name])
    order = sorted(offered, key=lambda provider: snapshot.slugs[provider])
    head = {
        "object": "catalog",
        "total": len(heads),
        "available": sum(look.model(models[name]).available for name in heads),
    }
    shown = [_provider(snapshot, look, heads, id_, offered[id_], made) for id_ in order]
    return _closed(head, "providers", shown)


def _provider(
    snapshot: Snapshot, look: Look, heads: Mapping[str, bytes], id_: int,
    models: list[ModelInfo], made: float,
) -> bytes:  # fmt: skip
    states = [look.model(model, id_) for model in models]
    head = {
        "provider": snapshot.slugs[id_],
        "kind": snapshot.kinds.get(id_),
        "total": len(models),
        **_stated(look.provider(id_), made),
        "available": sum(state.available for state in states),
    }
    tails = {state: showing.tail(_stated(state, made)) for state in set(states)}
    rows = [
        showing.whole(heads[model.name], tails[state])
        for model, state in zip(models, states, strict=True)
    ]
    return _closed(head, "models", rows)


def _closed(head: dict[str, Any], name: str, rows: list[bytes]) -> bytes:
    """An object of these fields, and of one more, whose rows have been written already."""
    return orjson.dumps(head)[:-1] + b',"%s":[%s]}' % (name.encode(), b",".join(rows))


def _stated(state: State, made: float) -> dict[str, Any]:
    """A state, and when it is expected to end."""
    back: dict[str, Any] = {"returns_at": None, "retry_after": None}
    if state.back is not None:
        left = max(0.0, state.back - made)
        time = clock.now() + timedelta(seconds=left)
        back = {"returns_at": f"{time:%Y-%m-%dT%H:%M:%SZ}", "retry_after": retry_after(left)}
    return {**showing.stated(state), **back}
