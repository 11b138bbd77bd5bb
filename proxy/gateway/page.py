"""A page of somebody's own objects: what the query asks for, and the rows of the record it means.

Newest first, but for stored completions, as OpenAI has it. Cursors are ids of own objects; the
order is that in which they were recorded. Objects whose key is no more are left out.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from django.db.models import Q, QuerySet

from bsod.lib import clock
from bsod.lib.terms import ObjectKind
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.aside import aside
from proxy.models import Object

_PORTION = 100  # rows read at a time
_MOST_ITEMS = 1000  # objects of a page, whatever `limit` says: the next page has the rest
_LONGEST_CURSOR = 256


class Limits(NamedTuple):
    """What `limit` may be: OpenAI's own bounds."""

    least: int
    default: int
    most: int


# Its clients send a 0 too, and get a page with nothing on it.
_USUAL = Limits(0, 20, 100)
_LIMITS = {ObjectKind.FILE: Limits(0, 10_000, 10_000)}
_OLDEST_FIRST = {ObjectKind.COMPLETION}


@dataclass(frozen=True, slots=True)
class Page:
    """What of a list is asked for. `after` and `before` are ids, or empty."""

    limit: int
    newest_first: bool
    after: str
    before: str
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def backwards(self) -> bool:
        """The page ends at its cursor: it is gathered from there."""
        return bool(self.before) and not self.after


@dataclass(frozen=True, slots=True)
class Row:
    """An own object whose key is there."""

    pk: int
    provider: int
    key: int
    id: str
    data: Mapping[str, Any]


def page_of(query: str, kind: ObjectKind) -> Page:
    """The query of a list. ApiError 400."""
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise invalid("query", "The query has too many fields.") from None
    order = fields.get("order") or ("asc" if kind in _OLDEST_FIRST else "desc")
    if order not in ("asc", "desc"):
        raise invalid("order", "'order' must be 'asc' or 'desc'.")
    names = _FILTERS.get(kind, ())
    kept = {k: v for k, v in fields.items() if k.partition("[")[0] in names and (v or "[" in k)}
    after, before = fields.get("after", ""), fields.get("before", "")
    return Page(_limit(fields.get("limit", ""), kind), order == "desc", after, before, kept)


def _limit(text: str, kind: ObjectKind) -> int:
    least, default, most = _LIMITS.get(kind, _USUAL)
    if not text:
        return min(default, _MOST_ITEMS)
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else -1
    if not least <= value <= most:
        raise invalid("limit", f"'limit' must be a whole number from {least} to {most}.")
    return min(value, _MOST_ITEMS)


def body(found: list[tuple[str, dict[str, Any]]], page: Page) -> dict[str, Any]:
    """The list as OpenAI writes it. `found` holds one more than the page if there is one."""
    shown = found[: page.limit]
    if page.backwards:
        shown.reverse()
    return {
        "object": "list",
        "data": [item for _, item in shown],
        "first_id": shown[0][0] if shown else None,
        "last_id": shown[-1][0] if shown else None,
        "has_more": len(found) > page.limit,
    }


# ---- filters

_FILTERS: dict[ObjectKind, tuple[str, ...]] = {
    ObjectKind.FILE: ("purpose",),
    ObjectKind.COMPLETION: ("model", "metadata"),
    ObjectKind.FINE_TUNING_JOB: ("metadata",),
}


def fits(shown: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    """Whether the provider's object is one that was asked for."""
    return all(_has(shown, name, value) for name, value in filters.items())


def _has(shown: Mapping[str, Any], name: str, value: str) -> bool:
    field_, _, label = name.partition("[")
    if not label:
        found = shown.get(field_)
        return not found if field_ == "metadata" and value == "null" else found == value
    labels = shown.get(field_)
    return isinstance(labels, dict) and labels.get(label.removesuffix("]")) == value


def may_fit(row: Row, filters: Mapping[str, str]) -> bool:
    """Whether it is worth a look. A file's purpose is known here, and never changes."""
    purpose, known = filters.get("purpose"), row.data.get("purpose")
    return purpose is None or known is None or purpose == known


# ---- the record


def _living(account: int, kind: ObjectKind) -> QuerySet[Object]:
    """An account's objects whose keys are there."""
    return Object.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=clock.now()),
        account_id=account, kind=kind, key__deleted_at=None, provider__deleted_at=None,
    )  # fmt: skip


def _place(account: int, kind: ObjectKind, param: str, id_: str) -> int | None:
    """Where in the record a cursor stands. ApiError 404 where there is no such own object."""
    if not id_:
        return None
    rows = Object.objects.filter(account_id=account, kind=kind, upstream_id=id_)
    # A database takes no NUL.
    plain = len(id_) <= _LONGEST_CURSOR and "\0" not in id_
    found = rows.order_by("-pk").values_list("pk", flat=True).first() if plain else None
    if found is None:
        raise ApiError(
            Code.NOT_FOUND,
            f"'{param}' must be the id of an object in this list; take one from a page of it.",
            param=param,
        )
    return found


async def own_rows(account: int, kind: ObjectKind, page: Page) -> AsyncGenerator[Row, None]:
    """The account's rows from the page's cursor on, a portion at a time. Raises ApiError."""
    after = await aside(partial(_place, account, kind, "after", page.after))
    before = await aside(partial(_place, account, kind, "before", page.before))
    below, above = (after, before) if page.newest_first else (before, after)
    falling = page.newest_first is not page.backwards
    while True:
        rows = await aside(partial(_portion, account, kind, below, above, falling))
        for row in rows:
            yield row
        if len(rows) < _PORTION:
            return
        below, above = (rows[-1].pk, above) if falling else (below, rows[-1].pk)


def _portion(
    account: int, kind: ObjectKind, below: int | None, above: int | None, falling: bool
) -> list[Row]:
    found = _living(account, kind)
    if below is not None:
        found = found.filter(pk__lt=below)
    if above is not None:
        found = found.filter(pk__gt=above)
    names = ("pk", "provider_id", "key_id", "upstream_id", "data")
    ordered = found.order_by("-pk" if falling else "pk").values_list(*names)
    return [Row(*values) for values in ordered[:_PORTION]]
