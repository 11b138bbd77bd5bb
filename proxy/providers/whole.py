"""Reading answers that are one JSON object, or bytes.

The bytes go on as they came unless a name or a charge has to be put in: vectors, scores and
numbers are never written anew.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.providers.base import Asked, Malformed, UpstreamFault, Usage
from proxy.providers.harvest import harvest
from proxy.providers.reading import (
    Reading,
    counts,
    extended,
    flow_of,
    object_of,
    renamed,
    usage_of,
)

_IMAGES = ("created", "data")


class ObjectWhole(Reading):
    """Any object. Its state is the object itself; of its ids those are taken that are known."""

    rows = ""
    """A field without which it is no answer: a list."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._raw: bytes | None = None
        self._reply: dict[str, Any] = {}

    def whole(self, data: bytes) -> None:
        if not data and self.asked.method == "DELETE":
            self._raw = data
            return
        reply = object_of(data)
        if self.rows and not isinstance(reply.get(self.rows), list):
            raise Malformed(f"the reply has no {self.rows}")
        self._note(reply)
        if self._rename and isinstance(reply.get("model"), str):
            data = renamed(data, reply, self.asked.model)
        self._raw, self._reply = data, reply

    @property
    def complete(self) -> bool:
        return self._raw is not None

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        raw = self._raw or b""
        if extra and raw:
            # It has been charged by now: what cannot be written anew goes on as it came.
            with contextlib.suppress(Malformed):
                return extended(raw, self._reply, extra)
        return raw

    def _note(self, reply: dict[str, Any]) -> None:
        self.state = reply
        self._take_tier(reply)
        self.found += harvest(self.asked.creates, reply)


class EmbeddingWhole(ObjectWhole):
    rows = "data"

    def _note(self, reply: dict[str, Any]) -> None:
        self.usage = usage_of(reply.get("usage"))


class ModerationWhole(EmbeddingWhole):
    """It may state no usage."""

    rows = "results"


class GraderWhole(ObjectWhole):
    """A score. What its models used is one number."""

    def _note(self, reply: dict[str, Any]) -> None:
        details = reply.get("metadata")
        used = details.get("token_usage") if isinstance(details, dict) else None
        self.usage = Usage(used, 0) if counts(used) else None


class ImageWhole(ObjectWhole):
    def _note(self, reply: dict[str, Any]) -> None:
        if not isinstance(reply.get("data", []), list) or reply.keys().isdisjoint(_IMAGES):
            raise Malformed("the reply has no images")
        self.units = len(reply.get("data", []))
        self.usage = flow_of(reply.get("usage"))


class BytesWhole(Reading):
    """Bytes that are not ours to understand."""

    _raw = b""

    def whole(self, data: bytes) -> None:
        if not data:
            raise Malformed("the reply is empty")
        self._raw = data

    @property
    def complete(self) -> bool:
        return bool(self._raw)

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        return self._raw


class TranscriptionWhole(BytesWhole):
    """The words of a recording: JSON, a text, or subtitles."""

    _reply: dict[str, Any] | None = None

    def whole(self, data: bytes) -> None:
        super().whole(data)
        if not data.lstrip().startswith(b"{"):
            return
        with contextlib.suppress(orjson.JSONDecodeError):
            reply = orjson.loads(data)
            if reply.get("error") and "text" not in reply:
                raise UpstreamFault
            if "text" in reply:
                self._reply, self.usage = reply, flow_of(reply.get("usage"))

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        if extra and self._reply:
            with contextlib.suppress(Malformed):
                return extended(self._raw, self._reply, extra)
        return self._raw
