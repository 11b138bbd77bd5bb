"""The end of a job: seen by a reply or by the worker, whoever is first; closed once."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import OperationalError, connection

from bsod.lib import clock, ids
from bsod.lib.terms import EndReason, ObjectKind
from proxy import jobs as endings
from proxy.gateway import jobs, looking
from proxy.jobs import LIFETIME, Tokens
from proxy.models import Job, Object, Provider, ProviderKey
from quotas.models import Entry
from quotas.processes import close_expired
from tests import kit
from tests.kit import Person, Supply
from tests.quotas import books
from tests.quotas.line import broken_after, broken_before
from tests.upstream import FaultServer, Gate, Reply, error, garbage, giant_json, json_reply

VIDEO, RUN, BATCH = ObjectKind.VIDEO, ObjectKind.RUN, ObjectKind.BATCH
DONE = {"id": "video_1", "object": "video", "status": "completed"}


def begun(
    who: Person, supplied: Supply, kind: ObjectKind = VIDEO, *, reserved: int = 50,
    each: int | None = None, lives: timedelta | None = None, due: bool = True,
) -> Job:  # fmt: skip
    """A call that was handed over: its entry open, held by no process, and its job."""
    now = clock.now()
    ends = now + (LIFETIME[kind] if lives is None else lives)
    bucket = "video.other" if each else "text.base"
    held = books.hold(who, books.day_row(who, bucket, 1000), reserved)
    price = orjson.dumps({"each": each} if each else {}).decode()
    Entry.objects.filter(pk=held.pk).update(
        bucket=bucket, price=price, expires_at=ends, process=None, status=200, attempts=1
    )
    upstream_id = kit.unique(str(kind)).replace("_", "-")
    return Job.objects.create(
        entry=held.pk, account=who.account, provider=supplied.provider, key=supplied.key_row(),
        kind=kind, upstream_id=upstream_id, path=f"things/{upstream_id}", expires_at=ends,
        next_at=now - timedelta(seconds=1) if due else ends,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def mine(database: None) -> None:
    """What other tests have left is not due, so that a turn is this test's own."""
    Job.objects.update(next_at=clock.now() + timedelta(days=1))


def again(job: Job) -> Job:
    """The same job, due now."""
    Job.objects.filter(pk=job.pk).update(next_at=clock.now() - timedelta(seconds=1))
    return Job.objects.get(pk=job.pk)


def poll() -> int:
    return jobs.poll_due(clock.now())


def end_of(who: Person) -> tuple[Any, ...]:
    (entry,) = who.closed()
    assert not Job.objects.filter(pk=entry.pk).exists()
    assert kit.ledger_adds_up(who)
    return entry.state, entry.amount, entry.usage_source, entry.end_reason


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


# ---- the worker's look


def test_the_worker_asks_the_key_that_began_it_until_it_has_ended(
    alice: Person, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=2)
    job = begun(alice, supplied, each=2, reserved=2)
    Job.objects.filter(pk=job.pk).update(key=supplied.key_row(1))
    up.script(json_reply({"status": "queued"}), json_reply(DONE))
    assert (poll(), poll()) == (1, 0)
    waits = Job.objects.get(pk=job.pk)
    assert clock.now() < waits.next_at < clock.now() + timedelta(seconds=31)
    again(job)
    assert poll() == 1
    assert end_of(alice) == ("settled", 2, "upstream", "completed")
    assert {(seen.method, seen.path, seen.key) for seen in up.seen} == {
        ("GET", f"/v1/{job.path}", supplied.keys[1])
    }
    assert up.seen[0].body == b""


@pytest.mark.parametrize(
    ("kind", "shown", "end"),
    [
        (VIDEO, {"status": "failed"}, ("released", 0, "", "upstream_error")),
        (RUN, {"status": "completed", "usage": {"prompt_tokens": 30, "completion_tokens": 12}},
         ("settled", 42, "upstream", "completed")),
        (RUN, {"status": "failed", "usage": {"prompt_tokens": 30, "completion_tokens": 0}},
         ("settled", 30, "upstream", "upstream_error")),
        (RUN, {"status": "incomplete"}, ("settled", 50, "estimated", "completed")),
        (RUN, {"status": "cancelled"}, ("released", 0, "", "client_gone")),
        (ObjectKind.RESPONSE,
         {"status": "completed", "usage": {"input_tokens": 5, "output_tokens": 6}},
         ("settled", 11, "upstream", "completed")),
        (ObjectKind.FINE_TUNING_JOB, {"status": "succeeded", "trained_tokens": 400},
         ("settled", 400, "upstream", "completed")),
        (BATCH, {"status": "failed"}, ("released", 0, "", "upstream_error")),
    ],
)  # fmt: skip
def test_each_kind_is_closed_by_what_it_shows(
    alice: Person, up: FaultServer, kind: ObjectKind, shown: dict[str, Any], end: tuple[Any, ...]
) -> None:
    begun(alice, kit.supply(up), kind, each=1 if kind is VIDEO else None)
    up.default = json_reply(shown)
    assert poll() == 1
    assert end_of(alice) == end


def test_a_run_is_asked_for_as_the_beta_it_is(alice: Person, up: FaultServer) -> None:
    begun(alice, kit.supply(up), RUN)
    up.default = json_reply({"status": "requires_action"})
    poll()
    assert up.seen[0].header("openai-beta") == "assistants=v2"
    assert up.seen[0].header("accept-encoding") == "identity"


@pytest.mark.parametrize("reply", [error(404), json_reply({"detail": "gone"}, 410)])
def test_what_the_provider_does_not_know_any_more_costs_nothing(
    alice: Person, up: FaultServer, reply: Reply
) -> None:
    begun(alice, kit.supply(up), RUN)
    up.default = reply
    assert poll() == 1
    assert end_of(alice) == ("released", 0, "", "upstream_error")


@pytest.mark.parametrize("what", ["key", "provider"])
def test_nothing_is_due_once_nobody_can_be_asked_any_more(
    alice: Person, up: FaultServer, what: str
) -> None:
    job = begun(alice, kit.supply(up), RUN)
    rows: Any = {"key": ProviderKey, "provider": Provider}[what].objects
    rows.filter(pk=getattr(job, f"{what}_id")).update(deleted_at=clock.now())
    poll()
    assert up.seen == []
    assert end_of(alice) == ("released", 0, "", "upstream_error")


@pytest.mark.parametrize(
    "reply",
    [
        error(500), error(401), error(429, retry_after=3), garbage(), Reply().cut(head=0),
        Reply(404, body=b"<html>no such page</html>"), json_reply([1]), json_reply(b"{"),
        json_reply(DONE).cut(body=10), json_reply(DONE).cut(body=10, how="fin"),
        giant_json(70 << 20), Reply(302, (("Location", "/v1/things/1"),)),
    ],
)  # fmt: skip
def test_a_look_that_shows_nothing_is_tried_again_later(
    alice: Person, up: FaultServer, reply: Reply
) -> None:
    job = begun(alice, kit.supply(up), RUN)
    up.default = reply
    assert poll() == 1
    waits = Job.objects.get(pk=job.pk)
    assert clock.now() + timedelta(seconds=1) < waits.next_at < clock.now() + timedelta(minutes=6)
    assert len(up.seen) == 1
    up.default = json_reply({"status": "cancelled"})
    assert jobs.look(job.pk) is jobs.Look.ENDED
    assert end_of(alice)[0] == "released"


def test_of_a_provider_that_cannot_be_reached_one_job_is_asked_a_turn(
    alice: Person, bob: Person, up: FaultServer
) -> None:
    dead = kit.supply(up, base_url="http://127.0.0.1:9/v1")
    hidden = [begun(alice, dead, RUN) for _ in range(3)]
    begun(bob, kit.supply(up), RUN)
    up.default = json_reply({"status": "expired"})
    assert poll() == 4
    assert end_of(bob)[3] == "timeout"
    rows = Job.objects.filter(pk__in=[job.pk for job in hidden])
    assert all(clock.now() < row.next_at and row.attempts == 1 for row in rows)
    assert jobs.look(hidden[0].pk) is jobs.Look.UNSEEN
    assert [jobs.finish(job.pk, RUN, endings.nothing()) for job in hidden] == [True] * 3


def test_a_secret_that_does_not_open_is_sent_nowhere(alice: Person, up: FaultServer) -> None:
    job = begun(alice, kit.supply(up), RUN)
    ProviderKey.objects.filter(pk=job.key_id).update(sealed="sk-in-the-clear")
    assert poll() == 1
    assert up.seen == []
    assert jobs.finish(job.pk, RUN, endings.nothing())


def test_a_job_is_looked_at_by_one_worker_at_a_time(alice: Person, up: FaultServer) -> None:
    begun(alice, kit.supply(up), each=1)
    gate = Gate()
    up.default = json_reply(DONE).but(delay_headers=gate)
    with kit.beside(poll):
        gate.wait_for(1)
        assert poll() == 0
        gate.open()
    assert len(up.seen) == 1
    assert end_of(alice)[0] == "settled"


def test_a_look_before_a_cancel_tells_what_it_saw(alice: Person, up: FaultServer) -> None:
    job = begun(alice, kit.supply(up), each=1, due=False)
    up.script(json_reply({"status": "in_progress"}), error(503), json_reply(DONE))
    looks = [jobs.look(job.pk) for _ in range(4)]
    assert looks == ["running", "unseen", "ended", "ended"]
    assert len(up.seen) == 3
    assert end_of(alice)[1] == 1


# ---- a batch whose output alone states its usage


def lines(*usages: Any) -> bytes:
    """Output of a batch: a line for each usage; None: a line that failed."""
    rows = []
    for number, usage in enumerate(usages):
        body = {"usage": usage, "choices": [{"message": {"content": '"usage":{"a":1}\n'}}]}
        answer = {"status_code": 200, "body": body} if usage else None
        rows.append(orjson.dumps({"custom_id": f"c{number}", "response": answer, "error": None}))
    return b"\n".join(rows)


def batch(who: Person, up: FaultServer, output: Reply, **shown: Any) -> Job:
    job, name = begun(who, kit.supply(up), BATCH), kit.unique("file")
    said = {"object": "batch", "status": "completed", "output_file_id": name, **shown}
    up.on(json_reply(said), path_suffix=job.path)
    up.on(output, path_suffix=f"/v1/files/{name}/content")
    return job


CHAT, ANSWER = (
    {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
    {"input_tokens": 3, "output_tokens": 2},
)


def test_a_batch_without_usage_is_closed_from_its_output(alice: Person, up: FaultServer) -> None:
    batch(alice, up, Reply(body=lines(CHAT, None, ANSWER, {"prompt_tokens": 7}, {"odd": 1})))
    assert poll() == 1
    assert end_of(alice) == ("settled", 27, "upstream", "completed")
    entry = alice.entries()[0]
    assert (entry.prompt_tokens, entry.completion_tokens, entry.cached_tokens) == (20, 7, 4)
    assert Object.objects.filter(account=alice.account, kind="file").count() == 1


def test_a_reply_that_shows_such_a_batch_leaves_it_to_the_worker_at_once(
    alice: Person, up: FaultServer
) -> None:
    job = batch(alice, up, Reply(body=lines(CHAT)))
    Job.objects.filter(pk=job.pk).update(next_at=clock.now() + timedelta(minutes=4))
    assert not jobs.finish(job.pk, BATCH, {"status": "completed", "output_file_id": "f"})
    assert poll() == 1
    assert end_of(alice)[1] == 15


def test_neither_a_reply_nor_a_look_disturbs_a_worker_that_reads_the_output(
    alice: Person, up: FaultServer
) -> None:
    gate = Gate()
    job = batch(alice, up, Reply(body=[lines(CHAT), gate], framing="chunked"))
    with kit.beside(poll):
        gate.wait_for(1)
        assert not jobs.finish(job.pk, BATCH, {"status": "completed", "output_file_id": "f"})
        assert jobs.look(job.pk) is jobs.Look.ENDED
        assert poll() == 0
        gate.open()
    assert len(up.seen) == 3
    assert end_of(alice)[1] == 15


@pytest.mark.parametrize("output", [Reply(body=lines(None)), Reply(body=b""), error(404)])
def test_an_output_that_states_nothing_costs_what_was_reserved(
    alice: Person, up: FaultServer, output: Reply
) -> None:
    """Also one its owner has deleted before anybody looked: that must not make it free."""
    batch(alice, up, output)
    assert poll() == 1
    assert end_of(alice) == ("settled", 50, "estimated", "completed")


def test_an_output_that_breaks_off_is_read_again(alice: Person, up: FaultServer) -> None:
    job = batch(alice, up, Reply(body=lines(CHAT, ANSWER)).cut(body=230, how="fin"))
    assert poll() == 1
    assert alice.entries()[0].state == "open"
    name = up.seen[-1].path
    up.on(Reply(body=lines(CHAT, ANSWER)), path_suffix=name)
    again(job)
    assert poll() == 1
    assert end_of(alice)[1] == 20


@pytest.mark.once
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_output_is_read_in_pieces_of_any_size(size: int) -> None:
    text = lines(CHAT, None, ANSWER) + b"\n"
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    found = [looking.line_usage(line) for line in looking._lines(pieces)]
    assert found == [Tokens(10, 5, 4), None, Tokens(3, 2, 0), None]


@pytest.mark.once
def test_a_line_beyond_all_measure_is_read_by_its_end_alone() -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"response":{"status_code":200,"body":{"data":["\\"usage\\":{\\"input_tokens\\":9}'
        for _ in range(40):
            yield b"x" * 1_000_000
        yield b'"],"usage":{"prompt_tokens":6,"prompt_tokens_details":{"cached_tokens":2}}}}}\n'
        yield lines(ANSWER)

    found = [looking.line_usage(line) for line in looking._lines(pieces())]
    assert found == [Tokens(6, 0, 2), Tokens(3, 2, 0)]


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
