"""Who owns what: the rows that say whose an object on a provider's account is, and on which key.

Hot statements for the ledger's batch, whose accounts are locked by then; in between them `choose`
decides, from values alone, where a call goes that names objects. Laws: an id is one account's on
its key, for good; an object that is not the caller's does not exist for him; a row whose time is
over is not there, whether or not it has been purged.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Any

import orjson

from bsod.lib import clock, sql
from bsod.lib.terms import ObjectKind
from proxy.models import Job, Object, Provider, ProviderKey

_OWNED = ("id", "account", "provider", "key", "kind", "upstream_id", "data")
_MADE = (
    "account", "provider", "key", "kind", "upstream_id", "data", "created_at", "expires_at"
)  # fmt: skip
_LONGEST = 256  # characters of an id; a longer one is nobody's
_AT_ONCE = 1024  # ids or rows of one statement


@dataclass(frozen=True, slots=True)
class Owned:
    """An object as it stands in this transaction."""

    id: int
    account: int
    provider: int
    key: int
    kind: str
    upstream_id: str
    key_deleted: bool
    job: str | None = None
    """The open entry that pays for it, while it is not finished."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that a call names. `kind` None: the place does not say what it must be."""

    id: str
    kind: ObjectKind | None
    param: str


@dataclass(frozen=True, slots=True)
class Made:
    """An id that an answer has given to an account."""

    account: int
    provider: int
    key: int
    kind: ObjectKind
    upstream_id: str
    data: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """The one key that holds all that a call names."""

    key: int
    provider: int
    owned: tuple[Owned, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such object, or it is not the caller's, or not what it must be."""

    id: str
    param: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first object that is on another key than those before it."""

    id: str
    param: str


@dataclass(frozen=True, slots=True)
class Gone:
    """It was the caller's, and its key is no more."""

    id: str
    param: str


Chosen = Binding | Missing | Mismatch | Gone


def choose(
    found: Mapping[str, Sequence[Owned]],
    account: int,
    wanted: Sequence[Wanted],
    operator: bool = False,
) -> Chosen | None:
    """The key a call goes to; None where nothing binds it.

    Of a request's faults the worst is told: what is missing, then what is gone, then that keys
    differ. An id may have rows on several keys: any of them will do that all objects share, the
    newest first. An operator may name anybody's, and ids that nobody here has made.
    """
    places: list[tuple[Wanted, list[Owned]]] = []
    for item in wanted:
        rows = [row for row in found.get(item.id, ()) if _fits(row, item, account, operator)]
        if rows:
            places.append((item, rows))
        elif not operator:
            return Missing(item.id, item.param)
    for item, rows in places:
        if all(row.key_deleted for row in rows):
            return Gone(item.id, item.param)
    keys: set[int] | None = None
    for item, rows in places:
        living = {row.key for row in rows if not row.key_deleted}
        keys = living if keys is None else keys & living
        if not keys:
            return Mismatch(item.id, item.param)
    return _binding(places, keys, account) if keys else None


def _fits(row: Owned, wanted: Wanted, account: int, operator: bool) -> bool:
    theirs = operator or row.account == account
    return theirs and (wanted.kind is None or row.kind == wanted.kind)


def _binding(
    places: Sequence[tuple[Wanted, Sequence[Owned]]], keys: Collection[int], account: int
) -> Binding:
    """The key of the newest row, an operator's own before those of others."""
    rows = [row for _, found in places for row in found if row.key in keys]
    best = max(rows, key=lambda row: (row.account == account, row.id))
    owned = {row.id: row for row in rows if row.key == best.key}
    return Binding(best.key, best.provider, tuple(owned.values()))


# ---- hot statements


def read(
    cursor: sql.Cursor, ids: Collection[str], now: datetime | None = None
) -> dict[str, list[Owned]]:
    """All rows of these ids, whoever's they are."""
    found: dict[str, list[Owned]] = {}
    moment = sql.stamp(now or clock.now())
    known = sorted({id_ for id_ in ids if 0 < len(id_) <= _LONGEST and "\0" not in id_})
    for some in _portions(known):
        # Filled up to a power of two: a statement's text is kept for each number of ids.
        places = 1 << (len(some) - 1).bit_length()
        filled = [*some, *[some[-1]] * (places - len(some))]
        cursor.execute(_sql_read(places), (*filled, moment))
        for row in cursor.fetchall():
            _keep(found.setdefault(row[5], []), _owned(row))
    return found


def _owned(row: tuple[Any, ...]) -> Owned:
    *names, data, gone, job = row
    return Owned(*(*names, bool(gone), job, sql.parsed(data)))


def _keep(rows: list[Owned], owned: Owned) -> None:
    if all(row.id != owned.id for row in rows):  # a row comes once for each open job
        rows.append(owned)


@cache
def _sql_read(ids: int) -> str:
    name, of_key = partial(sql.column, Object), partial(sql.column, ProviderKey)
    of_job = partial(sql.column, Job)
    return (
        f"SELECT {sql.columns(Object, _OWNED)}, {of_key('deleted_at')} IS NOT NULL "
        f"OR {sql.column(Provider, 'deleted_at')} IS NOT NULL, {of_job('entry')} "
        f"FROM {sql.table(Object)} "
        f"JOIN {sql.table(ProviderKey)} ON {of_key('id')} = {name('key')} "
        f"JOIN {sql.table(Provider)} ON {sql.column(Provider, 'id')} = {name('provider')} "
        f"LEFT JOIN {sql.table(Job)} ON {of_job('upstream_id')} = {name('upstream_id')} "
        f"AND {of_job('key')} = {name('key')} "
        f"WHERE {name('upstream_id')} IN ({sql.marks(range(ids))}) AND {_living()}"
    )


@cache
def _living() -> str:
    ends = sql.column(Object, "expires_at")
    return f"({ends} IS NULL OR {ends} > %s)"


def homes(
    cursor: sql.Cursor, accounts: Collection[int], now: datetime | None = None
) -> dict[tuple[int, int], int]:
    """(account, provider) → the key of the account's oldest living object there."""
    if not accounts:
        return {}
    cursor.execute(_sql_homes(len(accounts)), (sql.stamp(now or clock.now()), *accounts))
    return {
        (account, provider): key for account, provider, key in cursor.fetchall() if key is not None
    }


@cache
def _sql_homes(accounts: int) -> str:
    """For each account and provider the first row in the order of an index, and no more."""
    name, of_key = partial(sql.column, Object), partial(sql.column, ProviderKey)
    provider = sql.column(Provider, "id")
    oldest = (
        f"SELECT {name('key')} FROM {sql.table(Object)} "
        f"JOIN {sql.table(ProviderKey)} ON {of_key('id')} = {name('key')} "
        f"WHERE {name('account')} = given.column1 AND {name('provider')} = {provider} "
        f"AND {of_key('deleted_at')} IS NULL AND {_living()} ORDER BY {name('id')} LIMIT 1"
    )
    return (
        f"SELECT given.column1, {provider}, ({oldest}) "
        f"FROM (VALUES {sql.groups(accounts, 1)}) AS given CROSS JOIN {sql.table(Provider)} "
        f"WHERE {sql.column(Provider, 'deleted_at')} IS NULL"
    )


def record(
    cursor: sql.Cursor, rows: Sequence[Made], now: datetime | None = None
) -> set[tuple[int, str]]:
    """Give ids to accounts. Returns the (key, id) that are somebody else's: they stay his.

    What is the account's already keeps its kind; new data is laid over the old (one level, `None`
    says nothing), and so is a new end. In the order of the index, so that two batches that wait
    for each other's rows cannot both wait.
    """
    stamp, taken = sql.stamp(now or clock.now()), set[tuple[int, str]]()
    single: dict[tuple[str, int], Made] = {}
    for row in rows:
        first = single.setdefault((row.upstream_id, row.key), row)
        if first.account != row.account:
            taken.add((row.key, row.upstream_id))
        elif first is not row:
            single[row.upstream_id, row.key] = _over(first, row)
    for some in _portions([single[place] for place in sorted(single)]):
        values = sql.flat(
            (
                row.account, row.provider, row.key, str(row.kind), row.upstream_id,
                _dumped(row.data), stamp, sql.stamp(row.expires_at),
            )
            for row in some
        )  # fmt: skip
        cursor.execute(_sql_record(len(some)), values)
        kept = {(key, id_) for key, id_ in cursor.fetchall()}
        taken |= {(row.key, row.upstream_id) for row in some} - kept
    return taken


def _over(first: Made, second: Made) -> Made:
    """One id twice in one batch."""
    return Made(
        first.account, first.provider, first.key, first.kind, first.upstream_id,
        {**first.data, **{k: v for k, v in second.data.items() if v is not None}},
        second.expires_at or first.expires_at,
    )  # fmt: skip


def _dumped(data: Mapping[str, Any]) -> str:
    return orjson.dumps({name: v for name, v in data.items() if v is not None}).decode()


@cache
def _sql_record(rows: int) -> str:
    bare, name = partial(sql.bare, Object), partial(sql.column, Object)
    old, new = name("data"), f"excluded.{bare('data')}"
    data = f"json_patch({old}, {new})" if sql.on_sqlite() else f"{old} || {new}"
    ends = f"COALESCE(excluded.{bare('expires_at')}, {name('expires_at')})"
    return (
        f"{sql.insert(Object, _MADE, rows)} "
        f"ON CONFLICT ({bare('upstream_id')}, {bare('key')}) DO UPDATE "
        f"SET {bare('data')} = {data}, {bare('expires_at')} = {ends} "
        f"WHERE {name('account')} = excluded.{bare('account')} "
        f"RETURNING {bare('key')}, {bare('upstream_id')}"
    )


def forget(cursor: sql.Cursor, ids: Sequence[tuple[int, str]]) -> None:
    """The provider has these no more: (key, id)."""
    for some in _portions(sorted({(id_, key) for key, id_ in ids})):
        cursor.execute(_sql_forget(len(some)), [*(id_ for id_, _ in some), *sql.flat(some)])


@cache
def _sql_forget(rows: int) -> str:
    """SQLite looks into no index for pairs: the ids alone lead it there."""
    id_ = sql.column(Object, "upstream_id")
    return (
        f"DELETE FROM {sql.table(Object)} WHERE {id_} IN ({sql.marks(range(rows))}) "
        f"AND ({id_}, {sql.column(Object, 'key')}) IN (VALUES {sql.groups(rows, 2)})"
    )


# ---- rare


def purge_expired(now: datetime | None = None) -> int:
    """Delete the rows whose time is over, a portion at a time. Returns how many."""
    over = Object.objects.filter(expires_at__lte=now or clock.now())
    count = 0
    while some := list(over.order_by("expires_at").values_list("pk", flat=True)[:_AT_ONCE]):
        # Asked again at the delete: a row may have been given a new end meanwhile.
        deleted, _ = over.filter(pk__in=some).delete()
        count += deleted
    return count


def _portions(items: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
