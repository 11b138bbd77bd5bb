"""What providers' lists say, in their dialects, and what a model's row is made of."""

from datetime import date
from typing import Any

import pytest

from bsod.lib.terms import Modality, Service, Tier
from proxy.listings import FIELDS, describe, packed, unpacked
from proxy.models import Model
from proxy.providers.base import Listed, Malformed
from proxy.providers.listing import listed
from proxy.providers.openai_shape import OpenAIShape
from proxy.rules import classify, in_credits

pytestmark = pytest.mark.once
CHAT, RESPONSES = Service.CHAT, Service.RESPONSES


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (
            # OpenAI
            {"id": "gpt-5", "object": "model", "created": 1, "owned_by": "system",
             "shutdown_date": "2026-12-11"},
            Listed("gpt-5", shutdown=date(2026, 12, 11)),
        ),
        ({"id": "gpt-6-sol", "shutdown_date": None}, Listed("gpt-6-sol")),
        (
            # OpenRouter
            {"id": "anthropic/claude-opus-5.5", "context_length": 1_000_000,
             "top_provider": {"context_length": 900_000, "max_completion_tokens": 128_000},
             "pricing": {"prompt": "0.000004", "completion": "0.00002", "request": "0"},
             "expiration_date": None},
            Listed("anthropic/claude-opus-5.5", 900_000, 128_000, price_in=4.0, price_out=20.0),
        ),
        (
            {"id": "openrouter/auto", "context_length": 2_000_000,
             "top_provider": {"context_length": None, "max_completion_tokens": None},
             "pricing": {"prompt": "-1", "completion": "-1"}},
            Listed("openrouter/auto", 2_000_000),
        ),
        (
            {"id": "x/y:free", "pricing": {"prompt": "0", "completion": "0"}},
            Listed("x/y:free", price_in=0.0, price_out=0.0),
        ),
        (
            # Groq
            {"id": "llama-3.3-70b-versatile", "active": True, "context_window": 131_072,
             "max_completion_tokens": 32_768},
            Listed("llama-3.3-70b-versatile", 131_072, 32_768),
        ),
        (
            # Mistral
            {"id": "mistral-large-latest", "max_context_length": 262_144, "deprecation": None,
             "capabilities": {"completion_chat": True}},
            Listed("mistral-large-latest", 262_144),
        ),
        (
            # Together
            {"id": "meta-llama/Llama-3.3-70B", "context_length": 131_072,
             "pricing": {"input": 0.88, "output": 0.88, "hourly": 0}},
            Listed("meta-llama/Llama-3.3-70B", 131_072, price_in=0.88, price_out=0.88),
        ),
        ({"id": "own", "max_model_len": 4096.0}, Listed("own", 4096)),  # vLLM
        (
            # another gateway of this kind
            {"id": "m", "context_window": 8_000, "max_output": 1_000, "modality": "text",
             "endpoints": ["/v1/chat/completions", "/v1/responses", "/v1/batches"],
             "pricing": {"credits_per_1k_input": 3}, "shutdown_date": "2027-01-01"},
            Listed("m", 8_000, 1_000, date(2027, 1, 1), frozenset({CHAT, RESPONSES})),
        ),
    ],
)  # fmt: skip
def test_a_row_is_read_in_the_dialect_it_is_written_in(row: Any, found: Listed) -> None:
    assert listed(row) == found


@pytest.mark.parametrize(
    "odd",
    [
        {"context_length": -1}, {"context_length": 0}, {"context_length": True},
        {"context_length": "many"}, {"context_length": 10**12}, {"context_length": 1.5},
        {"context_length": float("nan")}, {"top_provider": []}, {"top_provider": "x"},
        {"max_completion_tokens": {}}, {"shutdown_date": "soon"}, {"shutdown_date": 20261211},
        {"shutdown_date": "2026-13-01"}, {"supported_endpoints": "chat"},
        {"supported_endpoints": [None, 5]}, {"pricing": "free"}, {"pricing": {"prompt": "1"}},
        {"pricing": {"prompt": "x", "completion": "y"}},
        {"pricing": {"prompt": "nan", "completion": "1"}},
        {"pricing": {"input": float("inf"), "output": 1}},
        {"pricing": {"input": True, "output": True}},
        {"pricing": {"input": 10**400, "output": 1}},
    ],
)  # fmt: skip
def test_what_is_no_sensible_value_says_nothing(odd: dict[str, Any]) -> None:
    assert listed({"id": "m", **odd}) == Listed("m")


@pytest.mark.parametrize("row", [None, 5, "m", [], {}, {"id": 5}, {"id": ""}, {"id": "x" * 257}])
def test_what_names_no_model_is_no_row(row: Any) -> None:
    assert listed(row) is None
    assert OpenAIShape().catalog({"data": [row, {"id": "m"}]}) == [Listed("m")]


def test_a_list_may_be_bare_but_must_be_one() -> None:
    assert OpenAIShape().catalog([{"id": "m"}]) == [Listed("m")]
    with pytest.raises(Malformed):
        OpenAIShape().catalog({"models": []})


@pytest.mark.parametrize(
    "said",
    [
        Listed("m"),
        Listed("m", 5, 6, date(2027, 1, 2), frozenset({CHAT}), 0.0, 1.25),
        Listed("m", services=frozenset()),
    ],
)
def test_what_is_kept_of_a_list_comes_out_the_same(said: Listed) -> None:
    assert unpacked("m", packed(said)) == said


def test_what_a_row_could_not_hold_is_not_kept() -> None:
    assert packed(Listed("m", 2**40, -1, None, None, float("nan"), 1e9)) == {}


def described(name: str, *said: Listed, kind: str = "compatible") -> dict[str, Any]:
    return describe(name, [(kind, one) for one in said])


def test_a_row_has_every_field_and_no_other() -> None:
    row = described("gpt-5.4", Listed("gpt-5.4"))
    assert set(row) == set(FIELDS)
    Model(name="gpt-5.4", **row).full_clean(validate_unique=False)


def test_the_rules_speak_where_the_list_is_silent() -> None:
    row, ruled = described("gpt-5.4-pro", Listed("gpt-5.4-pro")), classify("gpt-5.4-pro")
    assert (row["context_window"], row["max_output"]) == (ruled.context, ruled.output)
    assert (row["credits_per_1k_input"], row["credits_per_1k_output"]) == (1_000, 6_000)
    assert (row["modality"], row["tier"]) == (Modality.TEXT, Tier.PRO)
    assert row["speaks"] == ["responses"]


def test_a_list_knows_better_than_the_rules() -> None:
    said = Listed("x/gpt-5.4", 99_000, 7_000, None, frozenset({CHAT}), 1.0, 0.0)
    row = described("x/gpt-5.4", said)
    assert (row["context_window"], row["max_output"]) == (99_000, 7_000)
    assert (row["credits_per_1k_input"], row["credits_per_1k_output"]) == (in_credits(1.0), 0)
    assert row["speaks"] == ["chat"]
    assert row["tier"] == Tier.PRO, "what a model is worth is not for its seller to say"


def test_of_two_providers_the_row_holds_whoever_answers() -> None:
    wide = Listed("llama-3.3-70b", 131_072, 32_768, price_in=0.1, price_out=0.2)
    narrow = Listed("llama-3.3-70b", 32_000, price_in=0.5, price_out=0.1)
    for pair in ((wide, narrow), (narrow, wide)):
        row = described("llama-3.3-70b", *pair)
        assert (row["context_window"], row["max_output"]) == (32_000, 16_384)
        assert row["credits_per_1k_input"] == in_credits(0.5)
        assert row["credits_per_1k_output"] == in_credits(0.2)


def test_a_free_copy_elsewhere_does_not_make_a_dear_model_free() -> None:
    free = Listed("gpt-4o", price_in=0.0, price_out=0.0)
    row = describe("gpt-4o", [("openai", Listed("gpt-4o")), ("compatible", free)])
    assert (row["credits_per_1k_input"], row["credits_per_1k_output"]) == (84, 334)


def test_media_are_paid_by_the_piece_whatever_a_list_says() -> None:
    row = described("gpt-image-2", Listed("gpt-image-2", price_in=8.0, price_out=30.0))
    assert (row["credits_per_1k_input"], row["credits_per_1k_output"]) == (0, 0)
    assert row["credits_per_call"] == classify("gpt-image-2").per_call > 0


def test_a_model_ends_when_the_last_of_its_providers_ends_it() -> None:
    soon, late = date(2026, 12, 1), date(2027, 3, 1)
    one, other = Listed("m", shutdown=soon), Listed("m", shutdown=late)
    assert described("m", one)["shutdown_date"] == soon
    assert described("m", one, other)["shutdown_date"] == late
    assert described("m", one, Listed("m"))["shutdown_date"] is None


def test_a_known_day_is_that_of_the_provider_and_his_own_word_counts_for_more() -> None:
    assert described("gpt-5", Listed("gpt-5"), kind="openai")["shutdown_date"] == date(2026, 12, 11)
    assert described("gpt-5", Listed("gpt-5"))["shutdown_date"] is None
    put_off = Listed("gpt-5", shutdown=date(2027, 6, 1))
    assert described("gpt-5", put_off, kind="openai")["shutdown_date"] == date(2027, 6, 1)


def test_a_model_is_asked_in_any_way_that_one_of_its_providers_knows() -> None:
    chat, both = frozenset({CHAT}), frozenset({CHAT, RESPONSES})
    two = described("m", Listed("m", services=chat), Listed("m", services=both))
    assert two["speaks"] == ["chat", "responses"]
    assert described("m", Listed("m", services=chat), Listed("m"))["speaks"] is None
