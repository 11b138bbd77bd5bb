"""What of a chat is said to Anthropic: turns, pictures, files, tools and schemas."""

import json
from typing import Any

import pytest

from tests.proxy.providers.anthropic_talk import (
    CACHED,
    FIND,
    HELLO,
    PDF,
    PNG,
    called,
    refused,
    said,
    sent,
    words,
)

pytestmark = pytest.mark.once


def test_instructions_stand_before_the_conversation_and_turns_alternate() -> None:
    body = sent({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One", "name": "alice"},
        {"role": "user", "content": [words("two"), words(" ")]},
        {"role": "assistant", "content": "three"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": None},
        {"role": "developer", "content": [{**words("Be kind."), "cache_control": CACHED}]},
        {"role": "user", "content": "four", "cache_control": CACHED},
    ]})  # fmt: skip
    assert body["system"] == [
        words("Be brief."),
        {**words("Be kind."), "cache_control": CACHED},
    ]
    assert body["messages"] == [
        {"role": "user", "content": [words("One"), words("two")]},
        {"role": "assistant", "content": [words("three"), words("no")]},
        {"role": "user", "content": [{**words("four"), "cache_control": CACHED}]},
    ]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}",
                                             "detail": "low"}},
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        ({"type": "image_url", "image_url": f"data:image/JPG;base64,{PNG}"},
         {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}}),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"},
          "cache_control": CACHED},
         {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"},
          "cache_control": CACHED}),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}",
                                   "filename": "a.pdf"}},
         {"type": "document", "title": "a.pdf",
          "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}),
        ({"type": "file", "file": {"file_data": PDF}, "citations": {"enabled": True}},
         {"type": "document", "citations": {"enabled": True},
          "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}),
        ({"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,0J/RgA=="}},
         {"type": "document",
          "source": {"type": "text", "media_type": "text/plain", "data": "Пр"}}),
        ({"type": "file", "file": {"file_url": "https://example.com/a.pdf"}},
         {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
    ],
)  # fmt: skip
def test_pictures_and_files_become_sources(part: dict[str, Any], block: dict[str, Any]) -> None:
    (turn,) = said({"role": "user", "content": [words("See"), part]})
    assert turn["content"] == [words("See"), block]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": f"data:image/tiff;base64,{PNG}"}},
         "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,raw"}}, "image_url.url"),
        ({"type": "image_url"}, "image_url.url"),
        ({"type": "file"}, "file"),
        ({"type": "file", "file": {}}, "file.file_data"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,%%"}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": "data:audio/mp3;base64,aa"}}, "file.file_data"),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_read_are_refused(part: dict[str, Any], param: str) -> None:
    fault = refused({"messages": [{"role": "user", "content": [part]}]})
    assert fault.param == f"messages[0].content[0].{param}"


def test_calls_and_what_tools_answered_become_blocks() -> None:
    turns = said(
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [called(), called("call.2", "")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "green"},
        {"role": "tool", "tool_call_id": "call.2", "content": [], "cache_control": CACHED},
        {"role": "user", "content": "And now?"},
    )
    assert turns[1:] == [
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_1", "name": "find", "input": {"q": "tea"}},
            {"type": "tool_use", "id": "call_2", "name": "find", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [words("green")]},
            {"type": "tool_result", "tool_use_id": "call_2", "cache_control": CACHED},
            words("And now?"),
        ]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("calls", "param"),
    [
        ("x", ""),
        ([5], "[0]"),
        ([{"id": "a", "type": "custom", "custom": {"name": "x", "input": "y"}}], "[0]"),
        ([called(arguments="[1]")], "[0].function.arguments"),
        ([called(arguments="{broken")], "[0].function.arguments"),
        ([{"function": {"name": "f", "arguments": "{}"}}], "[0].id"),
        ([{"id": "a", "function": {"arguments": "{}"}}], "[0].function.name"),
    ],
)
def test_calls_that_make_no_sense_are_refused(calls: Any, param: str) -> None:
    fault = refused({"messages": [*HELLO, {"role": "assistant", "tool_calls": calls}]})
    assert fault.param == f"messages[1].tool_calls{param}"


def test_arguments_nested_deeper_than_can_be_written_are_refused() -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    fault = refused(
        {"messages": [*HELLO, {"role": "assistant", "tool_calls": [called("a", deep)]}]}
    )
    assert fault.param == "messages"


def test_tools_are_still_known_when_no_more_can_be_called() -> None:
    talk = [*HELLO, {"role": "assistant", "tool_calls": [called(), called("b")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "green"}]  # fmt: skip
    body = sent({"messages": talk})
    assert [tool["name"] for tool in body["tools"]] == ["find"]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "find"}}},
         {"type": "tool", "name": "find"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": "required", "parallel_tool_calls": False},
         {"type": "any", "disable_parallel_tool_use": True}),
    ],
)  # fmt: skip
def test_how_tools_are_chosen(given: dict[str, Any], choice: dict[str, Any] | None) -> None:
    body = sent({"tools": [FIND], **given})
    assert body["tools"] == [{"name": "find", "description": "Finds.",
                              "input_schema": FIND["function"]["parameters"]}]  # type: ignore[index]  # fmt: skip # a dict of two kinds
    assert body.get("tool_choice") == choice


def test_only_the_allowed_tools_are_there() -> None:
    other = {"type": "function", "function": {"name": "other"}, "cache_control": CACHED}
    only = {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}]}
    body = sent({"tools": [FIND, other],
                 "tool_choice": {"type": "allowed_tools", "allowed_tools": only}})  # fmt: skip
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [{"name": "other", "input_schema": empty, "cache_control": CACHED}]
    assert body["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": {}}, None),
        ({"tools": {"a": 1}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [FIND, {"type": "web_search_20250305", "name": "web_search"}]}, "tools[1]"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]},
         "tools[0].function.parameters"),
        ({"tools": [FIND], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [FIND], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tools": [FIND], "tool_choice": {"type": "function"}}, "tool_choice"),
    ],
)  # fmt: skip
def test_tools_that_are_no_functions_are_refused(body: dict[str, Any], param: str | None) -> None:
    if param is None:
        assert "tools" not in sent(body)
    else:
        assert refused(body).param == param


def test_a_schema_is_held_in_its_shape_and_its_ranges_are_told() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "Years."},
            "tags": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"$ref": "#/$defs/t"}},
            "pet": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {}}]},
        },
        "required": ["age", "tags", "pet"],
        "$defs": {"t": {"type": "string", "maxLength": 9}},
    }
    before = json.dumps(schema)
    wanted = {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": schema}}
    body = sent({"response_format": wanted, "reasoning_effort": "low"})
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "age": {"type": "integer", "description": 'Years.\n\n{"minimum":0}'},
            "tags": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/t"},
                     "description": '{"maxItems":3}'},
            "pet": {"anyOf": [{"type": "null"},
                              {"type": "object", "properties": {}, "additionalProperties": False}]},
        },
        "required": ["age", "tags", "pet"],
        "$defs": {"t": {"type": "string", "description": '{"maxLength":9}'}},
    }}}  # fmt: skip
    assert json.dumps(schema) == before


def test_a_schema_of_anything_is_refused_before_it_comes_back_empty() -> None:
    of_any = {"type": "object", "properties": {}}
    inner: dict[str, Any]
    for inner in (
        {"type": "object"},
        {"type": ["object", "null"]},
        {**of_any, "additionalProperties": True},
        {"properties": {}, "additionalProperties": {}},
        {**of_any, "additionalProperties": {"type": "string"}},
    ):
        schema = {"type": "object", "properties": {"x": {"type": "array", "items": inner}}}
        wanted = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema}}
        assert refused({"response_format": wanted}).param == "response_format.json_schema.schema"
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        assert sent({"tools": [tool]})["tools"][0]["input_schema"] == schema
        tool["function"]["strict"] = True  # type: ignore[index] # a dict of two kinds
        assert refused({"tools": [tool]}).param == "tools[0].function.parameters"
