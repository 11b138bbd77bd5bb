"""Pieces of streams, for the tests of this folder."""

import json
from typing import Any

from tests.rawclient import events
from tests.upstream import Gate, Pause, Reply, sse, sse_frame

DONE = sse_frame("[DONE]")


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice], **more}  # fmt: skip


def texts(body: bytes) -> str:
    found = [json.loads(event) for event in events(body) if event != b"[DONE]"]
    return "".join(
        choice["delta"].get("content") or "" for item in found for choice in item["choices"]
    )


def held(pieces: list[bytes | Gate | Pause], **changes: Any) -> Reply:
    return sse(*pieces, done=False).but(**changes)
