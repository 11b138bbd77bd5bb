"""Gemini's chat: what of a body is sent, and how an answer is mended."""

import json
from typing import Any

import pytest

from bsod.lib.terms import ObjectKind
from proxy.providers.base import Malformed, Refused, UpstreamFault, Usage
from proxy.providers.gemini import Gemini
from tests.proxy.providers.talk import asked, event, played, said
from tests.upstream.gemini import SIGNATURE, USED, call, gemini_chunks, google_error

pytestmark = pytest.mark.once

GEMINI = Gemini()
SIGNED = {"google": {"thought_signature": SIGNATURE}}


def sent(**body: Any) -> dict[str, Any]:
    turns = {"messages": [{"role": "user", "content": "Hi"}]}
    out = GEMINI.prepare(asked(body={**turns, **body}, upstream_model="models/g"), "k")
    assert (out.target, out.leaves) == ("/chat/completions", "")
    assert isinstance(out.body, bytes)
    value: dict[str, Any] = json.loads(out.body)
    return value


def streamed(*events: Any, **more: Any) -> tuple[list[Any], Any]:
    """What a client gets of a stream, and its reader."""
    reader = GEMINI.stream_reader(asked(model="mine", **more))
    out = played(reader, *events)  # type: ignore[arg-type]  # it is a chat's reader
    return out, reader


def whole(reply: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    reader = GEMINI.whole_reader(asked(stream=False, model="mine", **more))
    reader.whole(json.dumps(reply).encode())
    return json.loads(reader.finish(None)), reader


# ---- what is sent


def test_what_says_nothing_of_the_answer_is_left_out() -> None:
    body = sent(
        seed=7, metadata={"a": "b"}, user="u", store=False, service_tier="priority", logit_bias={},
        frequency_penalty=0, presence_penalty=0.0, logprobs=False, n=1, stop=None, tools=[],
        parallel_tool_calls=True, prompt_cache_key="k", safety_identifier="s", verbosity="low",
        modalities=["text"], stream_options={"include_obfuscation": False},
    )  # fmt: skip
    assert body == {
        "model": "models/g",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 50,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("frequency_penalty", 0.5), ("logit_bias", {"5": 1}), ("store", True),
     ("audio", {"voice": "x"}), ("modalities", ["text", "audio"]), ("functions", [{"name": "f"}])],
)  # fmt: skip
def test_what_would_be_disobeyed_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Refused) as refused:
        sent(**{name: value})
    assert refused.value.param == name


def test_what_gemini_knows_and_what_nobody_knows_goes_on() -> None:
    thinking = {"google": {"thinking_config": {"thinking_budget": 800}}}
    known: dict[str, Any] = {
        "extra_body": thinking, "temperature": 0.5, "presence_penalty": 0.5, "n": 2,
        "logprobs": True,
        "parallel_tool_calls": False, "response_format": {"type": "json_object"}, "novelty": 1,
        "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto",
    }  # fmt: skip
    assert known.items() <= sent(**known).items()
    assert sent(reasoning_effort="xhigh")["reasoning_effort"] == "high"
    assert sent(reasoning_effort="low")["reasoning_effort"] == "low"


def test_an_answers_message_goes_back_with_its_signatures_alone() -> None:
    tool = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
            "extra_content": SIGNED}  # fmt: skip
    answered = {
        "role": "assistant", "content": None, "tool_calls": [tool], "refusal": None,
        "annotations": [], "audio": None, "function_call": None, "reasoning_content": "hm",
    }  # fmt: skip
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    sound = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    cached = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    messages = [
        {"role": "developer", "content": "Be kind"},
        {"role": "user", "content": [image, sound, cached]},
        answered,
        {"role": "tool", "tool_call_id": "c", "content": "4"},
    ]
    assert sent(messages=messages)["messages"] == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": [image, sound, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [tool]},
        messages[3],
    ]


@pytest.mark.parametrize(
    ("model", "signs"),
    [("models/gemini-3-flash", True), ("gemini-3.8-pro", True), ("gemini-flash-latest", True),
     ("models/gemini-2.5-pro", False)],
)  # fmt: skip
def test_a_call_whose_signature_the_client_has_lost_is_said_to_be_unsigned(
    model: str, signs: bool
) -> None:
    def back(*calls: dict[str, Any]) -> list[Any]:
        turns = [{"role": "assistant", "content": None, "tool_calls": list(calls)}]
        call = asked(body={"messages": turns}, upstream_model=model)
        out = GEMINI.prepare(call, "k").body
        assert isinstance(out, bytes)
        return [it.get("extra_content") for it in json.loads(out)["messages"][0]["tool_calls"]]

    plain = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    unsigned = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    assert back(plain, plain) == [unsigned if signs else None, None]
    assert back({**plain, "extra_content": SIGNED}, plain) == [SIGNED, None]
    assert back() == []


# ---- what comes back


def test_a_streams_speaker_is_named_once_and_its_usage_last() -> None:
    chunks = gemini_chunks({"content": "Hel"}, {"content": "lo"}, {"content": "!"})
    out, reader = streamed(*chunks, wants_usage=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in out]
    assert deltas == [{"role": "assistant", "content": "Hel"}, {"content": "lo"}, {"content": "!"}]
    assert [chunk["usage"] for chunk in out] == [None] * 3
    assert [chunk["choices"][0]["finish_reason"] for chunk in out] == [None, None, "stop"]
    assert reader.complete, "it needs no [DONE]"
    last, done = said(reader.finish(None))
    assert (last["choices"], last["id"], last["model"], done) == ([], "abc", "mine", "[DONE]")
    assert last["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    assert reader.usage == Usage(5, 5)
    assert reader.tier == "default", "fast mode is never charged for it"


def test_usage_nobody_asked_for_is_taken_out() -> None:
    out, reader = streamed(*gemini_chunks({"content": "a"}, {}), "[DONE]")
    assert not [chunk for chunk in out if "usage" in chunk]
    assert said(reader.finish(None)) == ["[DONE]"]
    assert reader.usage == Usage(5, 4)


def test_usage_in_a_chunk_of_its_own_is_passed_on_mended() -> None:
    first, ended = gemini_chunks({"content": "a"}, {"content": "b"})
    extra = {"id": "abc", "usage": USED}
    out, reader = streamed(first, ended, extra, "[DONE]", wants_usage=True)
    assert len(out) == 2
    assert said(reader.finish({"yout": 1}))[0]["usage"]["completion_tokens"] == 5


def test_tool_calls_are_numbered_named_and_keep_their_signatures() -> None:
    pieces = gemini_chunks(
        {"tool_calls": [call(), call("time", "{}", id="own")]},
        {"tool_calls": [call("third", "{}")]},
        {"content": ""},
    )
    out, _ = streamed(*pieces)
    calls = [it for chunk in out for it in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [(it["index"], it["function"]["name"]) for it in calls] == [
        (0, "weather"), (1, "time"), (2, "third"),
    ]  # fmt: skip
    ids = [it["id"] for it in calls]
    assert ids[1] == "own"
    assert len(set(ids)) == 3
    assert all(ids)
    assert [it["extra_content"] for it in calls] == [SIGNED] * 3
    assert out[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tool_call_in_pieces_without_an_index_stays_one() -> None:
    tail = [{"function": {"arguments": '"Oslo"}'}}]
    signed = [{"extra_content": SIGNED}]
    pieces = gemini_chunks(
        {"tool_calls": [call(arguments='{"city":')]}, {"tool_calls": tail}, {"tool_calls": signed}
    )
    out, _ = streamed(*pieces)
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in out]
    assert [it["index"] for it in calls] == [0, 0, 0]
    assert "id" not in calls[1], "an id said twice is taken for two by those who add pieces up"
    assert calls[2]["extra_content"] == SIGNED


def test_parallel_calls_that_all_say_index_0_are_told_apart_by_their_ids() -> None:
    calls = [call(id=name, index=0) for name in ("a", "b")]
    out, _ = streamed(*gemini_chunks({"tool_calls": calls}))
    assert [it["index"] for it in out[0]["choices"][0]["delta"]["tool_calls"]] == [0, 1]


def test_odd_chunks_become_chunks() -> None:
    out, reader = streamed(
        {"choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"choices": []},
        {"choices": [{"finish_reason": "content_filter: RECITATION"}]},
    )
    assert len({chunk["id"] for chunk in out}) == 1
    assert {chunk["object"] for chunk in out} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in out} == {"mine"}
    assert out[2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]
    assert reader.complete


def test_thoughts_are_told_apart_from_the_answer() -> None:
    thought = {"extra_content": {"google": {"thought": True}}}
    out, _ = streamed(
        *gemini_chunks(
            {"content": "<thought>hm", **thought}, {"content": "so", **thought}, {"content": "4"}
        )
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in out]
    assert [delta.get("reasoning_content") for delta in deltas] == ["hm", "so", None]
    assert [delta.get("content") for delta in deltas] == [None, None, "4"]


def test_an_error_inside_a_stream_is_the_providers_also_in_an_array() -> None:
    for text in (google_error(503, "overloaded").decode(), '{"error":{"code":500}}'):
        reader = GEMINI.stream_reader(asked())
        reader.feed(event(gemini_chunks({"content": "a"}, {})[0]))
        with pytest.raises(UpstreamFault):
            reader.feed(event(text))
        with pytest.raises(UpstreamFault):
            GEMINI.stream_reader(asked()).feed(event(text))
    with pytest.raises(UpstreamFault):
        whole([{"error": {"code": 503}}])


def test_a_stream_that_was_cut_is_not_complete() -> None:
    _, reader = streamed(*gemini_chunks({"content": "a"}, {})[:1])
    assert not reader.complete


def test_a_whole_answer_is_mended() -> None:
    message: dict[str, Any] = {"tool_calls": [call()]}
    reply = {"choices": [{"finish_reason": "stop", "index": 0, "message": message}], "usage": USED}
    shown, reader = whole(reply)
    choice = shown["choices"][0]
    assert (choice["finish_reason"], choice["message"]["role"]) == ("tool_calls", "assistant")
    assert choice["message"]["content"] is None
    tool = choice["message"]["tool_calls"][0]
    assert "index" not in tool
    assert tool["id"]
    assert tool["extra_content"] == SIGNED
    assert shown["object"] == "chat.completion"
    assert shown["id"].startswith("chatcmpl-")
    assert reader.usage == Usage(5, 5)
    assert shown["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_marks_of_thought_are_thoughts_only_where_they_were_asked_for() -> None:
    text = "<thought>hm</thought>4"
    reply = {"choices": [{"index": 0, "message": {"content": text}}]}
    wanted = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True}}}}
    message = whole(reply, body=wanted)[0]["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "4")
    assert whole(reply)[0]["choices"][0]["message"]["content"] == text


def test_a_stream_answered_whole_becomes_events() -> None:
    reader = GEMINI.stream_reader(asked(wants_usage=True))
    message = {"role": "assistant", "tool_calls": [call()]}
    reply = {"choices": [{"finish_reason": "stop", "index": 0, "message": message}], "usage": USED}
    (first,) = said(reader.whole(json.dumps(reply).encode()))
    assert first["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    assert first["choices"][0]["finish_reason"] == "tool_calls"
    assert said(reader.finish(None))[0]["usage"]["completion_tokens"] == 5


def test_an_answer_without_choices_is_malformed() -> None:
    with pytest.raises(Malformed):
        whole({"object": "chat.completion", "usage": USED})


def test_no_completion_is_anybodys_object() -> None:
    """It is not stored, so its id is worth nothing."""
    _, reader = whole({"id": "x", "choices": [{"message": {"content": "a"}}]},
                      creates=ObjectKind.COMPLETION)  # fmt: skip
    assert reader.found == []
