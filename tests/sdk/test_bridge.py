"""The official Python client, in its strictest mode, reads answers put in other words: responses of
models that only chat, chat completions of models that only speak responses."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests import kit
from tests.kit import Person, Site, Supply
from tests.upstream import FaultServer, Reply, chat, json_reply, sse

pytestmark = pytest.mark.once

QUESTION: list[Any] = [{"role": "user", "content": "What is the weather?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FLOW = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 8}  # fmt: skip


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture
def client(site: Site, alice: Person) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{site.url}/v1", api_key=alice.secret, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture
def chats(up: FaultServer) -> Supply:
    return kit.supply(up, speaks=["chat"])


@pytest.fixture
def responds(up: FaultServer) -> Supply:
    return kit.supply(up, kind="openai", speaks=["responses"])


# ---- a provider that only chats


def piece(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "up",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}  # fmt: skip


def pieces(*deltas: dict[str, Any], finish: str = "stop") -> Reply:
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    last = {**piece({}), "choices": [], "usage": usage}
    return sse(*(piece(delta) for delta in deltas), piece({}, finish), last)


def calling(number: int, **function: str) -> dict[str, Any]:
    head = {"id": f"call_{number}", "type": "function"} if "name" in function else {}
    return {"tool_calls": [{"index": number, **head, "function": function}]}


def asked(supplied: Supply, **more: Any) -> dict[str, Any]:
    return {"model": supplied.model, "input": QUESTION, "max_output_tokens": 50, **more}


def test_a_plain_response(client: OpenAI, chats: Supply, alice: Person) -> None:
    chats.up.default = chat("Sunny", prompt_tokens=4, completion_tokens=2)
    answer = client.responses.create(**asked(chats, instructions="Be brief"))
    assert (answer.output_text, answer.model, answer.status) == ("Sunny", chats.model, "completed")
    assert answer.usage
    assert answer.usage.total_tokens == 6
    assert answer.model_extra == {"store": False}
    assert answer._request_id == alice.closed()[0].id


def test_a_streamed_response(client: OpenAI, chats: Supply) -> None:
    chats.up.default = pieces(
        {"role": "assistant", "content": ""}, {"reasoning_content": "Hm"}, {"content": "Sun"},
        {"content": "ny"},
    )  # fmt: skip
    stream = client.responses.create(**asked(chats, stream=True))
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "Sunny"
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "Sunny"
    assert [item.type for item in last.response.output] == ["reasoning", "message"]


def test_the_streaming_helper_puts_tools_together(client: OpenAI, chats: Supply) -> None:
    chats.up.default = pieces(
        calling(0, name="weather", arguments=""), calling(0, arguments='{"city":'),
        calling(1, name="weather", arguments='{"city":"Rome"}'), calling(0, arguments='"Bern"}'),
        finish="tool_calls",
    )  # fmt: skip
    tools: list[Any] = [{"type": "function", "name": "weather", "parameters": PARAMETERS}]
    with client.responses.stream(
        model=chats.model, input=QUESTION, tools=tools, max_output_tokens=50
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_response()
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [call.arguments for call in calls] == ['{"city":"Bern"}', '{"city":"Rome"}']
    assert chats.up.seen[0].json["tools"][0]["function"]["name"] == "weather"


def test_a_conversation_with_thoughts_and_tools_goes_on(client: OpenAI, chats: Supply) -> None:
    """What an answer gave is sent back as it is, as programs do that keep their own history."""
    chats.up.default = pieces(
        {"reasoning_content": "Hm"}, {"content": "Wait"},
        calling(0, name="weather", arguments="{}"), finish="tool_calls",
    )  # fmt: skip
    first = list(client.responses.create(**asked(chats, stream=True)))[-1]
    assert first.type == "response.completed"
    history: list[Any] = [*QUESTION, *first.response.output]
    history.append({"type": "function_call_output", "call_id": "call_0", "output": "20"})
    chats.up.default = chat("20 degrees")
    second = client.responses.create(**asked(chats, input=history))
    assert second.output_text == "20 degrees"
    call = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert chats.up.seen[1].json["messages"][1:] == [
        {"role": "assistant", "content": "Wait", "reasoning_content": "Hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": "20"},
    ]


def test_a_structured_response(client: OpenAI, chats: Supply) -> None:
    chats.up.default = chat('{"city":"Bern","degrees":20}')
    answer = client.responses.parse(text_format=Weather, **asked(chats))
    assert answer.output_parsed == Weather(city="Bern", degrees=20)
    schema = chats.up.seen[0].json["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"]) == ("Weather", True)


def test_an_incomplete_response(client: OpenAI, chats: Supply) -> None:
    chats.up.default = chat("Sun", finish="length")
    answer = client.responses.create(**asked(chats))
    assert answer.status == "incomplete"
    assert answer.incomplete_details
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_what_needs_memory_is_a_bad_request(client: OpenAI, chats: Supply) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**asked(chats, previous_response_id="resp_1"))
    assert raised.value.param == "previous_response_id"


# ---- a provider that only speaks responses


def response(*output: Any, **more: Any) -> dict[str, Any]:
    return {"id": "resp_up", "object": "response", "created_at": 7, "status": "completed",
            "model": "up", "output": list(output), "usage": FLOW, **more}  # fmt: skip


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}


def call(arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
            "arguments": arguments}  # fmt: skip


def events(*told: dict[str, Any], output: Any = ()) -> Reply:
    begun = {**response(), "status": "in_progress", "usage": None}
    return sse(
        {"type": "response.created", "response": begun},
        *told,
        {"type": "response.completed", "response": response(*output)},
        named=True,
        done=False,
    )


def test_a_plain_completion(client: OpenAI, responds: Supply) -> None:
    responds.up.default = json_reply(response(message("Sunny")))
    answer = client.chat.completions.create(model=responds.model, messages=QUESTION)
    assert answer.choices[0].message.content == "Sunny"
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer.model == responds.model


def test_a_streamed_completion_with_tools(client: OpenAI, responds: Supply) -> None:
    responds.up.default = events(
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Wait"},
        {"type": "response.output_item.added", "output_index": 1, "item": call("")},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
        output=[message("Wait"), call()],
    )
    tools: list[Any] = [{"type": "function", "function": {"name": "weather"}}]
    with client.chat.completions.stream(
        model=responds.model, messages=QUESTION, tools=tools,
        stream_options={"include_usage": True},
    ) as stream:  # fmt: skip
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Wait")
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].function.arguments == "{}"
    assert answer.usage
    assert answer.usage.total_tokens == 8


def test_a_structured_completion(client: OpenAI, responds: Supply) -> None:
    responds.up.default = json_reply(response(message('{"city":"Bern","degrees":20}')))
    answer = client.chat.completions.parse(
        model=responds.model, messages=QUESTION, response_format=Weather
    )
    assert answer.choices[0].message.parsed == Weather(city="Bern", degrees=20)
    given = responds.up.seen[0].json["text"]["format"]
    assert (given["type"], given["name"]) == ("json_schema", "Weather")


def test_a_failure_in_the_middle_is_raised(client: OpenAI, responds: Supply) -> None:
    failed = {"type": "response.failed", "response": response(status="failed")}
    responds.up.default = events(
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Wait"}, failed
    )
    stream = client.chat.completions.create(model=responds.model, messages=QUESTION, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
