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
# Many who limit the rate point to their billing page as well: that is no lack of money.
_LIMIT_WORDS = ("rate limit", "per second", "per minute", "per hour", "per day")
_DAILY = re.compile(r"\bper day\b|\bdaily\b|\b[RT]PD\b", re.ASCII | re.IGNORECASE)
_AGAIN = re.compile(
    r"(?:try again|retry) in (?=\d)(?:(\d{1,3})h)?(?:(\d{1,4})m(?!s))?"
    r"(?:(\d{1,6}(?:\.\d{1,12})?)(m?s)\b)?",
    re.ASCII | re.IGNORECASE,
)
_NOT_THE_KEY = {"content_policy_violation", "content_filter", "model_not_found"}
_NOT_THE_KEY_WORDS = (
    "input was flagged", "prompt was flagged", "requires moderation",
    "have access to model", "have access to the model",
)  # fmt: skip
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
    """Seconds to wait, where the body says it."""


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
    message = _text(error.get("message") or error.get("detail"))[:2000]
    delay = _delay(error.get("details"))
    return Said(
        message,
        _name(error.get("code")),
        _name(error.get("param")),
        _name(error.get("type")),
        _again(message) if delay is None else delay,
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


def _again(message: str) -> float | None:
    """Several say it in words only: "Please try again in 9m38.016s"."""
    found = _AGAIN.search(message)
    if found is None or not any(found.group(1, 2, 3)):
        return None
    hours, minutes, seconds, unit = found.groups()
    last = float(seconds or 0) / (1000 if (unit or "").lower() == "ms" else 1)
    return _sane(int(hours or 0) * 3600 + int(minutes or 0) * 60 + last)


def spent(said: Said, wait: float | None) -> bool:
    """Whether a 429 means that the account's money is gone, which no waiting brings back."""
    if said.code in _SPENT_CODES or said.kind in _SPENT_CODES:
        return True
    words = said.message.lower()
    # Gemini says "check your plan and billing" of a limit a minute too, and when that one ends.
    if wait is not None or any(word in words for word in _LIMIT_WORDS):
        return False
    return any(word in words for word in _SPENT_WORDS)


def limit_wait(said: Said, headers: Mapping[str, str]) -> float | None:
    """Seconds a 429 asks to wait: in its headers, else in its body; as long as may be for a day's
    limit that does not say it. None: nothing is said."""
    stated = wait_of(headers)
    stated = said.wait if stated is None else stated
    return _LONGEST_WAIT if stated is None and _DAILY.search(said.message) else stated


def about_the_request(said: Said) -> bool:
    """Whether a 403 is about what is asked, not about who asks: a prompt that was flagged, a
    model that this key may not use. Any client could disable every key with one, were it not."""
    if said.code in _NOT_THE_KEY:
        return True
    return any(word in said.message.lower() for word in _NOT_THE_KEY_WORDS)


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
