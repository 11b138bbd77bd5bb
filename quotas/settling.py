"""Closing entries outside a batch: jobs that have ended or run out, calls of dead processes.

The same movement as a close in the gateway's batch, by the same rule: all that was reserved is
given back, what is due is drawn on the entry's own day at the price of its admission, the usage of
the day is added. An entry that is not open is left alone, so this may be done twice.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from bsod.lib import clock, sql
from bsod.lib.terms import Bucket, EndReason, EntryState, UsageSource
from quotas import ledger
from quotas.book import Book, Settled
from quotas.models import Entry
from quotas.pricing import tariff_from

_FAST = (None, "priority", "fast")  # what the answer of a fast call says of its tier


@dataclass(frozen=True, slots=True)
class End:
    """How an entry ends. Due without tokens: its fixed price, or else what was reserved."""

    entry: str
    reason: EndReason
    due: bool = False
    prompt: int | None = None
    completion: int | None = None
    cached: int = 0
    source: UsageSource | None = None
    tier: str | None = None
    unpaid: EntryState = EntryState.RELEASED
    """The state of an entry for which nothing is due."""


class _Known(NamedTuple):
    """What was written when the entry was opened or handed over, and stays."""

    price: str
    status: int | None
    attempts: int
    provider_key: int | None
    latency_ms: int | None
    first_byte_ms: int | None


def settle(cursor: sql.Cursor, ends: Iterable[End]) -> dict[str, Settled]:
    """Close those of these entries that are open; their accounts are locked. Returns what each
    entry closed here has drawn."""
    wanted: dict[str, End] = {}
    for end in ends:
        wanted.setdefault(end.entry, end)
    entries = [
        entry
        for entry in ledger.read_entries(cursor, list(wanted)).values()
        if entry.state == EntryState.OPEN
    ]
    if not entries:
        return {}
    book, known = _book(cursor, entries), _known([entry.id for entry in entries])
    usage: dict[tuple[object, ...], list[int]] = {}
    closes, settled = [], {}
    for entry in entries:
        end = wanted[entry.id]
        drawn = _draw(book, entry, end, known[entry.id].price)
        settled[entry.id] = drawn
        closes.append(_closed(entry.id, end, drawn, known[entry.id]))
        if end.due:
            _add_usage(usage, entry, end, drawn.amount)
    ledger.close_entries(cursor, closes)
    ledger.write_balances(cursor, book.changed.values())
    ledger.add_usage(cursor, usage)
    return settled


def _book(cursor: sql.Cursor, entries: Collection[ledger.EntryRow]) -> Book:
    """Every balance these entries have drawn on, or may draw on now."""
    return Book(
        ledger.read_balances(
            cursor,
            {entry.account for entry in entries},
            {entry.bucket for entry in entries},
            {entry.day for entry in entries},
        )
    )


def _known(entries: Collection[str]) -> dict[str, _Known]:
    rows = Entry.objects.filter(id__in=entries).values_list("id", *_Known._fields)
    return {row[0]: _Known(*row[1:]) for row in rows}


def _draw(book: Book, entry: ledger.EntryRow, end: End, price: str) -> Settled:
    settled = book.settle(entry, amount(entry, end, price))
    return settled._replace(state=EntryState.SETTLED if end.due else end.unpaid)


def amount(entry: ledger.EntryRow, end: End, price: str) -> int:
    """Units due, by the price the entry was opened at."""
    if not end.due:
        return 0
    tariff = tariff_from(Bucket(entry.bucket), price)
    if tariff.each is not None:
        return tariff.each
    if end.prompt is None:
        return entry.estimate
    if end.tier not in _FAST:
        tariff = tariff.standard()
    return tariff.cost(end.prompt, end.completion or 0)


def _closed(entry: str, end: End, drawn: Settled, known: _Known) -> ledger.ClosedEntry:
    due = end.due
    return ledger.ClosedEntry(
        entry, drawn.state, drawn.amount, drawn.shortfall, drawn.legs, clock.now(), end.reason,
        (end.source or "") if due else "", end.prompt if due else None,
        end.completion if due else None, end.cached if due else None, known.status,
        known.attempts, known.provider_key, known.latency_ms, known.first_byte_ms,
    )  # fmt: skip


def _add_usage(
    usage: dict[tuple[object, ...], list[int]], entry: ledger.EntryRow, end: End, drawn: int
) -> None:
    place = (entry.account, entry.api_key, entry.model, str(entry.bucket), entry.day)
    sums = usage.setdefault(place, [0, 0, 0, 0])
    added = (1, drawn, end.prompt or 0, end.completion or 0)
    sums[:] = [old + new for old, new in zip(sums, added, strict=True)]
