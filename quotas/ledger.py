"""The hot statements of the ledger: every read and write a batch makes of its tables.

Straight SQL with names from the models (DESIGN §3: 15 µs a request here, 107 through the ORM).
The caller holds the lock: SQLite's flock and BEGIN IMMEDIATE, or the PostgreSQL account rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any

import orjson

from bsod.lib import sql
from bsod.lib.terms import EntryState
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
_ENTRY = (
    "id", "state", "account", "api_key", "owner", "model", "bucket", "day", "estimate", "amount",
    "shortfall", "legs", "created_at",
)  # fmt: skip


@dataclass(slots=True)
class OpenEntry:
    """What is inserted when a call is admitted."""

    id: str
    account: int
    api_key: int
    owner: str
    route: str
    model: str
    bucket: str
    day: str
    estimate: int
    legs: Sequence[Leg]
    price: str
    process: str | None
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(slots=True)
class EntryRow:
    """An entry as read back for its close."""

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
    legs: list[Leg]
    created_at: datetime


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
    head = (
        f"SELECT {sql.columns(Balance, _BALANCE)} FROM {sql.table(Balance)} "
        f"WHERE {sql.column(Balance, 'account')} IN ({sql.marks(accounts)}) "
        f"AND {sql.column(Balance, 'bucket')} IN ({sql.marks(buckets)}) AND "
    )
    period, granted = sql.column(Balance, "period"), sql.column(Balance, "granted")
    cursor.execute(f"{head} {period} IN ({sql.marks(periods)})", (*accounts, *buckets, *periods))
    rows = {row[0]: row for row in cursor.fetchall()}
    cursor.execute(
        f"{head} ({period} IS NULL OR {sql.column(Balance, 'expires_at')} IS NOT NULL) "
        f"AND ({granted} IS NULL OR {granted} > {sql.column(Balance, 'used')})",
        (*accounts, *buckets),
    )
    rows |= {row[0]: row for row in cursor.fetchall()}
    return [_row(*row) for row in rows.values()]


def _row(*values: Any) -> Row:
    return Row(*(*values[:-1], sql.moment(values[-1])))


def write_balances(cursor: sql.Cursor, rows: Iterable[Row]) -> None:
    values = [(row.granted, row.reserved, row.used, row.id) for row in rows]
    if values:
        cursor.executemany(_sql_update_balance(), values)


def insert_entries(cursor: sql.Cursor, entries: Iterable[OpenEntry]) -> None:
    values = [
        (
            entry.id, "call", "open", entry.account, entry.api_key, entry.owner, entry.route,
            entry.model, entry.bucket, entry.day, entry.estimate, 0, 0, dump_legs(entry.legs),
            entry.price, "", "", 0, entry.process, sql.stamp(entry.created_at),
            sql.stamp(entry.expires_at),
        )
        for entry in entries
    ]  # fmt: skip
    if values:
        # One statement for all: at each statement a driver lets the other threads run.
        cursor.execute(_sql_insert_entries(len(values)), [*chain.from_iterable(values)])


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


def close_entries(cursor: sql.Cursor, entries: Iterable[ClosedEntry]) -> None:
    values = [
        (
            entry.state, entry.amount, entry.shortfall, dump_legs(entry.legs),
            entry.prompt_tokens, entry.completion_tokens, entry.cached_tokens,
            entry.usage_source, entry.end_reason, entry.status, entry.attempts,
            entry.provider_key, entry.latency_ms, entry.first_byte_ms,
            sql.stamp(entry.closed_at), entry.id,
        )
        for entry in entries
    ]  # fmt: skip
    if values:
        cursor.executemany(_sql_close_entry(), values)


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
        cursor.executemany(_sql_pace(), [(owner, *pace) for owner, pace in sorted(paces.items())])


def add_usage(cursor: sql.Cursor, usage: dict[tuple[Any, ...], list[int]]) -> None:
    """Add (calls, amount, prompt, completion) to (account, key, model, bucket, day)."""
    if usage:
        rows = sorted(usage.items(), key=lambda item: item[0])
        cursor.executemany(_sql_usage(), [(*key, *sums) for key, sums in rows])


def dump_legs(legs: Sequence[Leg]) -> str:
    return orjson.dumps([[balance, amount] for balance, amount in legs]).decode()


def load_legs(text: str) -> list[Leg]:
    return [Leg(*leg) for leg in orjson.loads(text)]


@cache
def _sql_update_balance() -> str:
    return sql.update(Balance, ("granted", "reserved", "used"))


@cache
def _sql_insert_entries(count: int) -> str:
    return sql.insert(Entry, _OPENED) + f", ({sql.marks(_OPENED)})" * (count - 1)


@cache
def _sql_close_entry() -> str:
    return sql.update(Entry, _CLOSED)


@cache
def _sql_pace() -> str:
    names = ("minute", "count", "previous")
    sets = ", ".join(f"{sql.bare(Pace, name)} = excluded.{name}" for name in names)
    return (
        f"{sql.insert(Pace, ('owner', *names))} "
        f"ON CONFLICT ({sql.bare(Pace, 'owner')}) DO UPDATE SET {sets}"
    )


@cache
def _sql_usage() -> str:
    key = ("account", "api_key", "model", "bucket", "day")
    sums = ("calls", "amount", "prompt_tokens", "completion_tokens")
    one = ("account", "day", "api_key", "model", "bucket")
    conflict = ", ".join(sql.bare(UsageDay, name) for name in one)
    sets = ", ".join(
        f"{sql.bare(UsageDay, name)} = {sql.column(UsageDay, name)} + excluded.{name}"
        for name in sums
    )
    return f"{sql.insert(UsageDay, (*key, *sums))} ON CONFLICT ({conflict}) DO UPDATE SET {sets}"
