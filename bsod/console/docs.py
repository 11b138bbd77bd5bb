"""`GET /docs/api/`: the reference of the API, a card for every row of the route table.

What it says comes from `proxy/docs.py`, so that no route can be without its card. Searching works
without JavaScript: the server hides what does not match, the script only does it sooner.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import re_accepts_gzip
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from bsod.console.samples import curl
from proxy import docs, fields
from proxy.errors import ERRORS
from proxy.route import Route
from proxy.routes import ROUTES

LONGEST_QUERY = 200
# The languages it is written in. A page half in another one would be worse than none of it.
SPOKEN = ("en",)
# All it needs is its own; the browser sees to it that it has no more.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A field of a body."""

    name: str
    kind: str
    required: bool
    meaning: SafeString
    bounds: str


@dataclass(frozen=True, slots=True)
class Card:
    """A row as the page shows it."""

    anchor: str
    method: str
    path: str
    summary: SafeString
    buckets: Sequence[tuple[str, str]]
    """(name, class of its colour)"""
    chosen_by: str
    facts: Sequence[tuple[str, str]]
    fields: Sequence[Line]
    sample: str
    words: str
    """What a search finds it by."""


@dataclass(frozen=True, slots=True)
class Group:
    anchor: str
    title: str
    cards: Sequence[Card]


@require_safe
@vary_on_headers("Accept-Encoding", "Accept-Language", "Cookie", "Host")
def reference(request: HttpRequest) -> HttpResponse:
    base = request.build_absolute_uri("/").rstrip("/")
    query = " ".join(request.GET.get("q", "")[:LONGEST_QUERY].split())
    asked = get_language()
    with override(asked if asked in SPOKEN else SPOKEN[0]):
        language = get_language() or SPOKEN[0]
        page = _packed(_render(base, query)) if query else _whole(base, language)
    said = {"Content-Security-Policy": POLICY, "Content-Language": language}
    if re_accepts_gzip.search(request.headers.get("Accept-Encoding", "")):
        said["Content-Encoding"] = "gzip"
    else:
        page = gzip.decompress(page)
    return HttpResponse(page, headers=said)


@lru_cache(maxsize=8)
def _whole(base: str, language: str) -> bytes:
    """Most visits are this page and no other: it is rendered and packed once. It has no secret that
    its size could tell."""
    return _packed(_render(base, ""))


def _packed(page: str) -> bytes:
    return gzip.compress(page.encode(), mtime=0)


def _render(base: str, query: str) -> str:
    groups = [
        Group(f"group-{name}", _(docs.title(name)), [card_of(route, base) for route in rows])
        for name, rows in docs.grouped(ROUTES).items()
    ]
    words = query.casefold().split()
    hits = {
        card.anchor
        for group in groups
        for card in group.cards
        if all(word in card.words for word in words)
    }
    shown = [group.anchor for group in groups if any(c.anchor in hits for c in group.cards)]
    return render_to_string(
        "docs/reference.html",
        {
            "base": base,
            "language": get_language(),
            "query": query,
            "groups": groups,
            "hits": hits,
            "shown": shown,
            "errors": [
                (code, kind.status, kind.type, code_of(_(kind.meaning)))
                for code, kind in ERRORS.items()
            ],
        },
    )  # fmt: skip


def card_of(route: Route, base: str) -> Card:
    facts = [
        (_("Permission"), docs.permitted(route)),
        (_("Body"), docs.takes(route)),
        (_("Answer"), docs.answers(route)),
        (_("Served by"), docs.served_by(route)),
        (_("Objects"), docs.object_rule(route)),
    ]
    facts = [(name, text) for name, text in facts if text]
    path, summary = docs.shown_path(route), _(route.summary)
    read = fields.of(route)
    found_by = [route.method, path, summary, route.group, docs.draws_on(route),
                *(field.name for field in read)]  # fmt: skip
    return Card(
        anchor=docs.name(route),
        method=route.method,
        path=path,
        summary=code_of(summary),
        buckets=[(str(b), "b-" + str(b).replace(".", "-")) for b in docs.draws(route)],
        chosen_by=docs.chosen_by(route),
        facts=facts,
        fields=[
            Line(field.name, field.kind, field.required, code_of(str(field.meaning)), field.bounds)
            for field in read
        ],
        sample=curl(route, base),
        words=" ".join([*found_by, *(text for _name, text in facts)]).casefold(),
    )


def code_of(text: str) -> SafeString:
    """A sentence of ours, with what stands between backticks as code."""
    parts = text.split("`")
    return format_html_join(
        "",
        "{}",
        ((format_html("<code>{}</code>", p) if n % 2 else p,) for n, p in enumerate(parts)),
    )
