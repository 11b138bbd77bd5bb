"""The one list of refusals: every code the API can answer with, its status and its meaning.

The body is OpenAI's: `{"error": {"message", "type", "param", "code", …}}`. Nothing here ever
names a host, a key or a table. Docs print this table; a test proves that it is total.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import orjson


class Code(StrEnum):
    INVALID_REQUEST = "invalid_request"
    INVALID_HOST = "invalid_host"
    INVALID_JSON = "invalid_json"
    INVALID_FORM = "invalid_form"
    INVALID_VALUE = "invalid_value"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_API_KEY = "invalid_api_key"
    NOT_SIGNED_IN = "not_signed_in"
    ACCOUNT_BANNED = "account_banned"
    PERMISSION_DENIED = "permission_denied"
    NETWORK_NOT_ALLOWED = "network_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    REQUEST_TOO_LARGE = "request_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    IDEMPOTENCY_RUNNING = "idempotency_running"
    IDEMPOTENCY_UNKNOWN = "idempotency_unknown"
    IDEMPOTENCY_RESULT_TOO_LARGE = "idempotency_result_too_large"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    CONCURRENCY = "concurrency"
    QUOTA_EXCEEDED = "quota_exceeded"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    OBJECT_KEY_MISMATCH = "object_key_mismatch"
    UPSTREAM_GONE = "upstream_gone"
    UPSTREAM_KEY_UNAVAILABLE = "upstream_key_unavailable"
    UPSTREAM_ID_CONFLICT = "upstream_id_conflict"
    NO_UPSTREAM = "no_upstream"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TOO_LARGE = "upstream_too_large"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    PROMO_INVALID = "promo_invalid"
    PROMO_REDEEMED = "promo_redeemed"
    PROMO_NEW_USERS_ONLY = "promo_new_users_only"
    QUOTA_UNAVAILABLE = "quota_unavailable"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL_ERROR = "internal_error"


class Kind(NamedTuple):
    status: int
    type: str
    meaning: str


_REQUEST, _PERMISSION, _SERVER = "invalid_request_error", "permission_error", "server_error"
_UPSTREAM = "upstream_error"

ERRORS: dict[Code, Kind] = {
    Code.INVALID_REQUEST: Kind(400, _REQUEST, "The request is not framed as HTTP allows."),
    Code.INVALID_HOST: Kind(400, _REQUEST, "The Host header names no host of this site."),
    Code.INVALID_JSON: Kind(400, _REQUEST, "The body is not strict JSON."),
    Code.INVALID_FORM: Kind(400, _REQUEST, "The body is not a strict multipart form."),
    Code.INVALID_VALUE: Kind(400, _REQUEST, "A field has a value it cannot have; see `param`."),
    Code.NOT_FOUND: Kind(404, _REQUEST, "There is no such route or object."),
    Code.METHOD_NOT_ALLOWED: Kind(405, _REQUEST, "The route exists for other methods."),
    Code.INVALID_API_KEY: Kind(401, "authentication_error", "No key, or not a valid one."),
    Code.NOT_SIGNED_IN: Kind(401, "authentication_error", "The page is for who has signed in."),
    Code.ACCOUNT_BANNED: Kind(403, _PERMISSION, "The account is banned; see `ban`."),
    Code.PERMISSION_DENIED: Kind(403, _PERMISSION, "The key lacks a permission."),
    Code.NETWORK_NOT_ALLOWED: Kind(403, _PERMISSION, "The key is not for this network."),
    Code.REQUEST_TIMEOUT: Kind(408, _REQUEST, "The body did not come in time."),
    Code.REQUEST_TOO_LARGE: Kind(413, _REQUEST, "The body is larger than the route takes."),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind(415, _REQUEST, "The route takes another content type."),
    Code.MODEL_NOT_FOUND: Kind(404, _REQUEST, "No such model; see GET /v1/models."),
    Code.MODEL_NOT_ALLOWED: Kind(403, _PERMISSION, "The key is not for this model."),
    Code.IDEMPOTENCY_MISMATCH: Kind(
        409, _REQUEST, "This Idempotency-Key was used with another request."
    ),
    Code.IDEMPOTENCY_RUNNING: Kind(
        409, _REQUEST, "The first request with this Idempotency-Key still runs."
    ),
    Code.IDEMPOTENCY_UNKNOWN: Kind(
        409, _REQUEST, "The first request with this Idempotency-Key left no whole answer."
    ),
    Code.IDEMPOTENCY_RESULT_TOO_LARGE: Kind(
        409, _REQUEST, "The first answer to this Idempotency-Key was too large to be kept."
    ),
    Code.RATE_LIMIT_EXCEEDED: Kind(429, "rate_limit_error", "Too many requests a minute."),
    Code.CONCURRENCY: Kind(429, "rate_limit_error", "Too many calls open at once."),
    Code.QUOTA_EXCEEDED: Kind(429, "insufficient_quota", "The bucket does not hold enough."),
    Code.INSUFFICIENT_CREDITS: Kind(402, "insufficient_quota", "Not enough credits."),
    Code.OBJECT_KEY_MISMATCH: Kind(
        409, _REQUEST, "The objects named live on different provider accounts."
    ),
    Code.UPSTREAM_GONE: Kind(410, _REQUEST, "The provider account that held it is gone."),
    Code.UPSTREAM_KEY_UNAVAILABLE: Kind(
        503, _UPSTREAM, "The one provider account that holds it does not answer just now."
    ),
    Code.UPSTREAM_ID_CONFLICT: Kind(
        502, _UPSTREAM, "The provider gave out an id that already is somebody else's."
    ),
    Code.NO_UPSTREAM: Kind(503, _SERVER, "No provider here can serve this."),
    Code.UPSTREAM_REFUSED: Kind(400, _REQUEST, "The provider refused the request itself."),
    Code.UPSTREAM_RATE_LIMITED: Kind(429, _UPSTREAM, "Every key waits for the provider's limit."),
    Code.UPSTREAM_UNAVAILABLE: Kind(503, _UPSTREAM, "No key of the provider answers just now."),
    Code.UPSTREAM_ERROR: Kind(502, _UPSTREAM, "The provider's reply made no sense."),
    Code.UPSTREAM_TOO_LARGE: Kind(502, _UPSTREAM, "The provider's reply was too large."),
    Code.UPSTREAM_TRUNCATED: Kind(502, _UPSTREAM, "The provider's reply broke off."),
    Code.UPSTREAM_TIMEOUT: Kind(504, _UPSTREAM, "The provider did not answer in time."),
    Code.PROMO_INVALID: Kind(410, _REQUEST, "The promo code cannot be redeemed, or never could."),
    Code.PROMO_REDEEMED: Kind(409, _REQUEST, "The account has redeemed this offer already."),
    Code.PROMO_NEW_USERS_ONLY: Kind(409, _REQUEST, "The promo code is for new accounts."),
    Code.QUOTA_UNAVAILABLE: Kind(503, _SERVER, "The ledger could not be asked; try again."),
    Code.SHUTTING_DOWN: Kind(503, _SERVER, "This server is being restarted; try again."),
    Code.INTERNAL_ERROR: Kind(500, _SERVER, "We broke something; nothing was charged."),
}


class ApiError(Exception):
    """A refusal on its way to the client.

    `retry_after` is in seconds; `should_retry` False tells the official SDKs not to; `extra`
    goes into the error object beside the four usual fields; `status` is only for a provider's
    own refusal, which keeps its status.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        should_retry: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param
        self.kind = ERRORS[code]
        self.status = status or self.kind.status
        self.retry_after, self.should_retry = retry_after, should_retry
        self.extra = dict(extra or {})
        self._headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind.type,
                "param": self.param,
                "code": self.extra.get("code", str(self.code)),
            }
            | self.extra
        }

    def event(self) -> bytes:
        """The nested error event of a stream that has already answered 200: the only shape on
        which every official SDK raises."""
        return b"data: " + orjson.dumps(self.body()) + b"\n\n"

    def headers(self) -> dict[str, str]:
        headers = dict(self._headers)
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.should_retry is not None:
            headers["x-should-retry"] = "true" if self.should_retry else "false"
        return headers


def invalid(param: str, message: str) -> ApiError:
    """A 400 that names the field."""
    return ApiError(Code.INVALID_VALUE, message, param=param)
