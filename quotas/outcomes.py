"""What calls with an `Idempotency-Key` have come to, for whoever asks a second time (SPEC §3).

A row is inserted in the transaction that opens the call's entry. It leaves with the entry when that
closes without a charge; else the answer is kept in it before its last byte goes out. Statements
of the ledger's batch, whose accounts are locked; which row means what is decided elsewhere, from
values alone. Rows live a day; a second call of a scope takes the place of one that counts no more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db.models import QuerySet

from bsod.lib import clock, sql
from bsod.lib.terms import EntryState, OutcomeState
from quotas.models import Entry, Outcome, Process

LIFETIME = timedelta(hours=24)
_KNOWN = (
    "scope", "entry", "fingerprint", "state", "once", "status", "content_type", "expires_at",
)  # fmt: skip
_BEGUN = (
    "scope", "account", "entry", "process", "fingerprint", "once", "state", "status",
    "content_type", "created_at", "expires_at", "sealed",
)  # fmt: skip
_KEPT = ("state", "status", "content_type", "sealed")
_PLACE = ("scope", "entry")
_AT_ONCE = 100  # rows of one delete: each may hold megabytes


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that may be asked for again from now on."""

    scope: str
    account: int
    entry: str
    process: str
    fingerprint: str
    once: bool

    def known(self, now: datetime) -> "Known":
        """The same as the next of its batch would read it."""
        return Known(
            self.scope, self.entry, self.fingerprint, OutcomeState.RUNNING, self.once, None, "",
            now + LIFETIME, True, True, EntryState.OPEN,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """An earlier call of a scope, as far as it need be known to judge a second."""

    scope: str
    entry: str
    fingerprint: str
    state: str
    once: bool
    status: int | None
    content_type: str
    expires_at: datetime
    alive: bool
    """The process that began it has not been declared dead."""
    held: bool
    """Its entry is open, and a process's: one that died has not been closed yet."""
    entry_state: str | None

    @property
    def running(self) -> bool:
        return self.state == OutcomeState.RUNNING and (self.alive or self.held)

    @property
    def undone(self) -> bool:
        """Its process died before anything was charged. A live one takes the row away itself."""
        freed = self.entry_state in (EntryState.RELEASED, EntryState.EXPIRED)
        return self.state == OutcomeState.RUNNING and freed


@dataclass(frozen=True, slots=True)
class Kept:
    """What an answer has come to."""

    scope: str
    entry: str
    state: OutcomeState
    status: int | None = None
    content_type: str = ""
    sealed: bytes | None = None


def read(cursor: sql.Cursor, scopes: Collection[str]) -> dict[str, Known]:
    """The rows of these scopes, without their answers."""
    if not scopes:
        return {}
    cursor.execute(_sql_read(len(scopes)), tuple(scopes))
    return {row[0]: _known(row) for row in cursor.fetchall()}


def _known(row: tuple[Any, ...]) -> Known:
    scope, entry, fingerprint, state, once, status, content_type, ends, alive, held, left = row
    moment = sql.moment(ends)
    assert moment is not None, "the column is NOT NULL"
    return Known(
        scope, entry, fingerprint, state, bool(once), status, content_type, moment, bool(alive),
        bool(held), left,
    )  # fmt: skip


@cache
def _sql_read(scopes: int) -> str:
    process, entry = sql.column(Process, "id"), sql.column(Entry, "id")
    scope, state = sql.column(Outcome, "scope"), sql.column(Entry, "state")
    held = f"{state} = 'open' AND {sql.column(Entry, 'process')} IS NOT NULL"
    return (
        f"SELECT {sql.columns(Outcome, _KNOWN)}, {process} IS NOT NULL, {held}, {state} "
        f"FROM {sql.table(Outcome)} "
        f"LEFT JOIN {sql.table(Process)} ON {process} = {sql.column(Outcome, 'process')} "
        f"LEFT JOIN {sql.table(Entry)} ON {entry} = {sql.column(Outcome, 'entry')} "
        f"WHERE {scope} IN ({sql.marks(range(scopes))})"
    )


def begin(cursor: sql.Cursor, rows: Sequence[Begun], now: datetime) -> None:
    """Take down calls that begin, each in the place of one that counts no more."""
    if rows:
        began, ends = sql.stamp(now), sql.stamp(now + LIFETIME)
        values = sql.flat(
            (
                row.scope, row.account, row.entry, row.process, row.fingerprint, row.once,
                OutcomeState.RUNNING.value, None, "", began, ends, None,
            )
            for row in rows
        )  # fmt: skip
        cursor.execute(_sql_begin(len(rows)), values)


@cache
def _sql_begin(rows: int) -> str:
    sets = ", ".join(
        f"{sql.bare(Outcome, n)} = excluded.{sql.bare(Outcome, n)}" for n in _BEGUN[1:]
    )
    return (
        f"{sql.insert(Outcome, _BEGUN, rows)} "
        f"ON CONFLICT ({sql.bare(Outcome, 'scope')}) DO UPDATE SET {sets}"
    )


def keep(cursor: sql.Cursor, rows: Sequence[Kept]) -> None:
    """Keep what calls have come to. One whose row has gone, or is another call's, is nobody's."""
    for row in rows:
        values = (row.state.value, row.status, row.content_type, row.sealed, row.scope, row.entry)
        cursor.execute(sql.update(Outcome, _KEPT, key=_PLACE), values)


def drop(cursor: sql.Cursor, places: Collection[tuple[str, str]]) -> None:
    """Forget calls that were not charged: (scope, entry)."""
    if places:
        cursor.execute(
            f"DELETE FROM {sql.table(Outcome)} "
            f"WHERE {sql.column(Outcome, 'scope')} IN ({sql.marks(places)}) "
            f"AND {sql.column(Outcome, 'entry')} IN ({sql.marks(places)})",
            (*(scope for scope, _ in places), *(entry for _, entry in places)),
        )


# ---- rare


def sealed(scope: str, entry: str) -> bytes | None:
    """The answer of a call, encrypted; None when it is there no more."""
    kept = Outcome.objects.filter(scope=scope, entry=entry).values_list("sealed", flat=True).first()
    return None if kept is None else bytes(kept)


def purge_expired(now: datetime | None = None) -> int:
    """Delete the rows whose day is over. Returns how many."""
    return _delete(Outcome.objects.filter(expires_at__lte=now or clock.now()))


def forget(account: int) -> int:
    """Delete every kept answer of an account. A call that still runs keeps its row, without which
    it could be begun a second time. Returns how many."""
    return _delete(Outcome.objects.filter(account=account).exclude(state=OutcomeState.RUNNING))


def _delete(rows: QuerySet[Outcome]) -> int:
    count = 0
    while some := list(rows.values_list("pk", flat=True)[:_AT_ONCE]):
        # Asked again at the delete: another call may have taken a row's place meanwhile.
        count += rows.filter(pk__in=some).delete()[0]
    return count
