"""Group commit: one thread, one connection, many operations a transaction.

Operations wait in a queue while the batch before them commits; then all that wait are run in ONE
transaction and their futures resolve. No timer: an idle ledger commits a lone operation at once,
a busy one gathers. This module knows no table. Its laws:

- Writers of one SQLite database queue for it (`lib/sqlite`), where SQLite's own busy handler would
  let one wait for half a second.
- Nothing is resolved before its commit. A commit whose outcome is unknown is asked about
  (`landed`) before anything is run again.
- An operation that may be refused (an admission) fails when the database is away or after
  `patience` seconds; one that must happen (a close) stays queued until it is done.
- One operation that raises fails alone: the batch is rolled back and run in halves.
- A process whose ledger thread has ended ends too: nobody would close its calls.
"""

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    Error,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from bsod.lib.clock import monotonic
from bsod.lib.steps import step

log = logging.getLogger("bsod.ledger")

Op = TypeVar("Op")
AWAY = (OperationalError, InterfaceError)
SLOW = 0.05  # seconds a lock may be held before it is logged
MOST = 256  # operations a batch
_BACKOFF = 0.25  # seconds between two tries while the database is away


class Unavailable(Exception):
    """The database did not take the operation; nothing of it was done."""


class ProcessGone(BaseException):
    """Others have declared this process dead and closed its entries: it must not go on."""


@contextlib.contextmanager
def exclusive(who: str) -> Iterator[None]:
    """The one way to write the ledger: a durable transaction, which on SQLite has queued first."""
    if connections[DEFAULT_DB_ALIAS].in_atomic_block:
        # Whoever locks accounts with other rows in hand may wait for one who wants those.
        raise RuntimeError("the ledger's lock comes before any transaction")
    since = None
    try:
        with transaction.atomic(durable=True):
            since = monotonic()
            yield
    finally:
        held = 0.0 if since is None else monotonic() - since
        if held > SLOW:
            log.info("ledger lock held %.0f ms by %s", held * 1000, who)


@dataclass(slots=True)
class Item(Generic[Op]):
    """An operation on its way, its future, and whether a transaction has taken it up just now."""

    op: Op
    future: "asyncio.Future[Any]"
    must: bool
    since: float = field(default_factory=monotonic)
    running: bool = False


class GroupCommit(Generic[Op]):
    """The loop. `run(ops)` does a batch inside the transaction and returns a result for each.

    `landed()` tells whether the last batch this process ran has been committed. `tick()` is
    called about every `every` seconds on the same thread, outside any transaction.
    `orphan(op, result)` is told when an admission succeeded whose caller had given up.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Op]], list[Any]],
        landed: Callable[[], bool],
        tick: Callable[[], None],
        orphan: Callable[[Op, Any], None],
        *,
        every: float = 5.0,
        patience: float = 5.0,
        most_waiting: int = 20_000,
    ) -> None:
        self._run, self._landed, self._tick, self._orphan = run, landed, tick, orphan
        self._every, self._patience, self._most_waiting = every, patience, most_waiting
        self._queue: queue.SimpleQueue[Item[Op] | None] = queue.SimpleQueue()
        self._kept: list[Item[Op]] = []
        """Operations that must happen and have met a database that was away."""
        self._results: list[Any] | None = None
        self._waiting: deque[Item[Op]] = deque()
        self._next_tick = 0.0
        self._busy_since: float | None = None
        self._stopping = self._reached = False
        self.batches = self.operations = self._beaten = 0
        self.timed: deque[tuple[int, float]] | None = None
        """Where the size and the seconds of each batch go, if anybody wants to know."""

    # ---- the event loop's side

    def start(self) -> None:
        """Start the thread. Call it on the event loop, after fork."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()
        self._sweeper = self._loop.call_later(1.0, self._sweep)

    async def stop(self) -> None:
        """Run what is queued, then end the thread."""
        self._sweeper.cancel()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 30)

    @property
    def healthy(self) -> bool:
        """The database took the last batch, and the thread is not stuck in another."""
        since = self._busy_since
        return self._reached and (since is None or monotonic() - since < self._patience)

    def submit(self, op: Op, *, must: bool = False) -> Item[Op]:
        """Queue an operation; await `item.future`. Raises Unavailable when too many wait."""
        if not must and self._queue.qsize() > self._most_waiting:
            raise Unavailable("too many operations wait for the ledger")
        item = Item(op, self._loop.create_future(), must)
        self._queue.put(item)
        if not must:
            self._waiting.append(item)
        return item

    def _sweep(self) -> None:
        """Fail the admissions that have waited too long; the thread drops what is done here."""
        oldest = monotonic() - self._patience
        waiting = self._waiting
        while waiting and (waiting[0].future.done() or waiting[0].since < oldest):
            future = waiting.popleft().future
            if not future.done():
                future.set_exception(Unavailable("the ledger did not answer in time"))
        self._sweeper = self._loop.call_later(1.0, self._sweep)

    def _deliver(self, items: list[Item[Op]], results: list[Any]) -> None:
        for item, result in zip(items, results, strict=True):
            future = item.future
            if future.done():
                if not item.must and not isinstance(result, Exception):
                    self._orphan(item.op, result)
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()

    # ---- the thread's side

    def _work(self) -> None:
        try:
            while not self._stopping or self._kept:
                self._busy_since = monotonic()
                self._maybe_tick()
                self._busy_since = None
                items = self._gather()
                self._busy_since = monotonic()
                if items:
                    self._batch(items)
                # The bodies of this batch must not stay in memory until there is a next one.
                items = []
        except ProcessGone:
            log.critical("this process was declared dead; it ends so that it cannot spend twice")
            os._exit(70)
        except BaseException:
            log.critical("the ledger's thread broke; the process ends", exc_info=True)
            os._exit(70)
        finally:
            connection.close()

    def _gather(self) -> list[Item[Op]]:
        """What was kept and all that waits, at most MOST; blocks until there is something or a
        tick is due."""
        items, self._kept = self._kept[:MOST], self._kept[MOST:]
        pause = max(0.01, self._next_tick - monotonic())
        if items:
            pause = 0.0 if self._reached else _BACKOFF
        with contextlib.suppress(queue.Empty):
            self._take(items, self._queue.get(timeout=pause))
            while len(items) < MOST:
                self._take(items, self._queue.get_nowait())
        return items

    def _take(self, items: list[Item[Op]], found: Item[Op] | None) -> None:
        if found is None:
            self._stopping = True
        elif found.must or not found.future.done():
            items.append(found)

    def beat(self) -> None:
        """From a tick: run an empty batch when there was none since the last, as a sign of life,
        and to find out when a database that was away is back."""
        if self.batches == self._beaten or not self._reached:
            self._batch([])
        self._beaten = self.batches

    def _maybe_tick(self) -> None:
        if monotonic() < self._next_tick:
            return
        try:
            self._tick()
        except Error as error:
            self._lost(error)
        except Exception:
            log.exception("a tick of the ledger failed; it is tried again")
        self._next_tick = monotonic() + self._every

    def _batch(self, items: list[Item[Op]]) -> None:
        began = monotonic()
        try:
            results = self._transact(items)
        except AWAY as error:
            self._put_back(items, error)
            return
        except Exception as error:
            self._raised(items, error)
            return
        self.batches += 1
        self.operations += len(items)
        self._reached = True
        if items and self.timed is not None:
            self.timed.append((len(items), monotonic() - began))
        self._hand_over(items, results)

    def _raised(self, items: list[Item[Op]], error: Exception) -> None:
        """Find the operation that raises; where even an empty batch does, it is none of them."""
        if len(items) > 1:
            middle = len(items) // 2
            self._batch(items[:middle])
            self._batch(items[middle:])
        elif items and self._works():
            log.error("an operation of the ledger failed", exc_info=error)
            self._hand_over(items, [Unavailable("the ledger could not do this operation")])
        else:
            log.error("the ledger cannot run at all", exc_info=error)
            self._put_back(items, error)

    def _works(self) -> bool:
        try:
            self._transact([])
        except Exception:
            return False
        return True

    def _transact(self, items: list[Item[Op]]) -> list[Any]:
        """Run a batch; once more on a fresh connection when the first try broke (a deadlock,
        a server that came back), unless the broken commit had arrived after all. Of several one
        may be at fault: they are not run again together."""
        for last in (False, True):
            try:
                return self._commit(items)
            except Exception as error:
                connection.close()
                if self._arrived():
                    return self._results or []
                if last or not (isinstance(error, AWAY) or len(items) == 1):
                    raise
        raise AssertionError("the last try has returned or raised")

    @step("commit")
    def _commit(self, items: list[Item[Op]]) -> list[Any]:
        self._results = None
        _mark(items, running=False)
        with exclusive("ledger thread"):
            _mark(items, running=True)
            results = self._run([item.op for item in items])
            self._results = results
        return results

    def _arrived(self) -> bool:
        """Whether the commit that broke is in the database; waits until somebody can say."""
        if self._results is None:
            return False
        while True:
            try:
                return self._landed()
            except Error as error:
                self._lost(error)
                threading.Event().wait(_BACKOFF)

    def _lost(self, error: Exception) -> None:
        if self._reached:
            log.error("the ledger's database is away: %s", type(error).__name__)
        self._reached = False
        connection.close()

    def _put_back(self, items: list[Item[Op]], error: Exception) -> None:
        self._lost(error)
        _mark(items, running=False)
        self._kept += [item for item in items if item.must]
        refused = [item for item in items if not item.must]
        self._hand_over(refused, [Unavailable(type(error).__name__)] * len(refused))

    def _hand_over(self, items: list[Item[Op]], results: list[Any]) -> None:
        if items:
            # A loop that has closed has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver, items, results)


def _mark(items: Sequence[Item[Any]], *, running: bool) -> None:
    for item in items:
        item.running = running
