"""A group commit of the test's own, on the real batch code, whose commits can be made to break.

What breaks is the database connection under Django, at the moment of the COMMIT: before it
has arrived, after it has, or by a PostgreSQL server that ends the session.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from bsod.lib.groupcommit import GroupCommit, Item
from proxy.gateway.operations import Op
from tests.quotas.desk import Clerk

Fault = Callable[[], None]


class Line:
    """The group commit, the clerk it runs, and what is to go wrong next."""

    def __init__(self, **options: Any) -> None:
        self.clerk = Clerk()
        self.faults: list[tuple[int, Fault]] = []
        """(operations, fault): taken by the next batch of that size, after it has been run."""
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.runs: list[int] = []
        self.orphans: list[Any] = []
        self.ticks = 0
        self.tick: Callable[[], None] = lambda: None
        self.ledger: GroupCommit[Op] = GroupCommit(
            self._run, self.clerk.heart.landed, self._tick, self._orphan,
            **{"every": 0.05, "patience": 1.0, **options},
        )  # fmt: skip

    def _run(self, ops: Sequence[Op]) -> list[Any]:
        if ops:
            self.waiting.set()
            self.gate.wait(10)
            self.runs.append(len(ops))
        results = self.clerk.batch.run(ops)
        due = next((pair for pair in self.faults if pair[0] == len(ops)), None)
        if due:
            self.faults.remove(due)
            due[1]()
        return results

    def _tick(self) -> None:
        self.ticks += 1
        self.ledger.beat()
        self.tick()

    def _orphan(self, op: Op, result: Any) -> None:
        self.orphans.append(result)

    def submit(self, *ops: Op, must: bool = False) -> list[Item[Op]]:
        return [self.ledger.submit(op, must=must) for op in ops]

    async def hold(self, op: Op) -> Item[Op]:
        """Start a batch of this operation alone, which waits for `gate` in its transaction."""
        self.gate.clear()
        self.waiting.clear()
        item = self.ledger.submit(op)
        await asyncio.to_thread(self.waiting.wait, 10)
        return item


@contextlib.asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Line]:
    line = await aside(lambda: Line(**options))
    line.ledger.start()
    try:
        yield line
    finally:
        line.gate.set()
        # Its row stays: whoever watched would close what it left open before a test has looked.
        await line.ledger.stop()


async def aside(work: Callable[[], Any]) -> Any:
    """Do something with the database on a thread that leaves no connection behind."""

    def done() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return await asyncio.to_thread(done)


async def answers(items: Sequence[Item[Op]]) -> list[Any]:
    """Results, and what was raised."""
    futures = [item.future for item in items]
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 30)


# ---- faults, for the ledger's own thread


def broken_before() -> None:
    """The COMMIT never reaches the server."""
    _commit_once(lambda commit: None)


def broken_after() -> None:
    """The COMMIT has been done; its acknowledgement is lost."""
    _commit_once(lambda commit: commit())


def broken_interface() -> None:
    """The driver finds its connection closed under its feet."""
    _commit_once(lambda commit: None, InterfaceError)


def hung_up() -> None:
    """The connection is lost in the middle of the batch."""
    connection.connection.close()
    raise OperationalError("server closed the connection unexpectedly")


def _commit_once(
    first: Callable[[Callable[[], None]], None], error: type[Exception] = OperationalError
) -> None:
    wrapper: Any = connection._connections[connection._alias]
    real = wrapper._commit

    def commit() -> None:
        del wrapper._commit
        first(real)
        raise error("server closed the connection unexpectedly")

    wrapper._commit = commit


def terminated() -> None:
    """PostgreSQL ends the session, as an administrator would."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    killer = threading.Thread(target=_terminate, args=(pid,))
    killer.start()
    killer.join()


def _terminate(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    connection.close()


@contextlib.contextmanager
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """No connection opened from here on can be used, until the yielded function is called."""
    with monkeypatch.context() as patch:
        if connection.vendor == "postgresql":
            patch.setitem(connection.settings_dict, "HOST", "/nowhere")
            yield patch.undo
            return
        path = connection.settings_dict["NAME"]
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("PRAGMA busy_timeout=10000")
        other.execute("BEGIN IMMEDIATE")
        try:
            yield other.rollback
        finally:
            other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """New SQLite connections wait a tenth of a second for the lock, not five."""
    if connection.vendor == "sqlite":
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.1)
