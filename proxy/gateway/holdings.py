"""A batch's rows of objects: whose they are, where accounts keep theirs, what answers have made.

What a call has begun takes the call's entry with it here: from then on it is a job's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from accounts.keys.identity import Identity
from bsod.lib import sql
from proxy import objects
from proxy.errors import ApiError, Code
from proxy.gateway import admission
from proxy.gateway.aim import bind
from proxy.gateway.journey import Call
from proxy.gateway.operations import Admit, Closing, Look, Op, Record
from proxy.jobs import first_look
from proxy.models import Job
from proxy.objects import Binding, Made, Owned
from quotas import ledger
from quotas.book import Book
from quotas.outcomes import Begun, Known
from quotas.pace import Minute


@dataclass(slots=True)
class Repeats:
    """The rows of calls with an `Idempotency-Key`; see `repeats.py`."""

    known: dict[str, Known] = field(default_factory=dict)
    begun: dict[str, Begun] = field(default_factory=dict)
    gone: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """The rows of one batch, as read and as they are to be written."""

    now: datetime
    ticks: float
    """The same moment in monotonic seconds: what is too late by it is so for all of the batch."""
    day: str
    cursor: sql.Cursor
    keys: dict[str, Identity]
    passed: dict[int, admission.Screened] = field(default_factory=dict)
    refused: dict[int, ApiError] = field(default_factory=dict)
    book: Book = field(default_factory=lambda: Book([]))
    entries: dict[str, ledger.EntryRow] = field(default_factory=dict)
    paces: dict[str, Minute | None] = field(default_factory=dict)
    counted: dict[str, Minute] = field(default_factory=dict)
    opened: dict[tuple[int, int], int] = field(default_factory=dict)
    inserts: list[ledger.EntryRow] = field(default_factory=list)
    closes: list[ledger.ClosedEntry] = field(default_factory=list)
    usage: dict[tuple[object, ...], list[int]] = field(default_factory=dict)
    owned: dict[str, list[Owned]] = field(default_factory=dict)
    homes: dict[tuple[int, int], int] = field(default_factory=dict)
    taken: set[tuple[int, str]] = field(default_factory=set)
    """(key, id) that were somebody else's already."""
    handed: list[tuple[ledger.EntryRow, Closing]] = field(default_factory=list)
    took: dict[int, bool | None] = field(default_factory=dict)
    """By their numbers: which calls of donated keys are within the cap."""
    repeats: Repeats = field(default_factory=Repeats)


def read(batch: State, ops: Sequence[Op]) -> None:
    """Who owns what the calls name; and what answers have made is taken down, before anything
    is decided."""
    named = {wanted.id for op in ops if isinstance(op, Admit | Look) for wanted in op.call.wanted}
    if named:
        batch.owned = objects.read(batch.cursor, named, batch.now)
    # What nobody was told of is nobody's: its call is closed at 0.
    told = (
        op
        for op in ops
        if isinstance(op, Record) or (isinstance(op, Closing) and not op.void(batch.ticks))
    )
    made = [row for op in told for row in op.made]
    if made:
        batch.taken = objects.record(batch.cursor, made, batch.now)
    gone = [place for op in ops if isinstance(op, Record) for place in op.gone]
    if gone:
        objects.forget(batch.cursor, gone)


def read_homes(batch: State) -> None:
    """Where the accounts keep their things, for calls that leave something there."""
    leaving = {
        item.holder.account
        for item in batch.passed.values()
        if item.call.stored and item.aim.pinned is None
    }
    if leaving:
        batch.homes = objects.homes(batch.cursor, leaving)


def look(batch: State, call: Call) -> Binding | None:
    identity = batch.keys.get(call.caller.token.public_id)
    known = admission.authenticate(identity, call.caller, call.permission, batch.now)
    if call.fault:
        raise call.fault
    return bind(call, known, batch.owned)


def taken(batch: State, made: Sequence[Made]) -> ApiError | None:
    """502 when an id was somebody else's already: it stays his."""
    if not batch.taken or not any((row.key, row.upstream_id) in batch.taken for row in made):
        return None
    return ApiError(
        Code.UPSTREAM_ID_CONFLICT,
        "The provider gave out an id that is already in use. Nothing was charged; try again.",
    )


def hand_over(batch: State) -> None:
    """Entries whose calls have begun something: the job's from now on, not the process's."""
    if not batch.handed:
        return
    ledger.hand_over(batch.cursor, [_handed(entry.id, op) for entry, op in batch.handed])
    Job.objects.bulk_create(
        Job(
            entry=entry.id,
            account_id=entry.account,
            provider_id=op.outcome.attempts[-1].provider,
            key_id=op.outcome.attempts[-1].key,
            kind=op.begun.kind,
            upstream_id=op.begun.upstream_id,
            path=op.begun.path,
            next_at=first_look(op.begun.kind, batch.now),
            expires_at=op.begun.expires_at,
        )
        for entry, op in batch.handed
        if op.begun
    )


def _handed(entry: str, op: Closing) -> ledger.HandedOver:
    assert op.begun, "what was handed over has begun something"
    outcome, began = op.outcome, op.ticket.call.began
    first = outcome.first_byte
    return ledger.HandedOver(
        entry, op.begun.expires_at, op.status, len(outcome.attempts), outcome.attempts[-1].key,
        op.latency_ms, None if first is None else round((first - began) * 1000),
    )  # fmt: skip
