"""The end of a job: whoever sees it closes the entry, once, and takes over what it has made."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from bsod.lib import clock, ids
from bsod.lib.terms import EndReason
from proxy import jobs as endings
from proxy.gateway import jobs
from proxy.models import Job, Object
from quotas.processes import close_expired
from tests import kit
from tests.kit import Person
from tests.proxy.gateway.begun import (
    BATCH,
    DONE,
    RUN,
    VIDEO,
    begun,
    end_of,
    nothing_due,
    poll,
)
from tests.quotas.line import broken_after, broken_before
from tests.upstream import FaultServer, json_reply


@pytest.fixture(autouse=True)
def mine(database: None) -> None:
    nothing_due()


def together(count: int, work: Callable[[], Any]) -> list[Any]:
    """The results of so many threads that begin at one moment."""
    ready, found = threading.Barrier(count), []

    def run() -> None:
        ready.wait(10)
        try:
            found.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


# ---- finish


def test_a_reply_that_shows_the_end_closes_the_entry_once(alice: Person, up: FaultServer) -> None:
    job = begun(alice, kit.supply(up), each=1, reserved=1)
    assert not jobs.finish(job.pk, VIDEO, {"status": "in_progress"})
    assert jobs.finish(job.pk, VIDEO, DONE)
    assert not jobs.finish(job.pk, VIDEO, DONE)
    assert not jobs.finish(job.pk, VIDEO, {"status": "failed"})
    assert end_of(alice) == ("settled", 1, "upstream", "completed")
    assert alice.entries()[0].status == 200


def test_a_job_of_nobody_closes_nothing() -> None:
    assert not jobs.finish(ids.ulid(), VIDEO, DONE)
    assert jobs.look(ids.ulid()) is jobs.Look.ENDED


def test_what_was_seen_otherwise_is_an_end_too(alice: Person, up: FaultServer) -> None:
    """Its content was downloaded, or it was deleted."""
    supplied = kit.supply(up)
    job, other = (begun(alice, supplied, each=1, reserved=1) for _ in range(2))
    assert jobs.finish(job.pk, VIDEO, endings.there())
    assert jobs.finish(other.pk, VIDEO, endings.nothing(EndReason.CLIENT_GONE))
    first, second = alice.closed(2)
    assert (first.amount, second.amount) == (1, 0)
    assert (second.state, second.end_reason) == ("released", "client_gone")


def test_threads_and_a_worker_that_see_the_end_at_once_close_it_once(
    alice: Person, up: FaultServer
) -> None:
    up.default = json_reply(DONE)
    job = begun(alice, kit.supply(up), each=1, reserved=1)
    turns = iter([poll, poll, *[lambda: jobs.finish(job.pk, VIDEO, DONE)] * 4])
    lock = threading.Lock()

    def work() -> Any:
        with lock:
            turn = next(turns)
        return turn()

    seen = Counter(map(str, together(6, work)))
    assert seen["True"] <= 1
    assert end_of(alice) == ("settled", 1, "upstream", "completed")
    assert alice.used("video.other") == 1
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize("fault", [broken_before, broken_after])
def test_a_crash_in_the_close_neither_loses_nor_repeats_it(
    alice: Person, up: FaultServer, fault: Callable[[], None]
) -> None:
    job = begun(alice, kit.supply(up), each=1, reserved=1)
    fault()
    with pytest.raises(OperationalError):
        jobs.finish(job.pk, VIDEO, DONE)
    connection.close()
    assert jobs.finish(job.pk, VIDEO, DONE) is (fault is broken_before)
    assert end_of(alice) == ("settled", 1, "upstream", "completed")


def test_the_end_makes_its_files_and_models_the_callers(alice: Person, up: FaultServer) -> None:
    job = begun(alice, kit.supply(up), BATCH)
    names = [kit.unique("file") for _ in range(2)]
    shown = {
        "object": "batch", "status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4},
        "output_file_id": names[0], "error_file_id": names[1],
    }  # fmt: skip
    up.default = json_reply(shown)
    poll()
    owned = Object.objects.filter(upstream_id__in=names).order_by("id")
    assert [(o.upstream_id, o.kind, o.account_id, o.key_id) for o in owned] == [
        (name, "file", alice.account.pk, job.key_id) for name in names
    ]
    assert end_of(alice) == ("settled", 7, "upstream", "completed")


def test_what_somebody_else_owns_stays_his(alice: Person, bob: Person, up: FaultServer) -> None:
    job, name = begun(alice, kit.supply(up), BATCH), kit.unique("file")
    Object.objects.create(
        account=bob.account, provider=job.provider, key=job.key, kind="file", upstream_id=name
    )
    up.default = json_reply(
        {"object": "batch", "status": "failed", "output_file_id": None, "error_file_id": name}
    )
    poll()
    assert Object.objects.get(upstream_id=name).account == bob.account
    assert end_of(alice)[0] == "released"


# ---- the end of patience


def test_what_ran_out_of_time_is_closed_by_the_ledger_and_loses_its_row(
    alice: Person, up: FaultServer
) -> None:
    supplied = kit.supply(up)
    up.default = json_reply({"status": "in_progress"})
    late = begun(alice, supplied, RUN, lives=timedelta(seconds=-1))
    other_ = begun(alice, supplied, RUN)
    assert poll() == 1, "what is over is not asked about"
    jobs.drop_expired(clock.now())
    assert Job.objects.filter(pk=late.pk).exists(), "its entry is still open"
    close_expired(clock.now())
    jobs.drop_expired(clock.now())
    assert {job.pk for job in Job.objects.filter(account=alice.account)} == {other_.pk}
    assert not jobs.finish(late.pk, RUN, {"status": "completed"})
    assert jobs.finish(other_.pk, RUN, {"status": "completed"})
    states = {e.pk: (e.state, e.amount, e.end_reason) for e in alice.closed(2)}
    assert states[late.pk] == ("expired", 0, "timeout")
    assert states[other_.pk] == ("settled", 50, "completed")
    assert kit.ledger_adds_up(alice)


def test_the_worker_does_all_this_by_itself(alice: Person, up: FaultServer) -> None:
    job = begun(alice, kit.supply(up), each=1, reserved=1)
    up.default = json_reply(DONE)
    with kit.worker():
        assert kit.eventually(lambda: not Job.objects.filter(pk=job.pk).exists(), 20)
    assert end_of(alice) == ("settled", 1, "upstream", "completed")
