"""The Models tab: what there is at each provider, what of it answers, and why the rest does not.

Searching and filtering are a form's query: they work without JavaScript, and can be linked to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_safe

from bsod.console import catalogue
from bsod.console.catalogue import Listed, Shelf
from bsod.console.keyrows import DAYS, days_to
from bsod.console.pages import Leaf, link, packed_page, turned
from bsod.drawing import Day, day, hours_to
from bsod.lib import clock
from bsod.lib.terms import Modality, Tier
from proxy import figures
from proxy.catalogue import fold
from proxy.stats import Step
from quotas.models import UsageDay

FEW = 6  # of each provider, where all are shown
PAGE = 100  # of one provider
LONGEST = 200
KINDS = {
    Modality.TEXT: (_("Text"), "notes"),
    Modality.IMAGE: (pgettext_lazy("kind", "Image"), "image"),
    Modality.AUDIO: (pgettext_lazy("bucket", "Audio"), "graphic_eq"),
    Modality.VIDEO: (_("Video"), "movie"),
    Modality.EMBEDDING: (_("Embeddings"), "code"),
    Modality.MODERATION: (_("Moderation"), "check"),
}
TIERS = {Tier.BASE: pgettext_lazy("tier", "Base"), Tier.PRO: pgettext_lazy("tier", "Pro")}
_folded = lru_cache(maxsize=1 << 15)(fold)


@dataclass(frozen=True, slots=True)
class Group:
    """A provider as the page shows it: some of its rows, and how many there are."""

    shelf: Shelf
    rows: Sequence[tuple[Listed, Day]]
    matching: int

    @property
    def rest(self) -> int:
        return self.matching - len(self.rows)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the query asks for."""

    words: tuple[str, ...]
    kind: str
    tier: str
    available: bool
    provider: str

    @property
    def plain(self) -> bool:
        """Whether every row is wanted."""
        return not (self.words or self.kind or self.tier or self.available)

    @classmethod
    def of(cls, request: HttpRequest) -> "Wish":
        asked = request.GET
        return cls(
            tuple(fold(word) for word in asked.get("q", "")[:LONGEST].split()),
            asked.get("kind", ""), asked.get("tier", ""), asked.get("available") == "1",
            asked.get("provider", ""),
        )  # fmt: skip

    def takes(self, row: Listed) -> bool:
        if (self.kind and row.modality != self.kind) or (self.tier and row.tier != self.tier):
            return False
        if self.available and row.reason:
            return False
        text = _folded(row.provider + row.name) if self.words else ""
        return all(word in text for word in self.words)


@require_safe
@packed_page
def models(request: HttpRequest) -> HttpResponse:
    found, wish = catalogue.snapshot(), Wish.of(request)
    used = _used(request)
    leaf: Leaf | None = None
    shown: list[tuple[Shelf, Sequence[Listed], int]] = []
    for shelf in found.shelves:
        if wish.provider and shelf.slug != wish.provider:
            continue
        wanted = shelf.rows if wish.plain else [row for row in shelf.rows if wish.takes(row)]
        rows = _sorted(wanted, used)
        if not rows:
            continue
        if wish.provider:
            some, leaf = turned(request, rows, PAGE)
            if not some:  # there were more of them when this was linked to
                return HttpResponseRedirect(link(request))
        else:
            some = rows[:FEW]
        shown.append((shelf, some, len(rows)))
    return render(request, "console/models.html", {
        "found": found,
        "groups": _fared(shown),
        "leaf": leaf,
        "wish": wish,
        "query": request.GET.get("q", "")[:LONGEST],
        "filters": _filters(request, wish, shown),
        "by_use": bool(used),
        "clear": request.path,
    })  # fmt: skip


def _fared(shown: Sequence[tuple[Shelf, Sequence[Listed], int]]) -> list[Group]:
    """What is shown, each model with its last 24 hours at that provider: one statement for all."""
    hours = hours_to(clock.now())
    names = {row.name for _shelf, rows, _count in shown for row in rows}
    known = figures.ended(Step.HOUR, hours[0], "provider", "model", model__in=names)
    return [
        Group(shelf, [(row, day(hours, known.get((shelf.slug, row.name), {}))) for row in rows], n)
        for shelf, rows, n in shown
    ]


def _used(request: HttpRequest) -> dict[str, int]:
    """How often this person has called each model lately."""
    if not request.user.is_authenticated:
        return {}
    first = days_to(clock.now().date(), DAYS)[0]
    rows = UsageDay.objects.filter(account=request.user, day__gte=first).values_list("model")
    return dict(rows.annotate(sum_calls=Sum("calls")).order_by("-sum_calls")[:PAGE])


def _sorted(rows: Sequence[Listed], used: dict[str, int]) -> Sequence[Listed]:
    """Most used first; the others as they stand on their shelf."""
    mine = [row for row in rows if row.name in used] if used else []
    if not mine:
        return rows
    mine.sort(key=lambda row: (-used[row.name], bool(row.reason), row.name))
    return mine + [row for row in rows if row.name not in used]


def _filters(
    request: HttpRequest, wish: Wish, shown: Sequence[tuple[Shelf, Any, int]]
) -> list[list[tuple[Any, str, bool]]]:
    """(label, address, whether it is on): pressing one that is on lets go of it."""
    title = shown[0][0].title if shown else wish.provider
    alone = [(title, link(request, provider=""), True)] if wish.provider else []
    kinds = [
        (KINDS[kind][0], link(request, kind="" if wish.kind == kind else kind), wish.kind == kind)
        for kind in list(KINDS)[:4]
    ]
    tiers = [
        (label, link(request, tier="" if wish.tier == tier else tier), wish.tier == tier)
        for tier, label in TIERS.items()
    ]
    up = link(request, available="" if wish.available else "1")
    return [[*alone, (_("Available"), up, wish.available), *kinds], tiers]
