"""What Anthropic's messages API answers, after recorded traffic: messages, streams, errors, models.

The padding behind some events' data, the ping behind the first block and the headers that name
the account are as they were recorded.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from .reply import Header, Reply
from .seen import Seen
from .shapes import json_reply

ANTHROPIC_HEADERS: tuple[Header, ...] = (
    ("request-id", "req_011CZknLck4BQCMFWnzKYGJC"),
    ("anthropic-organization-id", "b320df16-c763-4455-b901-3f7d54e9a012"),
    ("anthropic-ratelimit-requests-limit", "20000"),
    ("anthropic-ratelimit-requests-remaining", "19999"),
    ("anthropic-ratelimit-requests-reset", "2026-04-05T14:28:45Z"),
    ("set-cookie", "_cfuvid=upstream-cookie; HttpOnly; Secure; Path=/"),
)
_serial = itertools.count(1)
Block = dict[str, Any]


def text(value: str) -> Block:
    return {"type": "text", "text": value}


def thinking(value: str) -> Block:
    return {"type": "thinking", "thinking": value, "signature": "EtABCkYICxgCKkCVRmhlD4SU"}


def tool_use(name: str, id: str = "toolu_01D7FLrfh4GYq7yT1ULFeyMV", /, **given: Any) -> Block:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def counted(given: int = 9, output: int = 3, **more: Any) -> dict[str, Any]:
    """Usage as a message states it."""
    return {
        "input_tokens": given,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
        "inference_geo": "global",
        **more,
    }


def message(*blocks: Block, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    """A whole message."""
    return {
        "model": "claude-sonnet-4-5-20250929",
        "id": f"msg_01{next(_serial):020}",
        "type": "message",
        "role": "assistant",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": counted(),
        **more,
    }


def events(*blocks: Block, stop: str = "end_turn", pieces: int = 2, **more: Any) -> list[bytes]:
    """The same as a stream: each block cut into so many pieces. `usage` is what the last event
    states; the first one knows the prompt only."""
    whole = message(*blocks, stop=stop, **more)
    usage = whole["usage"]
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    begun.pop("stop_details", None)
    out = [frame("message_start", message=begun)]
    for index, block in enumerate(blocks):
        out += _streamed(index, block, pieces)
    if blocks:
        out.insert(2, b'event: ping\ndata: {"type": "ping"}\n\n')
    ended = {name: whole.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    final = {name: usage[name] for name in usage if name.endswith(("tokens", "details"))}
    out.append(frame("message_delta", delta=ended, usage=final))
    return [*out, frame("message_stop")]


def frame(kind: str, **more: Any) -> bytes:
    """One event."""
    data = json.dumps({"type": kind, **more}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {data[:-1]}       }}\n\n".encode()


def _streamed(index: int, block: Block, pieces: int) -> list[bytes]:
    fields = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
    if block["type"] == "tool_use":
        empty, whole = {**block, "input": {}}, json.dumps(block["input"]) if block["input"] else ""
        kind, name = "input_json_delta", "partial_json"
    elif block["type"] in fields:
        kind, name = fields[block["type"]]
        empty, whole = {**block, name: ""}, block[name]
    else:
        empty, whole, kind, name = block, "", "", ""
    empty = {**empty, **({"signature": ""} if "signature" in block else {})}
    out = [frame("content_block_start", index=index, content_block=empty)]
    size = -(-len(whole) // pieces) or 1
    deltas = [{"type": kind, name: whole[at : at + size]} for at in range(0, len(whole), size)]
    if kind == "input_json_delta":
        deltas.insert(0, {"type": kind, name: ""})
    if block["type"] == "thinking":
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    out += [frame("content_block_delta", index=index, delta=delta) for delta in deltas]
    return [*out, frame("content_block_stop", index=index)]


def error_body(kind: str, words: str, **more: Any) -> dict[str, Any]:
    error = {"type": kind, "message": words, **more}
    return {"type": "error", "error": error, "request_id": "req_011CTdPtgTfQy2J1g7QgdQ9S"}


def refusal(status: int, kind: str, words: str, *headers: Header, **more: Any) -> Reply:
    """An error as the whole answer."""
    reply = json_reply(error_body(kind, words, **more), status)
    return reply.but(headers=(("Content-Type", "application/json"), *ANTHROPIC_HEADERS, *headers))


def answer(*blocks: Block, **more: Any) -> Callable[[Seen], Reply]:
    """A message, whole or streamed as the request asks."""

    def made(seen: Seen) -> Reply:
        asked = seen.json
        named = {"model": asked["model"], **more}
        if asked.get("stream"):
            return stream(*events(*blocks, **named))
        headers = (("Content-Type", "application/json"), *ANTHROPIC_HEADERS)
        return Reply(200, headers, json.dumps(message(*blocks, **named)).encode())

    return made


def stream(*frames: bytes) -> Reply:
    """Events as they are."""
    kind = ("Content-Type", "text/event-stream; charset=utf-8")
    return Reply(200, (kind, *ANTHROPIC_HEADERS), list(frames), "chunked")
