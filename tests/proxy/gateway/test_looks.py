"""The worker's looks at jobs: what a provider shows, hides, or cannot say."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest

from bsod.lib import clock
from bsod.lib.terms import ObjectKind
from proxy import jobs as endings
from proxy.gateway import jobs, looking
from proxy.jobs import Tokens
from proxy.models import Job, Object, Provider, ProviderKey
from tests import kit
from tests.kit import Person
from tests.proxy.gateway.begun import (
    BATCH,
    DONE,
    RUN,
    VIDEO,
    again,
    begun,
    end_of,
    nothing_due,
    poll,
)
from tests.upstream import FaultServer, Gate, Reply, error, garbage, giant_json, json_reply

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def mine(database: None) -> None:
    nothing_due()


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


def test_of_two_workers_that_have_found_a_job_one_takes_it(alice: Person, up: FaultServer) -> None:
    pk = begun(alice, kit.supply(up), RUN).pk
    found = [Job.objects.get(pk=pk) for _ in range(2)]
    assert [jobs._claim(job) for job in found] == [True, False]
    assert Job.objects.get(pk=pk).attempts == 1
    assert jobs.finish(pk, RUN, endings.nothing())


def test_a_look_before_a_cancel_tells_what_it_saw(alice: Person, up: FaultServer) -> None:
    job = begun(alice, kit.supply(up), each=1, due=False)
    up.script(json_reply({"status": "in_progress"}), error(503), json_reply(DONE))
    looks = [jobs.look(job.pk) for _ in range(4)]
    assert looks == ["running", "unseen", "ended", "ended"]
    assert len(up.seen) == 3
    assert end_of(alice)[1] == 1


def test_runs_are_looked_at_before_their_thread_is_deleted(alice: Person, up: FaultServer) -> None:
    """Or whoever deletes a thread before the worker looks has had its runs for nothing."""
    supplied, thread = kit.supply(up), kit.unique("thread")
    mine, other = (begun(alice, supplied, RUN, due=False) for _ in range(2))
    Job.objects.filter(pk=mine.pk).update(path=f"threads/{thread}/runs/run_1")
    Job.objects.filter(pk=other.pk).update(path=f"threads/{thread}x/runs/run_2")
    up.default = json_reply(
        {"status": "completed", "usage": {"prompt_tokens": 2, "completion_tokens": 3}}
    )
    jobs.look_below(mine.key_id, f"threads/{thread}")
    assert [row.pk for row in Job.objects.filter(account=alice.account)] == [other.pk]
    assert jobs.finish(other.pk, RUN, endings.nothing())
    assert sorted(entry.amount for entry in alice.closed(2)) == [0, 5]


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


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_output_is_read_in_pieces_of_any_size(size: int) -> None:
    text = lines(CHAT, None, ANSWER) + b"\n"
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    found = [looking.line_usage(line) for line in looking._lines(pieces)]
    assert found == [Tokens(10, 5, 4), None, Tokens(3, 2, 0), None]


def test_a_line_beyond_all_measure_is_read_by_its_end_alone() -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"response":{"status_code":200,"body":{"data":["\\"usage\\":{\\"input_tokens\\":9}'
        for _ in range(40):
            yield b"x" * 1_000_000
        yield b'"],"usage":{"prompt_tokens":6,"prompt_tokens_details":{"cached_tokens":2}}}}}\n'
        yield lines(ANSWER)

    found = [looking.line_usage(line) for line in looking._lines(pieces())]
    assert found == [Tokens(6, 0, 2), Tokens(3, 2, 0)]
