"""A row of a model list, in the dialects of those who speak OpenAI's shape.

OpenAI says an id and the day a model ends; OpenRouter, Groq, Mistral, Together, vLLM and we
ourselves say more, each under a name of its own. What is no sensible value says nothing.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from bsod.lib.terms import Service
from proxy.providers.base import Listed

_MOST_ID = 256
_MOST_TOKENS = 10**9
# OpenRouter and Together; Groq, and we; Mistral and LM Studio; vLLM.
_CONTEXT = ("context_length", "context_window", "max_context_length", "max_model_len")
# Groq; we; OpenRouter keeps it in `top_provider`.
_OUTPUT = ("max_completion_tokens", "max_output", "max_output_tokens")
# OpenAI, and we; OpenRouter.
_ENDS = ("shutdown_date", "expiration_date")
_ENDPOINTS = ("supported_endpoints", "endpoints")
_SERVICES = {
    "chat/completions": Service.CHAT,
    "responses": Service.RESPONSES,
    "completions": Service.COMPLETIONS,
}
_TOKENS = 1_000_000


def listed(row: Any) -> Listed | None:
    """What a row says; None: it names no model."""
    name = row.get("id") if isinstance(row, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_ID:
        return None
    best = row.get("top_provider")
    best = best if isinstance(best, dict) else {}
    return Listed(
        name,
        _tokens(best.get("context_length")) or _first(row, _CONTEXT),
        _tokens(best.get("max_completion_tokens")) or _first(row, _OUTPUT),
        next((day for key in _ENDS if (day := _day(row.get(key)))), None),
        next((known for key in _ENDPOINTS if (known := _services(row.get(key)))), None),
        *_prices(row.get("pricing")),
    )


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((value for name in names if (value := _tokens(row.get(name)))), None)


def _tokens(value: Any) -> int | None:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return whole if type(whole) is int and 0 < whole <= _MOST_TOKENS else None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def _services(value: Any) -> frozenset[Service] | None:
    """The ways to ask for text among the paths a row names; None: it names none of them."""
    paths = value if isinstance(value, list) else ()
    plain = [path.strip("/").removeprefix("v1/") for path in paths if isinstance(path, str)]
    return frozenset(_SERVICES[path] for path in plain if path in _SERVICES) or None


def _prices(value: Any) -> tuple[float | None, float | None]:
    """Dollars for a million tokens in and out: both, or neither."""
    if not isinstance(value, dict):
        return None, None
    for names, scale in ((("prompt", "completion"), _TOKENS), (("input", "output"), 1)):
        found = [_dollars(value.get(name), scale) for name in names]
        if None not in found:
            return found[0], found[1]
    return None, None


def _dollars(value: Any, scale: int) -> float | None:
    """A price as a number or as a text; less than nothing means that it varies."""
    try:
        price = float(value) * scale if type(value) in (int, float, str) else -1.0
    except (ValueError, OverflowError):
        return None
    return round(price, 6) if 0 <= price < float("inf") else None
