"""Responses: their usage and ids, one in the background, one that failed, one that is JSON."""

import json
from typing import Any

import pytest

from bsod.lib.terms import ObjectKind, Shape
from proxy.providers.base import Found, Malformed, UpstreamFault, Usage
from proxy.providers.harvest import STORED
from proxy.providers.readers import stream_reader, whole_reader
from proxy.providers.responses import ResponseStream
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, heard, read_whole, typed

pytestmark = pytest.mark.once

USAGE = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
         "input_tokens_details": {"cached_tokens": 3}}  # fmt: skip
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant",
           "content": [{"type": "output_text", "text": "Hello"}]}  # fmt: skip
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "find",
        "arguments": "{}"}  # fmt: skip
IDS = [
    Found(ObjectKind.RESPONSE, "resp_1", {}, STORED),
    Found(ObjectKind.ITEM, "msg_1", {}, STORED),
]


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "m", "error": None,
            "output": [MESSAGE], "usage": USAGE, **more}  # fmt: skip


def call(stream: bool = False, **more: Any) -> Any:
    values = {"shape": Shape.RESPONSE, "path": "responses", "body": {"input": "Hi"},
              "creates": ObjectKind.RESPONSE, "stream": stream}  # fmt: skip
    return asked(**values | more)


def stream(**more: Any) -> ResponseStream:
    reader = stream_reader(call(True, **more))
    assert isinstance(reader, ResponseStream)
    return reader


CREATED = typed("response.created", sequence_number=0,
                response=response("in_progress", output=[], usage=None))  # fmt: skip
TEXT = typed("response.output_text.delta", sequence_number=1, delta="Hello")


def end(status: str = "completed", **more: Any) -> bytes:
    return typed(f"response.{status}", sequence_number=2, response=response(status, **more))


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_the_end_of_a_stream_tells_usage_tier_state_and_items(status: str) -> None:
    reader = stream()
    reader.feed(CREATED)
    assert reader.found == IDS[:1], "its id is known as soon as it is shown"
    reader.feed(TEXT + end(status, service_tier="priority"))
    assert reader.complete
    assert reader.usage == Usage(11, 7, 3)
    assert reader.tier == "priority"
    assert reader.state is not None
    assert reader.state["status"] == status
    assert set(map(str, reader.found)) == set(map(str, IDS))


def test_a_whole_response_tells_the_same() -> None:
    reader = read_whole(call(), response(service_tier="flex"))
    assert (reader.usage, reader.tier, reader.found) == (Usage(11, 7, 3), "flex", IDS)
    assert reader.state == response(service_tier="flex")
    assert json.loads(reader.finish({"yout": 1})) == {**response(service_tier="flex"), "yout": 1}


@pytest.mark.parametrize("creates", [ObjectKind.RESPONSE, None])
def test_a_response_that_is_not_stored_is_nobodys(creates: ObjectKind | None) -> None:
    body = {"input": "Hi", "store": False}
    assert read_whole(call(body=body, creates=creates), response()).found == []
    assert read_whole(call(creates=creates), response(store=False)).found == []
    reader = stream(body=body, creates=creates)
    reader.feed(CREATED + TEXT + end())
    assert reader.found == []


def test_a_response_in_the_background_has_a_state_and_no_usage() -> None:
    reader = read_whole(call(), response("queued", output=[], usage=None))
    assert reader.complete
    assert reader.usage is None
    assert reader.produced == 0
    assert reader.state is not None
    assert reader.state["status"] == "queued"


def test_a_response_that_failed_is_an_answer_with_its_error() -> None:
    failed = response("failed", error={"code": "server_error", "message": "boom"}, output=[])
    raw = json.dumps(failed).encode()
    assert read_whole(call(), raw).finish(None) == raw
    reader = stream()
    reader.feed(CREATED + typed("response.failed", sequence_number=1, response=failed))
    assert reader.complete
    assert heard(reader.finish(None))[0][1]["response"]["error"]["message"] == "boom"


@pytest.mark.parametrize(
    ("name", "delta", "text"),
    [
        ("output_text", "Привет", "Привет"),
        ("refusal", "No", "No"),
        ("reasoning_text", "Because", "Because"),
        ("reasoning_summary_text", "Short", "Short"),
        ("function_call_arguments", '{"q":1}', '{"q":1}'),
        ("custom_tool_call_input", "ls", "ls"),
        ("audio.transcript", "Hello", "Hello"),
        ("audio", "QUJD" * 50, ""),
        ("of_tomorrow", "new", "new"),
    ],
)
def test_delivered_output_is_counted_by_what_it_says(name: str, delta: str, text: str) -> None:
    reader = stream()
    reader.feed(CREATED + typed(f"response.{name}.delta", delta=delta))
    assert reader.produced == of_text(text)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ([MESSAGE], "Hello"),
        ([THOUGHT, CALL], "Hmfind{}"),
        ([MESSAGE, MESSAGE], "HelloHello"),
        ([5, {"content": 5}, {"content": [5, {"text": 5}]}], ""),
    ],
)
def test_an_output_without_usage_is_estimated_once(output: list[Any], text: str) -> None:
    assert read_whole(call(), response(output=output, usage=None)).produced == of_text(text)
    reader = stream()
    reader.feed(CREATED + end(output=output, usage=None))
    assert reader.produced == of_text(text)
    reader = stream()
    reader.feed(CREATED + TEXT + end(output=output, usage=None))
    assert reader.produced == of_text("Hello"), "what was streamed is not counted twice"


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, None, 10**13, 2**64 - 1])
def test_a_count_that_cannot_be_is_no_statement_at_all(count: Any) -> None:
    usage = {**USAGE, "input_tokens": count}
    assert read_whole(call(), response(usage=usage)).usage is None
    reader = stream()
    reader.feed(CREATED + end(usage=usage))
    assert reader.complete
    assert reader.usage is None


def test_the_answer_has_the_name_that_was_asked_for() -> None:
    reader = stream(upstream_model="m", model="M-1")
    out = heard(reader.feed(CREATED + TEXT) + (reader.feed(end()) or reader.finish(None)))
    assert [v["response"]["model"] for _, v in out if "response" in v] == ["M-1", "M-1"]
    assert [name for name, _ in out] == [
        "response.created", "response.output_text.delta", "response.completed",
    ]  # fmt: skip
    body = json.loads(read_whole(call(upstream_model="m", model="M-1"), response()).finish(None))
    assert body == {**response(), "model": "M-1"}


def test_no_name_is_given_where_none_was_asked_for() -> None:
    for names in ({"upstream_model": "", "model": "x"}, {"upstream_model": "m", "model": ""}):
        raw = json.dumps(response()).encode()
        assert read_whole(call(**names), raw).finish(None) == raw
        reader = stream(**names)
        assert reader.feed(CREATED) == CREATED


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", None, "queued"])
def test_a_whole_answer_becomes_a_beginning_and_an_end(status: str | None) -> None:
    reply = response() if status is None else response(status)
    if status is None:
        del reply["status"]
    reader = stream()
    out = reader.whole(json.dumps(reply).encode())
    assert reader.complete
    assert reader.done
    events = heard(out + reader.finish({"yout": 1}))
    assert [value["sequence_number"] for _, value in events] == [0, 1]
    assert all(name == value["type"] for name, value in events)
    assert events[0] == ("response.created", {
        "type": "response.created", "sequence_number": 0, "response": reply,
    })  # fmt: skip
    known = status if status in ("incomplete", "failed") else "completed"
    assert events[1][0] == f"response.{known}"
    assert events[1][1]["response"] == {**reply, "yout": 1}
    assert reader.usage == Usage(11, 7, 3)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"id":"x"}', b'{"output":5}'])
def test_a_senseless_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        stream().whole(body)
    with pytest.raises(Malformed):
        whole_reader(call()).whole(body)


def test_an_answer_that_is_an_error_is_the_providers_fault() -> None:
    for reader in (stream(), whole_reader(call())):
        with pytest.raises(UpstreamFault):
            reader.whole(b'{"error":{"message":"boom"}}')


@pytest.mark.parametrize("last", [{"type": "response.completed"},
                                  {"type": "response.completed", "response": None}])  # fmt: skip
def test_an_end_without_its_response_is_malformed(last: dict[str, Any]) -> None:
    reader = stream()
    reader.feed(CREATED)
    with pytest.raises(Malformed):
        reader.feed(f"event: response.completed\ndata: {json.dumps(last)}\n\n".encode())


def test_a_stored_response_streamed_again_shows_its_state_and_items_only() -> None:
    reader = stream_reader(
        asked(shape=Shape.OBJECT, method="GET", path="responses/resp_1", body={}, model="",
              upstream_model="", query="stream=true&starting_after=1")
    )  # fmt: skip
    assert reader.feed(TEXT) == TEXT
    reader.feed(end())
    assert reader.complete
    assert reader.state == response()
    assert [found.id for found in reader.found] == ["msg_1"]
    assert reader.finish(None) == end()


def test_a_compaction_is_read_like_a_response() -> None:
    reply = {"id": "resp_2", "object": "response.compaction", "output": [MESSAGE], "usage": USAGE}
    reader = read_whole(call(shape=Shape.COMPACTION), reply)
    assert reader.usage == Usage(11, 7, 3)
    assert [found.id for found in reader.found] == ["resp_2", "msg_1"]
    with pytest.raises(Malformed):
        read_whole(call(shape=Shape.COMPACTION), {"id": "resp_2"})
