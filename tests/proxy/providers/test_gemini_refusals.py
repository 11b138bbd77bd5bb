"""What Gemini's refusals say of a key, and its list of its models."""

from typing import Any

import pytest

from bsod.lib.terms import Blame, Service
from proxy.providers.gemini import Gemini
from tests.upstream.gemini import google_error, limited

pytestmark = pytest.mark.once

GEMINI = Gemini()


@pytest.mark.parametrize(
    ("quota", "delay", "wait"),
    [
        ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "38.2s", 38.2),
        ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", None, None),
        ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "65205s", 65205.0),
        (None, "4s", 4.0),
        (None, None, None),
    ],
)
def test_a_limit_never_disables_a_key_whatever_its_text_says(
    quota: str | None, delay: str | None, wait: float | None
) -> None:
    verdict = GEMINI.judge(429, {}, limited(quota, delay))
    assert (verdict.blame, verdict.wait) == (Blame.RATE_LIMIT, wait)


def test_what_google_says_counts_before_a_header() -> None:
    headers = {"retry-after": "500"}
    minute = "GenerateRequestsPerMinutePerProjectPerModel"
    assert GEMINI.judge(429, headers, limited(minute, "3s")).wait == 3
    assert GEMINI.judge(429, headers, limited(minute, None)).wait == 500
    text = google_error(429, "Quota exceeded. Please retry in 1m3.5s.", "RESOURCE_EXHAUSTED")
    assert GEMINI.judge(429, headers, text).wait == 63.5


def test_a_day_that_is_used_up_lasts_until_googles_midnight() -> None:
    verdict = GEMINI.judge(429, {}, limited("GenerateRequestsPerDayPerProjectPerModel", None))
    assert verdict.blame is Blame.RATE_LIMIT
    assert verdict.wait is not None
    assert 0 < verdict.wait <= 86_400


@pytest.mark.parametrize(
    ("status", "message", "name", "blame"),
    [
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", Blame.AUTH),
        (400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT", Blame.AUTH),
        (403, "Your API key was reported as leaked.", "PERMISSION_DENIED", Blame.AUTH),
        (401, "Request had invalid credentials.", "UNAUTHENTICATED", Blame.AUTH),
        (400, "User location is not supported for the API use.", "FAILED_PRECONDITION",
         Blame.BILLING),
        (400, "Please enable billing on project 1 in …", "FAILED_PRECONDITION", Blame.BILLING),
        (400, "The file is not in an ACTIVE state.", "FAILED_PRECONDITION", Blame.CLIENT),
        (403, "The caller does not have permission", "PERMISSION_DENIED", Blame.BILLING),
        (429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED", Blame.BILLING),
        (400, "Invalid JSON payload received.", "INVALID_ARGUMENT", Blame.CLIENT),
        (404, "models/x is not found for API version v1beta", "NOT_FOUND", Blame.CLIENT),
        (500, "Internal error encountered.", "INTERNAL", Blame.FAILURE),
        (503, "The model is overloaded.", "UNAVAILABLE", Blame.FAILURE),
        (504, "Deadline expired.", "DEADLINE_EXCEEDED", Blame.FAILURE),
    ],
)  # fmt: skip
def test_whose_fault_a_refusal_is(status: int, message: str, name: str, blame: Blame) -> None:
    assert GEMINI.judge(status, {}, google_error(status, message, name)).blame is blame


def test_a_reason_says_that_a_key_is_wrong_whatever_the_text() -> None:
    detail = {"@type": "…/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    head = google_error(400, "Bad Request", "INVALID_ARGUMENT", detail)
    assert GEMINI.judge(400, {}, head).blame is Blame.AUTH


@pytest.mark.parametrize("name", ["API key not valid", "billing", "location", "country"])
@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "FAILED_PRECONDITION"])
def test_a_name_the_client_has_made_up_rests_no_key(name: str, status: str) -> None:
    head = google_error(400, f'Unknown name "{name}": Cannot find field.', status)
    assert GEMINI.judge(400, {}, head).blame is Blame.CLIENT


def test_a_refused_field_is_named_and_the_project_is_not() -> None:
    text = 'Unknown name "novelty": Cannot find field. Consumer project_number:1234567 is …'
    verdict = GEMINI.judge(400, {}, google_error(400, text))
    assert verdict.param == "novelty"
    assert "novelty" in verdict.message
    assert "1234567" not in verdict.message


# ---- its models


def test_its_own_list_says_what_a_model_is_for() -> None:
    def row(name: str, *methods: str, **more: Any) -> dict[str, Any]:
        return {"name": f"models/{name}", "supportedGenerationMethods": list(methods), **more}

    rows = [
        row("gemini-3-flash", "generateContent", "countTokens", inputTokenLimit=1_048_576,
            outputTokenLimit=65_536),
        row("gemini-3-pro-image", "generateContent"),
        row("gemini-embedding-2", "embedContent", inputTokenLimit=8192, outputTokenLimit=1),
        row("imagen-4.0-generate-001", "predict"),
        row("veo-3.1-generate-preview", "predictLongRunning"),
        row("gemini-live", "bidiGenerateContent"),
        {"name": 5, "supportedGenerationMethods": ["generateContent"]}, "x", {"name": "models/y"},
    ]  # fmt: skip
    listed = {model.id: model for model in GEMINI.catalog({"models": rows})}
    assert {name: set(model.services or ()) for name, model in listed.items()} == {
        "models/gemini-3-flash": {Service.CHAT},
        "models/gemini-3-pro-image": {Service.IMAGES},
        "models/gemini-embedding-2": {Service.EMBEDDINGS},
        "models/imagen-4.0-generate-001": {Service.IMAGES},
        "models/veo-3.1-generate-preview": {Service.VIDEOS},
    }
    flash = listed["models/gemini-3-flash"]
    assert (flash.context, flash.output) == (1_048_576, 65_536)


def test_its_list_lies_beside_the_compatible_surface() -> None:
    out = GEMINI.list_models("key-1")
    base = out.under("https://g.example/v1beta/openai/")
    assert base + out.target == "https://g.example/v1beta/models?pageSize=1000"
    assert out.headers["x-goog-api-key"] == "key-1"
    assert "authorization" not in out.headers
