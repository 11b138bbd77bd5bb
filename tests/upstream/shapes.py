"""What honest providers answer: OpenAI's chat shapes, its errors, Gemini's, and the model list.

Bodies are made when the reply is played, from the request: `model` is echoed unless given, and a
stream carries usage as the request asked. Every reply has the headers real providers send
(request id, organization, rate limits, a cookie), so that each test of the gateway also meets
what it must not pass on.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from .reply import Framing, Gate, Header, Pause, Piece, Reply
from .seen import Seen

MODELS = ("gpt-5.4", "gpt-5.4-mini", "o4-test")
PROVIDER_HEADERS: tuple[Header, ...] = (
    ("x-request-id", "req_upstream"),
    ("openai-organization", "org-upstream"),
    ("openai-version", "2020-10-01"),
    ("openai-processing-ms", "12"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("Set-Cookie", "__cf_bm=upstream-cookie; path=/; HttpOnly; Secure"),
)
ERROR_KINDS = {  # status: (type, code)
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}

Json = Mapping[str, Any]
UsageKind = Literal["present", "absent", "null", "zero"]
StreamUsage = Literal["asked", "always", "never", "zero"]
UsageAt = Literal["extra", "last", "every"]
Frame = bytes | str | Json | Pause | Gate

_serial = itertools.count(1)


def json_reply(value: Any, status: int = 200, headers: Sequence[Header] = ()) -> Reply:
    """Any JSON value; bytes are sent as they are, valid or not."""
    body = value if isinstance(value, bytes) else _dump(value)
    return Reply(status, (_JSON_TYPE, *PROVIDER_HEADERS, *headers), body)


def error(
    status: int,
    message: str = "upstream says no",
    *,
    type: str | None = None,  # the field's own name
    code: str | None = None,
    param: str | None = None,
    retry_after: str | float | None = None,
    headers: Sequence[Header] = (),
) -> Reply:
    """An error in OpenAI's shape; `type` and `code` default by status. `retry_after` in seconds
    or as an HTTP date."""
    usual = ERROR_KINDS.get(status, ("server_error", None))
    value = {"message": message, "type": type or usual[0], "param": param, "code": code or usual[1]}
    waits = () if retry_after is None else (("Retry-After", f"{retry_after}"),)
    return json_reply({"error": value}, status, (*waits, *headers))


def gemini_error_array(
    status: int = 400,
    message: str = "Invalid JSON payload received. Unknown name",
    kind: str = "INVALID_ARGUMENT",
) -> Reply:
    """An error as Gemini's compatibility endpoint sends it: inside an array."""
    return json_reply([{"error": {"code": status, "message": message, "status": kind}}], status)


def models(ids: Sequence[str] = MODELS) -> Reply:
    """The answer to GET /models."""
    data = [{"id": name, "object": "model", "created": 1, "owned_by": "upstream"} for name in ids]
    return json_reply({"object": "list", "data": data})


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """A full usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def chat(
    text: str = "Hello",
    *,
    model: str | None = None,
    prompt_tokens: int = 9,
    completion_tokens: int = 3,
    usage: UsageKind | Json = "present",
    finish: str = "stop",
    n: int = 1,
    extra: Json | None = None,
) -> Reply:
    """A chat completion. `extra` adds fields to the top level (citations, service_tier)."""

    def body(seen: Seen) -> bytes:
        value = _envelope("chat.completion", model, seen)
        value["choices"] = [_choice(index, text, finish) for index in range(n)]
        value |= _usage_field(usage, prompt_tokens, completion_tokens) | dict(extra or {})
        return _dump(value)

    return Reply(200, (_JSON_TYPE, *PROVIDER_HEADERS), body)


def chat_stream(
    pieces: Sequence[str] = ("Hel", "lo"),
    *,
    model: str | None = None,
    n: int = 1,
    prompt_tokens: int = 9,
    completion_tokens: int = 3,
    usage: StreamUsage | Json = "asked",
    usage_at: UsageAt = "extra",
    finish: str | None = "stop",
    done: bool = True,
    broken_lines: int = 0,
    big_chunk: int | None = None,
    extra: Json | None = None,
    delay_between: float = 0.0,
    framing: Framing = "chunked",
) -> Reply:
    """A chat completion as SSE, one event per piece of the body.

    Events: one with the role, `broken_lines` of malformed JSON, one for each of `pieces` (and one
    of `big_chunk` letters), times `n` choices; one with `finish` per choice unless it is None;
    usage; `[DONE]` unless `done` is false. `usage`: "asked" follows the request's
    `stream_options.include_usage`; "always", "zero" and a dict are sent unasked. `usage_at`: in a
    chunk of its own behind the rest (OpenAI), on the "last" chunk, or on "every" one (Perplexity).
    `extra` adds fields to every chunk.
    """
    if big_chunk is not None:
        pieces = (*pieces, "x" * big_chunk)

    def body(seen: Seen) -> list[Piece]:
        count = _stream_usage(usage, seen, usage_of(prompt_tokens, completion_tokens))
        common = _envelope("chat.completion.chunk", model, seen) | dict(extra or {})
        chunks = [common | {"choices": part} for part in _stream_choices(pieces, finish, n)]
        _place_usage(chunks, count, usage_at)
        frames = [sse_frame(chunk) for chunk in chunks]
        frames[1:1] = [b'data: {"broken": \n\n'] * broken_lines
        return [*frames, *([b"data: [DONE]\n\n"] if done else [])]

    return Reply(200, _SSE_HEADERS, body, framing, delay_between=delay_between)


def sse(*frames: Frame, named: bool = False, done: bool = True) -> Reply:
    """Any event stream: a dict becomes `data: {json}` (with `event:` = its "type" when `named`,
    as in the Responses API), a str `data: str`, bytes go as they are; pauses and gates too."""
    body: list[Piece] = [
        sse_frame(frame, named) if isinstance(frame, str | Mapping) else frame for frame in frames
    ]
    if done:
        body.append(b"data: [DONE]\n\n")
    return Reply(200, _SSE_HEADERS, body, "chunked")


def sse_frame(value: str | Json, named: bool = False) -> bytes:
    """One SSE event."""
    if isinstance(value, str):
        return b"data: " + value.encode() + b"\n\n"
    event = f"event: {value['type']}\n".encode() if named else b""
    return event + b"data: " + _dump(value) + b"\n\n"


def provider(seen: Seen) -> Reply:
    """The default of a fresh server: a small honest provider."""
    if seen.matches("/models", method="GET"):
        return models()
    if seen.matches("/chat/completions", method="POST"):
        return chat_stream() if _asked(seen).get("stream") is True else chat()
    return error(404, f"Invalid URL ({seen.method} {seen.path})", code="unknown_url")


_JSON_TYPE: Header = ("Content-Type", "application/json")
_SSE_HEADERS: tuple[Header, ...] = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    *PROVIDER_HEADERS,
)


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _asked(seen: Seen) -> dict[str, Any]:
    try:
        value = seen.json
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _envelope(kind: str, model: str | None, seen: Seen) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-upstream{seen.connection}-{next(_serial)}",
        "object": kind,
        "created": int(time.time()),
        "model": model or _asked(seen).get("model", MODELS[0]),
        "service_tier": "default",
    }


def _choice(index: int, text: str, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


def _usage_field(usage: UsageKind | Json, prompt: int, completion: int) -> dict[str, Any]:
    if isinstance(usage, Mapping):
        return {"usage": dict(usage)}
    kinds: dict[str, dict[str, Any]] = {
        "present": {"usage": usage_of(prompt, completion)},
        "zero": {"usage": usage_of(0, 0)},
        "null": {"usage": None},
        "absent": {},
    }
    return kinds[usage]


def _stream_usage(usage: StreamUsage | Json, seen: Seen, counted: Json) -> Json | None:
    if isinstance(usage, Mapping):
        return usage
    options = _asked(seen).get("stream_options")
    asked = isinstance(options, dict) and options.get("include_usage") is True
    kinds: dict[str, Json | None] = {
        "asked": counted if asked else None,
        "always": counted,
        "zero": usage_of(0, 0),
        "never": None,
    }
    return kinds[usage]


def _stream_choices(
    pieces: Sequence[str], finish: str | None, n: int
) -> Iterator[list[dict[str, Any]]]:
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in pieces]
    deltas += [({}, finish)] if finish is not None else []
    for delta, reason in deltas:
        for index in range(n):
            yield [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}]


def _place_usage(chunks: list[dict[str, Any]], count: Json | None, at: UsageAt) -> None:
    if count is None:
        return
    for chunk in chunks:
        chunk["usage"] = count if at == "every" else None
    if at == "last":
        chunks[-1]["usage"] = count
    elif at == "extra":
        chunks.append(chunks[-1] | {"choices": [], "usage": count})
