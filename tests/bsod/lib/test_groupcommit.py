"""The group commit by itself: what is resolved, refused, kept and run again.

`run` here is a small book kept by the test; the transaction around it is a real one.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from bsod.lib.groupcommit import GroupCommit, Item, Unavailable


class Book:
    """Operations are words; what it does with one can be changed while it runs."""

    def __init__(self, every: float) -> None:
        self.away = False
        self.poison: set[str] = set()
        self.batches: list[list[str]] = []
        self.done: list[str] = []
        self.orphans: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.ledger: GroupCommit[str] = GroupCommit(
            self.run, lambda: False, self.tick, lambda op, result: self.orphans.append(op),
            every=every, patience=0.5, most_waiting=50,
        )  # fmt: skip

    def tick(self) -> None:
        self.ledger.beat()

    def run(self, ops: Sequence[str]) -> list[Any]:
        self.hold.wait(5)
        if self.away:
            raise OperationalError("away")
        if self.poison & set(ops):
            raise IntegrityError("poisoned")
        if ops:
            self.batches.append(list(ops))
        self.done += ops
        return [f"{op} done" for op in ops]


def play(scene: Callable[[Book], Awaitable[None]], every: float = 60.0) -> Book:
    book = Book(every)

    async def live() -> None:
        book.ledger.start()
        try:
            await asyncio.wait_for(scene(book), 15)
        finally:
            book.hold.set()
            book.away = False
            await book.ledger.stop()

    asyncio.run(live())
    return book


async def begun(book: Book, op: str) -> Item[str]:
    """Submit an operation and hold the batch it is in."""
    while not book.ledger.healthy:  # the first sign of life is an empty batch of its own
        await asyncio.sleep(0.01)
    book.hold.clear()
    item = book.ledger.submit(op)
    while not item.running:
        await asyncio.sleep(0.01)
    return item


def test_what_waits_while_a_batch_commits_is_the_next_batch() -> None:
    async def scene(book: Book) -> None:
        first = await begun(book, "first")
        others = [book.ledger.submit(f"op {number}") for number in range(20)]
        book.hold.set()
        await asyncio.gather(first.future, *(item.future for item in others))

    book = play(scene)
    assert [len(batch) for batch in book.batches] == [1, 20]


def test_a_poisoned_operation_fails_alone() -> None:
    async def scene(book: Book) -> None:
        opener = await begun(book, "opener")
        book.poison = {"bad"}
        items = [book.ledger.submit(op, must=True) for op in ("a", "bad", "b")]
        book.hold.set()
        assert await opener.future == "opener done"
        assert await items[0].future == "a done"
        assert await items[2].future == "b done"
        with pytest.raises(Unavailable):
            await items[1].future

    assert play(scene).done == ["opener", "a", "b"]


def test_what_may_be_refused_is_refused_at_once_while_the_database_is_away() -> None:
    async def scene(book: Book) -> None:
        book.away = True
        with pytest.raises(Unavailable):
            await book.ledger.submit("admit").future
        assert book.ledger.healthy is False

    assert play(scene).done == []


def test_what_must_happen_outlives_an_outage_of_many_beats() -> None:
    async def scene(book: Book) -> None:
        book.away = True
        closing = book.ledger.submit("close", must=True)
        await asyncio.sleep(0.6)
        assert not closing.future.done()
        book.away = False
        assert await asyncio.wait_for(closing.future, 3) == "close done"
        assert book.ledger.healthy is True

    assert play(scene, every=0.05).done == ["close"]


def test_an_outage_in_the_middle_of_a_poisoned_batch_loses_nothing() -> None:
    async def scene(book: Book) -> None:
        opener = await begun(book, "opener")
        items = [book.ledger.submit(op, must=True) for op in ("a", "bad", "b")]
        book.poison = {"bad"}
        broken = _away_after_the_batch(book, 3)
        book.hold.set()
        await opener.future
        await asyncio.sleep(0.3)
        book.away, book.poison = False, set()
        await asyncio.wait_for(asyncio.gather(*(item.future for item in items)), 3)
        assert broken.is_set()

    assert sorted(play(scene).done) == ["a", "b", "bad", "opener"]


def _away_after_the_batch(book: Book, size: int) -> threading.Event:
    """The database goes away right after the whole batch has failed, before it is run singly."""
    seen, run = threading.Event(), book.ledger._run

    def once(ops: Sequence[str]) -> list[Any]:
        try:
            return run(ops)
        finally:
            if len(ops) == size:
                book.away = True
                seen.set()

    book.ledger._run = once
    return seen


def test_an_admission_whose_caller_has_left_before_it_ran_is_dropped() -> None:
    async def scene(book: Book) -> None:
        first = await begun(book, "first")
        gone, stays = book.ledger.submit("gone"), book.ledger.submit("stays", must=True)
        gone.future.cancel()
        stays.future.cancel()
        book.hold.set()
        await first.future

    book = play(scene)
    assert book.done == ["first", "stays"]
    assert book.orphans == []


def test_an_admission_that_came_through_too_late_is_an_orphan() -> None:
    async def scene(book: Book) -> None:
        late = await begun(book, "late")
        late.future.cancel()
        book.hold.set()
        await asyncio.sleep(0.2)

    assert play(scene).orphans == ["late"]


def test_an_admission_does_not_wait_longer_than_the_patience() -> None:
    async def scene(book: Book) -> None:
        book.hold.clear()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(book.ledger.submit("slow").future, 4)
        book.hold.set()

    play(scene)


def test_a_full_queue_refuses_admissions_and_takes_closes() -> None:
    async def scene(book: Book) -> None:
        await begun(book, "running")
        for number in range(51):
            book.ledger.submit(f"op {number}", must=True)
        with pytest.raises(Unavailable):
            book.ledger.submit("one too many")
        last = book.ledger.submit("close", must=True)
        book.hold.set()
        await last.future

    assert len(play(scene).done) == 53


def test_stopping_runs_what_is_queued() -> None:
    async def scene(book: Book) -> None:
        book.hold.clear()
        for number in range(300):
            book.ledger.submit(f"op {number}", must=True)
        book.hold.set()

    assert len(play(scene).done) == 300
