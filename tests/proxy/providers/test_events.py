"""What all streams of named events have in common: cut anywhere, passed on unchanged, their end
kept back."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import ObjectKind, Shape
from proxy.providers.base import Malformed, StreamReader, TooLarge, UpstreamFault
from proxy.providers.readers import stream_reader
from tests.proxy.providers.talk import asked, heard, named, typed

pytestmark = pytest.mark.once

RESPONSE = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "m",
            "output": []}  # fmt: skip
RUN = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "model": "m"}
# What each kind says before its end, and its end.
PLAYS: dict[Shape, tuple[list[bytes], bytes]] = {
    Shape.RESPONSE: (
        [
            typed("response.created", sequence_number=0, response=RESPONSE),
            typed("response.output_text.delta", sequence_number=1, delta="Привет"),
            b'event: response.of.tomorrow\nid: 7\ndata: { "type":"response.of.tomorrow", "x":1.50}'
            b"\n\n",
        ],
        typed("response.completed", sequence_number=3, response=RESPONSE),
    ),
    Shape.RUN: (
        [
            named("thread.run.created", RUN),
            named("thread.message.created", {"id": "msg_1", "object": "thread.message"}),
            named("thread.message.delta",
                  {"delta": {"content": [{"type": "text", "text": {"value": "Hi"}}]}}),
        ],
        named("thread.run.completed", RUN),
    ),
    Shape.IMAGE: (
        [typed("image_generation.partial_image", b64_json="AAAA", partial_image_index=0)],
        typed("image_generation.completed", b64_json="BBBB"),
    ),
    Shape.TRANSCRIPTION: (
        [typed("transcript.text.delta", delta="He"), typed("transcript.text.delta", delta="llo")],
        typed("transcript.text.done", text="Hello"),
    ),
    Shape.SPEECH: (
        [typed("speech.audio.delta", audio="AAAA")],
        typed("speech.audio.done", usage={"input_tokens": 3, "output_tokens": 4}),
    ),
}  # fmt: skip
ODD_DELTAS: list[Any] = [
    None, 5, [], {}, {"content": 5}, {"content": [5, {"text": 5}]}, {"step_details": []},
    {"step_details": {"tool_calls": [5, {"function": 5}]}},
]  # fmt: skip
shapes = pytest.mark.parametrize("shape", PLAYS)
CREATES = {Shape.RESPONSE: ObjectKind.RESPONSE, Shape.RUN: ObjectKind.RUN}


def reader_of(shape: Shape, **more: Any) -> StreamReader:
    values = {"path": "x", "body": {}, "creates": CREATES.get(shape)}
    return stream_reader(asked(shape=shape, **values | more))


def last(reader: StreamReader, shape: Shape) -> bytes:
    end = reader.finish(None)
    return end.removesuffix(b"event: done\ndata: [DONE]\n\n") if shape is Shape.RUN else end


@shapes
def test_events_go_on_as_they_came_and_the_end_waits(shape: Shape) -> None:
    before, end = PLAYS[shape]
    reader = reader_of(shape)
    for event in before:
        assert reader.feed(event) == event
        assert not reader.complete
    assert reader.feed(end) == b""
    assert reader.complete
    assert last(reader, shape) == end


@given(
    st.sampled_from(list(PLAYS)),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 5_000), max_size=30),
)
def test_however_the_bytes_are_cut_the_client_gets_the_same(
    shape: Shape, ending: bytes, places: list[int]
) -> None:
    before, end = PLAYS[shape]
    data = b"".join([*before, end]).replace(b"\n", ending)
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    reader, straight = reader_of(shape), reader_of(shape)
    out = b"".join(reader.feed(data[a:b]) for a, b in pairwise(edges))
    straight.feed(data)
    assert out == b"".join(before)
    assert last(reader, shape) == end
    assert (reader.found, reader.usage, reader.produced, reader.state) == (
        straight.found, straight.usage, straight.produced, straight.state,
    )  # fmt: skip


@shapes
def test_a_stream_that_breaks_off_is_not_whole(shape: Shape) -> None:
    reader = reader_of(shape)
    assert not reader.complete
    reader.feed(b"".join(PLAYS[shape][0]) + PLAYS[shape][1][:-1])
    assert not reader.complete
    assert reader.finish(None) == b"" or shape is Shape.RUN


@shapes
def test_what_is_added_is_in_the_last_event(shape: Shape) -> None:
    reader = reader_of(shape)
    reader.feed(b"".join(PLAYS[shape][0]) + PLAYS[shape][1])
    name, value = heard(reader.finish({"yout": {"credits_charged": 1, "balance": 2}}))[0]
    inner = value["response"] if shape is Shape.RESPONSE else value
    assert inner.pop("yout") == {"credits_charged": 1, "balance": 2}
    assert [(name, value)] == heard(PLAYS[shape][1])


@shapes
def test_an_end_nested_too_deep_to_be_written_goes_on_as_it_came(shape: Shape) -> None:
    before, end = PLAYS[shape]
    deep = b'{"deep":' + b'{"a":' * 500 + b"1" + b"}" * 500
    if shape is Shape.RESPONSE:
        end = end.replace(b'"response":{', b'"response":{"deep":' + deep[8:] + b",", 1)
    else:
        end = end.replace(b"data: {", b"data: " + deep + b",", 1)
    reader = reader_of(shape)
    reader.feed(b"".join(before) + end)
    assert reader.finish({"yout": 1}).startswith(end)


@shapes
@pytest.mark.parametrize(
    "fault",
    [
        typed("error", code="server_error", message="boom", param=None, sequence_number=2),
        named("error", {"message": "boom", "type": "server_error"}),
        b'data: {"error":{"message":"boom"}}\n\n',
    ],
)
def test_an_error_event_is_the_providers_fault(shape: Shape, fault: bytes) -> None:
    with pytest.raises(UpstreamFault):
        reader_of(shape).feed(fault)
    reader = reader_of(shape)
    before = b"".join(PLAYS[shape][0])
    assert reader.feed(before + fault) == before, "what came before it is delivered first"
    with pytest.raises(UpstreamFault):
        _ = reader.complete
    with pytest.raises(UpstreamFault):
        reader.feed(PLAYS[shape][1])


@shapes
@pytest.mark.parametrize("first", [b"data: {broken\n\n", b"data: 5\n\n", b"data: null\n\n"])
def test_a_stream_that_begins_malformed_is_given_up_at_once(shape: Shape, first: bytes) -> None:
    with pytest.raises(Malformed):
        reader_of(shape).feed(first)


@shapes
def test_a_few_malformed_events_are_left_out_and_then_it_is_given_up(shape: Shape) -> None:
    reader = reader_of(shape)
    reader.feed(PLAYS[shape][0][0])
    assert reader.feed(b"data: {broken\n\ndata: [1]\n\n") == b""
    with pytest.raises(Malformed):
        reader.feed(b"data: {broken\n\n")


@shapes
def test_an_event_without_end_is_given_up(shape: Shape) -> None:
    reader = reader_of(shape)
    for _ in range(32):
        reader.feed(b"x" * 1_000_000)
    with pytest.raises(TooLarge):
        reader.feed(b"x")


@shapes
def test_comments_and_names_without_data_are_nobodys_business(shape: Shape) -> None:
    reader = reader_of(shape)
    assert reader.feed(b": PROCESSING\n\nevent: ping\n\nid: 4\nretry: 10\n\n") == b""


@shapes
def test_an_end_mark_with_no_end_before_it_is_no_end(shape: Shape) -> None:
    reader = reader_of(shape)
    reader.feed(PLAYS[shape][0][0] + b"data: [DONE]\n\n")
    assert reader.done
    assert not reader.complete


@pytest.mark.parametrize("shape", [Shape.RESPONSE, Shape.TRANSCRIPTION, Shape.SPEECH, Shape.IMAGE])
def test_nothing_behind_the_last_word_matters(shape: Shape) -> None:
    before, end = PLAYS[shape]
    reader = reader_of(shape)
    reader.feed(before[0] + end)
    assert reader.done
    assert reader.feed(end + before[0] + b"data: {broken\n\n") == b""
    assert reader.finish(None) == end


@pytest.mark.parametrize("shape", [Shape.RUN, Shape.IMAGE])
def test_an_end_that_was_not_the_last_one_goes_on_after_all(shape: Shape) -> None:
    before, end = PLAYS[shape]
    reader = reader_of(shape, body={"n": 2})
    assert reader.feed(end) == b""
    assert not reader.done
    assert reader.feed(before[0]) == end + before[0]
    assert not reader.complete
    reader.feed(end)
    assert reader.complete
    assert last(reader, shape) == end


@shapes
def test_deltas_that_are_no_texts_break_nothing(shape: Shape) -> None:
    reader = reader_of(shape)
    for name in ("response.output_text.delta", "thread.message.delta", "transcript.text.delta"):
        for odd in ODD_DELTAS:
            event = typed(name, delta=odd)
            assert reader.feed(event) == event
    assert reader.produced == 0


@shapes
def test_only_where_the_client_waits_for_events_does_json_become_some(shape: Shape) -> None:
    reader = reader_of(shape)
    assert reader.passes_json is (shape is not Shape.RESPONSE)
    if reader.passes_json:
        with pytest.raises(Malformed):
            reader.whole(json.dumps({"id": "x"}).encode())
