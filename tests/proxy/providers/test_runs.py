"""Runs: which ids they make, how far they are, what they used."""

import json
from typing import Any

import pytest

from bsod.lib.terms import ObjectKind, Shape
from proxy.providers.base import Found, Malformed, Usage
from proxy.providers.readers import stream_reader
from proxy.providers.runs import RunStream
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, heard, named, read_whole, usage

pytestmark = pytest.mark.once

DONE = b"event: done\ndata: [DONE]\n\n"
RUN_ID = Found(ObjectKind.RUN, "run_1")
THREAD_ID = Found(ObjectKind.THREAD, "thread_1")
MESSAGE_ID = Found(ObjectKind.MESSAGE, "msg_1")
THREAD = named("thread.created", {"id": "thread_1", "object": "thread"})
MESSAGE = named("thread.message.created", {"id": "msg_1", "object": "thread.message"})


def run(status: str = "queued", **more: Any) -> dict[str, Any]:
    return {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "status": status,
            "model": "m", "usage": None, **more}  # fmt: skip


def stream(**more: Any) -> RunStream:
    values = {"shape": Shape.RUN, "path": "threads/runs", "creates": ObjectKind.RUN, "body": {}}
    reader = stream_reader(asked(**values | more))
    assert isinstance(reader, RunStream)
    return reader


def test_a_thread_its_run_and_the_messages_are_known_as_they_are_shown() -> None:
    reader, seen = stream(), []
    for event in (THREAD, named("thread.run.created", run()), named("thread.run.queued", run()),
                  MESSAGE):  # fmt: skip
        assert reader.feed(event) == event
        seen.append(reader.found)
        reader.found = []
    assert seen == [[THREAD_ID], [RUN_ID, THREAD_ID], [], [MESSAGE_ID]]


@pytest.mark.parametrize(
    "status", ["completed", "incomplete", "failed", "cancelled", "expired", "requires_action"]
)
def test_the_last_state_of_a_run_waits_with_the_end_mark(status: str) -> None:
    reader = stream()
    end = named(f"thread.run.{status}", run(status, usage=usage(9, 4)))
    reader.feed(named("thread.run.created", run()))
    assert reader.feed(end) == b""
    assert reader.complete, "also without the end mark, if the body ends cleanly"
    assert reader.feed(DONE) == b""
    assert reader.done
    assert reader.usage == Usage(9, 4)
    assert reader.state == run(status, usage=usage(9, 4))
    assert reader.finish(None) == end + DONE
    assert heard(reader.finish({"yout": 1}))[0][1] == {**run(status, usage=usage(9, 4)), "yout": 1}


@pytest.mark.parametrize("status", ["created", "queued", "in_progress", "cancelling"])
def test_a_run_that_goes_on_is_no_end(status: str) -> None:
    reader = stream()
    reader.feed(named(f"thread.run.{status}", run(status)) + DONE)
    assert reader.state == run(status)
    assert not reader.complete


def test_a_step_is_not_a_run() -> None:
    reader = stream()
    step = named("thread.run.step.completed", {"id": "step_1", "usage": usage(1, 1)})
    assert reader.feed(step) == step
    assert (reader.state, reader.usage, reader.found) == (None, None, [])


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"content": [{"type": "text", "text": {"value": "Привет"}}]}, "Привет"),
        ({"content": [{"type": "refusal", "refusal": "No"}]}, "No"),
        ({"step_details": {"tool_calls": [{"function": {"arguments": '{"q":1}'}}]}}, '{"q":1}'),
        ({"step_details": {"tool_calls": [{"code_interpreter": {"input": "1+1"}}]}}, "1+1"),
    ],
)
def test_delivered_output_is_counted_by_what_it_says(delta: dict[str, Any], text: str) -> None:
    name = "thread.run.step.delta" if "step_details" in delta else "thread.message.delta"
    reader = stream()
    reader.feed(named(name, {"id": "x", "delta": delta}))
    assert reader.produced == of_text(text)


def test_a_run_has_the_name_that_was_asked_for() -> None:
    reader = stream(upstream_model="m", model="M-1")
    out = heard(reader.feed(named("thread.run.created", run())))
    reader.feed(named("thread.run.completed", run("completed")))
    assert [value["model"] for _, value in out] == ["M-1"]
    assert heard(reader.finish(None))[0][1]["model"] == "M-1"


def test_giving_tools_their_say_goes_on_with_a_run_that_is_known() -> None:
    path = "threads/thread_1/runs/run_1/submit_tool_outputs"
    reader = stream(shape=Shape.OBJECT, path=path, creates=None)
    reader.feed(named("thread.run.queued", run()) + MESSAGE)
    reader.feed(named("thread.run.completed", run("completed", usage=usage(9, 4))) + DONE)
    assert reader.found == [MESSAGE_ID]
    assert reader.state == run("completed", usage=usage(9, 4))
    assert reader.usage == Usage(9, 4)


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, 10**13])
def test_a_count_that_cannot_be_is_no_statement_at_all(count: Any) -> None:
    reader = stream()
    reader.feed(named("thread.run.completed", run("completed", usage=usage(count, 4))))
    assert reader.complete
    assert reader.usage is None


def test_a_whole_run_has_begun_and_has_no_usage_yet() -> None:
    call = asked(shape=Shape.RUN, path="threads/runs", creates=ObjectKind.RUN, stream=False)
    reader = read_whole(call, run())
    assert (reader.found, reader.state, reader.usage) == ([RUN_ID, THREAD_ID], run(), None)
    raw = json.dumps(run()).encode()
    assert read_whole(call, raw).finish(None) == raw
    with pytest.raises(Malformed):
        read_whole(call, [run()])
