"""What is asked of Anthropic: its headers, a chat's fields in its words, and what is refused."""

from typing import Any

import pytest

from proxy.providers.anthropic.adapter import Anthropic
from proxy.providers.base import Listed, Refused
from tests.proxy.providers.anthropic_talk import (
    CACHED,
    FIND,
    HELLO,
    SECRET,
    called,
    refused,
    sent,
    words,
)
from tests.proxy.providers.talk import asked

pytestmark = pytest.mark.once


def test_the_key_goes_where_anthropic_wants_it_and_nowhere_else() -> None:
    call = asked(headers=(("openai-beta", "x"), ("authorization", "Bearer mine")), user="hash")
    out = Anthropic().prepare(call, SECRET)
    assert (out.method, out.target) == ("POST", "/messages")
    assert out.headers["x-api-key"] == SECRET
    assert out.headers["anthropic-version"] == "2023-06-01"
    assert out.headers["content-type"] == "application/json"
    assert not {"authorization", "openai-beta"} & out.headers.keys()
    assert isinstance(out.body, bytes)
    assert SECRET.encode() not in out.body


def test_a_plain_chat_is_said_in_anthropics_words() -> None:
    assert sent({"stop": "END", "temperature": 0.3, "top_p": 0.9, "top_k": 5}, user="hash") == {
        "model": "claude-sonnet-4-6",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [words("Hi")]}],
        "metadata": {"user_id": "hash"},
        "temperature": 0.3,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
    }
    assert sent(stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-7-sonnet-20250219", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-5-20251101", 64_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-haiku-5-5", 64_000),
        ("claude-mythos-preview", 64_000),
    ],
)
def test_an_output_limit_is_always_there(model: str, most: int) -> None:
    assert sent(upstream_model=model, limit=None)["max_tokens"] == most
    assert sent(upstream_model=model, limit=7)["max_tokens"] == 7


@pytest.mark.parametrize("value", [1, 1.0, 1.7, 2])
def test_a_default_is_not_said_and_no_temperature_is_above_it(value: float) -> None:
    body = sent({"temperature": value, "top_p": 1})
    assert not {"temperature", "top_p"} & body.keys()


def test_what_asks_for_nothing_is_left_out() -> None:
    plain = sent()
    field: dict[str, Any]
    for field in ({"n": 1}, {"logprobs": False, "top_logprobs": 0}, {"store": False},
                  {"frequency_penalty": 0, "presence_penalty": 0.0}, {"logit_bias": {}},
                  {"modalities": ["text"]}, {"seed": 7}, {"metadata": {"a": "b"}}, {"tools": []},
                  {"stream_options": {"include_usage": True}},
                  {"response_format": {"type": "text"}},
                  {"tool_choice": None, "stop": None, "audio": None}, {"user": "alice"},
                  {"prompt_cache_key": "k", "safety_identifier": "s"}, {"verbosity": "medium"},
                  {"tool_choice": "auto"}, {"parallel_tool_calls": False}):  # fmt: skip
        assert sent(field) == plain, field


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"store": True}, "store"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"verbosity": "low"}, "verbosity"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"service_tier": "best"}, "service_tier"),
        ({"service_tier": []}, "service_tier"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "only"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        ({"messages": ["Hi"]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "function", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
         "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    assert refused(body).param == param


def test_what_is_no_create_is_refused() -> None:
    for path, method in (("chat/completions/x", "GET"), ("chat/completions", "GET")):
        with pytest.raises(Refused):
            Anthropic().prepare(asked(path=path, method=method), SECRET)


@pytest.mark.parametrize(
    ("model", "effort", "limit", "expected"),
    [
        ("claude-opus-5-5", "high", 50, {"effort": "high"}),
        ("claude-opus-5-5", "minimal", 50, {"effort": "low"}),
        ("claude-opus-4-7", "xhigh", 50, {"effort": "xhigh"}),
        ("claude-opus-4-6", "xhigh", 50, {"effort": "high"}),
        ("claude-mythos-preview", "max", 50, {"effort": "max"}),
        ("claude-sonnet-5", "none", 50, {"type": "disabled"}),
        ("claude-sonnet-4-6", "none", 50, None),
        ("claude-sonnet-4-5-20250929", "none", 50, None),
        ("claude-sonnet-4-5-20250929", "medium", 20_000, 10_000),
        ("claude-sonnet-4-5-20250929", "minimal", 20_000, 1_024),
        ("claude-sonnet-4-5-20250929", "high", 1_024, None),
        ("claude-sonnet-4-5-20250929", "low", None, 12_800),
    ],
)
def test_how_hard_to_think_is_said_as_the_model_wants_it(
    model: str, effort: str, limit: int | None, expected: Any
) -> None:
    body = sent({"reasoning_effort": effort}, upstream_model=model, limit=limit)
    if expected is None:
        assert not {"thinking", "output_config"} & body.keys()
    elif isinstance(expected, int):
        assert body["thinking"] == {"type": "enabled", "budget_tokens": expected}
    elif "effort" in expected:
        assert body["output_config"] == expected
        assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    else:
        assert body["thinking"] == expected


def test_an_older_model_answers_a_tool_without_new_thoughts() -> None:
    """It would want those before its call back, which no chat carries."""
    talk = [*HELLO, {"role": "assistant", "tool_calls": [called()]},
            {"role": "tool", "tool_call_id": "call_1", "content": "green"}]  # fmt: skip
    body = {"messages": talk, "reasoning_effort": "high", "tools": [FIND]}
    old = sent(body, upstream_model="claude-sonnet-4-5", limit=9_000)
    assert "thinking" not in old
    assert "thinking" in sent(body, upstream_model="claude-sonnet-4-6", limit=9_000)


def test_anthropics_own_thinking_goes_before_the_effort() -> None:
    own = {"type": "enabled", "budget_tokens": 2_000}
    body = sent({"thinking": own, "reasoning_effort": "low", "cache_control": CACHED})
    assert body["thinking"] == own
    assert body["cache_control"] == CACHED
    assert "output_config" not in body


@pytest.mark.parametrize(
    ("asked_for", "tier"),
    [("auto", "auto"), ("default", "standard_only"), ("flex", "standard_only"),
     ("priority", "auto")],
)  # fmt: skip
def test_the_tier_is_one_of_anthropics(asked_for: str, tier: str) -> None:
    assert sent({"service_tier": asked_for})["service_tier"] == tier


def test_a_model_list_says_its_limits() -> None:
    out = Anthropic().list_models(SECRET)
    assert (out.method, out.target, out.body) == ("GET", "/models?limit=1000", b"")
    assert out.headers["x-api-key"] == SECRET
    assert "authorization" not in out.headers
    row = {"type": "model", "display_name": "Claude Opus 4.6", "created_at": "2026-02-04T00:00:00Z"}
    rows = [{**row, "id": "claude-opus-4-6", "max_input_tokens": 1_000_000, "max_tokens": 128_000},
            {**row, "id": "claude-haiku-4-5-20251001", "max_input_tokens": None, "max_tokens": "x"},
            {"id": 5}]  # fmt: skip
    payload = {"data": rows, "has_more": False, "first_id": "a", "last_id": "b"}
    assert Anthropic().catalog(payload) == [
        Listed("claude-opus-4-6", 1_000_000, 128_000),
        Listed("claude-haiku-4-5-20251001"),
    ]
