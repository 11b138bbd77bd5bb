"""Who is declared dead, and who is not: by the watcher's own clock, and only while it watches."""

import time

import pytest

from bsod.lib.groupcommit import ProcessGone
from quotas import processes
from quotas.models import Process
from quotas.processes import Watch
from tests import kit
from tests.kit import Person
from tests.quotas.desk import Clerk, admit, close, model, token

DEAD_AFTER = 2.0


def watched(watch: Watch, clerk: Clerk, seconds: float) -> bool:
    """Look again and again for so long; whether the process is still believed alive."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and Process.objects.filter(id=clerk.heart.id).exists():
        watch.look()
        time.sleep(0.1)
    return Process.objects.filter(id=clerk.heart.id).exists()


def test_a_silent_process_is_buried_and_its_calls_are_closed_at_nothing(alice: Person) -> None:
    name, clerk = model(), Clerk()
    tickets = clerk.run(*(admit(token(alice.secret), name) for _ in range(3)))
    clerk.run(close(tickets[0], 10, 5))
    assert watched(Watch(DEAD_AFTER), clerk, 0.5), "too early"
    assert not watched(Watch(DEAD_AFTER), clerk, 10)
    kit.eventually(lambda: not processes.close_orphans())
    ended = {entry.pk: (entry.state, entry.amount, entry.end_reason) for entry in alice.closed(3)}
    assert ended.pop(tickets[0].call.id) == ("settled", 15, "completed")
    assert set(ended.values()) == {("released", 0, "crashed")}
    assert (alice.used(), alice.reserved()) == (15, 0)
    with pytest.raises(ProcessGone):
        clerk.run(close(tickets[1], 10, 5), admit(token(alice.secret), name))
    assert len(alice.entries()) == 3
    assert kit.ledger_adds_up(alice)


def test_time_in_which_the_watcher_was_away_itself_does_not_count() -> None:
    """After an outage, or a stop of the watcher, everybody gets time to beat again."""
    clerk, watch = Clerk(), Watch(DEAD_AFTER)
    watch.look()
    # Not looked, and not beaten: the shared gateway's own watch must not see it this long.
    Process.objects.filter(id=clerk.heart.id).update(beat=1)
    time.sleep(DEAD_AFTER / 2)
    Process.objects.filter(id=clerk.heart.id).update(beat=0)
    time.sleep(DEAD_AFTER / 2 + 0.2)
    watch.look()
    assert Process.objects.filter(id=clerk.heart.id).exists(), "buried after an outage"
    clerk.heart.stop()


def test_a_beat_between_the_look_and_the_burial_saves() -> None:
    clerk = Clerk()
    beat = Process.objects.get(id=clerk.heart.id).beat
    clerk.run()
    processes.bury(clerk.heart.id, beat)
    clerk.run()
    clerk.heart.stop()


def test_a_process_that_has_left_cannot_write_any_more() -> None:
    clerk = Clerk()
    clerk.heart.stop()
    with pytest.raises(ProcessGone):
        clerk.run()
