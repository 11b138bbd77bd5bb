"""Whose fault a refusal is, how long to wait, and what of it a client may read."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from bsod.lib import clock
from bsod.lib.terms import Blame
from proxy.providers.openai_shape import OpenAIShape
from proxy.providers.refusals import error_of, redact, wait_of

pytestmark = pytest.mark.once


def body(message: str = "no", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


GEMINI = "You exceeded your current quota, please check your plan and billing details."
GROQ = (
    "Rate limit reached for model `m` on tokens per day (TPD): Limit 100000, Used 97050. "
    "Please try again in 9m38.016s. Need more? Upgrade at https://example.com/settings/billing"
)
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}


@pytest.mark.parametrize(
    ("status", "headers", "head", "blame", "wait"),
    [
        (429, {}, body(), Blame.RATE_LIMIT, None),
        (429, {"retry-after": "7"}, body(), Blame.RATE_LIMIT, 7),
        (429, {"retry-after": "7"}, b"<html>", Blame.RATE_LIMIT, 7),
        (429, {}, body(code="insufficient_quota"), Blame.BILLING, None),
        (429, {"retry-after": "7"}, body(code="insufficient_quota"), Blame.BILLING, None),
        (429, {}, body(type="insufficient_quota"), Blame.BILLING, None),
        (429, {}, body("Your credit balance is too low"), Blame.BILLING, None),
        (429, {}, body("Please check your plan and billing details"), Blame.BILLING, None),
        (429, {"retry-after": "30"}, body(GEMINI), Blame.RATE_LIMIT, 30),
        (429, {}, b"[" + body(GEMINI, details=[{}, RETRY]) + b"]", Blame.RATE_LIMIT, 34.5),
        (429, {}, body(details=[{"retryDelay": "soon"}, 5]), Blame.RATE_LIMIT, None),
        (429, {}, body(GROQ), Blame.RATE_LIMIT, 578.016),
        (429, {"retry-after": "9"}, body(GROQ), Blame.RATE_LIMIT, 9),
        (429, {}, body("Rate limit reached. See your billing page"), Blame.RATE_LIMIT, None),
        (429, {}, body("Limit of requests per day (RPD): 50"), Blame.RATE_LIMIT, 86_400),
        (429, {"retry-after": "9"}, body("Limit of 50 requests per day"), Blame.RATE_LIMIT, 9),
        (401, {}, body(), Blame.AUTH, None),
        (402, {}, body(), Blame.BILLING, None),
        (403, {}, body("region"), Blame.BILLING, None),
        (403, {}, body("Your account was flagged"), Blame.BILLING, None),
        (403, {}, body("Your chosen model requires moderation and your input was flagged"),
         Blame.CLIENT, None),
        (403, {}, body(code="content_policy_violation"), Blame.CLIENT, None),
        (403, {}, body("Project `p` does not have access to model `m`"), Blame.CLIENT, None),
        (400, {}, body(), Blame.CLIENT, None),
        (404, {}, b"", Blame.CLIENT, None),
        (413, {}, body(), Blame.CLIENT, None),
        (422, {}, body(), Blame.CLIENT, None),
        (408, {}, body(), Blame.FAILURE, None),
        (500, {"retry-after": "7"}, body(), Blame.FAILURE, None),
        (502, {}, b"<html>", Blame.FAILURE, None),
        (503, {}, body("insufficient_quota"), Blame.FAILURE, None),
        (529, {}, body(), Blame.FAILURE, None),
        (302, {"location": "http://elsewhere"}, b"", Blame.FAILURE, None),
        (304, {}, b"", Blame.FAILURE, None),
        (199, {}, b"", Blame.FAILURE, None),
    ],
)  # fmt: skip
def test_whose_fault_it_is(
    status: int, headers: dict[str, str], head: bytes, blame: Blame, wait: float | None
) -> None:
    verdict = OpenAIShape().judge(status, headers, head)
    assert (verdict.blame, verdict.wait) == (blame, wait)


@pytest.mark.parametrize("status", [400, 422])
def test_a_provider_that_does_not_know_stream_options_is_recognised(status: int) -> None:
    judge = OpenAIShape().judge
    assert judge(status, {}, body("Unknown field: stream_options")).refuses_usage
    assert not judge(status, {}, body("Unknown field: store")).refuses_usage
    assert not judge(404, {}, body("stream_options")).refuses_usage


@pytest.mark.parametrize(
    ("head", "message", "code", "param"),
    [
        (body("no", code="c", param="p"), "no", "c", "p"),
        (body("no", code=400, param=None), "no", None, None),
        (b'[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]', "no", None, None),
        (b'{"error":"no"}', "no", None, None),
        (b'{"message":"no","code":"c"}', "no", "c", None),
        (b'{"object":"error","message":"no","param":"p"}', "no", None, "p"),
        (b'{"detail":"no"}', "no", None, None),
        (b'{"detail":[{"msg":"no"}]}', "", None, None),
        (b"[]", "", None, None),
        (b"null", "", None, None),
        (b"<html>", "", None, None),
        (b'{"error":{"message":"cut of', "", None, None),
        (body("x" * 9000), "x" * 2000, None, None),
        (body("no", code="c" * 900, param="p" * 900), "no", "c" * 100, "p" * 100),
    ],
)
def test_what_an_error_body_says(
    head: bytes, message: str, code: str | None, param: str | None
) -> None:
    said = error_of(head)
    assert (said.message, said.code, said.param) == (message, code, param)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1" * 400}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "99999999"}, 86_400),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "-1"}, 0),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "1e999"}, None),
        ({"retry-after-ms": "x"}, None),
        ({"retry-after": "Wed, 99 Nov 2026 00:00:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_of(headers) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 20s.", 20),
        ("Please try again in 120ms.", 0.12),
        ("Please try again in 6m0s. Visit", 360),
        ("please retry in 34.07s", 34.07),
        ("Try again in 1h2m3s", 3723),
        ("Try again in 7m", 420),
        ("Try again in 5 minutes", None),
        ("Try again in a moment", None),
        ("Try again in 999h", 86_400),
    ],
)
def test_a_wait_in_words_is_understood(text: str, seconds: float | None) -> None:
    found = error_of(body(text)).wait
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_date_to_wait_for_is_seconds_from_now() -> None:
    until = (clock.now() + timedelta(seconds=90)).astimezone(UTC)
    found = wait_of({"retry-after": format_datetime(until, usegmt=True)})
    assert found is not None
    assert 80 < found <= 90
    year = wait_of({"retry-after": format_datetime(datetime(2400, 1, 1, tzinfo=UTC), usegmt=True)})
    assert year == 86_400


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123", "sk-abcdefghij", "sk-ant-api03-x", "sk-...wxyz", "sk-ab****yz",
        "gsk_abc123def", "xai-abcdef", "pplx-abcdef", "AIzaSyA-12345", "org-abc123def456",
        "org-abcdefghijklmnopqrst", "proj_a1b2c3", "user-x9y8z7", "acct_12ab34", "req_0a1b2c",
        "https://api.example.com/v1?key=1", "wss://host/x", "Bearer abc.def", "ops@example.com",
        "10.0.0.5:8000", "192.168.1.7", "api.internal.example.com", "node-3.cluster.local:8443",
    ],
)  # fmt: skip
def test_what_names_an_account_a_key_or_a_host_is_not_repeated(secret: str) -> None:
    for text in (secret, f"({secret})", f"Limit of {secret} reached", f"'{secret}', 5 of 6"):
        shown = redact(text)
        assert secret not in shown
        assert "…" in shown


@pytest.mark.parametrize(
    "text",
    [
        "Unknown parameter: 'skip_special_tokens'.",
        "Invalid value for 'user_location.country'.",
        "'required_fields' must be a list; see 'request_timeout' and 'project_name'.",
        "The model 'gpt-4.1-mini' has a limit of 128,000 tokens (e.g. 1.5x).",
        "messages[0].content[1].image_url is too large: 20.5 MB",
        "Rate limit of 3.5 requests; org_name and req_id are unknown",
        "Нельзя: слишком длинно",
    ],
)
def test_what_helps_the_client_stays(text: str) -> None:
    assert redact(text) == text


def test_code_and_param_are_cleaned_like_the_message() -> None:
    said = error_of(body("no", code="sk-abc123456", param="https://host/x"))
    assert (said.code, said.param) == ("…", "…")


@pytest.mark.parametrize("text", ["a-", "a.", "a@", "1.", "sk-", "org-a", "a://", "a.b@"])
def test_a_hostile_message_is_cleaned_in_linear_time(text: str) -> None:
    began = time.monotonic()
    redact(text * 10_000)
    assert time.monotonic() - began < 2
