"""Messages read as chat completions, whole and streamed, by the laws every reader keeps."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.providers.anthropic.reply import FINISH, MessageStream, MessageWhole
from proxy.providers.base import Malformed, StreamReader, TooLarge, UpstreamFault, Usage
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, event, said
from tests.upstream.anthropic import (
    counted,
    error_body,
    events,
    frame,
    message,
    text,
    thinking,
    tool_use,
)

pytestmark = pytest.mark.once

CACHED = counted(10, 7, cache_read_input_tokens=100, cache_creation_input_tokens=20,
                 output_tokens_details={"thinking_tokens": 4})  # fmt: skip
USED = {
    "prompt_tokens": 130, "completion_tokens": 7, "total_tokens": 137,
    "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip
# A page an answer is taken from, and a place in a document it was given.
PAGE = {"type": "web_search_result_location", "cited_text": "Winds W", "title": "Weather",
        "url": "https://example.com/sf", "encrypted_index": "Eo8B"}  # fmt: skip
PLACE = {"type": "char_location", "cited_text": "green", "document_index": 0,
         "document_title": "Tea", "start_char_index": 3, "end_char_index": 8}  # fmt: skip


def whole(reply: Any, **more: Any) -> MessageWhole:
    reader = MessageWhole(asked(stream=False, **more))
    reader.whole(reply if isinstance(reply, bytes) else json.dumps(reply).encode())
    return reader


def read(reply: Any, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(whole(reply, **more).finish(None))
    return value


def fed(reader: StreamReader, frames: list[bytes], size: int | None = None) -> list[Any]:
    data = b"".join(frames)
    step = size or len(data)
    return said(b"".join(reader.feed(data[at : at + step]) for at in range(0, len(data), step)))


def put_together(chunks: list[Any]) -> dict[str, Any]:
    """A message as a client puts it together."""
    made: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                made[name] += delta.get(name) or ""
            for call in delta.get("tool_calls", []):
                if call["index"] == len(made["tool_calls"]):
                    made["tool_calls"].append({**call, "function": {**call["function"]}})
                else:
                    known = made["tool_calls"][call["index"]]["function"]
                    known["arguments"] += call["function"]["arguments"]
            for name in ("annotations", "citations"):
                made.setdefault(name, []).extend(delta.get(name, []))
            made["finish_reason"] = choice["finish_reason"] or made.get("finish_reason")
    return made


FULL = (
    thinking("They want tea."),
    thinking("And more."),
    {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
    text("Let me look. "),
    text("Привет!"),
    tool_use("find", "toolu_1", q="tea"),
    tool_use("now", "toolu_2"),
    {"type": "of_tomorrow", "x": 1},
)


def test_a_whole_message_is_a_chat_completion() -> None:
    reply = message(*FULL, stop="tool_use", usage=CACHED, id="msg_1", model="claude-x-20250101")
    reader = whole(reply)
    shown = json.loads(reader.finish(None))
    created = shown.pop("created")
    assert created > 1_700_000_000
    assert shown == {
        "id": "msg_1",
        "object": "chat.completion",
        "model": "claude-x-20250101",
        "service_tier": "default",
        "choices": [{"index": 0, "logprobs": None, "finish_reason": "tool_calls", "message": {
            "role": "assistant",
            "content": "Let me look. Привет!",
            "refusal": None,
            "reasoning_content": "They want tea.\n\nAnd more.",
            "tool_calls": [
                {"id": "toolu_1", "type": "function",
                 "function": {"name": "find", "arguments": '{"q":"tea"}'}},
                {"id": "toolu_2", "type": "function",
                 "function": {"name": "now", "arguments": "{}"}},
            ],
        }}],
        "usage": USED,
    }  # fmt: skip
    assert reader.complete
    assert reader.usage == Usage(130, 7, 100)
    assert reader.tier == "default"
    assert reader.found == []
    ChatCompletion.model_validate({**shown, "created": created}, strict=True)


@pytest.mark.parametrize("size", [1, 7, 100, None])
def test_a_stream_says_the_same_as_the_whole(size: int | None) -> None:
    reader = MessageStream(asked(wants_usage=True))
    chunks = fed(reader, events(*FULL, stop="tool_use", usage=CACHED), size)
    expected = read(message(*FULL, stop="tool_use"))["choices"][0]["message"]
    made = put_together(chunks)
    assert made["content"] == expected["content"]
    assert made["reasoning_content"] == expected["reasoning_content"]
    for got, wanted in zip(made["tool_calls"], expected["tool_calls"], strict=True):
        assert (got["id"], got["type"]) == (wanted["id"], "function")
        assert got["function"]["name"] == wanted["function"]["name"]
        assert json.loads(got["function"]["arguments"]) == json.loads(
            wanted["function"]["arguments"]
        )
    assert made["finish_reason"] == "tool_calls"
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == [
        "assistant", *[None] * (len(chunks) - 1),
    ]  # fmt: skip
    assert all(chunk["usage"] is None for chunk in chunks)
    assert reader.complete
    assert reader.done
    assert (reader.usage, reader.tier) == (Usage(130, 7, 100), "default")
    last = said(reader.finish(None))
    assert last[1] == "[DONE]"
    assert (last[0]["choices"], last[0]["usage"]) == ([], USED)
    for chunk in [*chunks, last[0]]:
        assert {name: chunk[name] for name in ("id", "created", "model")} == {
            name: chunks[0][name] for name in ("id", "created", "model")
        }
        ChatCompletionChunk.model_validate(chunk, strict=True)


def test_recorded_traffic_is_read() -> None:
    """After a recording of 2026, shortened: paddings, a ping in between, a signature."""
    recorded = (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-opus-4-6",'
        b'"id":"msg_016xaB3rMXQHTBuAJvtvxaQx","type":"message","role":"assistant","content":[],'
        b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":34,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":'
        b'{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":0,'
        b'"service_tier":"standard","inference_geo":"global"}}      }\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"thinking","thinking":"","signature":""}   }\n\n'
        b'event: ping\ndata: {"type": "ping"}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"thinking_delta","thinking":"Brief"}    }\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"thinking_delta","thinking":""}              }\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"signature_delta","signature":"EtABCkYICxgCKkCVRmhlD4SUFC1J"}          }\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0         }\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":1,'
        b'"content_block":{"type":"text","text":""}             }\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":'
        b'{"type":"text_delta","text":"1"}  }\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":'
        b'{"type":"text_delta","text":". Captain"}}\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":1         }\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        b'"stop_sequence":null,"stop_details":null},"usage":{"input_tokens":46,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":234}'
        b'             }\n\nevent: message_stop\ndata: {"type":"message_stop"               }\n\n'
    )
    reader = MessageStream(asked(model="my-claude", upstream_model="claude-opus-4-6"))
    chunks = fed(reader, [recorded], 1)
    made = put_together(chunks)
    assert (made["content"], made["reasoning_content"]) == ("1. Captain", "Brief")
    assert made["finish_reason"] == "stop"
    assert {chunk["model"] for chunk in chunks} == {"my-claude"}
    assert {chunk["id"] for chunk in chunks} == {"msg_016xaB3rMXQHTBuAJvtvxaQx"}
    assert reader.usage == Usage(46, 234), "the last statement is cumulative"
    assert said(reader.finish(None)) == ["[DONE]"], "nobody asked for usage"


@pytest.mark.parametrize(("reason", "finish"), [*FINISH.items(), ("of_tomorrow", "stop")])
def test_why_it_ended(reason: str, finish: str) -> None:
    assert read(message(text("a"), stop=reason))["choices"][0]["finish_reason"] == finish
    chunks = fed(MessageStream(asked()), events(text("a"), stop=reason))
    assert chunks[-1]["choices"][0]["finish_reason"] == finish


def test_an_answer_held_back_says_why_if_that_is_known() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "It may do harm."}
    reply = read(message(stop="refusal", stop_details=details))
    assert reply["choices"][0]["message"] == {
        "role": "assistant", "content": None, "refusal": "It may do harm.",
    }  # fmt: skip
    first, last = fed(MessageStream(asked()), events(stop="refusal", stop_details=details))
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0]["delta"] == {"refusal": "It may do harm."}
    assert last["choices"][0]["finish_reason"] == "content_filter"


def test_pages_and_places_are_cited() -> None:
    block = {"type": "text", "text": "Wind", "citations": [PAGE, PLACE, "odd"]}
    page = {"type": "url_citation", "url_citation": {
        "url": "https://example.com/sf", "title": "Weather", "start_index": 4, "end_index": 8,
    }}  # fmt: skip
    said_ = read(message(text("Now "), block))["choices"][0]["message"]
    assert (said_["annotations"], said_["citations"]) == ([page], [PLACE])
    frames = events(text("Now "), text("Wind"))
    cited = [frame("content_block_delta", index=1, delta={"type": "citations_delta",
                                                          "citation": item})
             for item in (PAGE, PLACE, None)]  # fmt: skip
    at = next(n for n, f in enumerate(frames) if b'"index":1' in f) + 1
    made = put_together(fed(MessageStream(asked()), frames[:at] + cited + frames[at:]))
    assert (made["annotations"], made["citations"]) == ([page], [PLACE])


def test_an_input_that_comes_with_its_block_is_not_lost() -> None:
    start = {**tool_use("find", "toolu_1"), "input": {"q": "tea"}}
    frames = [*events()[:1], frame("content_block_start", index=0, content_block=start),
              frame("content_block_stop", index=0)]  # fmt: skip
    made = put_together(fed(MessageStream(asked()), frames))
    assert made["tool_calls"][0]["function"]["arguments"] == '{"q":"tea"}'


def test_tools_of_the_provider_itself_are_no_calls() -> None:
    own = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": '{"query":'}
    frames = [*events()[:1], frame("content_block_start", index=0, content_block=own),
              frame("content_block_delta", index=0, delta=piece),
              frame("content_block_stop", index=0)]  # fmt: skip
    assert fed(MessageStream(asked()), frames) == []


def test_nothing_goes_on_before_there_is_something_to_say() -> None:
    """What fails right behind its head may still be asked of another key."""
    reader = MessageStream(asked())
    start, block, *_ = events(text("Hi"))
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert reader.feed(start + ping + block) == b""
    fault = frame("error", error={"type": "overloaded_error", "message": "Overloaded"})
    with pytest.raises(UpstreamFault):
        reader.feed(fault)


def test_what_came_before_a_fault_in_the_same_read_is_delivered_first() -> None:
    reader = MessageStream(asked())
    frames = events(text("all of it"))[:-3]
    fault = json.dumps(error_body("api_error", "boom")).encode()
    chunks = fed(reader, [*frames, b"event: error\ndata: " + fault + b"\n\n", *frames])
    assert put_together(chunks)["content"] == "all of it"
    assert reader.produced == of_text("all of it")
    assert reader.usage is None, "the prompt alone is no statement of what was used"
    with pytest.raises(UpstreamFault):
        reader.feed(frames[0])
    with pytest.raises(UpstreamFault):
        _ = reader.complete


def test_a_cut_stream_is_not_complete_and_nothing_ends_it() -> None:
    frames = events(text("Hello there"), usage=counted(500, 40))
    reader = MessageStream(asked())
    fed(reader, frames[:-2])
    assert not reader.complete
    assert (reader.usage, reader.produced) == (None, of_text("Hello there"))
    fed(reader, frames[-2:-1])
    assert (reader.complete, reader.done) == (True, False), "a clean end may follow its reason"
    assert reader.usage == Usage(500, 40)


@pytest.mark.parametrize(
    "frames",
    [
        [b"data: {broken\n\n"],
        [b"data: [1]\n\n"],
        [frame("message_start", message=None)],
        [frame("content_block_start", index=0, content_block=text(""))],
        [frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})],
        [frame("message_stop")],
        [events()[0], frame("message_stop")],
        [event("[DONE]")],
    ],
)
def test_a_stream_that_makes_no_sense_is_malformed(frames: list[bytes]) -> None:
    with pytest.raises(Malformed):
        MessageStream(asked()).feed(b"".join(frames))


def test_a_few_broken_lines_are_skipped_once_the_message_has_begun() -> None:
    reader = MessageStream(asked())
    frames, bad = events(text("Hi")), b"data: {broken\n\n"
    assert put_together(fed(reader, [frames[0], bad, bad, *frames[1:]]))["content"] == "Hi"
    reader = MessageStream(asked())
    reader.feed(frames[0] + bad + bad)
    with pytest.raises(Malformed):
        reader.feed(bad)


def test_odd_events_break_nothing() -> None:
    odd = [
        frame("of_tomorrow", x=1), b": comment\n\n", b"event: ping\n\n",
        frame("content_block_stop"),
        frame("content_block_delta", index="x", delta=None),
        frame("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
        frame("content_block_delta", index=0, delta={"type": "of_tomorrow"}),
        frame("content_block_start", index=9, content_block=None),
        frame("message_delta", delta=None, usage=None),
        frame("message_delta", delta={"stop_reason": None}, usage={"output_tokens": None}),
        b'data: {"x":1}\n\n',
    ]  # fmt: skip
    start, *rest = events(text("Hi"), usage={"input_tokens": -5, "output_tokens": "many"})
    reader = MessageStream(asked(wants_usage=True))
    chunks = fed(reader, [start, *odd, *rest, *odd])
    assert put_together(chunks)["content"] == "Hi"
    assert reader.usage is None
    last = said(reader.finish(None))[0]
    assert last["usage"]["completion_tokens"] == of_text("Hi") == reader.produced


@pytest.mark.parametrize("more", [{}, {"input_tokens": None, "cache_read_input_tokens": None}])
def test_what_the_last_event_does_not_say_again_stays(more: dict[str, Any]) -> None:
    start, *_ = events(usage=CACHED)
    end = frame("message_delta", delta={"stop_reason": "end_turn"},
                usage={"output_tokens": 9, **more})  # fmt: skip
    reader = MessageStream(asked())
    reader.feed(start + end)
    assert reader.usage == Usage(130, 9, 100)


def test_an_event_without_end_is_given_up() -> None:
    reader = MessageStream(asked())
    for _ in range(32):
        reader.feed(b"x" * 1_000_000)
    with pytest.raises(TooLarge):
        reader.feed(b"x")


@pytest.mark.parametrize(
    "reply",
    [b"", b"[]", b"{}", b'{"content":[]}', b'{"content":{},"stop_reason":"end_turn"}',
     b'{"choices":[]}'],
)  # fmt: skip
def test_a_whole_answer_that_makes_no_sense_is_malformed(reply: bytes) -> None:
    with pytest.raises(Malformed):
        whole(reply)
    with pytest.raises(Malformed):
        MessageStream(asked()).whole(reply)


def test_an_error_inside_a_200_is_the_providers_fault() -> None:
    fault = error_body("overloaded_error", "Overloaded")
    with pytest.raises(UpstreamFault):
        whole(fault)
    with pytest.raises(UpstreamFault):
        MessageStream(asked()).feed(event(fault))


def test_usage_that_cannot_be_is_none_and_a_missing_one_too() -> None:
    for usage in (None, {}, {"input_tokens": 1.5, "output_tokens": 1}, "odd"):
        reader = whole(message(text("Hi"), usage=usage))
        assert reader.usage is None
        assert "usage" not in json.loads(reader.finish(None))


def test_what_is_added_at_the_end_is_there() -> None:
    extra = {"yout": {"credits_charged": 10, "balance": 5}}
    assert json.loads(whole(message(text("Hi"))).finish(extra))["yout"] == extra["yout"]
    reader = MessageStream(asked(wants_usage=True))
    fed(reader, events(text("Hi")))
    last = said(reader.finish(extra))
    assert (last[0]["yout"], last[0]["usage"]["prompt_tokens"]) == (extra["yout"], 9)
    assert last[1] == "[DONE]"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_whole_answer_becomes_the_events_a_client_waits_for(wanted: bool) -> None:
    reader = MessageStream(asked(wants_usage=wanted, model="my-claude"))
    reply = json.dumps(message(*FULL, stop="tool_use", usage=CACHED)).encode()
    (chunk,) = said(reader.whole(reply))
    ChatCompletionChunk.model_validate(chunk, strict=True)
    delta = chunk["choices"][0]["delta"]
    assert (chunk["model"], delta["role"]) == ("my-claude", "assistant")
    assert [call["index"] for call in delta["tool_calls"]] == [0, 1]
    assert reader.complete
    assert reader.done
    assert reader.usage == Usage(130, 7, 100)
    last = said(reader.finish(None))
    assert [item["usage"] for item in last[:-1]] == ([USED] if wanted else [])
