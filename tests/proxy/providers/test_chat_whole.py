"""A completion in one body, and what a provider's count of tokens is worth."""

import json
from typing import Any

import pytest

from proxy.providers.base import Malformed, UpstreamFault, Usage
from proxy.providers.chat import ChatWhole
from proxy.providers.reading import usage_of
from proxy.providers.tokens import of_text
from tests.proxy.providers.talk import asked, usage

pytestmark = pytest.mark.once


def reply(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c1", "model": "m", "choices": [choice], "usage": usage(), **more}


def read(value: Any, **more: Any) -> ChatWhole:
    reader = ChatWhole(asked(stream=False, **more))
    reader.whole(value if isinstance(value, bytes) else json.dumps(value).encode())
    return reader


def test_a_body_that_needs_no_change_goes_on_byte_for_byte() -> None:
    raw = b'{ "choices":[{"message":{"content":"\\u0041"}}],  "x": 1.50 }\n'
    assert read(raw).finish(None) == raw


def test_the_answer_has_the_name_that_was_asked_for_and_what_is_added() -> None:
    reader = read(reply(citations=["a"]), model="M-1")
    body = json.loads(reader.finish({"yout": {"credits_charged": 1}}))
    assert body == {**reply(citations=["a"]), "model": "M-1", "yout": {"credits_charged": 1}}


def test_a_body_nested_deeper_than_can_be_written_goes_on_as_it_came() -> None:
    deep = '{"a":' * 500 + "1" + "}" * 500
    raw = json.dumps(reply()).encode()[:-1] + f',"deep":{deep}}}'.encode()
    assert read(raw).finish(None) == raw
    assert read(raw).finish({"yout": {}}) == raw
    with pytest.raises(Malformed):
        read(raw, model="M-1")


def test_usage_tier_and_text_are_taken() -> None:
    reader = read(reply(service_tier="flex"))
    assert reader.complete
    assert reader.usage == Usage(5, 2, 0)
    assert reader.tier == "flex"
    assert reader.produced == of_text("Hello")


def test_an_answer_without_usage_is_estimated_over_all_choices() -> None:
    body = reply(usage=None)
    body["choices"] *= 3
    reader = read(body)
    assert reader.usage is None
    assert reader.produced == of_text("Hello" * 3)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"null", b"[]", b'"x"', b"5", b"{}", b'{"choices":[]}', b'{"choices":null}',
        b'{"choices":{}}', b'{"choices":["x"]}', b'{"choices":[null]}', b'{"choices":[{}]} x',
        b'{"choices":[{"a":NaN}]}', b"\xff\xfe", b'{"choices":[{"a":"\xff"}]}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_completion_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body)


@pytest.mark.parametrize("error", [{"message": "boom"}, "boom"])
def test_an_error_in_a_200_is_the_providers_fault(error: Any) -> None:
    with pytest.raises(UpstreamFault):
        read(reply(error=error))


def test_an_error_that_is_null_is_none() -> None:
    assert read(reply(error=None)).complete


@pytest.mark.parametrize(
    ("value", "counted"),
    [
        (usage(5, 2), Usage(5, 2, 0)),
        (usage(0, 0), Usage(0, 0, 0)),
        ({"prompt_tokens": 5}, Usage(5, 0, 0)),
        ({"prompt_tokens": 5, "total_tokens": 7}, Usage(5, 2, 0)),
        (usage(5, 2, prompt_tokens_details={"cached_tokens": 3}), Usage(5, 2, 3)),
        (usage(5, 2, prompt_tokens_details={"cached_tokens": -3}), Usage(5, 2, 0)),
        (usage(5, 2, prompt_tokens_details={"cached_tokens": "3"}), Usage(5, 2, 0)),
        (usage(5, 2, prompt_tokens_details=[]), Usage(5, 2, 0)),
        (usage(10**12, 1), Usage(10**12, 1, 0)),
    ],
)
def test_usage_as_the_provider_states_it(value: Any, counted: Usage) -> None:
    assert usage_of(value) == counted


@pytest.mark.parametrize(
    "value",
    [
        None, {}, [], "5", 5, usage(-1, 2), usage(5, -2), usage(5.0, 2), usage(5, 2.5),
        usage("5", 2), usage(True, 2), usage(None, 2), usage(5, None), {"completion_tokens": 5},
        {"prompt_tokens": 5, "total_tokens": 4},
        usage(2**63, 1), usage(5, 2**64 - 1), usage(10**12 + 1, 1),
    ],
)  # fmt: skip
def test_a_count_that_cannot_be_is_no_statement_at_all(value: Any) -> None:
    """Estimated then: nothing negative, fractional or too large for a column reaches the ledger."""
    assert usage_of(value) is None
