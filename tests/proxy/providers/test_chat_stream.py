"""A stream of chunks: passed on as it comes, without what nobody asked for, to its proper end."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.base import Malformed, TooLarge, UpstreamFault, Usage
from proxy.providers.chat import ChatStream
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, chunk, event, final, played, said, usage

pytestmark = pytest.mark.once


def contents(events: list[Any]) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for chunk_ in events
        if chunk_ != "[DONE]"
        for choice in chunk_["choices"]
    )


@pytest.mark.parametrize("size", [1, 2, 7, None])
def test_usage_nobody_asked_for_is_taken_out_wherever_it_is(size: int | None) -> None:
    reader = ChatStream(asked())
    out = played(
        reader, chunk("Hel", usage=None), chunk("lo", usage=None),
        chunk(finish="stop", usage=None), final(), "[DONE]", size=size,
    )  # fmt: skip
    assert contents(out) == "Hello"
    assert not any("usage" in chunk_ for chunk_ in out)
    assert len(out) == 3
    assert reader.usage == Usage(5, 2)
    assert reader.complete
    assert said(reader.finish(None)) == ["[DONE]"]


def test_usage_that_was_asked_for_waits_for_the_end() -> None:
    reader = ChatStream(asked(wants_usage=True))
    out = played(reader, chunk("Hi", usage=None), chunk(finish="stop", usage=None), final())
    assert all(chunk_["usage"] is None for chunk_ in out)
    last = said(reader.finish(None))
    assert last[-1] == "[DONE]"
    assert last[0]["usage"] == usage()
    assert last[0]["choices"] == []


def test_bytes_that_need_no_change_go_on_as_they_came() -> None:
    """Spaces, order, escapes and numbers as the provider wrote them."""
    odd = b'data: {"x":1.50, "s":"\\u0041","choices":[{"delta":{"content":"a"}}]}\n\n'
    assert ChatStream(asked()).feed(odd) == odd


@pytest.mark.parametrize(
    "odd",
    [
        chunk("a", usage=None, note='say \\"usage\\":null'),
        chunk('{"usage":null}', usage=None),
        chunk(',"usage":null', usage=None),
        chunk("usage", usage=None),
        chunk("a", usage=None, nested={"a": 1, "usage": None}),
        chunk("a", usage=None, nested={"a": 1, "usage": {"deep": None}}),
        chunk(delta={"content": "a", "usage": None}, usage=None),
        {"usage": None, **chunk("a")},
        chunk("a", usage={}),
        chunk("a", usage=usage()),
        chunk("a", usage="odd"),
    ],
)
def test_only_the_chunks_own_usage_is_taken_out(odd: dict[str, Any]) -> None:
    (out,) = played(ChatStream(asked()), odd)
    assert out == {name: value for name, value in odd.items() if name != "usage"}


def test_what_only_looks_like_usage_is_left_alone() -> None:
    (out,) = played(ChatStream(asked()), chunk(',"usage":null', nested={"a": 1, "usage": None}))
    assert out == chunk(',"usage":null', nested={"a": 1, "usage": None})


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_on_every_chunk_counts_the_last_one(wanted: bool) -> None:
    reader = ChatStream(asked(wants_usage=wanted))
    out = played(
        reader, chunk("a", usage=usage(5, 1)), chunk("b", usage=usage(5, 2)),
        chunk(finish="stop", usage=usage(5, 3)), "[DONE]",
    )  # fmt: skip
    assert [("usage" in chunk_) for chunk_ in out] == [wanted] * 3
    assert reader.usage is not None
    assert reader.usage.completion == 3
    assert said(reader.finish(None)) == ["[DONE]"], "it has been sent; no chunk is added"


def test_usage_that_was_asked_for_and_never_came_is_estimated() -> None:
    reader = ChatStream(asked(wants_usage=True))
    played(reader, chunk("Hello there"), chunk(finish="stop"))
    last = said(reader.finish(None))[0]
    assert last["usage"]["completion_tokens"] == of_text("Hello there") == reader.produced
    assert last["usage"]["prompt_tokens"] > 0
    assert (last["id"], last["created"], last["choices"]) == ("c1", 7, [])


def test_what_is_added_at_the_end_comes_in_the_usage_chunk_before_the_end_mark() -> None:
    for wanted in (True, False):
        reader = ChatStream(asked(wants_usage=wanted))
        played(reader, chunk("Hi"), chunk(finish="stop"), final(), "[DONE]")
        last = said(reader.finish({"yout": {"credits_charged": 10, "balance": 5}}))
        assert len(last) == 2
        assert last[1] == "[DONE]"
        assert last[0]["yout"] == {"credits_charged": 10, "balance": 5}
        assert last[0]["usage"]["completion_tokens"] == 2


def test_the_answer_has_the_name_that_was_asked_for() -> None:
    reader = ChatStream(asked(upstream_model="m", model="M-1", wants_usage=True))
    out = played(reader, chunk("a", usage=None), chunk(finish="stop"), final())
    assert {chunk_["model"] for chunk_ in out} == {"M-1"}
    assert said(reader.finish(None))[0]["model"] == "M-1"


@pytest.mark.parametrize("size", [1, 3, None])
def test_the_stream_is_whole_with_its_end_mark_alone(size: int | None) -> None:
    reader = ChatStream(asked())
    played(reader, chunk("a"), size=size)
    assert not reader.complete
    played(reader, "[DONE]", size=size)
    assert reader.complete


def test_the_stream_is_whole_when_every_choice_has_finished() -> None:
    reader = ChatStream(asked(choices=3))
    for index in (0, 2):
        played(reader, chunk("a", index=index), chunk(finish="stop", index=index))
        played(reader, chunk(finish="stop", index=index))
        assert not reader.complete
    played(reader, chunk(finish="length", index=1))
    assert reader.complete
    assert said(reader.finish(None)) == ["[DONE]"], "the end mark is ours to write then"


def test_nothing_behind_the_end_mark_is_passed_on() -> None:
    reader = ChatStream(asked())
    out = played(reader, chunk("a"), "[DONE]", chunk("b"), "garbage", "[DONE]", final())
    assert contents(out) == "a"
    assert reader.usage is None


def test_a_few_malformed_lines_are_skipped_and_then_the_stream_is_given_up() -> None:
    reader = ChatStream(asked())
    out = played(reader, chunk("a"), '{"broken":', chunk("b"), "[1]", chunk("c"))
    assert contents(out) == "abc"
    with pytest.raises(Malformed):
        played(reader, "null")


@pytest.mark.parametrize("first", ['{"broken":', "5", '"text"', "[]", ""])
def test_a_stream_that_begins_malformed_is_given_up_at_once(first: str) -> None:
    with pytest.raises(Malformed):
        ChatStream(asked()).feed(event(first))


def test_a_first_chunk_without_id_or_model_is_a_first_chunk_all_the_same() -> None:
    bare = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    assert contents(played(ChatStream(asked()), bare, "{broken", bare)) == "aa"


def test_an_end_mark_with_nothing_before_it_is_no_answer() -> None:
    with pytest.raises(Malformed):
        ChatStream(asked()).feed(b": hello\n\n" + event("[DONE]"))


@pytest.mark.parametrize("error", [{"message": "boom"}, "boom", ["boom"]])
def test_an_error_inside_the_stream_is_the_providers_fault(error: Any) -> None:
    with pytest.raises(UpstreamFault):
        ChatStream(asked()).feed(event({"error": error}))


@pytest.mark.parametrize("fault", [{"error": {"message": "boom"}}, {"choices": ["odd"]}])
def test_what_came_before_a_fault_in_the_same_read_is_delivered_first(fault: Any) -> None:
    reader = ChatStream(asked())
    out = played(reader, chunk("all of "), chunk("it"), fault, chunk("never"))
    assert contents(out) == "all of it"
    assert reader.produced == of_text("all of it"), "charged is what was delivered"
    with pytest.raises((UpstreamFault, Malformed)):
        reader.feed(event(chunk("more")))
    with pytest.raises((UpstreamFault, Malformed)):
        _ = reader.complete


def test_data_in_several_lines_reaches_the_client_as_one() -> None:
    whole = json.dumps(chunk("a\nb"), indent=1).encode()
    split = b"".join(b"data: " + line + b"\n" for line in whole.split(b"\n")) + b"\n"
    assert played(ChatStream(asked()), split) == [chunk("a\nb")]


def test_comments_and_named_events_are_no_chunks() -> None:
    reader = ChatStream(asked())
    out = played(
        reader, b": OPENROUTER PROCESSING\n\n", b"event: ping\n\n", b"id: 4\nretry: 10\n\n",
        b"event: message\n" + event(chunk("a")),
    )  # fmt: skip
    assert out == [chunk("a")]


def test_a_line_without_end_is_given_up() -> None:
    reader = ChatStream(asked())
    for _ in range(32):
        assert reader.feed(b"x" * 1_000_000) == b""
    with pytest.raises(TooLarge):
        reader.feed(b"x")


def test_a_chunk_of_sixteen_megabytes_passes() -> None:
    big = event(chunk("x" * (16 << 20)))
    reader = ChatStream(asked())
    out = b"".join(reader.feed(big[at : at + 65_536]) for at in range(0, len(big), 65_536))
    assert out == big


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"content": "привет"}, "привет"),
        ({"content": None, "reasoning_content": "because"}, "because"),
        ({"reasoning": "because"}, "because"),
        ({"content": "a", "refusal": "no"}, "ano"),
        ({"role": "assistant", "content": ""}, ""),
        ({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                          "function": {"name": "find", "arguments": ""}}]}, "find"),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"q": "tea"}'}}]}, '{"q": "tea"}'),
        ({"tool_calls": [{"custom": {"name": "sh", "input": "ls"}}]}, "shls"),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "f{}"),
        ({"audio": {"data": "A" * 9000, "transcript": "hello"}}, "hello"),
        ({"tool_calls": "odd", "audio": 5, "function_call": ["x"]}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_delivered_output_is_counted_by_what_it_says(delta: dict[str, Any], text: str) -> None:
    reader = ChatStream(asked())
    played(reader, chunk(delta=delta))
    assert reader.produced == of_text(text)


@given(st.text(min_size=1, max_size=60), st.integers(1, 9))
def test_the_estimate_does_not_depend_on_how_the_text_was_cut(text: str, size: int) -> None:
    """Token by token or at once: a client that leaves pays the same for the same words."""
    reader = ChatStream(asked())
    for at in range(0, len(text), size):
        played(reader, chunk(text[at : at + size]))
    assert reader.produced == of_text(text)


@pytest.mark.parametrize("index", [None, "x", [], {}, 1.5, True])
def test_an_odd_index_breaks_nothing(index: Any) -> None:
    reader = ChatStream(asked())
    played(reader, chunk("a", index=index), chunk(finish="stop", index=index))
    assert reader.complete


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None}, {"choices": {}}, {"choices": "x"}, {"choices": []}, {}, {"x": 1},
        {"choices": [{}]}, {"choices": [{"delta": None}]}, {"choices": [{"delta": "x"}]},
        {"choices": [{"delta": {"content": 5}}]}, {"choices": [{"delta": {"content": [1]}}]},
        {"service_tier": 5, "usage": []},
    ],
)  # fmt: skip
def test_odd_chunks_go_on_as_they_are(odd: dict[str, Any]) -> None:
    reader = ChatStream(asked())
    (out,) = played(reader, odd)
    assert out == {name: value for name, value in odd.items() if name != "usage"}
    assert reader.produced == 0


def test_the_last_word_is_the_end_mark_and_nothing_before_it() -> None:
    reader = ChatStream(asked())
    played(reader, chunk("a"), chunk(finish="stop"), final())
    assert not reader.done
    reader.feed(event("[DONE]"))
    assert reader.done


@pytest.mark.parametrize("wanted", [True, False])
def test_a_whole_answer_becomes_the_events_the_client_waits_for(wanted: bool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hello", "tool_calls": [call, call]}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    reply = {"id": "c", "object": "chat.completion", "created": 7, "model": "m",
             "citations": ["x"], "choices": [choice], "usage": usage()}  # fmt: skip
    reader = ChatStream(asked(wants_usage=wanted, model="M-1"))

    (out,) = said(reader.whole(json.dumps(reply).encode()))

    assert (out["object"], out["model"], out["citations"]) == (
        "chat.completion.chunk",
        "M-1",
        ["x"],
    )
    (shown,) = out["choices"]
    assert (shown["delta"]["content"], shown["finish_reason"]) == ("Hello", "stop")
    assert [part["index"] for part in shown["delta"]["tool_calls"]] == [0, 1]
    assert "message" not in shown
    assert reader.done
    assert reader.complete
    assert reader.usage == Usage(5, 2)
    last = said(reader.finish(None))
    assert last[-1] == "[DONE]"
    assert [item["usage"] for item in last[:-1]] == ([usage()] if wanted else [])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[5]}']
)
def test_a_whole_answer_that_makes_no_sense_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        ChatStream(asked()).whole(body)


def nest(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def test_a_chunk_nested_deeper_than_can_be_written_is_malformed_only_when_it_must_be() -> None:
    deep = f'{{"choices":[],"model":"m","deep":{nest(500)}}}'
    assert ChatStream(asked()).feed(event(deep)) == event(deep)
    with pytest.raises(Malformed):
        ChatStream(asked(model="M-1")).feed(event(deep))
    with pytest.raises(Malformed):
        ChatStream(asked(wants_usage=True)).feed(event(deep[:-1] + ',"usage":{"x":1}}'))


def test_what_the_last_chunk_repeats_of_the_first_is_plain() -> None:
    reader = ChatStream(asked(wants_usage=True))
    odd = f'{{"id":{nest(500)},"created":[],"model":"m","choices":[]}}'
    reader.feed(event(odd) + event(chunk(finish="stop")))
    assert said(reader.finish(None))[0].keys() == {"object", "model", "choices", "usage"}


def test_the_tier_the_answer_names_is_known() -> None:
    reader = ChatStream(asked())
    played(reader, chunk("a", service_tier="priority"), chunk("b", service_tier="default"))
    assert reader.tier == "default"
