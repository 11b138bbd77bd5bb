"""Short ways to say a chat that goes to Anthropic, and what of it goes out."""

import base64
import json
from typing import Any

import pytest

from proxy.providers.anthropic.adapter import Anthropic
from proxy.providers.base import Refused
from tests.proxy.providers.talk import asked

SECRET = "sk-ant-api03-secret"
HELLO = [{"role": "user", "content": "Hi"}]
PNG = base64.b64encode(b"\x89PNG").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()
FIND = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    },
}
CACHED = {"type": "ephemeral"}


def sent(body: dict[str, Any] | None = None, /, **more: Any) -> dict[str, Any]:
    """The body that goes out for a chat's body."""
    call = {"upstream_model": "claude-sonnet-4-6", "stream": False, "user": "", **more}
    given = {"messages": HELLO, **(body or {})}
    out = Anthropic().prepare(asked(body=given, **call), SECRET).body
    assert isinstance(out, bytes)
    value: dict[str, Any] = json.loads(out)
    return value


def refused(body: dict[str, Any], **more: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        sent(body, **more)
    return raised.value


def said(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = sent({"messages": list(messages)})["messages"]
    return turns


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def called(id: str = "call_1", arguments: str = '{"q": "tea"}', **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "find", "arguments": arguments}}
