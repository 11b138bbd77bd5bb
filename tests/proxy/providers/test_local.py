"""The bundled model's adapter: known fields alone, and a clear word instead of the engine's 500."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Shape
from proxy.providers.base import Refused
from proxy.providers.local import FIELDS, Local
from tests import kit
from tests.kit import Person, Site
from tests.proxy.providers.talk import asked, chunk, event, final, said, usage
from tests.upstream import FaultServer

pytestmark = pytest.mark.once

TIMINGS = {"prompt_n": 31, "predicted_per_second": 47.4}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sent(**body: Any) -> dict[str, Any]:
    whole = {"messages": [{"role": "user", "content": "Hi"}], **body}
    value: dict[str, Any] = json.loads(Local().prepare(asked(body=whole, stream=False), "k").body)
    return value


def refused(**body: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        sent(**body)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "dry_penalty_last_n", "repeat_last_n", "n_probs", "n_predict", "grammar", "json_schema",
        "cache_prompt", "id_slot", "samplers", "lora", "speculative.n_max", "timings_per_token",
        "return_tokens", "chat_template_kwargs", "n_indent", "best_of", "prompt", "store",
    ],
)  # fmt: skip
def test_the_engines_own_settings_are_not_forwarded(name: str) -> None:
    assert name not in sent(**{name: 2_000_000_000})


def test_the_usual_fields_are_forwarded() -> None:
    given = {
        "temperature": 0.5, "top_p": 0.9, "seed": 5, "stop": ["a"], "frequency_penalty": 0.1,
        "presence_penalty": 0.1, "logit_bias": {"5": 1}, "logprobs": True, "top_logprobs": 20,
        "response_format": {"type": "json_object"}, "tools": [TOOL], "tool_choice": "auto",
        "parallel_tool_calls": False, "n": 1,
    }  # fmt: skip
    assert set(given) <= FIELDS
    body = sent(**given)
    assert {name: body[name] for name in given} == given
    assert body["max_tokens"] == 50


def sent_text(**body: Any) -> dict[str, Any]:
    call = asked(shape=Shape.COMPLETION, body={"prompt": "Hi", **body}, stream=False)
    value: dict[str, Any] = json.loads(Local().prepare(call, "k").body)
    return value


def test_a_text_completion_is_forwarded_with_its_usual_fields() -> None:
    given = {"temperature": 0.5, "top_p": 0.9, "seed": 5, "stop": ["a"], "frequency_penalty": 0.1,
             "presence_penalty": 0.1, "logit_bias": {"5": 1}, "n": 1}  # fmt: skip
    ignored = {"best_of": 1, "echo": False, "suffix": "", "logprobs": None, "grammar": "x",
               "cache_prompt": True, "messages": []}  # fmt: skip
    body = sent_text(**given, **ignored)
    assert body == {**given, "prompt": "Hi", "model": "m", "max_tokens": 50}


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 2), ("best_of", 2), ("echo", True), ("suffix", "end"), ("logprobs", 0),
     ("logprobs", 5)],
)  # fmt: skip
def test_what_the_engine_would_not_do_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Refused) as caught:
        sent_text(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("prompt", "goes_out"),
    [("Hi", "Hi"), ("", ""), (["Hi"], "Hi"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2]), ([5], [5])],
)
def test_one_prompt_is_forwarded(prompt: Any, goes_out: Any) -> None:
    assert sent_text(prompt=prompt)["prompt"] == goes_out


@pytest.mark.parametrize(
    "prompt",
    [None, [], [[]], ["a", "b"], [[1], [2]], [1, "a"], [1.5], [True], {"prompt_string": "a"}, 5],
)
def test_any_other_prompt_is_refused(prompt: Any) -> None:
    """The engine counts the usage of one prompt only, and mixes texts and ids."""
    with pytest.raises(Refused) as caught:
        sent_text(prompt=prompt)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("n", [2, 128])
def test_more_than_one_choice_is_refused(n: int) -> None:
    assert refused(n=n).param == "n"


@pytest.mark.parametrize("n", [None, 1])
def test_one_choice_is_not(n: int | None) -> None:
    assert sent(n=n)["n"] == n


@pytest.mark.parametrize("tools", ["x", {}, 5, True, ["x"], [{}], [{"type": "function"}],
                                   [{"type": "function", "function": {"name": 5}}],
                                   [{"type": "web_search"}], [TOOL, None],
                                   [{**TOOL, "function": {"name": "f", "description": 5}}]],
)  # fmt: skip
def test_tools_that_are_no_list_of_functions_are_refused(tools: Any) -> None:
    assert refused(tools=tools).param.startswith("tools")


@pytest.mark.parametrize("tools", [None, [], [TOOL, TOOL]])
def test_a_list_of_functions_is_forwarded(tools: Any) -> None:
    assert sent(tools=tools)["tools"] == tools


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "text", "text": 5},
        {"type": "text"},
        {"text": "no type"},
        "text",
        None,
    ],
)
def test_parts_that_are_no_text_are_refused_by_their_place(part: Any) -> None:
    text = {"type": "text", "text": "a"}
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": [text, part]}]
    assert refused(messages=messages).param == "messages[1].content[1]"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("x", "messages[0].role"),
        (None, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": 5, "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": {}}, "messages[0].content"),
        ({"role": "assistant", "tool_calls": "x"}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [5]}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [{"type": "function"}]}, "messages[0].tool_calls"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f"}}]},
            "messages[0].tool_calls",
        ),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": 5}]}, "messages[0].tool_calls"),
        ({"role": "user", "content": "x", "name": 5}, "messages[0].name"),
        ({"role": "tool", "content": "x", "tool_call_id": 5}, "messages[0].tool_call_id"),
    ],
)
def test_messages_the_engine_cannot_read_are_refused(message: Any, param: str) -> None:
    assert refused(messages=[message]).param == param


def test_a_conversation_with_tools_and_parts_is_forwarded() -> None:
    messages = [
        {"role": "system", "content": "Be brief", "name": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "5"},
        {"role": "assistant", "content": "b", "tool_calls": None, "name": None},
    ]
    odd = [{**message, "annotations": [1], "audio": {"id": "x"}} for message in messages]
    del messages[-1]["tool_calls"], messages[-1]["name"]
    assert sent(messages=odd)["messages"] == messages


@pytest.mark.parametrize("top", [-1, 21, 1000, 2.5, "3", True])
def test_more_log_probabilities_than_the_shape_allows_are_refused(top: Any) -> None:
    assert refused(logprobs=True, top_logprobs=top).param == "top_logprobs"


@pytest.mark.parametrize("value", [5, "yes", 1000])
def test_log_probabilities_are_a_yes_or_no(value: Any) -> None:
    assert refused(logprobs=value).param == "logprobs"


def test_a_refusal_is_written_for_the_caller() -> None:
    for fault in (refused(n=3), refused(tools="x"), refused(messages=["x"])):
        assert fault.message.endswith(".")
        assert "engine" not in fault.message


def test_the_engines_timings_do_not_reach_the_client() -> None:
    whole = Local().whole_reader(asked(stream=False))
    reply = {"id": "c", "choices": [{"index": 0, "message": {"content": "a"}}], "usage": usage()}
    whole.whole(json.dumps({**reply, "timings": TIMINGS}).encode())
    assert json.loads(whole.finish(None)) == reply

    stream = Local().stream_reader(asked(wants_usage=True))
    first = chunk(delta={"role": "assistant", "content": "a"})
    out = stream.feed(event({**first, "timings": TIMINGS})) + stream.feed(event(chunk("b")))
    stream.feed(event(chunk(finish="stop")) + event(final(timings=TIMINGS)))
    assert said(out) == [first, chunk("b")]
    assert said(stream.finish(None)) == [final(), "[DONE]"]


def test_a_refusal_reaches_the_client_and_no_provider(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, kind="local")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}

    for body, param in (
        ({"n": 2}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"tools": {"a": 1}}, "tools"),
        ({"messages": [{"role": "user", "content": [picture]}]}, "messages[0].content[0]"),
    ):
        response = site.chat(alice, supplied, **body)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (
            400,
            "invalid_value",
            param,
        )

    assert up.seen == []
    assert [(entry.state, entry.amount) for entry in alice.closed(4)] == [("released", 0)] * 4
    assert supplied.key_row().failures == 0
    assert kit.ledger_adds_up(alice)


def test_what_the_engine_gets_is_what_it_knows(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up, kind="local")
    response = site.chat(alice, supplied, dry_penalty_last_n=2_000_000_000, temperature=0.5)
    assert response.status_code == 200
    assert set(up.seen[0].json) == {"model", "messages", "max_tokens", "temperature"}


def test_a_stream_says_who_speaks_though_the_engine_may_forget_it() -> None:
    reader = Local().stream_reader(asked())
    first, second = said(reader.feed(event(chunk("П")) + event(chunk("р"))))
    assert first["choices"][0]["delta"] == {"content": "П", "role": "assistant"}
    assert second["choices"][0]["delta"] == {"content": "р"}

    reader = Local().stream_reader(asked())
    reminded = chunk(delta={"role": "assistant", "content": None})
    assert said(reader.feed(event(reminded)))[0]["choices"][0]["delta"] == {
        "role": "assistant",
        "content": None,
    }
