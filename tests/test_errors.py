"""The one list of refusals is total, and every body has the shape clients of OpenAI expect."""

import ast
import json
from pathlib import Path

import pytest

from proxy.errors import ERRORS, ApiError, Code, invalid

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
FOUR = {"message", "type", "param", "code"}


def test_every_code_has_a_status_a_type_and_a_meaning() -> None:
    assert set(ERRORS) == set(Code)
    for code, kind in ERRORS.items():
        assert 400 <= kind.status <= 599, code
        assert kind.type.endswith(("_error", "_quota")), code
        assert kind.meaning.endswith((".", "`param`.", "`ban`.")), code


def test_every_code_is_used_somewhere() -> None:
    """A code nobody answers with would be a lie in the docs."""
    used = set()
    for path in [
        file for app in ("proxy", "promos", "bsod") for file in (ROOT / app).rglob("*.py")
    ]:
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used |= {node.attr} if node.value.id == "Code" else set()
    assert {code.name for code in Code} - used <= {"INVALID_VALUE"}, "`invalid()` uses that one"


@pytest.mark.parametrize("code", Code)
def test_every_body_has_the_four_fields(code: Code) -> None:
    error = ApiError(code, "Sorry.", retry_after=5)
    body = error.body()
    assert set(body) == {"error"}
    assert set(body["error"]) == FOUR
    assert body["error"]["message"] == "Sorry."
    assert body["error"]["code"] == str(code)
    assert body["error"]["type"] == ERRORS[code].type
    assert error.status == ERRORS[code].status
    event = error.event()
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert json.loads(event[6:]) == body


def test_statuses_are_those_the_official_clients_sort_by() -> None:
    assert {str(code): kind.status for code, kind in ERRORS.items()} == {
        "invalid_request": 400, "invalid_host": 400, "invalid_json": 400, "invalid_value": 400,
        "not_found": 404, "method_not_allowed": 405, "invalid_api_key": 401,
        "not_signed_in": 401, "promo_invalid": 410, "promo_redeemed": 409,
        "promo_new_users_only": 409,
        "account_banned": 403, "permission_denied": 403, "network_not_allowed": 403,
        "request_timeout": 408, "request_too_large": 413, "unsupported_media_type": 415,
        "model_not_found": 404,
        "model_not_allowed": 403, "rate_limit_exceeded": 429, "concurrency": 429,
        "quota_exceeded": 429, "insufficient_credits": 402, "no_upstream": 503,
        "idempotency_mismatch": 409, "idempotency_running": 409, "idempotency_unknown": 409,
        "idempotency_result_too_large": 409,
        "invalid_form": 400, "object_key_mismatch": 409,
        "upstream_gone": 410, "upstream_key_unavailable": 503, "upstream_id_conflict": 502,
        "upstream_refused": 400, "upstream_rate_limited": 429, "upstream_unavailable": 503,
        "upstream_error": 502, "upstream_too_large": 502, "upstream_truncated": 502,
        "upstream_timeout": 504, "quota_unavailable": 503, "shutting_down": 503,
        "internal_error": 500,
    }  # fmt: skip


def test_more_fields_come_beside_the_four_and_a_providers_code_in_place_of_ours() -> None:
    error = ApiError(
        Code.UPSTREAM_REFUSED, "No.", param="x", status=422, extra={"code": "theirs", "hint": "h"}
    )
    assert error.status == 422
    assert error.body()["error"] == {
        "message": "No.", "type": "invalid_request_error", "param": "x", "code": "theirs",
        "hint": "h",
    }  # fmt: skip


def test_headers_tell_whether_to_try_again() -> None:
    assert ApiError(Code.NOT_FOUND, "No.").headers() == {}
    assert ApiError(Code.CONCURRENCY, "No.", retry_after=0, should_retry=True).headers() == {
        "retry-after": "0",
        "x-should-retry": "true",
    }
    error = ApiError(
        Code.QUOTA_EXCEEDED, "No.", retry_after=9, should_retry=False, headers={"allow": "GET"}
    )
    assert error.headers() == {"allow": "GET", "retry-after": "9", "x-should-retry": "false"}


def test_a_fault_of_a_field_names_it() -> None:
    error = invalid("n", "'n' must be a number.")
    assert (error.status, error.code, error.param) == (400, Code.INVALID_VALUE, "n")


def test_a_message_with_line_breaks_stays_one_event() -> None:
    event = ApiError(Code.UPSTREAM_ERROR, "a\n\ndata: [DONE]\n\nb\u2028").event()
    assert event.count(b"\n\n") == 1
    assert event.endswith(b"\n\n")


def test_the_docs_print_the_table_as_it_is() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]

    assert [row[:3] for row in rows] == [
        [f"| `{code}`", str(kind.status), f"`{kind.type}`"] for code, kind in ERRORS.items()
    ]
    for (_, _, _, meaning, todo), kind in zip(rows, ERRORS.values(), strict=True):
        assert meaning == kind.meaning.rstrip(".")
        assert len(todo) > 10, "each says what to do next"
