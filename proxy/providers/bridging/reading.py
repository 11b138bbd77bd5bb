"""Reading an answer in one shape and giving it in the other.

Two readers of ours with a translator between them: the inner one keeps the provider's laws (what
is malformed, what is a proper end, what was used), the outer one those of the shape the client
asked for (what waits for the close). Nothing is invented as an end: a cut stream stays cut.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from proxy.providers.base import (
    Asked,
    Found,
    Malformed,
    StreamReader,
    UpstreamFault,
    Usage,
    WholeReader,
)
from proxy.providers.events import Cutter
from proxy.providers.reading import written
from proxy.providers.sse import payload


class Translator(Protocol):
    def take(self, value: dict[str, Any]) -> Sequence[bytes]:
        """The events that one of the provider's becomes. Raises Malformed, UpstreamFault."""

    def end(self, usage: Usage | None, produced: int) -> Sequence[bytes]:
        """The events behind a proper end; `usage` as the provider stated it, if it did."""


class _Bridged:
    """What both readers tell of an answer. Its ids are nobody's: none is found."""

    units: int | None = None
    shown = 0
    preview = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.tier: str | None = None
        self.found: list[Found] = []
        self.state: Mapping[str, Any] | None = None

    def _learn(self, inner: StreamReader | WholeReader) -> None:
        self.usage, self.tier = inner.usage, inner.tier


class BridgedStream(_Bridged, Cutter):
    """A stream of one shape as a stream of the other."""

    passes_json = False

    def __init__(self, inner: StreamReader, outer: StreamReader, translator: Translator) -> None:
        _Bridged.__init__(self)
        Cutter.__init__(self)
        self._inner, self._outer, self._translator = inner, outer, translator
        self._ended = False
        self._left = b""

    @property
    def produced(self) -> int:
        return self._outer.produced

    @property
    def complete(self) -> bool:
        if self._fault:
            raise self._fault
        if not self._inner.complete:
            return False
        # Some providers end without a mark: then this is where their end is seen.
        self._left += self._end()
        return self._outer.complete

    @property
    def done(self) -> bool:
        return self._outer.done

    def whole(self, data: bytes) -> bytes:
        return self._through(self._inner.whole(data))

    def feed(self, data: bytes) -> bytes:
        if self._fault:
            raise self._fault
        return self._through(self._inner.feed(data))

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        return self._left + self._outer.finish(extra)

    def _through(self, data: bytes) -> bytes:
        out = super().feed(data)
        self._learn(self._inner)
        if self._inner.done and not self._fault:
            try:
                out += self._end()
            except (Malformed, UpstreamFault) as fault:
                if not out:
                    raise
                self._fault = fault
        return out

    def _end(self) -> bytes:
        """What the inner reader has held back, and the end in the other shape. Once."""
        if self._ended or not self._inner.complete:
            return b""
        self._ended = True
        out = super().feed(self._inner.finish(None))
        self._learn(self._inner)
        if not self._fault:
            out += self._shown(self._translator.end(self._inner.usage, self._outer.produced))
        return out

    def _event(self, event: bytes) -> bytes:
        text = payload(event)
        if text is None or text == b"[DONE]":
            return b""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return b""  # the inner reader has counted it
        return self._shown(self._translator.take(value)) if isinstance(value, dict) else b""

    def _shown(self, events: Sequence[bytes]) -> bytes:
        out = self._outer.feed(b"".join(events)) if events else b""
        self.state = self._outer.state
        return out


Turn = Callable[[dict[str, Any], Asked, Usage | None, int], dict[str, Any]]
"""A whole answer of one shape as one of the other. Raises Malformed, UpstreamFault, Refused."""


class BridgedWhole(_Bridged):
    """A whole answer of one shape as one of the other."""

    def __init__(self, inner: WholeReader, outer: WholeReader, asked: Asked, turn: Turn) -> None:
        super().__init__()
        self._inner, self._outer, self._asked, self._turn = inner, outer, asked, turn

    @property
    def produced(self) -> int:
        return self._inner.produced

    @property
    def complete(self) -> bool:
        return self._outer.complete

    def whole(self, data: bytes) -> None:
        self._inner.whole(data)
        self._learn(self._inner)
        reply = orjson.loads(self._inner.finish(None))
        turned = self._turn(reply, self._asked, self._inner.usage, self._inner.produced)
        self._outer.whole(written(turned))
        self.state = self._outer.state

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        return self._outer.finish(extra)
