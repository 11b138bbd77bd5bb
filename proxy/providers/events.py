"""Streams of named events: cut, noted, passed on, and the last word kept until the close.

An event goes on byte for byte, but for one that names a model by another name than the client
did. The event that ends a stream waits for `finish`; should another follow it, it was not the end.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from proxy.providers.base import Asked, Malformed, TooLarge, UpstreamFault
from proxy.providers.reading import Reading, written
from proxy.providers.sse import Splitter, TooLong, payload

BAD_LINES = 3  # events that may be no JSON before the stream is given up


class Cutter:
    """Bytes in, event by event; a fault behind something to deliver is put off."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._fault: Malformed | UpstreamFault | None = None
        self._begun = False
        """Something of the answer has been read."""
        self._bad = 0

    def feed(self, data: bytes) -> bytes:
        if self._fault:
            raise self._fault
        try:
            events = self._splitter.feed(data)
        except TooLong:
            raise TooLarge("an event is too long") from None
        out: list[bytes] = []
        for event in events:
            try:
                out.append(self._event(event))
            except (Malformed, UpstreamFault) as fault:
                if not any(out):
                    raise
                # What came before it in the same read is delivered, and charged, first.
                self._fault = fault
                break
        return b"".join(out)

    def _event(self, event: bytes) -> bytes:
        """What of an event the client gets now."""
        raise NotImplementedError

    def _parse(self, text: bytes) -> dict[str, Any] | None:
        """An event's object; None: it is none, which is skipped once the answer has begun."""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            return value
        self._bad += 1
        if not self._begun or self._bad >= BAD_LINES:
            raise Malformed("an event is no JSON object")
        return None


class Held(NamedTuple):
    """An event that waits for the close."""

    event: bytes
    value: dict[str, Any]
    shown: bytes


class EventStream(Reading, Cutter):
    """A stream whose events have names. What follows is each kind's own."""

    passes_json = True
    ends: frozenset[str] = frozenset()
    """Names of the events that can be the last."""
    final = True
    """Nothing follows such an event."""
    mark = b""
    """What ends the stream behind it."""

    def __init__(self, asked: Asked) -> None:
        Reading.__init__(self, asked)
        Cutter.__init__(self)
        self._held: Held | None = None
        self._done = False

    @property
    def complete(self) -> bool:
        if self._fault:
            raise self._fault
        return self._held is not None

    @property
    def done(self) -> bool:
        return self._done

    def whole(self, data: bytes) -> bytes:
        raise Malformed("the reply is no stream of events")

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        held = self._held
        if held is None:
            return b""
        shown = held.shown
        if extra:
            try:
                shown = rewritten(held.event, self._extended(held.value, extra))
            except Malformed:
                # It has been charged by now, so it goes on as it came.
                shown = held.shown
        return shown + self.mark

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        """Learn from an event; True when its value was changed."""
        return False

    def _extended(self, value: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
        return {**value, **extra}

    def _name(self, event: bytes, value: dict[str, Any]) -> str:
        kind = value.get("type")
        return kind if isinstance(kind, str) else name_of(event)

    def _event(self, event: bytes) -> bytes:
        text = payload(event)
        if text is None or self._done:
            return b""
        if text == b"[DONE]":
            self._done = True
            return b""
        value = self._parse(text)
        if value is None:
            return b""
        self._begun = True
        name = self._name(event, value)
        if name == "error" or _is_error(event, value):
            raise UpstreamFault
        changed = self._note(name, value)
        shown = rewritten(event, value) if changed else event + b"\n\n"
        before = self._held.shown if self._held else b""
        self._held = Held(event, value, shown) if name in self.ends else None
        if self._held is None:
            return before + shown
        self._done = self.final
        return before


def _is_error(event: bytes, value: Mapping[str, Any]) -> bool:
    """Whether it is the providers' error object, by its `event:` line or its looks: the object's
    own `type` is a type of error."""
    bare = bool(value.get("error")) and "type" not in value and "id" not in value
    return bare or (event.startswith(b"event:") and name_of(event) == "error")


def name_of(event: bytes) -> str:
    """What its `event:` line says; the last one counts, as browsers have it."""
    name = b""
    for line in event.split(b"\n"):
        if line.startswith(b"event:"):
            name = line[6:].removeprefix(b" ")
    return name.decode("utf-8", "replace")


def rewritten(event: bytes, value: Mapping[str, Any]) -> bytes:
    """The event with other data. Raises Malformed."""
    lines = [line for line in event.split(b"\n") if not line.startswith(b"data:")]
    return b"\n".join([*lines, b"data: " + written(value), b"", b""])


def made(name: str, value: Mapping[str, Any]) -> bytes:
    """An event of ours."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), written(value))
