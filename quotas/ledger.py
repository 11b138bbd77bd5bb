"""The hot statements of the ledger: every read and write a batch makes of its tables.

Straight SQL with names from the models (DESIGN §3: 15 µs a request here, 107 through the ORM).
The caller holds the lock: SQLite's flock and BEGIN IMMEDIATE, or the PostgreSQL account rows.
Words of an enum are written as plain `str`: a driver asks around for 2 µs what any other is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

import orjson

from bsod.lib import sql
from bsod.lib.terms import Bucket, EntryState
from quotas.draw import Leg, Row
from quotas.models import Balance, Entry, Pace, UsageDay

WHOLE = 0  # stands for all keys of an account where keys are counted
_BALANCE = (
    "id", "account", "owner", "bucket", "period", "granted", "reserved", "used", "expires_at",
)  # fmt: skip
_OPENED = (
    "id", "kind", "state", "account", "api_key", "owner", "route", "model", "bucket", "day",
    "estimate", "amount", "shortfall", "legs", "price", "usage_source", "end_reason", "attempts",
    "process", "created_at", "expires_at",
)  # fmt: skip
_CLOSED = (
    "state", "amount", "shortfall", "legs", "prompt_tokens", "completion_tokens", "cached_tokens",
    "usage_source", "end_reason", "status", "attempts", "provider_key", "latency_ms",
    "first_byte_ms", "closed_at",
)  # fmt: skip
_HANDED = (
    "process", "expires_at", "status", "attempts", "provider_key", "latency_ms", "first_byte_ms"
)  # fmt: skip
_ENTRY = (
    "id", "state", "account", "api_key", "owner", "model", "bucket", "day", "estimate", "amount",
    "shortfall", "legs", "created_at",
)  # fmt: skip
_CREDITS = Bucket.CREDITS.value
_DRAWN = ("granted", "reserved", "used")
_PACE = ("owner", "minute", "count", "previous")
_PLACE = ("account", "api_key", "model", "bucket", "day")
_SUMS = ("calls", "amount", "prompt_tokens", "completion_tokens")


@dataclass(slots=True)
class EntryRow:
    """An entry as it is opened, or as it is read back for its close."""

    id: str
    state: str
    account: int
    api_key: int | None
    owner: str
    model: str
    bucket: str
    day: str
    estimate: int
    amount: int
    shortfall: int
    legs: Sequence[Leg]
    created_at: datetime
    # What only an opening writes.
    route: str = ""
    price: str = "{}"
    process: str | None = None
    expires_at: datetime | None = None


@dataclass(slots=True)
class ClosedEntry:
    """The one change of an entry."""

    id: str
    state: EntryState
    amount: int
    shortfall: int
    legs: Sequence[Leg]
    closed_at: datetime
    end_reason: str
    usage_source: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    status: int | None = None
    attempts: int = 0
    provider_key: int | None = None
    latency_ms: int | None = None
    first_byte_ms: int | None = None


def read_balances(
    cursor: sql.Cursor,
    accounts: Collection[int],
    buckets: Collection[str],
    periods: Collection[str],
) -> list[Row]:
    """Day and period rows of these periods, and every grant that is not used up."""
    if not accounts or not buckets:
        return []
    cursor.execute(
        _sql_balances(len(accounts), len(buckets), len(periods)),
        (*accounts, *map(str, buckets), *periods, _CREDITS),
    )
    return [Row(*(*row[:-1], sql.moment(row[-1]))) for row in cursor.fetchall()]


@cache
def _sql_balances(accounts: int, buckets: int, periods: int) -> str:
    """Three ways to belong here, spelt so that both databases find an index for each: the period,
    a grant, and what came by a period and expires, as credits alone do."""
    name = partial(sql.column, Balance)
    left = f"({name('granted')} IS NULL OR {name('granted')} > {name('used')})"
    return (
        f"SELECT {sql.columns(Balance, _BALANCE)} FROM {sql.table(Balance)} "
        f"WHERE {name('account')} IN ({sql.marks(range(accounts))}) "
        f"AND {name('bucket')} IN ({sql.marks(range(buckets))}) "
        f"AND ({name('period')} IN ({sql.marks(range(periods))}) "
        f"OR {name('period')} IS NULL AND {left} "
        f"OR {name('period')} IS NOT NULL AND {name('bucket')} = %s "
        f"AND {name('expires_at')} IS NOT NULL AND {left})"
    )


def write_balances(cursor: sql.Cursor, rows: Collection[Row]) -> None:
    if rows:
        values = sql.flat((row.granted, row.reserved, row.used, row.id) for row in rows)
        cursor.execute(sql.update(Balance, _DRAWN, len(rows)), values)


def insert_entries(cursor: sql.Cursor, entries: Collection[EntryRow]) -> None:
    if entries:
        values = sql.flat(
            (
                entry.id, "call", "open", entry.account, entry.api_key, entry.owner,
                entry.route, entry.model, str(entry.bucket), entry.day, entry.estimate, 0, 0,
                dump_legs(entry.legs), entry.price, "", "", 0, entry.process,
                sql.stamp(entry.created_at), sql.stamp(entry.expires_at),
            )
            for entry in entries
        )  # fmt: skip
        cursor.execute(sql.insert(Entry, _OPENED, len(entries)), values)


def read_entries(cursor: sql.Cursor, ids: Collection[str]) -> dict[str, EntryRow]:
    if not ids:
        return {}
    cursor.execute(
        f"SELECT {sql.columns(Entry, _ENTRY)} FROM {sql.table(Entry)} "
        f"WHERE {sql.column(Entry, 'id')} IN ({sql.marks(ids)})",
        tuple(ids),
    )
    return {row[0]: _entry(row) for row in cursor.fetchall()}


def _entry(row: tuple[Any, ...]) -> EntryRow:
    return EntryRow(*(*row[:-2], load_legs(row[-2]), sql.moment(row[-1])))


class NotOpen(Exception):
    """An entry that was to be closed is not open any more: what was decided is not to be done."""


def close_entries(cursor: sql.Cursor, entries: Collection[ClosedEntry]) -> None:
    """Write the ends of entries that are open. Raises NotOpen where one is not, and then the
    transaction must be rolled back."""
    if entries:
        values = sql.flat(
            (
                str(entry.state), entry.amount, entry.shortfall, dump_legs(entry.legs),
                entry.prompt_tokens, entry.completion_tokens, entry.cached_tokens,
                str(entry.usage_source), str(entry.end_reason), entry.status, entry.attempts,
                entry.provider_key, entry.latency_ms, entry.first_byte_ms,
                sql.stamp(entry.closed_at), entry.id,
            )
            for entry in entries
        )  # fmt: skip
        cursor.execute(_sql_close(len(entries)), values)
        if cursor.rowcount != len(entries):
            raise NotOpen(f"{cursor.rowcount} of {len(entries)} entries were open")


@cache
def _sql_close(rows: int) -> str:
    return f"{sql.update(Entry, _CLOSED, rows)} AND {sql.column(Entry, 'state')} = 'open'"


@dataclass(frozen=True, slots=True)
class HandedOver:
    """An open entry that is a job's from now on, until its time is over, and what is known of the
    call that has begun it."""

    id: str
    expires_at: datetime
    status: int
    attempts: int
    provider_key: int
    latency_ms: int
    first_byte_ms: int | None


def hand_over(cursor: sql.Cursor, entries: Collection[HandedOver]) -> None:
    """Take entries from their process. Raises NotOpen."""
    for entry in entries:
        cursor.execute(
            f"{sql.update(Entry, _HANDED)} AND {sql.column(Entry, 'state')} = 'open'",
            (
                None, sql.stamp(entry.expires_at), entry.status, entry.attempts,
                entry.provider_key, entry.latency_ms, entry.first_byte_ms, entry.id,
            ),
        )  # fmt: skip
        if cursor.rowcount != 1:
            raise NotOpen(entry.id)


def open_calls(cursor: sql.Cursor, accounts: Collection[int]) -> dict[tuple[int, int], int]:
    """Open entries held by processes, by (account, key), and by (account, WHOLE) for all of an
    account's; unlimited keys are not counted."""
    if not accounts:
        return {}
    account, key = sql.column(Entry, "account"), sql.column(Entry, "api_key")
    cursor.execute(
        f"SELECT {account}, {key}, COUNT(*) FROM {sql.table(Entry)} "
        f"WHERE {account} IN ({sql.marks(accounts)}) AND {sql.column(Entry, 'state')} = 'open' "
        f"AND {sql.column(Entry, 'process')} IS NOT NULL "
        f"AND {sql.column(Entry, 'owner')} = 'user' GROUP BY {account}, {key}",
        tuple(accounts),
    )
    counts: dict[tuple[int, int], int] = {}
    for account_id, key_id, count in cursor.fetchall():
        counts[account_id, key_id] = count
        counts[account_id, WHOLE] = counts.get((account_id, WHOLE), 0) + count
    return counts


def read_paces(cursor: sql.Cursor, owners: Collection[str]) -> dict[str, tuple[int, int, int]]:
    """(minute, count, previous) of each owner that has called before."""
    if not owners:
        return {}
    cursor.execute(
        f"SELECT {sql.columns(Pace, ('owner', 'minute', 'count', 'previous'))} "
        f"FROM {sql.table(Pace)} WHERE {sql.column(Pace, 'owner')} IN ({sql.marks(owners)})",
        tuple(owners),
    )
    return {row[0]: row[1:] for row in cursor.fetchall()}


def write_paces(cursor: sql.Cursor, paces: Mapping[str, tuple[int, int, int]]) -> None:
    if paces:
        values = sql.flat((owner, *pace) for owner, pace in paces.items())
        cursor.execute(_sql_paces(len(paces)), values)


@cache
def _sql_paces(rows: int) -> str:
    sets = ", ".join(f"{sql.bare(Pace, n)} = excluded.{sql.bare(Pace, n)}" for n in _PACE[1:])
    return (
        f"{sql.insert(Pace, _PACE, rows)} "
        f"ON CONFLICT ({sql.bare(Pace, 'owner')}) DO UPDATE SET {sets}"
    )


def add_usage(cursor: sql.Cursor, usage: Mapping[tuple[Any, ...], Sequence[int]]) -> None:
    """Add (calls, amount, prompt, completion) to (account, key, model, bucket, day).

    Added first, and inserted only where there was nothing to add to, once a day: an upsert would
    take a new id from its sequence every time, which on SQLite is one more page to write.
    """
    if not usage:
        return
    values = sql.flat((*sums, *place) for place, sums in usage.items())
    cursor.execute(_sql_add_usage(len(usage)), values)
    added = {tuple(row) for row in cursor.fetchall()}
    new = [(*place, *sums) for place, sums in usage.items() if place not in added]
    if new:
        cursor.execute(sql.insert(UsageDay, (*_PLACE, *_SUMS), len(new)), sql.flat(new))


@cache
def _sql_add_usage(rows: int) -> str:
    update = sql.update(UsageDay, _SUMS, rows, key=_PLACE, add=True)
    return f"{update} RETURNING {sql.columns(UsageDay, _PLACE)}"


def dump_legs(legs: Sequence[Leg]) -> str:
    return orjson.dumps([[balance, amount] for balance, amount in legs]).decode()


def load_legs(text: str) -> list[Leg]:
    return [Leg(*leg) for leg in orjson.loads(text)]
