"""What Gemini and Perplexity answer: nearly OpenAI's shape, and Google's own.

Gemini's chunks name the speaker every time, carry usage on each, number no tool calls and finish
them with `stop`; it may leave out `[DONE]`. Perplexity repeats the whole message, its sources and
its usage with every chunk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .reply import Reply
from .seen import Seen
from .shapes import json_reply, sse

SIGNATURE = "EjQKMgEMOdbHJChLX75QUCJjyYlm"
WEATHER = '{"city":"Oslo"}'
USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10}  # three were thought
OPERATION = "models/veo-3.1-generate-preview/operations/7hgvzz3v5yhc"
SOURCES = {
    "citations": ["https://a.example/1"],
    "search_results": [{"title": "One", "url": "https://a.example/1", "date": "2026-11-01",
                        "last_updated": None, "snippet": "…"}],
    "images": [{"image_url": "https://a.example/1.png"}],
    "related_questions": ["And then?"],
}  # fmt: skip
SEARCHED = {
    "prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10, "search_context_size": "low",
    "citation_tokens": 3, "num_search_queries": 1, "cost": {"total_cost": 0.006},
}  # fmt: skip


def call(name: str = "weather", arguments: str = WEATHER, **more: Any) -> dict[str, Any]:
    """A tool call as Gemini writes it: whole, without an index, its thought signed."""
    signed = {"extra_content": {"google": {"thought_signature": SIGNATURE}}}
    function = {"name": name, "arguments": arguments}
    return {**signed, "function": function, "id": "", "type": "function", **more}


def gemini_chat(message: dict[str, Any], finish: str = "stop") -> Reply:
    choice = {"finish_reason": finish, "index": 0, "message": {"role": "assistant", **message}}
    head = {"created": 7, "id": "", "model": "gemini-3-flash", "object": "chat.completion"}
    return json_reply({"choices": [choice], **head, "usage": USED})


def gemini_chunks(*deltas: dict[str, Any]) -> list[dict[str, Any]]:
    chunks = []
    for place, delta in enumerate(deltas):
        choice: dict[str, Any] = {"delta": {"role": "assistant", **delta}, "index": 0}
        if place == len(deltas) - 1:
            choice["finish_reason"] = "stop"
        used = {**USED, "completion_tokens": place, "total_tokens": 8 + place}
        chunks.append(
            {"choices": [choice], "created": 7, "id": "abc", "model": "gemini-3-flash",
             "object": "chat.completion.chunk", "usage": used}
        )  # fmt: skip
    return chunks


def gemini_stream(*deltas: dict[str, Any], done: bool = True) -> Reply:
    return sse(*gemini_chunks(*deltas), done=done)


def vectors(*rows: Sequence[float]) -> Reply:
    return json_reply({"embeddings": [{"values": list(row)} for row in rows]})


def drawn(*pictures: str, kind: str = "image/png") -> Reply:
    parts: list[dict[str, Any]] = [{"text": "Here it is."}]
    parts += [{"inlineData": {"mimeType": kind, "data": data}} for data in pictures]
    used = {
        "promptTokenCount": 270, "candidatesTokenCount": 1290, "totalTokenCount": 1560,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12},
                                {"modality": "IMAGE", "tokenCount": 258}],
    }  # fmt: skip
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return json_reply({"candidates": [candidate], "usageMetadata": used})


def operation(*, done: bool = False, file: str | None = "f1lm", **more: Any) -> dict[str, Any]:
    """A film's operation; a finished one without a file was filtered."""
    value: dict[str, Any] = {"name": OPERATION, **({"done": True} if done else {}), **more}
    if done and "error" not in more:
        uri = f"https://generativelanguage.googleapis.com/v1beta/files/{file}:download?alt=media"
        samples = {"generatedSamples": [{"video": {"uri": uri}}]} if file else {
            "raiMediaFilteredCount": 1
        }  # fmt: skip
        value["response"] = {"generateVideoResponse": samples}
    return value


def google_error(
    status: int, message: str, name: str = "INVALID_ARGUMENT", *details: dict[str, Any]
) -> bytes:
    error = {"code": status, "message": message, "status": name, "details": list(details)}
    return json.dumps([{"error": error}]).encode()


def limited(quota: str | None, delay: str | None) -> bytes:
    """A 429 of Gemini's: its text is the same whatever the limit is."""
    details: list[dict[str, Any]] = []
    if quota:
        violation = {"quotaMetric": "…", "quotaId": quota, "quotaValue": "10"}
        details.append({"@type": "…/google.rpc.QuotaFailure", "violations": [violation]})
    if delay:
        details.append({"@type": "…/google.rpc.RetryInfo", "retryDelay": delay})
    text = "You exceeded your current quota, please check your plan and billing details."
    return google_error(429, text, "RESOURCE_EXHAUSTED", *details)


def searched(*pieces: str) -> list[dict[str, Any]]:
    """Perplexity's chunks."""
    chunks, said = [], ""
    for place, piece in enumerate(pieces):
        said += piece
        finish = "stop" if place == len(pieces) - 1 else None
        choice = {
            "index": 0, "finish_reason": finish, "delta": {"role": "assistant", "content": piece},
            "message": {"role": "assistant", "content": said},
        }  # fmt: skip
        head = {"id": "p1", "model": "sonar", "created": 7, "object": "chat.completion"}
        chunks.append({**head, "usage": SEARCHED, **SOURCES, "choices": [choice]})
    return chunks


def perplexity(seen: Seen) -> Reply:
    """An honest Perplexity."""
    chunks = searched("Hel", "lo")
    if seen.json.get("stream"):
        return sse(*chunks, done=False)
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json_reply({**chunks[-1], "choices": [choice]})
