"""A batch's rows of calls that may be asked for twice: read, judged and written with the rest.

A second request of a scope meets the first in the database or in the same batch, so that of any
number that come at once, to whatever process, one is a call.
"""

from collections.abc import Sequence

from proxy.gateway import admission
from proxy.gateway.holdings import State
from proxy.gateway.idempotency import judge, once
from proxy.gateway.journey import Call
from proxy.gateway.operations import Admit, Closing, Keep, Op
from quotas import outcomes
from quotas.outcomes import Begun, Known


def read(batch: State, ops: Sequence[Op]) -> None:
    marks = [op.call.idempotency for op in ops if isinstance(op, Admit) and op.call.idempotency]
    if marks:
        batch.repeats.known = outcomes.read(batch.cursor, {mark.scope for mark in marks})


def first(batch: State, call: Call) -> Known | None:
    """The call whose answer this one is to be given; None: it is a first one. ApiError 409."""
    mark = call.idempotency
    return judge(batch.repeats.known.get(mark.scope), mark, batch.now) if mark else None


def begun(batch: State, screened: admission.Screened, process: str) -> None:
    """An admitted call, of which the others of the batch must know."""
    call = screened.call
    if mark := call.idempotency:
        account = screened.holder.account
        row = Begun(mark.scope, account, call.id, process, mark.fingerprint, once(call))
        batch.repeats.begun[mark.scope] = row
        batch.repeats.known[mark.scope] = row.known(batch.now)


def closed(batch: State, op: Closing, *, due: bool) -> None:
    """A call that has ended: without a charge it is as if it had never been. But where something
    may have been made, the row stays, with no answer: that is not made a second time."""
    call = op.ticket.call
    if call.idempotency and not due and not op.outcome.unknown:
        scope = call.idempotency.scope
        batch.repeats.gone.append((scope, call.id))
        known = batch.repeats.known.get(scope)
        if known and known.entry == call.id:
            del batch.repeats.known[scope]


def write(batch: State, ops: Sequence[Op]) -> None:
    repeats = batch.repeats
    outcomes.drop(batch.cursor, repeats.gone)
    outcomes.begin(batch.cursor, list(repeats.begun.values()), batch.now)
    outcomes.keep(batch.cursor, [op.kept for op in ops if isinstance(op, Keep)])
