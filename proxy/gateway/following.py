"""What an answer leaves behind: ids that are somebody's now, and things that end later.

Ids are taken down before anybody sees them. A thing that has been begun takes the call's entry
with it; whoever shows its end first closes that, once (`jobs.py`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bsod.lib import clock
from bsod.lib.terms import ObjectKind
from proxy import jobs
from proxy.gateway import jobs as ends
from proxy.gateway.aside import aside
from proxy.gateway.journey import Outcome, Ticket
from proxy.gateway.operations import Begun
from proxy.models import Job
from proxy.objects import Made
from proxy.providers import tokens
from proxy.providers.base import Found
from proxy.route import NAMES

log = logging.getLogger("bsod.jobs")
# Where a provider tells the state of what has been begun there.
_PATHS = {
    ObjectKind.RESPONSE: "responses",
    ObjectKind.VIDEO: "videos",
    ObjectKind.BATCH: "batches",
    ObjectKind.FINE_TUNING_JOB: "fine_tuning/jobs",
    ObjectKind.UPLOAD: "uploads",
}


def begun(ticket: Ticket, outcome: Outcome) -> Begun | None:
    """What the call has begun and has not ended yet: its entry goes with it, however the answer
    itself ended. None: the call is over."""
    kind, state = ticket.call.job, outcome.reader.state if outcome.reader else None
    if kind is None or state is None or not outcome.attempts:
        return None
    id_ = state.get("id")
    path = _path(kind, state)
    if not isinstance(id_, str) or not path or jobs.ending(kind, state):
        return None
    return Begun(kind, id_, path, clock.now() + jobs.LIFETIME[kind])


def _path(kind: ObjectKind, state: Mapping[str, Any]) -> str | None:
    id_, thread = state.get("id"), state.get("thread_id")
    if not _plain(id_):
        return None
    if kind is ObjectKind.RUN:
        return f"threads/{thread}/runs/{id_}" if _plain(thread) else None
    return f"{_PATHS[kind]}/{id_}"


def _plain(value: Any) -> bool:
    """Whether it is an id that may stand in a path."""
    plain = isinstance(value, str) and 0 < len(value) <= 128 and value.isascii()
    return plain and value.replace("-", "").replace("_", "").isalnum()


def made(ticket: Ticket, found: Sequence[Found], provider: int, key: int) -> tuple[Made, ...]:
    """Rows for the ids an answer has shown, the caller's or of whoever owns what it is about."""
    call, owner = ticket.call, ticket.account
    if ticket.binding and ticket.binding.owned:
        owner = ticket.binding.owned[0].account
    elif ticket.operator and call.route.creates is None:
        return ()  # an account's own business, in which nobody here has a part
    now = clock.now()
    rows = [
        Made(owner, provider, key, item.kind, item.id, _known(ticket, item), _until(item, now))
        for item in found
    ]
    return (*rows, *_grown(ticket, provider, key, owner))


def _known(ticket: Ticket, item: Found) -> Mapping[str, Any]:
    """What is kept of an object; of a thread, how much its first run will have to read."""
    if item.kind is not ObjectKind.THREAD:
        return item.data
    body = ticket.call.body
    begun = body.get("thread") if isinstance(body.get("thread"), dict) else body
    size = tokens.of_messages(begun.get("messages")) if isinstance(begun, dict) else 0
    return {"tokens": size} if size else item.data


def _until(item: Found, now: datetime) -> datetime | None:
    return None if item.lives is None else now + timedelta(seconds=item.lives)


def _grown(ticket: Ticket, provider: int, key: int, owner: int) -> Sequence[Made]:
    """A thread that has one more message: its next run reads that too."""
    call = ticket.call
    if call.route.creates is not ObjectKind.MESSAGE or not ticket.binding:
        return ()
    more = tokens.of_value(call.body.get("content"))
    return [
        Made(owner, provider, key, ObjectKind(item.kind), item.upstream_id,
             {**item.data, "tokens": int(item.data.get("tokens", 0)) + more}, None)
        for item in ticket.binding.owned
        if item.kind == ObjectKind.THREAD
    ]  # fmt: skip


def gone(ticket: Ticket, outcome: Outcome) -> Sequence[tuple[int, str]]:
    """The object that a successful DELETE of its own path has ended."""
    call = ticket.call
    names = call.route.variables
    if call.route.method != "DELETE" or len(names) != 1 or not outcome.attempts:
        return ()
    return [(outcome.attempts[-1].key, call.wanted[0].id)] if call.wanted else ()


async def watch(ticket: Ticket, outcome: Outcome) -> None:
    """Close what the answer shows to have ended."""
    state = outcome.reader.state if outcome.reader else None
    kind = _kind(ticket)
    if state is None or kind is None or not outcome.attempts or not jobs.ending(kind, state):
        return
    await aside(partial(_end, kind, state, outcome.attempts[-1].key))


def _kind(ticket: Ticket) -> ObjectKind | None:
    """What the answer of this route shows the state of."""
    route = ticket.call.route
    if route.method == "DELETE":
        return None
    kinds = [NAMES[name] for name in route.variables if name in NAMES]
    return next((kind for kind in reversed(kinds) if kind in jobs.LIFETIME), None)


def _end(kind: ObjectKind, state: Mapping[str, Any], key: int) -> None:
    job = Job.objects.filter(kind=kind, upstream_id=str(state.get("id")), key=key).first()
    if job:
        ends.finish(job.pk, kind, state)


async def before_end(ticket: Ticket) -> None:
    """Before something that may still run is deleted or cancelled its state is read, for it may
    have ended, and nobody could see that any more."""
    call = ticket.call
    stops = call.route.method == "DELETE" or call.route.path.endswith("/cancel")
    if not stops or not ticket.binding:
        return
    for item in ticket.binding.owned:
        if item.job and item.kind in jobs.POLL:
            await aside(partial(_looked, ends.look, item.job))
    if call.path.startswith("threads/"):
        # A thread takes its runs with it.
        below = call.path.removesuffix("/cancel")
        await aside(partial(_looked, ends.look_below, ticket.binding.key, below))


def _looked(look: Callable[..., object], *what: object) -> None:
    try:
        look(*what)
    except Exception as error:
        # The worker looks again; what is deleted by then is closed as not there.
        log.warning("a job could not be looked at: %s", type(error).__name__)


async def downloaded(ticket: Ticket) -> None:
    """A film whose content can be had has been made, whatever was seen of it before."""
    for item in ticket.binding.owned if ticket.binding else ():
        if item.kind == ObjectKind.VIDEO and item.job:
            await aside(partial(ends.finish, item.job, ObjectKind.VIDEO, jobs.there()))
