"""The official SDK, strict about what it is answered, and a provider that speaks Anthropic."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests import kit
from tests.kit import Person, Site, Supply
from tests.upstream import FaultServer
from tests.upstream.anthropic import (
    answer,
    counted,
    events,
    frame,
    refusal,
    stream,
    text,
    thinking,
    tool_use,
)

pytestmark = pytest.mark.once

MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
]
USAGE = counted(10, 7, cache_read_input_tokens=100, cache_creation_input_tokens=20)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Dog(BaseModel):
    name: str
    age: int


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return kit.supply(up, kind="anthropic", keys=2)


@pytest.fixture
def client(site: Site, alice: Person) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{site.url}/v1", api_key=alice.secret, max_retries=0,
        _strict_response_validation=True,
    ) as made:  # fmt: skip
        yield made


def ask(client: OpenAI, supplied: Supply, **more: Any) -> Any:
    return client.chat.completions.create(
        **{"model": supplied.model, "messages": MESSAGES, "max_tokens": 50, **more}
    )


def test_a_plain_answer_is_charged_with_all_of_its_prompt(
    client: OpenAI, supplied: Supply, alice: Person
) -> None:
    supplied.up.default = answer(text("Hi there"), usage=USAGE)
    reply = ask(client, supplied, temperature=1.5, user="somebody@example.com")
    assert reply.choices[0].message.content == "Hi there"
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.model, reply.service_tier) == (supplied.model, "default")
    assert reply.usage.prompt_tokens_details.cached_tokens == 100
    (seen,) = supplied.up.seen
    assert (seen.path.rpartition("/")[2], seen.key in supplied.keys) == ("messages", True)
    assert seen.header("anthropic-version") == "2023-06-01"
    assert seen.header("authorization") is None
    assert seen.json["system"] == [{"type": "text", "text": "Be brief."}]
    assert "example.com" not in seen.body.decode()
    (entry,) = alice.closed()
    assert (entry.prompt_tokens, entry.completion_tokens, entry.cached_tokens) == (130, 7, 100)
    assert entry.usage_source == "upstream"
    assert alice.used() == 137
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream(client: OpenAI, supplied: Supply, alice: Person, usage: bool) -> None:
    supplied.up.default = answer(thinking("Hm."), text("Привет!"), usage=USAGE)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(ask(client, supplied, stream=True, reasoning_effort="low", **options))
    said = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert said[0].role == "assistant"
    assert "".join(delta.content or "" for delta in said) == "Привет!"
    assert "".join(getattr(delta, "reasoning_content", "") for delta in said) == "Hm."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [137] * usage
    assert supplied.up.seen[0].json["output_config"] == {"effort": "low"}
    assert alice.closed()[0].completion_tokens == 7
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_tool_is_called_and_its_answer_goes_back(
    client: OpenAI, supplied: Supply, streamed: bool
) -> None:
    supplied.up.script(
        answer(text("Let me look."), tool_use("weather", "toolu_1", city="Oslo"), stop="tool_use"),
        answer(text("Rain.")),
    )
    if streamed:
        with client.chat.completions.stream(
            model=supplied.model, messages=MESSAGES, tools=[WEATHER]
        ) as events_:
            reply: Any = events_.get_final_completion()
    else:
        reply = ask(client, supplied, tools=[WEATHER])
    message = reply.choices[0].message
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather", {"city": "Oslo"},
    )  # fmt: skip
    called = message.model_dump(exclude={"parsed"}, exclude_none=True)
    for part in called["tool_calls"]:
        part["function"].pop("parsed_arguments", None)
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "wet"}
    again = ask(client, supplied, messages=[*MESSAGES, called, result], tools=[WEATHER])
    assert again.choices[0].message.content == "Rain."
    turns = supplied.up.seen[1].json["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"][1]["input"] == {"city": "Oslo"}
    assert turns[2]["content"][0]["tool_use_id"] == "toolu_1"


def test_structured_output(client: OpenAI, supplied: Supply) -> None:
    supplied.up.default = answer(text('{"name":"Biscuit","age":4}'))
    reply = client.chat.completions.parse(
        model=supplied.model, messages=MESSAGES, response_format=Dog
    )
    assert reply.choices[0].message.parsed == Dog(name="Biscuit", age=4)
    wanted = supplied.up.seen[0].json["output_config"]["format"]
    assert (wanted["type"], wanted["schema"]["required"]) == ("json_schema", ["name", "age"])
    with client.chat.completions.stream(
        model=supplied.model, messages=MESSAGES, response_format=Dog
    ) as streamed:
        final = streamed.get_final_completion()
    assert final.choices[0].message.parsed == Dog(name="Biscuit", age=4)


def test_responses_are_read_too(client: OpenAI, supplied: Supply, alice: Person) -> None:
    supplied.up.default = answer(thinking("Hm."), text("Hi"), usage=USAGE)
    asked: Any = {"model": supplied.model, "input": "Hello", "reasoning": {"effort": "low"}}
    whole = client.responses.create(**asked)
    assert (whole.output_text, whole.status, whole.store) == ("Hi", "completed", False)
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    *_, last = client.responses.create(**asked, stream=True)
    assert (last.type, last.response.output_text) == ("response.completed", "Hi")
    for reply in (whole, last.response):
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (130, 7)
    assert {entry.amount for entry in alice.closed(2)} == {137}


def test_what_it_cannot_do_names_the_field_and_costs_nothing(
    client: OpenAI, supplied: Supply, alice: Person
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, supplied, logprobs=True)
    assert raised.value.param == "logprobs"
    supplied.up.default = refusal(
        400, "invalid_request_error", "max_tokens: 90000 > 64000, which is the maximum"
    )
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, supplied, max_tokens=90_000)
    assert raised.value.param == "max_tokens"
    assert "64000" in raised.value.message
    assert len(supplied.up.seen) == 1
    assert {entry.amount for entry in alice.closed(2)} == {0}
    assert alice.used() == 0


def test_an_overload_behind_the_head_of_a_stream_is_another_keys_turn(
    client: OpenAI, supplied: Supply, alice: Person
) -> None:
    head, block, *_ = events(text("Hi"))
    overload = frame("error", error={"type": "overloaded_error", "message": "Overloaded"})
    supplied.up.script(stream(head, block, overload), answer(text("Hello")))
    chunks = list(ask(client, supplied, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert len({seen.key for seen in supplied.up.seen}) == 2
    assert kit.ledger_adds_up(alice)


def test_a_stream_that_breaks_off_is_raised_and_what_came_is_charged(
    client: OpenAI, supplied: Supply, alice: Person
) -> None:
    frames = events(text("word " * 20), usage=counted(500, 400))
    supplied.up.default = stream(*frames[:-2]).cut()
    got: list[Any] = []
    with pytest.raises(openai.APIError) as raised:
        got.extend(ask(client, supplied, stream=True))
    assert raised.value.code == "upstream_truncated"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in got) == "word " * 20
    (entry,) = alice.closed()
    assert entry.usage_source == "estimated"
    assert 0 < entry.amount < 100
    assert kit.ledger_adds_up(alice)
