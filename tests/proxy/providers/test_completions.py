"""Legacy completions: chat's rules, with `text` where chat has messages."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Shape
from proxy.providers.base import Malformed, UpstreamFault, Usage
from proxy.providers.completions import CompletionStream
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, event, played, read_whole, said, usage

pytestmark = pytest.mark.once


def call(**more: Any) -> Any:
    values = {"shape": Shape.COMPLETION, "path": "completions", "body": {"prompt": "Hi there"}}
    return asked(**values | more)


def chunk(text: str = "", *, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m",
            "choices": [choice], **more}  # fmt: skip


def final() -> Any:
    return {**chunk(), "choices": [], "usage": usage()}


@pytest.mark.parametrize("size", [None, 1, 3])
def test_a_stream_without_usage_asked_for_is_the_stream_that_would_have_come(
    size: int | None,
) -> None:
    reader = CompletionStream(call())
    out = played(reader, chunk("He", usage=None), chunk("y", usage=None),
                 chunk(finish="stop", usage=None), final(), "[DONE]", size=size)  # fmt: skip
    assert out == [chunk("He"), chunk("y"), chunk(finish="stop")]
    assert reader.usage == Usage(5, 2)
    assert reader.complete
    assert reader.done
    assert reader.produced == of_text("Hey")
    assert said(reader.finish(None)) == ["[DONE]"]


def test_usage_that_was_asked_for_comes_at_the_end() -> None:
    reader = CompletionStream(call(wants_usage=True))
    out = played(reader, chunk("Hey", usage=None), chunk(finish="stop"), final(), "[DONE]")
    assert out == [chunk("Hey", usage=None), chunk(finish="stop")]
    assert said(reader.finish({"yout": 1})) == [{**final(), "yout": 1}, "[DONE]"]


def test_usage_that_never_came_is_estimated_from_prompt_and_text() -> None:
    reader = CompletionStream(call(wants_usage=True))
    played(reader, chunk("Hey"), chunk(finish="stop"))
    last = said(reader.finish(None))[0]
    assert (last["object"], last["choices"], last["id"]) == ("text_completion", [], "cmpl-1")
    assert last["usage"] == {
        "prompt_tokens": of_text("Hi there"), "completion_tokens": of_text("Hey"),
        "total_tokens": of_text("Hi there") + of_text("Hey"),
    }  # fmt: skip


def test_a_stream_is_whole_when_every_choice_has_finished() -> None:
    reader = CompletionStream(call(choices=2))
    played(reader, chunk("a"), chunk(finish="stop"))
    assert not reader.complete
    played(reader, chunk(finish="stop", index=1))
    assert reader.complete


@pytest.mark.parametrize("odd", [{"choices": "x"}, {"choices": {"a": 1}}, {"choices": None}])
def test_odd_chunks_go_on_as_they_are(odd: dict[str, Any]) -> None:
    assert played(CompletionStream(call()), odd) == [odd]


def test_a_choice_that_is_no_object_is_malformed() -> None:
    with pytest.raises(Malformed):
        CompletionStream(call()).feed(event({"choices": ["x"]}))


def test_the_answer_has_the_name_that_was_asked_for_whole_and_streamed() -> None:
    reader = CompletionStream(call(model="M-1", wants_usage=True))
    out = played(reader, chunk("a"), chunk(finish="stop"), final(), "[DONE]")
    assert {part["model"] for part in [*out, said(reader.finish(None))[0]]} == {"M-1"}
    whole = read_whole(call(model="M-1", stream=False), chunk("a", usage=usage()))
    assert json.loads(whole.finish(None)) == chunk("a", usage=usage(), model="M-1")


def test_a_whole_answer_goes_on_as_it_came_and_is_counted() -> None:
    raw = json.dumps(chunk("Hey", finish="stop"), indent=1).encode()
    reader = read_whole(call(stream=False), raw)
    assert reader.finish(None) == raw
    assert (reader.usage, reader.produced) == (None, of_text("Hey"))
    assert read_whole(call(stream=False), chunk(usage=usage())).usage == Usage(5, 2)


def test_a_whole_answer_becomes_the_events_the_client_waits_for() -> None:
    reader = CompletionStream(call(wants_usage=True))
    out = reader.whole(json.dumps(chunk("Hey", finish="stop", usage=usage())).encode())
    assert said(out) == [chunk("Hey", finish="stop")]
    assert reader.complete
    assert said(reader.finish(None)) == [final(), "[DONE]"]


def test_a_senseless_answer_is_refused() -> None:
    for body in (b"", b"[]", b"{}", b'{"choices":[]}'):
        with pytest.raises(Malformed):
            read_whole(call(stream=False), body)
    with pytest.raises(UpstreamFault):
        read_whole(call(stream=False), {"error": {"message": "boom"}})
