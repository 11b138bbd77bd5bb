"""A call put in other words: what a chat and a response call the same, and what has no name."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Service, Shape
from proxy.providers.base import Refused
from proxy.providers.registry import ADAPTERS
from tests.proxy.providers.talk import asked

pytestmark = pytest.mark.once

CHATS, RESPONDS = frozenset({Service.CHAT}), frozenset({Service.RESPONSES})
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"name": "s", "schema": {"type": "object"}, "strict": True}
GRAMMAR = {"syntax": "regex", "definition": "a+"}


def to_chat(**body: Any) -> dict[str, Any]:
    """What a model that only chats is asked instead of a response."""
    call = asked(shape=Shape.RESPONSE, path="responses", body={"input": "Hi", **body},
                 stream=bool(body.get("stream")), speaks=CHATS)  # fmt: skip
    out = ADAPTERS["compatible"].prepare(call, "sk")
    assert out.target == "/chat/completions"
    value: dict[str, Any] = json.loads(out.body)
    return value


def to_response(**body: Any) -> dict[str, Any]:
    """What a model that only responds is asked instead of a chat completion."""
    given = {"messages": [{"role": "user", "content": "Hi"}], **body}
    out = ADAPTERS["openai"].prepare(
        asked(body=given, stream=bool(body.get("stream")), speaks=RESPONDS), "sk"
    )
    assert out.target == "/responses"
    value: dict[str, Any] = json.loads(out.body)
    assert value["store"] is False, "nothing is kept"
    return value


def told(*items: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = to_chat(input=list(items))["messages"]
    return messages


def items(*messages: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = to_response(messages=list(messages))["input"]
    return found


def call(id_: str = "c1", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_, "name": "f", "arguments": "{}", **more}


def output(id_: str = "c1", text: Any = "42") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": text}


def made(id_: str = "c1", **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def test_a_short_response_is_a_short_chat() -> None:
    body = to_chat(instructions="Be kind", temperature=0.5, store=True, metadata={"a": "b"})
    assert body == {
        "messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}],
        "temperature": 0.5, "model": "m", "max_tokens": 50,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
         {"response_format": {"type": "json_object"}, "verbosity": "low"}),
        ({"text": {"format": {"type": "json_schema", **SCHEMA}}},
         {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required",
          "parallel_tool_calls": False},
         {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required",
          "parallel_tool_calls": False}),
        ({"tools": [{"type": "function", **FUNCTION}],
          "tool_choice": {"type": "function", "name": "f"}},
         {"tools": [{"type": "function", "function": FUNCTION}],
          "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}]},
         {"tools": [{"type": "custom", "custom": {
             "name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}}}]}),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"include": ["reasoning.encrypted_content"], "truncation": "auto", "max_tool_calls": 3,
          "prompt_cache_key": "k"}, {}),
        ({"search_recency_filter": "week"}, {"search_recency_filter": "week"}),
        ({"user": "alice"}, {"user": "an-opaque-hash"}),
        ({"service_tier": "priority"}, {"service_tier": "priority"}),
        ({"stream": True, "stream_options": {"include_obfuscation": False}},
         {"stream": True, "stream_options": {"include_usage": True}}),
        ({"background": False, "previous_response_id": None, "conversation": None}, {}),
    ],
)  # fmt: skip
def test_what_a_response_asks_for_a_chat_asks_too(
    given: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert to_chat(**given) == {**to_chat(), **sent}


def test_tools_that_may_not_be_chosen_are_not_offered() -> None:
    tools = [{"type": "function", "name": name} for name in ("f", "g", "h")]
    allowed = [{"type": "function", "name": name} for name in ("f", "h")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": allowed}
    body = to_chat(tools=tools, tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", "h"]
    assert body["tool_choice"] == "required"


def test_parts_of_a_message_keep_their_order_and_kind() -> None:
    parts = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        {"type": "input_file", "file_data": "data:x", "filename": "a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]
    shown = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]
    assert told({"role": "user", "content": parts}) == [{"role": "user", "content": shown}]
    assert items({"role": "user", "content": shown}) == [{"role": "user", "content": parts}]


def test_calls_of_one_turn_are_one_message_and_their_outputs_follow() -> None:
    said = {"type": "message", "role": "assistant", "status": "completed", "id": "msg_1",
            "content": [{"type": "output_text", "text": "Wait", "annotations": []}]}  # fmt: skip
    conversation = told(
        {"role": "developer", "content": "Be kind"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        said, call("c1"), call("c2"), output("c1", "1"), output("c2", [
            {"type": "input_text", "text": "2"}]), call("c3"), output("c3"),
    )  # fmt: skip
    assert conversation == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Wait", "tool_calls": [made("c1"), made("c2")]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "assistant", "content": None, "tool_calls": [made("c3")]},
        {"role": "tool", "tool_call_id": "c3", "content": "42"},
    ]


def test_what_is_said_behind_its_calls_is_of_the_same_turn() -> None:
    late = {"role": "assistant", "content": "Wait"}
    assert told({"role": "user", "content": "Hi"}, call(), late, output())[1:] == [
        {"role": "assistant", "content": "Wait", "tool_calls": [made()]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]


def test_a_providers_signature_of_a_call_comes_back_with_it() -> None:
    signed = {"google": {"thought_signature": "s"}}
    assert told(call(extra_content=signed))[0]["tool_calls"] == [made(extra_content=signed)]


@pytest.mark.parametrize(
    ("id_", "field"),
    [
        ("rs_reasoning_content_01h_0", "reasoning_content"),
        ("rs_reasoning_01h_0", "reasoning"),
        ("rs_parts_01h_0", None),
        ("rs_68af00aa11", None),
    ],
)
def test_a_thought_goes_back_under_the_name_it_came_by_or_not_at_all(
    id_: str, field: str | None
) -> None:
    content = [{"type": "reasoning_text", "text": "Hm"}]
    thought = {"type": "reasoning", "id": id_, "summary": [], "content": content}
    message = told({"role": "user", "content": "Hi"}, thought, call(), output())[1]
    expected = {"role": "assistant", "content": None, "tool_calls": [made()]}
    assert message == expected | ({field: "Hm"} if field else {})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"n": 2}, "n"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
        ({"tools": [{"type": "code_interpreter", "container": "c"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": "f"}, "tools"),
        ({"tools": [None]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"format": {"type": "odd"}}}, "text.format"),
        ({"text": {"format": 5}}, "text.format"),
        ({"text": 5}, "text"),
        ({"reasoning": 5}, "reasoning"),
        ({"instructions": ["a"]}, "instructions"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": [{"type": ["x"]}]}, "input[0].type"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [5]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
         "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
         "input[0].content[0].file_url"),
        ({"input": [{"role": "user", "content": [{"type": "odd"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
         "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ],
)  # fmt: skip
def test_what_no_chat_can_be_asked_is_refused_by_its_place(
    body: dict[str, Any], param: str
) -> None:
    with pytest.raises(Refused) as raised:
        to_chat(**body)
    assert raised.value.param == param
    assert raised.value.message


def test_a_body_that_would_be_too_deep_in_the_other_shape_is_refused() -> None:
    deep: Any = {}
    for _ in range(251):
        deep = {"a": deep}
    tool = {"type": "function", "name": "f", "parameters": deep}
    json.dumps(tool)
    with pytest.raises(Refused):
        to_chat(tools=[tool])


def test_a_call_of_no_model_is_refused_where_the_model_must_be_told() -> None:
    call = asked(shape=Shape.RESPONSE, path="responses", body={"input": "Hi"}, upstream_model="",
                 speaks=CHATS)  # fmt: skip
    with pytest.raises(Refused) as raised:
        ADAPTERS["compatible"].prepare(call, "sk")
    assert raised.value.param == "model"


def test_a_short_chat_is_a_short_response() -> None:
    assert to_response(temperature=0.5, n=1, seed=7, metadata={"a": "b"}) == {
        "input": [{"role": "user", "content": "Hi"}], "store": False, "temperature": 0.5,
        "metadata": {"a": "b"}, "model": "m", "max_output_tokens": 50,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"reasoning": {"summary": "auto"}, "reasoning_effort": "low"},
         {"reasoning": {"summary": "auto", "effort": "low"}}),
        ({"response_format": {"type": "json_object"}, "verbosity": "low"},
         {"text": {"format": {"type": "json_object"}, "verbosity": "low"}}),
        ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
         {"text": {"format": {"type": "json_schema", **SCHEMA}}}),
        ({"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "auto"},
         {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "auto"}),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]},
         {"tools": [{"type": "function", "name": "f", "strict": False,
                     "parameters": {"type": "object", "properties": {}}}]}),
        ({"tools": [{"type": "custom", "custom": {
            "name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}}}]},
         {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}]}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}},
         {"tool_choice": {"type": "function", "name": "f"}}),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}}},
         {"tool_choice": {"type": "allowed_tools", "mode": "required",
                          "tools": [{"type": "function", "name": "f"}]}}),
        ({"logprobs": True, "top_logprobs": 2},
         {"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
        ({"logprobs": False, "top_logprobs": 2}, {}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"stop": None, "logit_bias": {}, "frequency_penalty": 0.0, "store": False,
          "modalities": ["text"]}, {}),
        ({"user": "alice", "safety_identifier": "a"},
         {"user": "an-opaque-hash", "safety_identifier": "an-opaque-hash"}),
        ({"some_new_field": 1}, {"some_new_field": 1}),
    ],
)  # fmt: skip
def test_what_a_chat_asks_for_a_response_is_asked_too(
    given: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert to_response(**given) == {**to_response(), **sent}


def test_a_conversation_becomes_items() -> None:
    custom = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
    assert items(
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Wait", "tool_calls": [made("c1"), custom]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "So"}]},
        {"role": "assistant", "content": None, "refusal": "No"},
    ) == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Wait"},
        call("c1"),
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        output("c1", "1"),
        {"type": "custom_tool_call_output", "call_id": "c2",
         "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "So"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"), ({"stop": ["a"]}, "stop"), ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"store": True}, "store"), ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"), ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"), ({"functions": [{}]}, "functions"),
        ({"function_call": "auto"}, "function_call"), ({"tools": "f"}, "tools"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "function"}]}, "tools[0]"), ({"tools": [5]}, "tools[0]"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "odd"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
         "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
         "messages[0].tool_calls[0].call_id"),
    ],
)  # fmt: skip
def test_what_no_response_can_be_asked_is_refused_by_its_place(
    body: dict[str, Any], param: str
) -> None:
    with pytest.raises(Refused) as raised:
        to_response(**body)
    assert raised.value.param == param


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_the_callers_body_is_not_changed_by_either_translation(kind: str) -> None:
    body = {
        "input": [call(), output()],
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
    }
    chat = {"messages": [{"role": "user", "content": "Hi"}], "stream_options": {"a": 1}}
    before = json.dumps([body, chat])
    adapter = ADAPTERS[kind]
    for shape, path, given, speaks in (
        (Shape.RESPONSE, "responses", body, CHATS),
        (Shape.CHAT, "chat/completions", chat, RESPONDS),
    ):
        made_of = asked(shape=shape, path=path, body=given, speaks=speaks, stream=False)
        adapter.whole_reader(made_of)
        adapter.stream_reader(made_of)
    assert json.dumps([body, chat]) == before
