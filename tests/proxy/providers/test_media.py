"""Images, transcripts and speech, whole and streamed."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Shape
from proxy.providers.base import Malformed, UpstreamFault, Usage
from proxy.providers.readers import stream_reader
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, read_whole, typed

pytestmark = pytest.mark.once

USAGE = {"input_tokens": 5, "output_tokens": 70, "total_tokens": 75}
IMAGES = {"created": 7, "data": [{"b64_json": "AAAA"}], "usage": USAGE}


def call(shape: Shape, **more: Any) -> Any:
    return asked(**{"shape": shape, "path": "x", "body": {}, "stream": False, **more})


@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
def test_the_usage_of_streamed_images_is_the_sum_of_theirs(kind: str) -> None:
    reader = stream_reader(call(Shape.IMAGE, stream=True, body={"n": 2}))
    one = typed(f"{kind}.completed", b64_json="AAAA", usage=USAGE)
    assert reader.feed(typed(f"{kind}.partial_image", b64_json="A", partial_image_index=0))
    assert reader.feed(one) == b""
    assert reader.usage == Usage(5, 70)
    assert (reader.done, reader.units, reader.shown) == (False, 1, 0)
    assert reader.feed(one) == one
    assert reader.complete
    assert (reader.done, reader.units, reader.shown) == (True, 2, 1)
    assert reader.usage == Usage(10, 140)
    assert reader.finish(None) == one


@pytest.mark.parametrize(
    ("usage", "stated"),
    [
        (USAGE, Usage(5, 70)),
        ({"type": "tokens", **USAGE}, Usage(5, 70)),
        ({"type": "duration", "seconds": 9}, None),
        ({**USAGE, "output_tokens": -1}, None),
        ({**USAGE, "input_tokens": 10**13}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_taken_where_it_is_stated(usage: Any, stated: Usage | None) -> None:
    assert read_whole(call(Shape.IMAGE), {**IMAGES, "usage": usage}).usage == stated
    assert read_whole(call(Shape.TRANSCRIPTION), {"text": "a", "usage": usage}).usage == stated
    for shape, name in ((Shape.IMAGE, "image_edit.completed"),
                        (Shape.TRANSCRIPTION, "transcript.text.done"),
                        (Shape.SPEECH, "speech.audio.done")):  # fmt: skip
        reader = stream_reader(call(shape, stream=True))
        reader.feed(typed(name, usage=usage))
        assert reader.complete
        assert reader.usage == stated


def test_a_transcript_is_counted_by_what_was_delivered() -> None:
    reader = stream_reader(call(Shape.TRANSCRIPTION, stream=True))
    reader.feed(typed("transcript.text.delta", delta="Hello "))
    reader.feed(typed("transcript.text.delta", delta="мир"))
    assert reader.produced == of_text("Hello мир")
    reader.feed(typed("transcript.text.done", text="Hello мир"))
    assert reader.produced == of_text("Hello мир")


def test_whole_images_go_on_byte_for_byte() -> None:
    raw = b'{ "created":7,"data":[{"b64_json":"AAAA"}] }\n'
    reader = read_whole(call(Shape.IMAGE), raw)
    assert reader.complete
    assert reader.finish(None) == raw
    assert json.loads(reader.finish({"yout": 1})) == {**json.loads(raw), "yout": 1}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":5}', b'{"data":"x"}', b"\xff"])
def test_what_is_no_image_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_whole(call(Shape.IMAGE), body)


@pytest.mark.parametrize(
    "raw",
    [
        b"Hello there\n",
        b"1\n00:00:00,000 --> 00:00:01,000\nHello\n",
        b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n",
        b"{curly} words",
        b'{"words": "that look like an object"}',
        b"\n",
        b"\xff\xfe",
    ],
)
def test_a_transcript_that_is_text_goes_on_as_it_came_and_nothing_is_added(raw: bytes) -> None:
    reader = read_whole(call(Shape.TRANSCRIPTION), raw)
    assert reader.complete
    assert reader.usage is None
    assert reader.finish({"yout": 1}) == raw


def test_a_transcript_that_is_json_takes_what_is_added() -> None:
    reader = read_whole(call(Shape.TRANSCRIPTION), b'{"text": "Hello", "duration": 1.50}')
    assert reader.finish({"yout": 1}) == b'{"text": "Hello", "duration": 1.50,"yout":1}'


@pytest.mark.parametrize("shape", [Shape.TRANSCRIPTION, Shape.SPEECH, Shape.CONTENT])
def test_an_empty_answer_is_malformed(shape: Shape) -> None:
    with pytest.raises(Malformed):
        read_whole(call(shape), b"")


def test_an_error_in_a_200_is_the_providers_fault() -> None:
    for shape in (Shape.TRANSCRIPTION, Shape.IMAGE):
        with pytest.raises(UpstreamFault):
            read_whole(call(shape), {"error": {"message": "boom"}})
