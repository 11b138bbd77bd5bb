"""What one transaction of the ledger does for many calls: check, admit and close (DESIGN §3).

Read, decide, write. Every row the batch touches is read once; the operations are decided in
their order on those values, so that ten calls on one balance see each other; the final values
are written with one statement a table. A refusal is a result, never an exception.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from accounts.keys import identity as identities
from accounts.keys.identity import Identity
from accounts.keys.models import ApiKey
from bsod.lib import clock, sql
from bsod.lib.steps import step
from bsod.lib.terms import Blame, EntryState, Permission
from proxy import rests
from proxy.errors import ApiError
from proxy.gateway import admission, closing
from proxy.gateway.journey import Attempt, Call, Caller, Charge, Outcome, Receipt, Ticket
from proxy.models import PoolState
from proxy.pool import Pool
from quotas import ledger
from quotas.book import Book, Wanted
from quotas.draw import Leg, Row
from quotas.models import Balance
from quotas.pace import Minute
from quotas.processes import Heart

_USED_EVERY = 60  # seconds between two writes of a key's `last_used_at`


@dataclass(frozen=True, slots=True)
class Check:
    """Is this key good? For free routes, and before a large body is read."""

    caller: Caller
    permission: Permission | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    call: Call


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of an admitted call. From `void_after` (monotonic seconds) on nothing is due any
    more: nothing was sent, and the client is being told that nothing will be."""

    ticket: Ticket
    outcome: Outcome
    charge: Charge
    status: int
    latency_ms: int
    void_after: float | None = None

    @property
    def void(self) -> bool:
        return self.void_after is not None and clock.monotonic() >= self.void_after


@dataclass(frozen=True, slots=True)
class Learn:
    """A failed attempt: the pool hears of it at once, not when the call ends elsewhere."""

    attempt: Attempt


Op = Check | Admit | Closing | Learn
Result = Identity | Ticket | Receipt | ApiError | None


@dataclass(slots=True)
class _Batch:
    """The rows of one batch, as read and as they are to be written."""

    now: datetime
    day: str
    cursor: sql.Cursor
    keys: dict[str, Identity]
    screened: dict[int, admission.Screened | ApiError] = field(default_factory=dict)
    book: Book = field(default_factory=lambda: Book([]))
    entries: dict[str, ledger.EntryRow] = field(default_factory=dict)
    paces: dict[str, Minute | None] = field(default_factory=dict)
    counted: dict[str, Minute] = field(default_factory=dict)
    opened: dict[tuple[int, int], int] = field(default_factory=dict)
    inserts: list[ledger.OpenEntry] = field(default_factory=list)
    closes: list[ledger.ClosedEntry] = field(default_factory=list)
    usage: dict[tuple[object, ...], list[int]] = field(default_factory=dict)


class Batch:
    """Runs batches for one process, with its heart and its pool."""

    def __init__(self, heart: Heart, pool: Pool) -> None:
        self._heart, self._pool = heart, pool

    @step("batch")
    def run(self, ops: Sequence[Op]) -> list[Result]:
        """One result for each operation. Runs inside the transaction."""
        self._heart.beat()
        with sql.hot_cursor() as cursor:
            self._pool.refresh(_generation(cursor))
            batch = self._read(cursor, ops)
            results = [self._decide(batch, number, op) for number, op in enumerate(ops)]
            self._write(batch, ops)
        return results

    # ---- read

    def _read(self, cursor: sql.Cursor, ops: Sequence[Op]) -> _Batch:
        now = clock.now()
        callers = [caller for op in ops if (caller := _caller(op))]
        closings = [op for op in ops if isinstance(op, Closing)]
        keys = identities.read(
            cursor,
            {caller.token.public_id for caller in callers},
            now,
            also={op.ticket.account for op in closings},
        )
        batch = _Batch(now, clock.day_of(now), cursor, keys)
        self._screen(batch, ops)
        batch.entries = ledger.read_entries(cursor, [op.ticket.call.id for op in closings])
        self._read_balances(batch)
        self._read_limits(batch)
        return batch

    def _screen(self, batch: _Batch, ops: Sequence[Op]) -> None:
        catalogue = self._pool.snapshot.catalogue
        for number, op in enumerate(ops):
            if isinstance(op, Admit):
                key = batch.keys.get(op.call.caller.token.public_id)
                try:
                    batch.screened[number] = admission.screen(key, op.call, catalogue, batch.now)
                except ApiError as error:
                    batch.screened[number] = error

    def _read_balances(self, batch: _Batch) -> None:
        """Balances of all calls and closes; those that are missing are made."""
        wanted: dict[Wanted, None] = {}
        lifted: dict[Wanted, None] = {}
        for item in _passed(batch):
            wanted |= dict.fromkeys(item.holder.wants(item.tariff.bucket, batch.day))
            lifted |= dict.fromkeys(item.holder.lifted(item.tariff.bucket, batch.day))
        entries = batch.entries.values()
        accounts = {row.account for row in wanted} | {entry.account for entry in entries}
        buckets = {row.bucket for row in wanted} | {entry.bucket for entry in entries}
        periods = {row.period for row in wanted} | {entry.day for entry in entries}
        rows = ledger.read_balances(batch.cursor, accounts, buckets, periods)
        batch.book = Book(rows)
        missing = [row for row in wanted if batch.book.find(row) is None]
        for row in make_balances(missing):
            batch.book.add(row)
        for adopted in (*wanted, *lifted):
            batch.book.adopt(adopted)

    def _read_limits(self, batch: _Batch) -> None:
        limited = [item for item in _passed(batch) if not item.holder.unlimited]
        owners = {owner for item in limited for owner, _ in item.paced}
        found = ledger.read_paces(batch.cursor, owners)
        batch.paces = {owner: Minute(*row) for owner, row in found.items()}
        batch.opened = ledger.open_calls(batch.cursor, {item.holder.account for item in limited})

    # ---- decide

    def _decide(self, batch: _Batch, number: int, op: Op) -> Result:
        try:
            if isinstance(op, Admit):
                return self._admit(batch, batch.screened[number])
            if isinstance(op, Closing):
                return _close(batch, op)
            if isinstance(op, Learn):
                return None
            key = batch.keys.get(op.caller.token.public_id)
            return admission.authenticate(key, op.caller, op.permission, batch.now)
        except ApiError as error:
            return error

    def _admit(self, batch: _Batch, screened: admission.Screened | ApiError) -> Ticket:
        if isinstance(screened, ApiError):
            raise screened
        counted = admission.check_pace(screened, batch.paces, batch.now)
        batch.paces |= counted
        batch.counted |= counted
        admission.check_open(screened, batch.opened)
        amount, legs, limit = admission.draw_for(screened, batch.book, batch.day, batch.now)
        batch.book.reserve(legs)
        who, call = screened.holder, screened.call
        if not who.unlimited:
            for place in ((who.account, who.key), (who.account, ledger.WHOLE)):
                batch.opened[place] = batch.opened.get(place, 0) + 1
        bucket = screened.tariff.bucket
        batch.inserts.append(
            ledger.OpenEntry(
                call.id, who.account, who.key, who.owner, call.route.path, screened.model.name,
                bucket, batch.day, amount, legs, admission.price_of(screened.tariff),
                self._heart.id, batch.now,
            )
        )  # fmt: skip
        purse = batch.book.purse(who.account, who.key, who.owner, bucket, batch.day, batch.now)
        return admission.ticket(screened, amount, limit, purse, counted, batch.day, batch.now)

    # ---- write

    def _write(self, batch: _Batch, ops: Sequence[Op]) -> None:
        cursor = batch.cursor
        ledger.write_balances(cursor, sorted(batch.book.changed.values(), key=lambda row: row.id))
        ledger.insert_entries(cursor, batch.inserts)
        ledger.close_entries(cursor, batch.closes)
        ledger.write_paces(cursor, batch.counted)
        ledger.add_usage(cursor, batch.usage)
        _mark_used(batch)
        rests.learn(cursor, [*_lessons(ops)], batch.now)


def _generation(cursor: sql.Cursor) -> int:
    cursor.execute(f"SELECT {sql.column(PoolState, 'generation')} FROM {sql.table(PoolState)}")
    return int(cursor.fetchone()[0])


def _caller(op: Op) -> Caller | None:
    if isinstance(op, Admit):
        return op.call.caller
    return op.caller if isinstance(op, Check) else None


def _lessons(ops: Sequence[Op]) -> Iterator[Attempt]:
    """Failures as they come; of closed calls only the successes, whose failures came before."""
    for op in ops:
        if isinstance(op, Learn):
            yield op.attempt
        elif isinstance(op, Closing):
            yield from (a for a in op.outcome.attempts if a.blame is Blame.NOBODY)


def _passed(batch: _Batch) -> list[admission.Screened]:
    return [item for item in batch.screened.values() if isinstance(item, admission.Screened)]


def make_balances(wanted: Sequence[Wanted]) -> list[Row]:
    """Insert rows for today's caps or a period's credits; the accounts are locked."""
    if not wanted:
        return []
    made = Balance.objects.bulk_create(
        Balance(
            account_id=row.account,
            owner=row.owner,
            bucket=row.bucket,
            period=row.period,
            granted=row.cap,
            expires_at=row.expires_at,
        )
        for row in wanted
    )
    return [
        Row(row.pk, row.account_id, row.owner, row.bucket, row.period, row.granted, 0, 0,
            row.expires_at)
        for row in made
    ]  # fmt: skip


def _close(batch: _Batch, op: Closing) -> Receipt:
    """Close an entry, once: a second close returns what the first one did."""
    # No entry, no answer: a KeyError fails this close, and the call with it.
    entry = batch.entries[op.ticket.call.id]
    if entry.state != EntryState.OPEN:
        return Receipt(entry.amount, entry.shortfall, _balance(batch, entry))
    void = op.void
    due = closing.FREE if void else op.charge
    settled = batch.book.settle(entry, closing.amount(op.ticket, due))
    state = EntryState.SETTLED if due.due else settled.state
    entry.state, entry.amount, entry.shortfall = state, settled.amount, settled.shortfall
    batch.closes.append(_closed(batch, op, due, settled.legs, entry))
    if due.due:
        _add_usage(batch, entry, due)
    if void:
        raise admission.quota_unavailable()
    return Receipt(entry.amount, entry.shortfall, _balance(batch, entry))


def _closed(
    batch: _Batch, op: Closing, due: Charge, legs: Sequence[Leg], entry: ledger.EntryRow
) -> ledger.ClosedEntry:
    call, outcome = op.ticket.call, op.outcome
    first = outcome.first_byte
    return ledger.ClosedEntry(
        entry.id, EntryState(entry.state), entry.amount, entry.shortfall, legs, batch.now,
        outcome.end, due.source or "", due.prompt, due.completion,
        due.cached if due.due else None, op.status, len(outcome.attempts),
        outcome.attempts[-1].key if outcome.attempts else None, op.latency_ms,
        None if first is None else round((first - call.began) * 1000),
    )  # fmt: skip


def _balance(batch: _Batch, entry: ledger.EntryRow) -> int | None:
    return batch.book.purse(
        entry.account, entry.api_key, entry.owner, entry.bucket, entry.day, entry.created_at
    ).free


def _add_usage(batch: _Batch, entry: ledger.EntryRow, due: Charge) -> None:
    place = (entry.account, entry.api_key, entry.model, entry.bucket, entry.day)
    sums = batch.usage.setdefault(place, [0, 0, 0, 0])
    for number, more in enumerate((1, entry.amount, due.prompt or 0, due.completion or 0)):
        sums[number] += more


def _mark_used(batch: _Batch) -> None:
    """`last_used_at`, at most once a minute for a key."""
    used = {
        (sql.stamp(batch.now), item.identity.id)
        for item in _passed(batch)
        if item.identity.last_used_at is None
        or (batch.now - item.identity.last_used_at).total_seconds() > _USED_EVERY
    }
    if used:
        batch.cursor.executemany(sql.update(ApiKey, ("last_used_at",)), sorted(used, key=str))
