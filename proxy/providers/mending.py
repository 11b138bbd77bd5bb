"""Chat of providers that nearly speak OpenAI's shape, mended before it is read.

What clients of OpenAI rely on is put right: every answer has an id, its object's name and a time;
the role is said once; each tool call has an index and an id of its own; a finish reason is one of
the known ones; usage, which such providers repeat on every chunk, is said once and last. What
they add besides, as citations or signatures of thoughts, goes on untouched.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import orjson

from bsod.lib import clock
from proxy.providers.base import Asked, UpstreamFault
from proxy.providers.chat import ChatStream, ChatWhole
from proxy.providers.reading import usage_of, written

_FINISHES = frozenset(("stop", "length", "tool_calls", "content_filter", "function_call"))
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class Mender:
    """What is remembered of one answer while it is mended."""

    def __init__(self, asked: Asked, kind: str) -> None:
        self.asked = asked
        self._kind = kind
        self._id, self._created = f"chatcmpl-{uuid.uuid4().hex}", clock.unix(clock.now())
        self._speaking: set[int] = set()
        self._calls: dict[int, list[str]] = {}
        """The ids of the calls each choice has begun, in their order."""
        self.stated: dict[str, Any] | None = None
        """The latest usage, as it is told to the client."""

    # What a kind of provider does otherwise.

    def kind_of(self, reply: dict[str, Any]) -> str:
        return self._kind

    def usage(self, stated: dict[str, Any]) -> dict[str, Any]:
        return {**dict.fromkeys(_COUNTS, 0), **stated}

    def message(self, message: dict[str, Any]) -> None:
        """A whole message."""

    def delta(self, delta: dict[str, Any]) -> None:
        """A piece of one."""

    # The same for all of them.

    def whole(self, reply: dict[str, Any]) -> None:
        """Mend a completion in place."""
        self._head(reply)
        if isinstance(reply.get("usage"), dict):
            reply["usage"] = self.usage(reply["usage"])
        for place, choice in _numbered(reply):
            message = choice.get("message")
            if isinstance(message, dict):
                message.setdefault("role", "assistant")
                message.setdefault("content", None)
                self.message(message)
                self._number(choice["index"], message.get("tool_calls"), indexed=False)
            choice["finish_reason"] = self._finish(place, choice.get("finish_reason") or "stop")

    def chunk(self, chunk: dict[str, Any]) -> None:
        """Mend a chunk in place."""
        self._head(chunk)
        if not isinstance(chunk.get("choices"), list):
            chunk["choices"] = []
        if isinstance(chunk.get("usage"), dict):
            self.stated = self.usage(chunk["usage"])
            chunk["usage"] = None if chunk["choices"] else self.stated
        for _, choice in _numbered(chunk):
            index = choice["index"]
            if not isinstance(choice.get("delta"), dict):
                choice["delta"] = {}
            delta = choice["delta"]
            self._speak(index, delta)
            self.delta(delta)
            self._number(index, delta.get("tool_calls"), indexed=True)
            reason = choice.get("finish_reason")
            choice["finish_reason"] = self._finish(index, reason) if reason else None

    def _head(self, reply: dict[str, Any]) -> None:
        reply["object"] = self.kind_of(reply)
        if not isinstance(reply.get("id"), str) or not reply["id"]:
            reply["id"] = self._id
        if type(reply.get("created")) is not int:
            reply["created"] = self._created
        if not isinstance(reply.get("model"), str):
            reply["model"] = self.asked.model

    def _speak(self, index: int, delta: dict[str, Any]) -> None:
        """Who speaks is said in the first piece and in no other: clients add the pieces up."""
        if index in self._speaking:
            delta.pop("role", None)
        else:
            delta["role"] = delta.get("role") or "assistant"
            self._speaking.add(index)

    def _number(self, choice: int, calls: Any, *, indexed: bool) -> None:
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                index = self._index(choice, call)
                if indexed:
                    call["index"] = index

    def _index(self, choice: int, call: dict[str, Any]) -> int:
        """Which call of its choice this is, or is a piece of. A new one gets what it lacks."""
        begun = self._calls.setdefault(choice, [])
        id_, stated = call.get("id"), call.get("index")
        if id_ and id_ in begun:
            return begun.index(id_)
        function = call.get("function")
        named = isinstance(function, dict) and bool(function.get("name"))
        if begun and not id_ and not named:
            call.pop("id", None)
            last = len(begun) - 1
            return min(stated, last) if type(stated) is int and stated >= 0 else last
        call["id"] = id_ if isinstance(id_, str) and id_ else f"call_{uuid.uuid4().hex[:24]}"
        call["type"] = call.get("type") or "function"
        begun.append(call["id"])
        return len(begun) - 1

    def _finish(self, index: int, reason: Any) -> str:
        """A reason clients know. `content_filter: RECITATION` says more than they do."""
        name = str(reason).lower().partition(":")[0].strip()
        if name not in _FINISHES:
            name = "content_filter" if "filter" in name or "safety" in name else "stop"
        return "tool_calls" if name == "stop" and self._calls.get(index) else name


class MendedWhole(ChatWhole):
    """A completion in one JSON body."""

    mender = Mender

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self.tier = "default"  # such providers have no other, whatever was asked for

    def whole(self, data: bytes) -> None:
        super().whole(_mended(self.mender(self.asked, "chat.completion"), data))


class MendedStream(ChatStream):
    """A completion as a stream of chunks."""

    mender = Mender

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self.tier = "default"
        self._mender = self.mender(asked, self.object_name)

    def whole(self, data: bytes) -> bytes:
        return super().whole(_mended(self.mender(self.asked, "chat.completion"), data))

    def _parse(self, text: bytes) -> dict[str, Any] | None:
        if text.startswith(b"["):
            _check(text)
        chunk = super()._parse(text)
        if chunk and not chunk.get("error"):
            self._mender.chunk(chunk)
            self.usage = usage_of(self._mender.stated) or self.usage
        return chunk

    def _strip(self, reply: dict[str, Any]) -> bool:
        super()._strip(reply)
        return True

    def _usage_block(self) -> dict[str, Any]:
        return self._mender.stated if self.usage and self._mender.stated else super()._usage_block()


def _mended(mender: Mender, data: bytes) -> bytes:
    """A completion's body, mended; what is none stays as it is, for the reader to refuse."""
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    _check_value(reply)
    if not isinstance(reply, dict) or reply.get("error"):
        return data
    if not isinstance(reply.get("choices"), list) or not reply["choices"]:
        return data
    mender.whole(reply)
    return written(reply)


def _check(text: bytes) -> None:
    try:
        _check_value(orjson.loads(text))
    except orjson.JSONDecodeError:
        return


def _check_value(value: Any) -> None:
    """Google wraps an error into an array, also inside of a stream. Raises UpstreamFault."""
    if isinstance(value, list) and any(isinstance(it, dict) and it.get("error") for it in value):
        raise UpstreamFault


def _numbered(reply: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The choices, each with an index."""
    for place, choice in enumerate(reply["choices"]):
        if isinstance(choice, dict):
            if type(choice.get("index")) is not int:
                choice["index"] = place
            yield choice["index"], choice
