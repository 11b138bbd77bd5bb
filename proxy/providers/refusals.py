"""Reading a provider's refusal: what it says, how long to wait, and what of it may be repeated."""

import email.utils
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from bsod.lib import clock

_LONGEST_WAIT = 86_400.0  # seconds; nobody means more, whatever the header says
_LONGEST_NAME = 100  # characters of a code or a field's path
_SPENT_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_SPENT_WORDS = ("insufficient_quota", "billing", "credit balance", "exceeded your current quota")
_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s", re.ASCII)
_SECRETS = re.compile(
    "|".join(
        (
            r"\b(?:sk|pk|rk|gsk|xai|pplx)[-_](?:[-_*A-Za-z0-9]|\.{2,}){3,}",
            # An id has digits or is long; `user_location` and `req_timeout` name fields.
            r"\b(?:org|proj|user|acct|req)[-_](?=[-_A-Za-z]{0,64}[0-9*]|[A-Za-z]{16})[-_*A-Za-z0-9]{3,}",
            r"\bAIza[-_A-Za-z0-9]{3,}",
            r"\b[Bb]earer\s+\S+",
            r"\b[a-z][a-z0-9+.-]{0,20}+://\S+",
            r"\b[\w.+-]{1,64}+@[\w-]+\.[\w.-]+",
            r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b",
            r"\b(?:[a-z0-9-]{1,63}+\.){1,8}(?:com|net|org|ai|io|dev|cloud|internal|local)\b(?::\d+)?",
        )
    ),
    re.ASCII,
)


class Said(NamedTuple):
    """An error body's fields, as far as there are any."""

    message: str = ""
    code: str | None = None
    param: str | None = None
    kind: str | None = None
    wait: float | None = None


def error_of(head: bytes) -> Said:
    """What an error body says: OpenAI's shape, Gemini's array of one, or the error at the top."""
    try:
        body = orjson.loads(head)
    except orjson.JSONDecodeError:
        return Said()
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Said(_text(error)[:500])
    return Said(
        _text(error.get("message") or error.get("detail"))[:2000],
        _name(error.get("code")),
        _name(error.get("param")),
        _name(error.get("type")),
        _delay(error.get("details")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _name(value: Any) -> str | None:
    return redact(value[:_LONGEST_NAME]) if isinstance(value, str) else None


def _delay(details: Any) -> float | None:
    """Google's RetryInfo, somewhere among an error's details."""
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            found = _DELAY.fullmatch(_text(detail.get("retryDelay")))
            if found:
                return float(found[1])
    return None


def spent(said: Said, wait: float | None) -> bool:
    """Whether a 429 means that the account's money is gone, which no waiting brings back."""
    if said.code in _SPENT_CODES or said.kind in _SPENT_CODES:
        return True
    # Gemini says "check your plan and billing" of a limit a minute too, and when that one ends.
    return wait is None and any(word in said.message.lower() for word in _SPENT_WORDS)


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to wait: `retry-after-ms`, or `Retry-After` in either form."""
    try:
        if "retry-after-ms" in headers:
            return _sane(float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if value.replace(".", "", 1).isdigit():
            return _sane(float(value))
        until = email.utils.parsedate_to_datetime(value)
        return _sane((until - clock.now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _sane(seconds: float) -> float | None:
    return min(_LONGEST_WAIT, max(0.0, seconds)) if math.isfinite(seconds) else None


def redact(text: str) -> str:
    """A provider's message without what could name its account, key or host."""
    return _SECRETS.sub("…", text)
