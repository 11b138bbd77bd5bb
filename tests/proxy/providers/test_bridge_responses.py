"""A chat's answer as a response: what the official client's own types say of every event."""

import json
from typing import Any

import pytest
from openai._models import validate_type
from openai.types.responses import Response, ResponseStreamEvent

from bsod.lib.terms import ObjectKind, Service, Shape
from proxy.providers.base import Asked, Malformed, StreamReader, UpstreamFault, Usage
from proxy.providers.registry import ADAPTERS
from tests.proxy.providers.talk import asked, chunk, event, final, heard, usage

pytestmark = pytest.mark.once

CHATS = frozenset({Service.CHAT})
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
HEAD = ["response.created", "response.in_progress"]
ITEM = "response.output_item."
SAID = ["response.content_part.added", "response.output_text.delta", "response.output_text.done",
        "response.content_part.done"]  # fmt: skip


def wanted(*, stream: bool = True, request_id: str = "01HX", **body: Any) -> Asked:
    return asked(
        shape=Shape.RESPONSE, path="responses", body={"input": "Hi", **body}, stream=stream,
        speaks=CHATS, creates=ObjectKind.RESPONSE, request_id=request_id, upstream_model="up",
    )  # fmt: skip


def reader(**more: Any) -> StreamReader:
    return ADAPTERS["compatible"].stream_reader(wanted(**more))


def fed(stream: StreamReader, *chunks: Any, size: int | None = None) -> bytes:
    data = b"".join(item if isinstance(item, bytes) else event(item) for item in chunks)
    step = size or len(data)
    return b"".join(stream.feed(data[at : at + step]) for at in range(0, len(data), step))


def told(out: bytes) -> list[dict[str, Any]]:
    """The events, each valid, in the order of their numbers."""
    events = heard(out)
    for name, value in events:
        validate_type(type_=ResponseStreamEvent, value=value)  # type: ignore[arg-type]  # a union
        assert value["type"] == name
    assert [value["sequence_number"] for _, value in events] == list(range(len(events)))
    return [value for _, value in events]


def played(*chunks: Any, extra: Any = None, size: int | None = None, **more: Any) -> Any:
    """The events of a whole stream, and the response they end with."""
    stream = reader(**more)
    out = fed(stream, *chunks, size=size)
    assert stream.complete
    events = told(out + stream.finish(extra))
    return events, events[-1]["response"]


def whole(message: Any, finish: str = "stop", *, body: Any = None, **reply: Any) -> dict[str, Any]:
    taken = ADAPTERS["compatible"].whole_reader(wanted(stream=False, **(body or {})))
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    given = {"id": "c1", "object": "chat.completion", "created": 7, "model": "up",
             "choices": [choice], "usage": usage(), **reply}  # fmt: skip
    taken.whole(json.dumps(given).encode())
    assert taken.complete
    assert taken.found == []
    value: dict[str, Any] = json.loads(taken.finish(None))
    validate_type(type_=Response, value=value)
    return value


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [value["type"] for value in events]


def called(index: int, arguments: str | None = None, **more: Any) -> dict[str, Any]:
    function = {} if arguments is None else {"arguments": arguments}
    return {"index": index, **more, "function": {**more.pop("function", {}), **function}}


def begun(index: int, name: str = "f", arguments: str = "") -> dict[str, Any]:
    return {"index": index, "id": f"call_{index}", "type": "function",
            "function": {"name": name, "arguments": arguments}}  # fmt: skip


STREAM = (chunk(delta={"role": "assistant", "content": ""}), chunk("Hel"), chunk("lo"),
          chunk(finish="stop"), final(), "[DONE]")  # fmt: skip


def test_a_text_is_told_in_the_full_sequence_of_events() -> None:
    events, response = played(*STREAM, instructions="Be kind", metadata={"a": "b"}, temperature=1)
    assert kinds(events) == [
        *HEAD, f"{ITEM}added", SAID[0], SAID[1], SAID[1], SAID[2], SAID[3], f"{ITEM}done",
        "response.completed",
    ]  # fmt: skip
    assert "".join(value.get("delta", "") for value in events) == "Hello"
    assert events[6]["text"] == "Hello"
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert (response["status"], response["store"], response["background"]) == (
        "completed", False, False,
    )  # fmt: skip
    assert (response["model"], response["created_at"], response["id"]) == ("m", 7, "resp_01hx")
    assert (response["instructions"], response["metadata"]) == ("Be kind", {"a": "b"})
    assert response["previous_response_id"] is None
    assert response["usage"] == {
        "input_tokens": 5, "output_tokens": 2, "total_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 64])
def test_it_is_the_same_however_the_bytes_come(size: int) -> None:
    assert played(*STREAM, size=size) == played(*STREAM)


def test_the_last_event_waits_for_the_close_and_carries_the_charge() -> None:
    stream = reader()
    out = fed(stream, *STREAM)
    assert b"response.completed" not in out
    assert stream.done
    assert stream.complete
    assert stream.usage == Usage(5, 2)
    last = heard(stream.finish({"yout": {"credits_charged": 3}}))[-1][1]
    assert last["response"]["yout"] == {"credits_charged": 3}
    assert last["response"]["status"] == "completed"


def test_nothing_of_it_can_be_fetched_again() -> None:
    stream = reader(store=True)
    fed(stream, *STREAM)
    stream.finish(None)
    assert stream.found == []
    assert stream.state is not None
    assert stream.state["store"] is False


def test_usage_keeps_its_details_and_what_a_provider_counts_besides() -> None:
    stated = usage(num_search_queries=2, prompt_tokens_details={"cached_tokens": 3},
                   completion_tokens_details={"reasoning_tokens": 1})  # fmt: skip
    stream = reader()
    fed(stream, chunk("Hi", finish="stop"), final(usage=stated), "[DONE]")
    assert stream.usage == Usage(5, 2, 3)
    counted = heard(stream.finish(None))[-1][1]["response"]["usage"]
    assert counted["input_tokens_details"]["cached_tokens"] == 3
    assert counted["output_tokens_details"] == {"reasoning_tokens": 1}
    assert counted["num_search_queries"] == 2


def test_usage_nobody_stated_is_shown_as_it_is_charged() -> None:
    stream = reader()
    fed(stream, chunk("Hello you"), chunk(finish="stop"), "[DONE]")
    assert stream.complete
    assert stream.usage is None, "an estimate is no statement"
    counted = heard(stream.finish(None))[-1][1]["response"]["usage"]
    assert counted["output_tokens"] == stream.produced == 3


def test_calls_side_by_side_are_items_of_their_own() -> None:
    events, response = played(
        chunk("Wait"), chunk(delta={"tool_calls": [begun(0)]}),
        chunk(delta={"tool_calls": [called(0, '{"a":'), begun(1, "g", "{")]}),
        chunk(delta={"tool_calls": [called(1, "}"), called(0, "1}")]}),
        chunk(finish="tool_calls"), final(), "[DONE]", tools=[FUNCTION],
    )  # fmt: skip
    deltas = [v for v in events if v["type"] == "response.function_call_arguments.delta"]
    assert [(v["output_index"], v["delta"]) for v in deltas] == [
        (1, '{"a":'), (2, "{"), (2, "}"), (1, "1}"),
    ]  # fmt: skip
    done = [v for v in events if v["type"] == "response.function_call_arguments.done"]
    assert [v["arguments"] for v in done] == ['{"a":1}', "{}"]
    message, *calls = response["output"]
    assert message["content"][0]["text"] == "Wait"
    assert [(c["call_id"], c["name"], c["arguments"], c["status"]) for c in calls] == [
        ("call_0", "f", '{"a":1}', "completed"), ("call_1", "g", "{}", "completed"),
    ]  # fmt: skip
    assert response["tools"] == [FUNCTION]
    assert len({item["id"] for item in response["output"]}) == 3


def test_a_call_of_the_callers_own_making_and_a_signature() -> None:
    custom = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "g", "input": "a b"}}
    signed = {**begun(1), "extra_content": {"google": {"thought_signature": "s"}}}
    events, response = played(
        chunk(delta={"tool_calls": [custom, signed]}), chunk(finish="tool_calls"), "[DONE]"
    )
    assert "response.custom_tool_call_input.done" in kinds(events)
    first, second = response["output"]
    assert (first["type"], first["input"], first["call_id"]) == ("custom_tool_call", "a b", "c")
    assert second["extra_content"] == {"google": {"thought_signature": "s"}}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_come_before_what_is_said(field: str) -> None:
    events, response = played(
        chunk(delta={field: "Let "}), chunk(delta={field: "me"}), chunk("So"),
        chunk(finish="stop"), "[DONE]",
    )  # fmt: skip
    assert kinds(events)[2:8] == [
        f"{ITEM}added", "response.content_part.added", "response.reasoning_text.delta",
        "response.reasoning_text.delta", "response.reasoning_text.done",
        "response.content_part.done",
    ]  # fmt: skip
    thought, message = response["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Let me"}]
    assert thought["summary"] == []
    assert thought["id"] == f"rs_{field}_01hx_0"
    assert message["content"][0]["text"] == "So"


def test_a_summary_is_told_to_who_asked_for_one() -> None:
    events, response = played(
        chunk(delta={"reasoning_content": "Hm"}), chunk("So", finish="stop"), "[DONE]",
        reasoning={"summary": "auto"},
    )  # fmt: skip
    assert "response.reasoning_summary_text.delta" in kinds(events)
    assert "response.reasoning_text.delta" not in kinds(events)
    assert response["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert response["output"][0]["content"], "it can be sent back as more than a name"


def test_thoughts_and_words_in_parts_are_told_apart() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
             {"type": "text", "text": "So"}]  # fmt: skip
    _, response = played(chunk(delta={"content": parts}), chunk(finish="stop"), "[DONE]")
    thought, message = response["output"]
    assert (thought["content"][0]["text"], message["content"][0]["text"]) == ("Hm", "So")


def test_a_refusal_is_a_part_of_its_own() -> None:
    events, response = played(
        chunk("I "), chunk(delta={"refusal": "can"}), chunk(delta={"refusal": "not"}),
        chunk(finish="stop"), "[DONE]",
    )  # fmt: skip
    assert [part["type"] for part in response["output"][0]["content"]] == ["output_text", "refusal"]
    assert response["output"][0]["content"][1]["refusal"] == "cannot"
    assert kinds(events).count("response.refusal.delta") == 2


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_cut_short_says_why(finish: str, reason: str) -> None:
    events, response = played(chunk("Hel"), chunk(finish=finish), final(), "[DONE]")
    assert events[-1]["type"] == "response.incomplete"
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete", {"reason": reason},
    )  # fmt: skip
    assert response["output"][0]["status"] == "incomplete"


def test_probabilities_and_citations_stand_at_their_text() -> None:
    other = {"token": "e", "logprob": -1, "bytes": [101]}
    row = {"token": "é", "logprob": -0.5, "bytes": None, "top_logprobs": [other]}
    said = chunk("é")
    said["choices"][0]["logprobs"] = {"content": [row]}
    place = {"url": "https://a", "title": "A", "start_index": 0, "end_index": 1}
    cited = {"type": "url_citation", "url_citation": place}
    events, response = played(
        said, chunk(delta={"annotations": [cited]}), chunk(finish="stop"), "[DONE]"
    )
    part = response["output"][0]["content"][0]
    assert part["logprobs"][0]["bytes"] == [195, 169]
    assert part["logprobs"][0]["top_logprobs"][0]["token"] == "e"
    assert part["annotations"] == [{"type": "url_citation", **place}]
    assert "response.output_text.annotation.added" in kinds(events)


def test_what_a_provider_adds_of_its_own_stays() -> None:
    sources = {"citations": ["https://a"], "search_results": [{"title": "A"}]}
    _, response = played(chunk("Hi", **sources), chunk(finish="stop", **sources), "[DONE]")
    assert {name: response[name] for name in sources} == sources
    assert whole({"content": "Hi"}, **sources)["citations"] == ["https://a"]


@pytest.mark.parametrize(("theirs", "shown"), [("priority", "priority"), ("on_demand", "default")])
def test_the_tier_is_the_answers_in_words_the_shape_has(theirs: str, shown: str) -> None:
    stream = reader(service_tier="priority")
    fed(stream, chunk("Hi", service_tier=theirs), chunk(finish="stop"), "[DONE]")
    assert stream.tier == theirs, "what is charged is what the provider said"
    assert heard(stream.finish(None))[-1][1]["response"]["service_tier"] == shown


def test_a_cut_stream_stays_cut() -> None:
    stream = reader()
    out = fed(stream, chunk("Hel"))
    assert not stream.complete
    assert not stream.done
    assert "response.completed" not in kinds(told(out))
    assert stream.produced == 1


def test_an_end_without_its_mark_is_seen_when_the_body_ends() -> None:
    stream = reader()
    out = fed(stream, chunk("Hi"), chunk(finish="stop"))
    assert not stream.done, "usage may follow"
    assert stream.complete
    assert told(out + stream.finish(None))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("first", [b"data: nonsense\n\n", event("[DONE]")])
def test_what_is_senseless_before_the_first_byte_is_malformed(first: bytes) -> None:
    with pytest.raises(Malformed):
        reader().feed(first)


def test_a_fault_behind_something_to_deliver_comes_after_it() -> None:
    stream = reader()
    out = stream.feed(event(chunk("Hel")) + event({"error": {"message": "no"}}))
    assert "response.output_text.delta" in kinds(told(out))
    with pytest.raises(UpstreamFault):
        stream.feed(b"")


def test_a_call_that_makes_no_sense_is_malformed_and_delivers_what_came_before() -> None:
    stream = reader()
    out = stream.feed(event(chunk("Hel")) + event(chunk(delta={"tool_calls": [5]})))
    assert told(out)
    with pytest.raises(Malformed):
        _ = stream.complete


def test_a_whole_answer_to_a_stream_is_told_as_events() -> None:
    stream = reader()
    reply = {
        "id": "c1",
        "created": 7,
        "model": "up",
        "usage": usage(),
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        ],
    }
    out = stream.whole(json.dumps(reply).encode())
    assert stream.complete
    assert stream.usage == Usage(5, 2)
    events = told(out + stream.finish(None))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"
    assert not stream.passes_json


def test_a_whole_answer_is_a_whole_response() -> None:
    calls = [{"id": "call_9", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    value = whole(
        {"content": "Wait", "reasoning_content": "Hm", "tool_calls": calls}, "tool_calls",
        body={"tools": [FUNCTION], "text": {"format": {"type": "json_object"}}},
    )  # fmt: skip
    assert [item["type"] for item in value["output"]] == ["reasoning", "message", "function_call"]
    assert {item["status"] for item in value["output"]} == {"completed"}
    assert value["output"][2]["call_id"] == "call_9"
    assert value["text"] == {"format": {"type": "json_object"}}
    assert value["usage"]["total_tokens"] == 7
    assert (value["store"], value["model"]) == (False, "m")


def test_the_ids_of_two_answers_differ_without_ours_too() -> None:
    first, _ = played(chunk("a", id="x"), chunk(finish="stop"), "[DONE]", request_id="")
    second, _ = played(chunk("a", id="y"), chunk(finish="stop"), "[DONE]", request_id="")
    assert first[0]["response"]["id"] != second[0]["response"]["id"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}'])
def test_a_senseless_whole_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        ADAPTERS["compatible"].whole_reader(wanted(stream=False)).whole(body)
