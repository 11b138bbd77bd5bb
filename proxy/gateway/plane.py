"""One process's data plane: its connections, its pool, its line to the ledger, its live calls."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from accounts.keys.identity import Identity
from bsod.lib import clock
from bsod.lib.groupcommit import GroupCommit, Unavailable
from bsod.lib.http import Client
from bsod.lib.memory import Quiet
from bsod.lib.steps import step
from bsod.lib.terms import EndReason, OutcomeState, Permission
from proxy.gateway import closing, crossing
from proxy.gateway.admission import quota_unavailable as quota_unavailable
from proxy.gateway.batch import Batch
from proxy.gateway.counting import Counting
from proxy.gateway.journey import Call, Caller, Outcome, Receipt, Replay, Ticket
from proxy.gateway.leash import Leash, Why
from proxy.gateway.models import Models
from proxy.gateway.operations import Admit, Begun, Check, Closing, Keep, Look, Op, Record, Take
from proxy.objects import Binding, Made
from proxy.pool import Pool, PoolKey
from proxy.snapshot import readings
from quotas.outcomes import Kept
from quotas.processes import Heart, Watch

log = logging.getLogger("bsod.gateway")
GATEWAY = "bsod.gateway"
"""Where the front door puts the process's gateway in the ASGI scopes it hands to Django."""
MOST_ORPHANS = 100  # calls that may be finished without their client (SPEC §3)


class Gateway:
    """Opened on the event loop after fork, closed when the process ends."""

    def __init__(self) -> None:
        self.pool = Pool(readings)
        self.models = Models()
        self.no_usage: set[tuple[int, str]] = set()
        """(provider, model) that refuse `stream_options`."""
        self.reworded: set[tuple[int, str]] = set()
        """(provider, model) pairs that know no route for responses, and are asked to chat."""
        self.draining = False
        self.orphans = 0
        self._heart, self._watch = Heart(), Watch()
        self._batch = Batch(self._heart, self.pool)
        self.ledger: GroupCommit[Op] = GroupCommit(
            self._batch.run,
            self._heart.landed,
            self._tick,
            self._orphaned,
            every=settings.LEDGER_BEAT,
            patience=settings.LEDGER_PATIENCE,
        )
        self.counting = Counting(self.pool, self._heart.id)
        self.ledger.timed = self.counting.writer.batches
        self._quiet = Quiet()
        self._leashes: set[Leash] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        self.client = Client(settings.CONNECT_TIMEOUT)
        self.ledger.start()
        self.counting.start()

    async def close(self) -> None:
        """Wait for what runs, then leave the ledger in order."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=25)
        await self.ledger.stop()
        await self.counting.stop()
        await self.client.close()
        with contextlib.suppress(Exception):
            # Best effort: a row left behind is buried by whoever watches.
            await asyncio.to_thread(_and_hang_up, self._heart.stop)

    def drain(self, seconds: float) -> None:
        """Going down: take nothing new on, let streams end, cut them after `seconds`."""
        self.draining = True
        asyncio.get_running_loop().call_later(seconds, self._cut)

    def _cut(self) -> None:
        for leash in list(self._leashes):
            leash.pull(Why.DRAIN)

    @property
    def ready(self) -> bool:
        return self.ledger.healthy and not self.draining

    def detach(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a call in a task of its own: a client that leaves cannot cancel it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextlib.contextmanager
    def leash(self, stream: bool = False) -> Iterator[Leash]:
        """A leash that a shutdown can pull."""
        leash, counters = Leash(), self.counting.counters
        self._leashes.add(leash)
        counters.calls += 1
        counters.streams += stream
        try:
            yield leash
        finally:
            self._leashes.discard(leash)
            counters.calls -= 1
            counters.streams -= stream

    # ---- the ledger

    async def check(self, caller: Caller, permission: Permission | None) -> Identity:
        """Who is this? ApiError 401 or 403."""
        found: Identity = await self._ask(Check(caller, permission))
        return found

    @step("admit")
    async def admit(self, call: Call) -> Ticket | Replay:
        """Open the call's entry, durably, unless it has been made before. ApiError with any
        refusal of SPEC §4."""
        call = await crossing.weighed(call, self.pool.snapshot)
        admitted: Ticket | Replay = await self._ask(Admit(call))
        return admitted

    async def look(self, call: Call) -> Binding | None:
        """Where the objects are that a call names. ApiError with any refusal up to there."""
        found: Binding | None = await self._ask(Look(call))
        return found

    @step("record")
    async def record(self, made: Sequence[Made], gone: Sequence[tuple[int, str]] = ()) -> None:
        """Take down whose these ids are, durably. ApiError 502 when one is somebody else's, 503
        when the database stays away: then it is done as soon as it is back."""
        item = self.ledger.submit(Record(made, gone), must=True)
        try:
            async with asyncio.timeout(settings.CLOSE_PATIENCE):
                await asyncio.shield(item.future)
        except (TimeoutError, Unavailable):
            raise quota_unavailable() from None

    @step("keep")
    async def keep(self, account: int, kept: Kept) -> None:
        """Keep an answer, durably, before its end goes out. It has been paid for: where the
        database stays away it goes out all the same, and is kept as soon as that is back."""
        item = self.ledger.submit(Keep(account, kept), must=True)
        try:
            async with asyncio.timeout(settings.LEDGER_PATIENCE):
                await asyncio.shield(item.future)
        except TimeoutError:
            item.future.add_done_callback(_forget)
        except Unavailable:
            self.tell(Keep(account, Kept(kept.scope, kept.entry, OutcomeState.LOST)))

    async def take(self, key: PoolKey) -> bool:
        """Count a call that this key is about to be used for. False: its donor allows no more
        today, which this process remembers. ApiError 503 when nobody can count."""
        if key.cap is None:
            if key.donated:
                self.tell(Take(key.id))
            return True
        now = clock.now()
        ends = clock.end_of_day(clock.day_of(now))
        taken: bool | None = await self._ask(Take(key.id))
        if taken is False:
            self.pool.spend(key, (ends - now).total_seconds(), clock.monotonic())
        return bool(taken)

    async def _ask(self, op: Op) -> Any:
        try:
            return await self.ledger.submit(op).future
        except Unavailable:
            raise quota_unavailable() from None

    def tell(self, op: Op) -> None:
        """Something the ledger must take, that nobody waits for."""
        self.ledger.submit(op, must=True).future.add_done_callback(_forget)

    @step("close")
    async def settle(
        self,
        ticket: Ticket,
        outcome: Outcome,
        latency_ms: int,
        *,
        sent: bool,
        made: Sequence[Made] = (),
        begun: Begun | None = None,
    ) -> Receipt:
        """Close the entry, or hand it over to what the call has begun.

        When the database stays away for CLOSE_PATIENCE seconds the client is told so (ApiError
        503) and the close goes on without it: at 0 when nothing was sent.
        """
        ends = clock.monotonic() + settings.CLOSE_PATIENCE
        charge = closing.charge(ticket, outcome)
        void_after = None if sent else ends
        op = Closing(ticket, outcome, charge, outcome.status, latency_ms, void_after, made, begun)
        item = self.ledger.submit(op, must=True)
        loop = asyncio.get_running_loop()

        def give_up() -> None:
            if item.running or clock.monotonic() < ends:
                # Its batch is being committed this moment: that outcome must not be guessed. One
                # that begins from now on finds the close void.
                timers.append(loop.call_later(0.1, give_up))
            elif not item.future.done():
                item.future.set_exception(quota_unavailable())

        timers = [loop.call_later(settings.CLOSE_PATIENCE, give_up)]
        try:
            receipt: Receipt = await item.future
            return receipt
        except Unavailable:
            # This close cannot be done at all: the entry must not stay open for that.
            self._release(ticket)
            raise quota_unavailable() from None
        finally:
            timers[-1].cancel()

    def _orphaned(self, op: Op, result: Any) -> None:
        """An admission that came through after its caller had given up: nothing was called."""
        if isinstance(result, Ticket):
            self._release(result)

    def _release(self, ticket: Ticket) -> None:
        """Close an entry at 0, whatever happened to its call."""
        outcome = Outcome(EndReason.UPSTREAM_ERROR, ())
        self.tell(Closing(ticket, outcome, closing.FREE, 503, 0))

    def _tick(self) -> None:
        self._heart.register()
        self.ledger.beat()
        self._watch.look(self._heart.id)
        self._quiet.look(self.ledger.operations)


def _and_hang_up(work: Callable[[], None]) -> None:
    """For a thread that will not be asked again: leave no connection behind."""
    try:
        work()
    finally:
        connection.close()


def _forget(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and future.exception():
        log.error("the ledger did not take a notice: %s", future.exception())
