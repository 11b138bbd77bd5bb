"""A response's answer as a chat completion: what the official client's types say of every chunk."""

import json
from typing import Any

import pytest
from openai._models import validate_type
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from bsod.lib.terms import ObjectKind, Service
from proxy.providers.base import Asked, Malformed, Refused, StreamReader, UpstreamFault, Usage
from proxy.providers.registry import ADAPTERS
from tests.proxy.providers.talk import asked, said, typed

pytestmark = pytest.mark.once

RESPONDS = frozenset({Service.RESPONSES})
COUNTED = {
    "input_tokens": 5, "input_tokens_details": {"cached_tokens": 3},
    "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 7,
}  # fmt: skip
HEAD = {"id": "resp_1", "object": "response", "created_at": 7.0, "model": "up",
        "service_tier": "default", "output": [], "status": "in_progress"}  # fmt: skip


def wanted(*, stream: bool = True, wants_usage: bool = True, request_id: str = "01HX") -> Asked:
    return asked(stream=stream, speaks=RESPONDS, creates=ObjectKind.COMPLETION,
                 request_id=request_id, upstream_model="up", wants_usage=wants_usage)  # fmt: skip


def reader(**more: Any) -> StreamReader:
    return ADAPTERS["openai"].stream_reader(wanted(**more))


def message(text: str = "Hello", **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], **more}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}


def call(number: int = 1, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}",
            "name": "f", "arguments": arguments}  # fmt: skip


def event(name: str, place: int = 0, **more: Any) -> bytes:
    return typed(f"response.{name}", output_index=place, **more)


def created() -> bytes:
    return typed("response.created", response=HEAD)


def ended(*output: Any, status: str = "completed", usage: Any = COUNTED, **more: Any) -> bytes:
    response = {**HEAD, "status": status, "output": list(output), "usage": usage, **more}
    return typed(f"response.{status}", response=response)


def fed(stream: StreamReader, *events: bytes, size: int | None = None) -> bytes:
    data = b"".join(events)
    step = size or len(data)
    return b"".join(stream.feed(data[at : at + step]) for at in range(0, len(data), step))


def told(out: bytes) -> list[dict[str, Any]]:
    """The chunks, each valid; the mark at their end is taken off."""
    chunks = [value for value in said(out) if value != "[DONE]"]
    for value in chunks:
        validate_type(type_=ChatCompletionChunk, value=value)
    return chunks


def played(*events: bytes, **more: Any) -> list[dict[str, Any]]:
    stream = reader(**more)
    out = fed(stream, *events)
    assert stream.complete
    assert stream.found == []
    out += stream.finish(None)
    assert said(out)[-1] == "[DONE]"
    return told(out)


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


def reason(chunks: list[dict[str, Any]]) -> Any:
    return [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1]


def whole(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    taken = ADAPTERS["openai"].whole_reader(wanted(stream=False))
    reply = {**HEAD, "status": status, "output": list(output), "usage": COUNTED, **more}
    taken.whole(json.dumps(reply).encode())
    assert taken.complete
    assert taken.usage == Usage(5, 2, 3)
    assert taken.found == []
    value: dict[str, Any] = json.loads(taken.finish(None))
    validate_type(type_=ChatCompletion, value=value)
    return value


STREAM = (
    created(), typed("response.in_progress", response=HEAD),
    event("output_item.added", item={**message(), "content": []}),
    event("content_part.added", part={"type": "output_text", "text": ""}),
    event("output_text.delta", delta="Hel"), event("output_text.delta", delta="lo"),
    event("output_text.done", text="Hello"), event("output_item.done", item=message()),
    ended(message()),
)  # fmt: skip


def test_a_text_is_told_role_first_and_usage_last() -> None:
    chunks = played(*STREAM)
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, {},
    ]  # fmt: skip
    assert reason(chunks) == "stop"
    assert {(c["id"], c["model"], c["created"]) for c in chunks} == {("chatcmpl-01hx", "m", 7)}
    *before, last = chunks
    assert {chunk["usage"] for chunk in before} == {None}
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 64])
def test_it_is_the_same_however_the_bytes_come(size: int) -> None:
    stream = reader()
    out = fed(stream, *STREAM, size=size)
    assert told(out + stream.finish(None)) == played(*STREAM)


def test_usage_nobody_asked_for_is_counted_and_not_shown() -> None:
    stream = reader(wants_usage=False)
    out = fed(stream, *STREAM)
    assert b"[DONE]" not in out, "the end waits for the close"
    assert stream.done
    assert stream.complete
    assert (stream.usage, stream.tier) == (Usage(5, 2, 3), "default")
    assert b"usage" not in out + stream.finish(None)


def test_a_charge_comes_with_the_usage() -> None:
    stream = reader(wants_usage=False)
    fed(stream, *STREAM)
    first, last = said(stream.finish({"yout": {"balance": 3}}))
    assert (first["yout"], first["usage"]["total_tokens"], last) == ({"balance": 3}, 7, "[DONE]")


def test_calls_are_numbered_and_told_in_pieces() -> None:
    chunks = played(
        created(), event("output_item.added", 0, item=call(1, "")),
        event("output_item.added", 1, item=call(2, "")),
        event("function_call_arguments.delta", 1, delta="{"),
        event("function_call_arguments.delta", 0, delta="{}"),
        event("function_call_arguments.delta", 1, delta="}"),
        event("output_item.done", 0, item=call(1)), event("output_item.done", 1, item=call(2)),
        ended(call(1), call(2)),
    )  # fmt: skip
    calls = [piece for delta in deltas(chunks) for piece in delta.get("tool_calls", ())]
    assert calls[0] == {"index": 0, "id": "call_1", "type": "function",
                        "function": {"name": "f", "arguments": ""}}  # fmt: skip
    assert [(c["index"], c["function"]["arguments"]) for c in calls[2:]] == [
        (1, "{"), (0, "{}"), (1, "}"),
    ]  # fmt: skip
    assert reason(chunks) == "tool_calls"


def test_items_that_came_whole_are_told_all_the_same() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text",
               "text": "Hm"}]}  # fmt: skip
    for events in (
        (created(), ended(thought, message(), call())),
        (created(), event("output_item.done", 0, item=thought),
         event("output_item.done", 1, item=message()), event("output_item.done", 2, item=call()),
         ended(thought, message(), call())),
    ):  # fmt: skip
        found = deltas(played(*events))
        assert "".join(delta.get("content", "") for delta in found) == "Hello"
        assert [d["reasoning_content"] for d in found if "reasoning_content" in d] == ["Hm"]
        calls = [piece["function"] for delta in found for piece in delta.get("tool_calls", ())]
        assert "".join(piece["arguments"] for piece in calls) == "{}"


def test_thoughts_told_twice_are_told_once() -> None:
    found = deltas(played(
        created(), event("reasoning_summary_part.added", summary_index=0),
        event("reasoning_summary_text.delta", delta="a"), event("reasoning_text.delta", delta="A"),
        event("reasoning_summary_part.added", summary_index=1),
        event("reasoning_summary_text.delta", delta="b"), ended(),
    ))  # fmt: skip
    assert "".join(delta.get("reasoning_content", "") for delta in found) == "a\n\nb"


def test_refusals_citations_and_probabilities_have_their_places() -> None:
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    row = {"token": "é", "logprob": -0.5, "top_logprobs": [{"token": "e", "logprob": -1}]}
    chunks = played(
        created(), event("output_text.delta", delta="é", logprobs=[row]),
        event("output_text.annotation.added", annotation=note),
        event("refusal.delta", delta="No"), ended(),
    )  # fmt: skip
    assert deltas(chunks)[2]["annotations"][0]["url_citation"]["title"] == "t"
    assert deltas(chunks)[3] == {"refusal": "No"}
    assert chunks[1]["choices"][0]["logprobs"]["content"][0]["bytes"] == [195, 169]


@pytest.mark.parametrize(
    ("why", "finish"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "length")],
)
def test_an_answer_cut_short_says_why(why: str, finish: str) -> None:
    details = {"reason": why}
    assert (
        reason(played(created(), ended(status="incomplete", incomplete_details=details))) == finish
    )
    value = whole(message("Hel"), status="incomplete", incomplete_details=details)
    assert value["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_answer_that_failed_is_a_fault_and_what_came_is_charged(status: str) -> None:
    stream = reader()
    out = fed(stream, created(), event("output_text.delta", delta="Hel"))
    assert told(out)
    with pytest.raises(UpstreamFault):
        stream.feed(ended(status=status))
    assert stream.usage == Usage(5, 2, 3)
    together = reader()
    assert told(
        fed(together, created(), event("output_text.delta", delta="a"), ended(status=status))
    )
    with pytest.raises(UpstreamFault):
        _ = together.complete
    with pytest.raises(UpstreamFault):
        whole(status=status, error={"code": "server_error", "message": "x"})


def test_an_answer_that_failed_for_what_was_asked_is_the_askers_fault() -> None:
    fault = {"code": "invalid_prompt", "message": "Not this; write to a@b.com about sk-abcdef123"}
    with pytest.raises(Refused) as raised:
        whole(status="failed", error=fault)
    assert raised.value.message.startswith("Not this")
    assert "sk-" not in raised.value.message
    assert "@" not in raised.value.message


def test_a_cut_stream_stays_cut() -> None:
    stream = reader()
    fed(stream, created(), event("output_text.delta", delta="Hel"))
    assert not stream.complete
    assert not stream.done
    assert stream.produced == 1


def test_an_answer_without_usage_is_estimated() -> None:
    stream = reader()
    fed(stream, created(), event("output_text.delta", delta="Hello you"), ended(usage=None))
    assert stream.complete
    assert stream.usage is None
    assert said(stream.finish(None))[0]["usage"]["completion_tokens"] == stream.produced == 3


def test_a_whole_answer_to_a_stream_is_told_as_chunks() -> None:
    stream = reader()
    reply = {**HEAD, "status": "completed", "output": [message()], "usage": COUNTED}
    out = stream.whole(json.dumps(reply).encode())
    assert stream.complete
    assert [delta.get("content") for delta in deltas(told(out))] == ["", "Hello", None]


def test_a_whole_answer_is_a_whole_completion() -> None:
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text",
               "text": "Hm"}]}  # fmt: skip
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "x"}
    choice = whole(thought, message(), call(), custom)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant", "content": "Hello", "refusal": None, "reasoning_content": "Hm",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}},
        ],
    }  # fmt: skip
    value = whole(message())
    assert (value["id"], value["model"]) == ("chatcmpl-01hx", "m")
    assert value["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output":[],"status":"queued"}'])
def test_a_senseless_whole_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        ADAPTERS["openai"].whole_reader(wanted(stream=False)).whole(body)
