"""What one transaction of the ledger does for many calls: check, admit and close (DESIGN §3).

Read, decide, write. Every row the batch touches is read once; the operations are decided in
their order on those values, so that ten calls on one balance see each other; the final values
are written with one statement a table. A refusal is a result, never an exception.
"""

from collections.abc import Collection, Iterator, Sequence

from accounts.keys import identity as identities
from accounts.keys.models import ApiKey
from bsod.lib import clock, sql
from bsod.lib.steps import step
from bsod.lib.terms import Blame, EntryState
from proxy import keydays, rests
from proxy.errors import ApiError
from proxy.gateway import admission, closing, holdings, repeats
from proxy.gateway.holdings import State
from proxy.gateway.journey import Attempt, Caller, Charge, Receipt, Replay, Ticket
from proxy.gateway.limits import Quota, pace_left
from proxy.gateway.operations import (
    Admit,
    Check,
    Closing,
    Keep,
    Learn,
    Look,
    Op,
    Record,
    Result,
    Take,
)
from proxy.models import PoolState
from proxy.pool import Pool
from quotas import ledger
from quotas.book import Book, Wanted
from quotas.draw import Leg, Row
from quotas.models import Balance
from quotas.pace import Minute
from quotas.processes import Heart

_USED_EVERY = 60  # seconds between two writes of a key's `last_used_at`
_REMEMBERED = 20_000  # open entries; an admission whose commit never came leaves one behind


class Batch:
    """Runs batches for one process, with its heart and its pool."""

    def __init__(self, heart: Heart, pool: Pool) -> None:
        self._heart, self._pool = heart, pool
        self._open: dict[str, ledger.EntryRow] = {}
        """Entries as this process has opened them. Nobody else closes those before its row is gone,
        which the beat of every batch would find. The first close takes an entry from here; a
        second, one that is run again and one of an entry forgotten read the row. Were one not
        open after all (NotOpen), the batch would be run again, like any that raises."""

    @step("batch")
    def run(self, ops: Sequence[Op]) -> list[Result]:
        """One result for each operation. Runs inside the transaction."""
        with sql.hot_cursor() as cursor:
            self._pool.refresh(self._heart.beat(cursor, _generation()))
            batch = self._read(cursor, ops)
            results = [self._decide(batch, number, op) for number, op in enumerate(ops)]
            self._write(batch, ops)
        return results

    # ---- read

    def _read(self, cursor: sql.Cursor, ops: Sequence[Op]) -> State:
        now = clock.now()
        tickets = {op.ticket.call.id: op.ticket for op in ops if isinstance(op, Closing)}
        keys = identities.read(
            cursor,
            {caller.token.public_id for op in ops if (caller := _caller(op))},
            now,
            also={ticket.account for ticket in tickets.values()}
            | {made.account for op in ops if isinstance(op, Record) for made in op.made}
            | {op.account for op in ops if isinstance(op, Keep)},
        )
        batch = State(now, clock.monotonic(), clock.day_of(now), cursor, keys)
        holdings.read(batch, ops)
        repeats.read(batch, ops)
        self._screen(batch, ops)
        holdings.read_homes(batch)
        batch.entries = self._entries(cursor, tickets)
        self._read_balances(batch)
        self._read_limits(batch)
        batch.took = self._take(cursor, ops, batch.day)
        return batch

    def _take(self, cursor: sql.Cursor, ops: Sequence[Op], day: str) -> dict[int, bool | None]:
        """Count calls of donated keys, by their caps as they are now; None: the key is gone. In
        one order in every process, like all rows that more than one of them locks."""
        takes = sorted((op.key, number) for number, op in enumerate(ops) if isinstance(op, Take))
        took: dict[int, bool | None] = {}
        for id_, number in takes:
            key = self._pool.key(id_)
            took[number] = keydays.take(cursor, id_, key.cap, day) if key else None
        return took

    def _screen(self, batch: State, ops: Sequence[Op]) -> None:
        for number, op in enumerate(ops):
            if isinstance(op, Admit):
                key = batch.keys.get(op.call.caller.token.public_id)
                try:
                    passed = admission.screen(key, op.call, self._pool, batch.owned, batch.now)
                except ApiError as error:
                    batch.refused[number] = error
                else:
                    batch.passed[number] = passed

    def _entries(self, cursor: sql.Cursor, wanted: Collection[str]) -> dict[str, ledger.EntryRow]:
        known = {id_: entry for id_ in wanted if (entry := self._open.pop(id_, None))}
        return known | ledger.read_entries(cursor, [id_ for id_ in wanted if id_ not in known])

    def _read_balances(self, batch: State) -> None:
        """Balances of all calls and closes; those that are missing are made."""
        wanted: dict[Wanted, None] = {}
        lifted: dict[Wanted, None] = {}
        # One call of each key and bucket stands for all.
        passed = {
            (item.identity.id, item.tariff.bucket): item.holder
            for item in batch.passed.values()
            if item.tariff
        }
        for (_, bucket), who in passed.items():
            wanted |= dict.fromkeys(who.wants(bucket, batch.day))
            lifted |= dict.fromkeys(who.lifted(bucket, batch.day))
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

    def _read_limits(self, batch: State) -> None:
        limited = [item for item in batch.passed.values() if not item.holder.unlimited]
        owners = {owner for item in limited for owner, _ in item.paced}
        found = ledger.read_paces(batch.cursor, owners)
        batch.paces = {owner: Minute(*row) for owner, row in found.items()}
        batch.opened = ledger.open_calls(
            batch.cursor, {item.holder.account for item in limited if item.tariff}
        )

    # ---- decide

    def _decide(self, batch: State, number: int, op: Op) -> Result:
        try:
            if isinstance(op, Admit):
                return batch.refused.get(number) or self._admit(batch, batch.passed[number])
            if isinstance(op, Closing):
                return _close(batch, op)
            if isinstance(op, Learn | Keep):
                return None
            if isinstance(op, Take):
                return batch.took[number]
            if isinstance(op, Record):
                return holdings.taken(batch, op.made)
            if isinstance(op, Look):
                return holdings.look(batch, op.call)
            key = batch.keys.get(op.caller.token.public_id)
            return admission.authenticate(key, op.caller, op.permission, batch.now)
        except ApiError as error:
            return error

    def _admit(self, batch: State, screened: admission.Screened) -> Ticket | Replay:
        known = repeats.first(batch, screened.call)
        counted = admission.check_pace(screened, batch.paces, batch.now)
        batch.paces |= counted
        batch.counted |= counted
        pace = pace_left(screened.paced, counted, batch.now)
        if known:
            return Replay(known, Quota(pace=pace))
        who, call = screened.holder, screened.call
        homes = {p: key for (account, p), key in batch.homes.items() if account == who.account}
        if screened.tariff is None:
            return admission.free_ticket(screened, homes, pace)
        admission.check_open(screened, batch.opened, pace)
        bucket = screened.tariff.bucket
        purse = batch.book.purse(who.account, who.key, who.owner, bucket, batch.day, batch.now)
        amount, legs, limit = admission.draw_for(screened, purse, batch.day, batch.now, pace)
        batch.book.reserve(legs)
        if not who.unlimited:
            for place in ((who.account, who.key), (who.account, ledger.WHOLE)):
                batch.opened[place] = batch.opened.get(place, 0) + 1
        batch.inserts.append(
            ledger.EntryRow(
                call.id, EntryState.OPEN, who.account, who.key, who.owner, screened.aim.model.name,
                bucket, batch.day, amount, 0, 0, legs, batch.now, call.route.path,
                admission.price_of(screened.tariff), self._heart.id,
            )
        )  # fmt: skip
        repeats.begun(batch, screened, self._heart.id)
        return admission.ticket(screened, amount, limit, purse, pace, batch.day, batch.now, homes)

    # ---- write

    def _write(self, batch: State, ops: Sequence[Op]) -> None:
        cursor = batch.cursor
        ledger.close_entries(cursor, batch.closes)
        holdings.hand_over(batch)
        ledger.insert_entries(cursor, batch.inserts)
        repeats.write(batch, ops)
        ledger.write_balances(cursor, batch.book.changed.values())
        ledger.write_paces(cursor, batch.counted)
        ledger.add_usage(cursor, batch.usage)
        _mark_used(batch)
        rests.learn(cursor, [*_lessons(ops)], batch.now)
        if len(self._open) > _REMEMBERED:
            self._open.clear()
        self._open |= {entry.id: entry for entry in batch.inserts}


def _generation() -> str:
    return f"(SELECT {sql.column(PoolState, 'generation')} FROM {sql.table(PoolState)})"


def _caller(op: Op) -> Caller | None:
    if isinstance(op, Admit | Look):
        return op.call.caller
    return op.caller if isinstance(op, Check) else None


def _lessons(ops: Sequence[Op]) -> Iterator[Attempt]:
    """Failures as they come; of closed calls only the successes, whose failures came before."""
    for op in ops:
        if isinstance(op, Learn):
            yield op.attempt
        elif isinstance(op, Closing):
            yield from (a for a in op.outcome.attempts if a.blame is Blame.NOBODY)


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


def _close(batch: State, op: Closing) -> Receipt:
    """Close an entry, once: a second close returns what the first one did."""
    # No entry, no answer: a KeyError fails this close, and the call with it.
    entry = batch.entries[op.ticket.call.id]
    if entry.state != EntryState.OPEN:
        return Receipt(entry.amount, entry.shortfall, _balance(batch, entry))
    void = op.void(batch.ticks)
    refused = holdings.taken(batch, op.made)
    if op.begun and not void and refused is None:
        batch.handed.append((entry, op))
        return Receipt(0, 0, _balance(batch, entry), entry.estimate)
    due = closing.FREE if void or refused else op.charge
    settled = batch.book.settle(entry, closing.amount(op.ticket, due))
    state = EntryState.SETTLED if due.due else settled.state
    entry.state, entry.amount, entry.shortfall = state, settled.amount, settled.shortfall
    batch.closes.append(_closed(batch, op, due, settled.legs, entry))
    repeats.closed(batch, op, due=due.due)
    if due.due:
        _add_usage(batch, entry, due)
    if refused:
        raise refused
    if void:
        raise admission.quota_unavailable()
    return Receipt(entry.amount, entry.shortfall, _balance(batch, entry))


def _closed(
    batch: State, op: Closing, due: Charge, legs: Sequence[Leg], entry: ledger.EntryRow
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


def _balance(batch: State, entry: ledger.EntryRow) -> int | None:
    return batch.book.purse(
        entry.account, entry.api_key, entry.owner, entry.bucket, entry.day, entry.created_at
    ).free


def _add_usage(batch: State, entry: ledger.EntryRow, due: Charge) -> None:
    place = (entry.account, entry.api_key, entry.model, str(entry.bucket), entry.day)
    sums = batch.usage.setdefault(place, [0, 0, 0, 0])
    sums[0] += 1
    sums[1] += entry.amount
    sums[2] += due.prompt or 0
    sums[3] += due.completion or 0


def _mark_used(batch: State) -> None:
    """`last_used_at`, at most once a minute for a key."""
    used = {
        item.identity.id
        for item in batch.passed.values()
        if item.identity.last_used_at is None
        or (batch.now - item.identity.last_used_at).total_seconds() > _USED_EVERY
    }
    if used:
        values = sql.flat((sql.stamp(batch.now), key) for key in sorted(used))
        batch.cursor.execute(sql.update(ApiKey, ("last_used_at",), len(used)), values)
