"""The Docs tab: how to begin, and an article for every group of the route table.

What an article says of a route is what `proxy/docs.py` says of it, so that a route cannot be
without its place here. The whole reference on one page is at `/docs/api/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from bsod.console import catalogue, samples
from bsod.console.docs import LONGEST_QUERY, Card, card_of, code_of
from bsod.console.pages import packed_page
from bsod.console.recipes import recipes
from proxy import docs
from proxy.errors import ERRORS
from proxy.routes import ROUTES

START = ("connect", "streaming", "errors", "limits")
# Which groups of routes stand together in the tree.
SHELVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Text", ("chat", "responses", "completions", "embeddings", "moderations")),
    ("Media", ("images", "audio", "videos", "realtime")),
    ("Data", ("files", "uploads", "batches", "vector_stores", "fine_tuning")),
    ("Assistants", ("assistants", "threads")),
)


@dataclass(frozen=True, slots=True)
class Article:
    card: Card
    errors: Sequence[tuple[str, int, str]]
    tabs: Sequence[tuple[str, str, str]]


@require_safe
@packed_page
def guide(request: HttpRequest, slug: str = "connect") -> HttpResponse:
    base = request.build_absolute_uri("/").rstrip("/")
    groups = docs.grouped(ROUTES)
    if slug not in groups and slug not in START:
        raise Http404
    query = " ".join(request.GET.get("q", "")[:LONGEST_QUERY].split())
    shown: dict[str, Any] = {"base": base, "slug": slug, "tree": _tree(), "query": query}
    if query:
        shown["hits"] = _hits(base, query)
    elif slug in groups:
        shown |= {"title": _(docs.title(slug)), "articles": _written(slug, base, get_language())}
    elif slug == "errors":
        shown["errors"] = [
            (code, kind.status, kind.type, code_of(_(kind.meaning)))
            for code, kind in ERRORS.items()
        ]
    else:
        model = catalogue.snapshot().example
        shown["quick"] = samples.quick_start(base, model)
        shown["recipes"] = recipes(base, model)
    return render(request, "console/guide.html", shown)


def _tree() -> list[tuple[str, list[tuple[str, str]]]]:
    """The heads and what stands under them; a group nobody has placed comes last."""
    begin = {"connect": _("Connect"), "streaming": _("Streaming"), "errors": _("Errors"),
             "limits": _("Limits and cost")}  # fmt: skip
    placed = {name for _head, names in SHELVES for name in names}
    rest = tuple(name for name in docs.grouped(ROUTES) if name not in placed)
    heads = {"Text": _("Text"), "Media": _("Media"), "Data": _("Data"),
             "Assistants": _("Assistants"), "Account": _("Account")}  # fmt: skip
    found = [
        (heads[head], [(name, _(docs.title(name))) for name in names])
        for head, names in (*SHELVES, ("Account", rest))
    ]
    return [(_("Start"), list(begin.items())), *found]


@lru_cache(maxsize=128)
def _written(slug: str, base: str, language: str | None) -> SafeString:
    """The articles as the page has them: to write them takes longer than all around them."""
    shown = {"articles": _articles(slug, base, language)}
    return render_to_string("console/guide_articles.html", shown)


@lru_cache(maxsize=128)
def _articles(slug: str, base: str, _language: str | None) -> list[Article]:
    """The same for everybody who came to the same host."""
    return [
        Article(
            card_of(route, base),
            [(str(code), ERRORS[code].status, code_of(_(ERRORS[code].meaning)))
             for code in docs.refusals(route)],
            samples.languages(route, base),
        )
        for route in docs.grouped(ROUTES)[slug]
    ]  # fmt: skip


def _hits(base: str, query: str) -> list[tuple[str, Card]]:
    words = query.casefold().split()
    return [
        (slug, article.card)
        for slug in docs.grouped(ROUTES)
        for article in _articles(slug, base, get_language())
        if all(word in article.card.words for word in words)
    ]
