"""The Usage tab, and `/usage/` for everybody: a page for people, JSON and CSV for programs.

A request with a bearer's key is `bsod.usage`'s; one of a session gets the page, or the same table
as CSV. The numbers are those of `quotas.usage`: sums of days, never a look at single calls.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_safe

from accounts.keys.models import ApiKey
from bsod import usage as told
from bsod.console.calls import leaf_of_calls
from bsod.console.errors import refuse
from bsod.console.keyrows import Bars, bars, days_to
from bsod.console.pages import link, owner, packed_page, signed_in, turned
from bsod.console.quota import LOOKS, Look
from bsod.lib import clock
from bsod.lib.terms import Bucket
from proxy.errors import ApiError, invalid
from quotas import usage as sums
from quotas.usage import By, Span

SPANS = {"7": 7, "30": 30, "90": 90}
PAGE = 50
CALLS = 20
MOST_KEYS = 200  # in the list to choose from
_TEXT = (Bucket.TEXT_BASE, Bucket.TEXT_PRO)
_BY = {By.MODEL: _("By model"), By.KEY: _("By key"), By.DAY: _("By day")}
_TABS = {By.MODEL: _("Model"), By.KEY: pgettext_lazy("usage", "Key"), By.DAY: _("Day")}


def usage(request: HttpRequest) -> HttpResponseBase:
    """Whoever brings a key, or takes no page, is a program."""
    program = "Authorization" in request.headers or not (
        request.accepts("text/html") and "text/html" in request.headers.get("Accept", "")
    )
    if program and not (request.GET.get("format") == "csv" and request.user.is_authenticated):
        return told.Usage.as_view()(request)
    return _page(request)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    name: str
    bucket: str
    calls: int
    amount: int
    share: int
    """Per mille of its bucket."""

    @property
    def look(self) -> Look:
        return LOOKS[self.bucket]


@require_safe
@packed_page
@signed_in
def _page(request: HttpRequest) -> HttpResponse:
    now = clock.now()
    names = dict(ApiKey.objects.filter(account=owner(request)).values_list("pk", "name"))
    if request.GET.get("format") == "csv":
        return _csv(request, names, now.date())
    length = SPANS.get(request.GET.get("days", ""), 30)
    days = days_to(now.date(), length)
    chosen = _chosen(request.GET.get("key", ""), names)
    by_day = sums.used(owner(request).pk, Span(days[0], days[-1], {By.DAY}, chosen))
    amounts: dict[str, dict[str, int]] = {}
    for row in by_day:
        amounts.setdefault(row.bucket, {})[row.day or ""] = row.amount
    totals = sums.totals(by_day)
    by = next((by for by in _BY if by == request.GET.get("by")), By.MODEL)
    rows, leaf = turned(request, _table(request, days, chosen, by), PAGE)
    before = _id(request.GET.get("before", ""))
    key = chosen[0] if chosen else None
    calls, older = leaf_of_calls(owner(request), now, CALLS, before, key)
    return render(request, "console/usage.html", {
        "first": date.fromisoformat(days[0]), "last": now.date(), "length": str(length),
        "spans": [(text, link(request, days=text, before="")) for text in SPANS],
        "keys": _to_choose(names, key), "key": key,
        "csv": _csv_link(request, days),
        "wide": _wide(amounts, days), "small": _small(amounts, days),
        "totals": totals, "chart": _chart(amounts, days), "days": _days(amounts, days),
        "by": by, "head": _BY[by],
        "tabs": [(label, link(request, by=name, before=""), name == by)
                 for name, label in _TABS.items()],
        "rows": [_row(row, names, totals["amount"]) for row in rows], "leaf": leaf,
        "calls": calls,
        "older": link(request, before=older) if older else "",
        "newer": link(request, before="") if before else "",
    })  # fmt: skip


def _chosen(text: str, names: Mapping[int, str]) -> list[int] | None:
    """The key asked for. Another's is answered like one that does not exist."""
    if not text:
        return None
    found = [key for key in names if str(key) == text]
    if not found:
        raise Http404
    return found


def _to_choose(names: Mapping[int, str], key: int | None) -> list[tuple[int, str]]:
    """The keys by their names, and among them the one that is chosen, however many there are."""
    found = sorted(names.items(), key=lambda each: each[1])
    return found[:MOST_KEYS] + [each for each in found[MOST_KEYS:] if each[0] == key]


def _id(text: str) -> str:
    """What may be a call's id; a database need not be asked for anything else."""
    return text[:26] if text.isascii() and text.isalnum() else ""


def _table(request: HttpRequest, days: Sequence[str], keys: list[int] | None, by: By) -> Any:
    rows = sums.query(owner(request).pk, Span(days[0], days[-1], {by}, keys))
    return rows.order_by("-day", "bucket") if by is By.DAY else rows.order_by("-sum_amount")


def _row(row: dict[str, Any], names: Mapping[int, str], totals: Mapping[str, int]) -> Row:
    name = row.get("model") or names.get(row.get("api_key_id", 0), "")
    if day := row.get("day"):
        name = date_format(date.fromisoformat(day), str(_("j F Y")))
    whole = totals.get(row["bucket"], 0)
    share = round(1000 * row["sum_amount"] / whole) if whole else 0
    return Row(name, row["bucket"], row["sum_calls"], row["sum_amount"], share)


# ---- the charts: the same numbers three times, as bars, for the script and as a table


def _wide(amounts: Mapping[str, Any], days: Sequence[str]) -> list[Bars]:
    return [bars(b, days, amounts.get(b, {})) for b in _shown(amounts)]


def _shown(amounts: Mapping[str, Any]) -> Sequence[str]:
    """What the large chart is of: text, or on a plan of credits those."""
    return (Bucket.CREDITS,) if Bucket.CREDITS in amounts else _TEXT


def _small(amounts: Mapping[str, Any], days: Sequence[str]) -> list[Bars]:
    large = _shown(amounts)
    return [bars(b, days, amounts[b]) for b in LOOKS if b in amounts and b not in large]


def _chart(amounts: Mapping[str, Any], days: Sequence[str]) -> dict[str, Any]:
    """What the script draws; a colour is the name of a token."""
    return {
        "days": list(days),
        "series": [
            {"label": str(LOOKS[b].name), "token": "--b-" + b.replace(".", "-"),
             "data": [amounts.get(b, {}).get(day, 0) for day in days]}
            for b in _shown(amounts)
        ],
    }  # fmt: skip


def _days(amounts: Mapping[str, Any], days: Sequence[str]) -> list[tuple[date, list[int]]]:
    """The large chart as a table, newest first."""
    large = _shown(amounts)
    return [
        (date.fromisoformat(day), [amounts.get(b, {}).get(day, 0) for b in large])
        for day in reversed(days)
    ]


# ---- CSV


def _csv_link(request: HttpRequest, days: Sequence[str]) -> str:
    query = {"format": "csv", "by": "day,model,key", "from": days[0], "to": days[-1]}
    if request.GET.get("key"):
        query["key"] = request.GET["key"]
    return f"/usage/?{urlencode(query)}"


def _csv(request: HttpRequest, names: dict[int, str], today: date) -> HttpResponse:
    asked = {name: request.GET[name] for name in ("by", "from", "to", "key", "model")
             if request.GET.get(name)}  # fmt: skip
    try:
        if "\0" in asked.get("model", ""):
            raise invalid("model", "'model' cannot be that.")
        span = told.span_of(asked, names, today)
        rows = sums.used(owner(request).pk, span)
    except ApiError as error:
        return refuse(request, 404 if error.status == 404 else 400, text=error.message)
    except sums.TooMany:
        return refuse(request, 400, text=str(_("That would be too many rows: ask for fewer days.")))
    answer = told.sheet(rows, names, span)
    # Excel takes a table for one of its own country's letters unless it begins like this.
    answer.content = BOM_UTF8 + answer.content
    answer["Cache-Control"] = "no-store"
    return answer
