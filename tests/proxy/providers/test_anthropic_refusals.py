"""Whose fault Anthropic's refusals are, how long to wait, and what of them a client may read."""

import json
from datetime import timedelta
from typing import Any

import pytest

from bsod.lib import clock
from bsod.lib.terms import Blame
from proxy.providers.anthropic.adapter import Anthropic
from proxy.providers.base import Verdict
from tests.upstream.anthropic import error_body

pytestmark = pytest.mark.once

LIMIT = "This request would exceed your organization's rate limit of 50,000 input tokens per minute"
LOW = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
CAPPED = "You have reached your specified API usage limits. You will regain access on 2026-12-01."


def judged(status: int, kind: str, words: str, /, headers: Any = None, **more: Any) -> Verdict:
    head = json.dumps(error_body(kind, words, **more)).encode()
    return Anthropic().judge(status, headers or {}, head)


@pytest.mark.parametrize(
    ("status", "kind", "words", "blame"),
    [
        (400, "invalid_request_error", "max_tokens: must be at least 1", Blame.CLIENT),
        (400, "invalid_request_error", LOW, Blame.BILLING),
        (400, "invalid_request_error", CAPPED, Blame.BILLING),
        (401, "authentication_error", "invalid x-api-key", Blame.AUTH),
        (402, "billing_error", "Please check your payment details.", Blame.BILLING),
        (403, "permission_error", "Your API key does not have permission", Blame.BILLING),
        (404, "not_found_error", "model: claude-none", Blame.CLIENT),
        (413, "request_too_large", "Request exceeds the maximum size", Blame.CLIENT),
        (429, "rate_limit_error", LIMIT, Blame.RATE_LIMIT),
        (500, "api_error", "Internal server error", Blame.FAILURE),
        (504, "timeout_error", "The request timed out", Blame.FAILURE),
        (529, "overloaded_error", "Overloaded", Blame.FAILURE),
    ],
)
def test_whose_fault_it_is(status: int, kind: str, words: str, blame: Blame) -> None:
    verdict = judged(status, kind, words)
    assert verdict.blame is blame
    assert bool(verdict.message) is (blame is Blame.CLIENT)


def test_a_month_that_is_spent_is_no_rate_limit() -> None:
    spent = {"error_code": "enforced_spend_limit_reached"}
    assert judged(429, "rate_limit_error", "Limit", details=spent).blame is Blame.BILLING


def test_a_limit_says_how_long_to_wait() -> None:
    def at(seconds: float) -> str:
        return (clock.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    name = "anthropic-ratelimit-"
    resets = {
        f"{name}requests-remaining": "12", f"{name}requests-reset": at(900),
        f"{name}tokens-remaining": "0", f"{name}tokens-reset": at(20),
        f"{name}input-tokens-remaining": "0", f"{name}input-tokens-reset": at(40),
        f"{name}output-tokens-remaining": "0", f"{name}output-tokens-reset": "soon",
    }  # fmt: skip
    waited = judged(429, "rate_limit_error", LIMIT, resets)
    assert waited.blame is Blame.RATE_LIMIT
    assert waited.wait is not None
    assert 35 < waited.wait <= 40, "until the last of those that are used up"
    told = judged(429, "rate_limit_error", LIMIT, {**resets, "retry-after": "7"})
    assert told.wait == 7
    early = {f"{name}tokens-remaining": "0", f"{name}tokens-reset": at(-90)}
    assert judged(429, "rate_limit_error", LIMIT, early).wait == 0
    assert judged(429, "rate_limit_error", LIMIT).wait is None


@pytest.mark.parametrize(
    ("status", "words", "param", "code"),
    [
        (400, "max_tokens: 200000 > 64000, which is the maximum", "max_tokens", None),
        (400, "`temperature` is deprecated for this model.", "temperature", None),
        (400, "`temperature` and `top_p` cannot both be specified", "temperature", None),
        (400, "messages.3.content.0.image.source.base64: too large", "messages", None),
        (400, "tools.0.custom.input_schema: JSON schema is invalid", "tools", None),
        (400, "stop_sequences: each must contain non-whitespace", "stop", None),
        (400, "output_config.format.schema: not supported", "response_format", None),
        (400, "output_config.effort: 'max' is not supported", "reasoning_effort", None),
        (400, '"thinking.type.disabled" is not supported', "reasoning_effort", None),
        (400, "prompt is too long: 213462 tokens > 200000 maximum", "messages",
         "context_length_exceeded"),
        (404, "model: claude-none", "model", "model_not_found"),
        (400, "Something else entirely", None, None),
        (400, "a" * 2000, None, None),
    ],
)  # fmt: skip
def test_a_clients_fault_names_the_field_of_ours(
    status: int, words: str, param: str | None, code: str | None
) -> None:
    verdict = judged(status, "invalid_request_error", words)
    assert (verdict.param, verdict.code, verdict.message) == (param, code, words)


def test_nothing_names_the_account_or_its_key() -> None:
    words = (
        "tools: workspace wrkspc_01AbC of b320df16-c763-4455-b901-3f7d54e9a012 may not "
        "(req_011CTdPtgTfQy2J1g7QgdQ9S, sk-ant-api03-abc)"
    )
    shown = judged(400, "invalid_request_error", words).message
    for secret in ("wrkspc_01AbC", "b320df16", "req_011", "sk-ant"):
        assert secret not in shown
    assert shown.startswith("tools: workspace … of … may not")
