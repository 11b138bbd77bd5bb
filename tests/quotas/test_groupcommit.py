"""The group commit under fire: every operation is done once or not at all, and says which."""

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from bsod.lib import groupcommit
from bsod.lib.groupcommit import Unavailable, exclusive
from proxy.gateway.journey import Receipt, Ticket
from quotas.models import Pace, Process
from tests.kit import Person
from tests.quotas import line as lines
from tests.quotas.desk import Clerk, admit, close, model, nameless, token
from tests.quotas.line import answers, aside, away, impatient, running

__all__ = ["impatient"]

BREAKS = [lines.broken_before, lines.broken_after, lines.broken_interface, lines.terminated]


@pytest.fixture(scope="module")
def name(database: None) -> str:
    return model()


def counted(who: Person) -> int:
    pace = Pace.objects.get(owner=f"user:{who.account.pk}")
    return pace.count + pace.previous


def test_operations_that_wait_are_one_batch(alice: Person, name: str) -> None:
    async def scene() -> None:
        async with running() as line:
            first = await line.hold(admit(token(alice.secret), name))
            items = line.submit(*(admit(token(alice.secret), name) for _ in range(40)))
            line.gate.set()
            results = await answers([first, *items])
            assert all(isinstance(result, Ticket) for result in results)
            assert line.runs == [1, 40]

    asyncio.run(scene())
    assert len(alice.entries()) == 41
    assert alice.reserved() == 41 * 60


def test_a_batch_is_bounded(alice: Person, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupcommit, "MOST", 8)

    async def scene() -> None:
        async with running() as line:
            first = await line.hold(admit(token(alice.secret), name))
            items = line.submit(*(admit(token(alice.secret), name) for _ in range(20)))
            line.gate.set()
            await answers([first, *items])
            assert line.runs == [1, 8, 8, 4]

    asyncio.run(scene())


def test_a_poisoned_operation_fails_alone_and_cheaply(alice: Person, name: str) -> None:
    async def scene() -> None:
        async with running() as line:
            tickets = await answers(
                line.submit(*(admit(token(alice.secret), name) for _ in range(64)))
            )
            line.runs.clear()
            first = await line.hold(admit(token(alice.secret), name))
            closes = [close(ticket, 10, 5) for ticket in tickets]
            closes[37] = close(tickets[37], 2**70, 0)
            items = line.submit(*closes, must=True)
            line.gate.set()
            await answers([first])
            receipts = await answers(items)
            assert isinstance(receipts.pop(37), Unavailable)
            assert {(r.amount, r.shortfall) for r in receipts} == {(15, 0)}
            assert len(line.runs) <= 2 * math.log2(64) + 3

    asyncio.run(scene())
    states = [entry.state for entry in alice.entries()]
    assert states.count("settled") == 63
    assert states.count("open") == 2
    assert alice.used() == 63 * 15


@pytest.mark.parametrize("many", [1, 5])
def test_what_somebody_else_has_closed_is_read_and_not_closed_again(
    alice: Person, name: str, many: int
) -> None:
    """A process believes that its entries are open; the database has the last word."""

    async def scene() -> None:
        async with running() as line:
            opened = [line.ledger.submit(admit(token(alice.secret), name)) for _ in range(many)]
            tickets = await answers(opened)
            assert len(line.clerk.batch._open) == many
            other = await aside(Clerk)
            closed = await aside(lambda: other.run(close(tickets[0], 3, 4)))
            assert closed == [Receipt(7, 0, closed[0].balance)]
            items = line.submit(*(close(ticket, 5, 5) for ticket in tickets), must=True)
            receipts = await answers(items)
            assert [receipt.amount for receipt in receipts] == [7] + [10] * (many - 1)
            assert not line.clerk.batch._open

    asyncio.run(scene())
    assert alice.reserved() == 0
    assert sum(entry.amount for entry in alice.entries()) == 7 + 10 * (many - 1)


def test_a_close_of_an_entry_that_is_not_there_answers_nothing(alice: Person, name: str) -> None:
    async def scene() -> None:
        async with running() as line:
            ticket = (await answers(line.submit(admit(token(alice.secret), name))))[0]
            lost = line.submit(close(nameless(ticket), 10, 5), must=True)
            assert isinstance((await answers(lost))[0], Unavailable)

    asyncio.run(scene())
    assert alice.used() == 0


@pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: fault.__name__)
def test_a_commit_that_breaks_is_neither_lost_nor_done_twice(
    alice: Person, name: str, fault: Callable[[], None]
) -> None:
    if fault is lines.terminated and connection.vendor == "sqlite":
        fault = lines.broken_before  # there is no server to do it

    async def scene() -> None:
        async with running() as line:
            kept = (await answers(line.submit(admit(token(alice.secret), name))))[0]
            line.runs.clear()
            line.faults = [(1, fault), (6, fault)]
            first = await line.hold(admit(token(alice.secret), name))
            items = line.submit(*(admit(token(alice.secret), name) for _ in range(5)))
            ends = line.submit(close(kept, 10, 20), must=True)
            line.gate.set()
            results = await answers([first, *items, *ends])
            assert all(isinstance(result, Ticket) for result in results[:-1])
            assert results[-1] == Receipt(30, 0, results[-1].balance)
            # Where Django does not roll back (InterfaceError), sqlite3 commits after all.
            if fault is not lines.broken_interface:
                assert line.runs == ([1, 6] if fault is lines.broken_after else [1, 1, 6, 6])
            assert line.faults == []
            assert line.ledger.healthy

    asyncio.run(scene())
    assert len(alice.entries()) == 7
    assert counted(alice) == 7
    assert (alice.used(), alice.reserved()) == (30, 6 * 60)


def test_a_commit_that_breaks_twice_refuses_admissions_and_keeps_closes(
    alice: Person, name: str
) -> None:
    async def scene() -> None:
        async with running() as line:
            ticket = (await answers(line.submit(admit(token(alice.secret), name))))[0]
            first = await line.hold(admit(token(alice.secret), name))
            refused = line.submit(admit(token(alice.secret), name))
            end = line.submit(close(ticket, 10, 20), must=True)
            line.faults = [(2, lines.broken_before)] * 2
            line.gate.set()
            assert isinstance((await answers(refused))[0], Unavailable)
            assert (await answers(end))[0].amount == 30
            assert isinstance((await answers([first]))[0], Ticket)

    asyncio.run(scene())
    assert len(alice.entries()) == 2
    assert (alice.used(), alice.reserved()) == (30, 60)


def test_whether_a_commit_landed_is_asked_only_when_it_has_ended(alice: Person, name: str) -> None:
    """A server may still be committing for a client that has long lost its connection."""
    clerk, inside, go_on = Clerk(), threading.Event(), threading.Event()

    def commits() -> None:
        with exclusive("a commit in progress"):
            clerk.batch.run([admit(token(alice.secret), name)])
            inside.set()
            go_on.wait(10)
        connection.close()

    said: list[bool] = []

    def asks() -> None:
        said.append(clerk.heart.landed())
        connection.close()

    threads = [threading.Thread(target=commits), threading.Thread(target=asks)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    time.sleep(0.3)
    assert said == [], "it guessed"
    go_on.set()
    for thread in threads:
        thread.join()
    assert said == [True]
    clerk.heart.stop()


@pytest.mark.usefixtures("impatient")
def test_closes_outlive_a_database_that_is_away(
    alice: Person, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupcommit, "MOST", 8)

    async def scene() -> None:
        async with running(every=0.5) as line:
            tickets = await answers(
                line.submit(*(admit(token(alice.secret), name) for _ in range(30)))
            )
            line.runs.clear()
            with away(monkeypatch) as back:
                if connection.vendor == "postgresql":
                    line.faults = [(8, lines.hung_up)]
                ends = line.submit(*(close(ticket, 10, 5) for ticket in tickets), must=True)
                refused = await answers(line.submit(admit(token(alice.secret), name)))
                assert isinstance(refused[0], Unavailable)
                ticks = line.ticks
                while line.ticks < ticks + 2:
                    await asyncio.sleep(0.02)
                assert not line.ledger.healthy
                assert not any(item.future.done() for item in ends)
                await asyncio.to_thread(back)
                receipts = await answers(ends)
            assert {(r.amount, r.shortfall) for r in receipts} == {(15, 0)}
            assert max(line.runs) <= 9, "what was kept came back as one huge batch"
            assert line.ledger.healthy

    asyncio.run(scene())
    assert (len(alice.entries()), alice.used(), alice.reserved()) == (30, 450, 0)


def test_the_queue_is_bounded_but_never_for_a_close(alice: Person, name: str) -> None:
    async def scene() -> None:
        async with running(most_waiting=10) as line:
            ticket = (await answers(line.submit(admit(token(alice.secret), name))))[0]
            first = await line.hold(admit(token(alice.secret), name))
            items = line.submit(*(admit(token(alice.secret), name) for _ in range(11)))
            with pytest.raises(Unavailable):
                line.submit(admit(token(alice.secret), name))
            ends = line.submit(close(ticket, 10, 5), must=True)
            line.gate.set()
            results = await answers([first, *items, *ends])
            assert not any(isinstance(result, Exception) for result in results)

    asyncio.run(scene())
    assert alice.used() == 15


def test_an_admission_whose_caller_has_left_is_dropped_or_told_of(alice: Person, name: str) -> None:
    async def scene() -> None:
        async with running() as line:
            first = await line.hold(admit(token(alice.secret), name))
            waits = line.submit(admit(token(alice.secret), name))[0]
            waits.future.cancel()
            first.future.cancel()
            line.gate.set()
            await answers(line.submit(admit(token(alice.secret), name)))
            # The one that ran is told of, so that its entry can be closed; the other never ran.
            assert [type(result) for result in line.orphans] == [Ticket]

    asyncio.run(scene())
    assert len(alice.entries()) == 2


@pytest.mark.parametrize("error", [ValueError, InterfaceError, OperationalError])
def test_a_tick_that_fails_does_not_end_the_ledger(
    alice: Person, name: str, error: type[Exception]
) -> None:
    def fails() -> None:
        raise error("a tick")

    async def scene() -> None:
        async with running() as line:
            line.tick = fails
            ticks = line.ticks
            while line.ticks < ticks + 3:
                await asyncio.sleep(0.02)
            line.tick = lambda: None
            found = await answers(line.submit(admit(token(alice.secret), name)))
            assert isinstance(found[0], Ticket)
            assert line.ledger.healthy

    asyncio.run(scene())


def test_a_ledger_that_cannot_run_at_all_keeps_its_closes(
    alice: Person, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the operation is at fault when an empty batch fails as well."""

    async def scene() -> None:
        async with running() as line:
            ticket = (await answers(line.submit(admit(token(alice.secret), name))))[0]
            with monkeypatch.context() as patch:
                patch.setitem(connection.settings_dict, "NAME", "\0")
                patch.setattr(connection, "ensure_connection", lambda: None)
                line.faults = [(1, lines.hung_up)]
                end = line.submit(close(ticket, 10, 5), must=True)[0]
                ticks = line.ticks
                while line.ticks < ticks + 2:
                    await asyncio.sleep(0.02)
                assert not end.future.done()
                assert not line.ledger.healthy
            assert (await answers([end]))[0].amount == 15

    asyncio.run(scene())
    assert alice.used() == 15


def test_the_lock_is_never_waited_for_inside_a_transaction() -> None:
    with pytest.raises(RuntimeError), transaction.atomic(), exclusive("inside"):
        pytest.fail("got in")
    with pytest.raises(RuntimeError), exclusive("outside"), exclusive("inside"):
        pytest.fail("got in twice")


def test_threads_that_have_written_leave_no_descriptor_open() -> None:
    def write() -> None:
        with exclusive("a thread"):
            assert not Process.objects.filter(id="nobody").exists()
        connection.close()

    def many() -> int:
        for _ in range(20):
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
        return len(os.listdir("/proc/self/fd"))

    assert many() >= many()
