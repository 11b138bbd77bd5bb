"""One scripted reply: what goes out, how it is framed, and where it goes wrong.

A `Reply` is a frozen value; nothing happens until the server plays it. Start from a builder
(`shapes.chat()`, `faults.garbage()`) or from `Reply(...)`, then bend it:

    chat().cut(body=20)                        # reset after 20 bytes of body
    chat_stream(["a", "b"]).hang(body=100)     # silence after 100 bytes, for ever
    chat().but(delay_headers=2.0, then="close")
    Reply(body=[b"one", Pause(0.3), b"two", gate, b"three"], framing="chunked")

Units: seconds and bytes everywhere. Header values and `raw` bodies are written as they are, so
a test can send what no honest server would (line breaks in values, two Content-Type, garbage).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

from .seen import Seen

Framing = Literal["length", "chunked", "close", "wrong_length", "raw"]
How = Literal["reset", "fin", "hang"]

WRONG_LENGTH_EXCESS = 512
"""Bytes a `wrong_length` reply promises beyond what it sends, unless `length` says otherwise."""


@dataclass(frozen=True)
class Pause:
    """A piece of a body that is only silence."""

    seconds: float


class Gate:
    """Holds replies until the test opens it, then stays open.

    As a piece of a body it stops the reply at that point; as `delay_headers` before its head.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = False
        self._wakers: list[Callable[[], None]] = []

    def open(self) -> None:
        """Let every held reply go on; callable from any thread."""
        with self._changed:
            self._open = True
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def wait_for(self, count: int, timeout: float = 5.0) -> None:
        """Block until `count` replies are held here at once; TimeoutError after `timeout` s."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._wakers) >= count, timeout):
                raise TimeoutError(f"{len(self._wakers)} of {count} replies held at the gate")

    def subscribe(self, wake: Callable[[], None]) -> bool:
        """For the server: call `wake` once at opening. False when it is open already."""
        with self._changed:
            if not self._open:
                self._wakers.append(wake)
                self._changed.notify_all()
            return not self._open

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """For the server: forget `wake`; harmless when it was called already."""
        with self._changed:
            if wake in self._wakers:
                self._wakers.remove(wake)


Piece = bytes | Pause | Gate
Pieces = bytes | Iterable[Piece]
Body = bytes | Sequence[Piece] | Callable[[Seen], Pieces]
"""Bytes; a list of pieces; or a function of the request, called when the reply is played. A
function may return a generator: it is never held in memory (give `length`, or not `length`
framing)."""

Header = tuple[str | bytes, str | bytes]


@dataclass(frozen=True)
class Drip:
    """Send the body (and the head, if `head`) `size` bytes at a time, `every` seconds apart."""

    size: int
    every: float
    head: bool = False


@dataclass(frozen=True)
class Stop:
    """Where a reply ends before its end: after so many bytes of head or body, and in what way."""

    where: Literal["head", "body"]
    after: float
    how: How


@dataclass(frozen=True)
class Reply:
    """What one request is answered with. All times in seconds, all sizes in bytes."""

    status: int = 200
    headers: Sequence[Header] = ()
    body: Body = b""
    framing: Framing = "length"
    """`raw` sends the body alone, without any head; `close`, `wrong_length` and `raw` end with
    the connection. One piece is one chunk when `chunked`."""
    length: int | None = None
    """Content-Length to announce instead of the counted one."""
    delay_headers: float | Gate = 0.0
    delay_between: float = 0.0
    """Silence between two pieces of the body (not before the first, not after the last)."""
    drip: Drip | None = None
    stop: Stop | None = None
    early: bool = False
    """Answer when the head is in and leave the request's body unread, then close."""
    then: Literal["keep", "close", "vanish"] = "keep"
    """After the reply: keep the connection; announce and close it; close without a word."""
    before: bytes = b""
    """Raw bytes in front of the status line, such as a `103 Early Hints`."""
    tail: bytes = b""
    """Raw bytes behind the end of the reply, such as an answer nobody asked for."""

    def but(self, **changes: Any) -> Reply:
        """The same reply with other fields."""
        return replace(self, **changes)

    def plus(self, *headers: Header) -> Reply:
        """The same reply with more headers, behind its own."""
        return replace(self, headers=(*self.headers, *headers))

    def cut(
        self,
        *,
        body: int | None = None,
        head: int | None = None,
        how: Literal["reset", "fin"] = "reset",
    ) -> Reply:
        """Break the connection after so many bytes of the body, or inside the head.

        `cut()` sends the whole body but not its end (no last chunk); `cut(head=0)` takes the
        request and answers nothing. `reset` is a TCP RST, `fin` an orderly close.
        """
        return replace(self, stop=_stop(body, head, how))

    def hang(self, *, body: int | None = None, head: int | None = None) -> Reply:
        """As `cut`, but say nothing more until the client leaves or the server stops."""
        return replace(self, stop=_stop(body, head, "hang"))

    def pieces(self, seen: Seen) -> Pieces:
        """The body for this request."""
        return self.body(seen) if callable(self.body) else self.body

    @property
    def bodiless(self) -> bool:
        """Statuses that never carry a body nor its framing headers."""
        return self.framing != "raw" and (self.status < 200 or self.status in (204, 304))

    def head_bytes(self, counted: int | None, close: bool) -> bytes:
        """The head, for a body of `counted` bytes (None: unknown), saying `close` or not."""
        if self.framing == "raw":
            return b""
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}".encode("ascii")]
        lines += [_raw(name) + b": " + _raw(value) for name, value in self.headers]
        lines += [] if self.bodiless else self._framing_lines(counted)
        if close and self.then != "vanish":
            lines.append(b"Connection: close")
        return self.before + b"\r\n".join(lines) + b"\r\n\r\n"

    def _framing_lines(self, counted: int | None) -> list[bytes]:
        if self.framing == "chunked":
            return [b"Transfer-Encoding: chunked"]
        if self.framing == "close":
            return []
        if self.length is None and counted is None:
            raise ValueError("a generated body needs `length`, or chunked or close framing")
        excess = WRONG_LENGTH_EXCESS if self.framing == "wrong_length" else 0
        announced = self.length if self.length is not None else (counted or 0) + excess
        return [b"Content-Length: %d" % announced]


def _stop(body: int | None, head: int | None, how: How) -> Stop:
    if head is not None:
        return Stop("head", head, how)
    return Stop("body", float("inf") if body is None else body, how)


def _raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 529 and other numbers providers made up
        return "Unassigned"
