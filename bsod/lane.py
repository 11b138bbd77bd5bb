"""The fast lane: plain `POST` requests of metered routes, read and answered without ASGI.

Every connection begins here. A request is plain when its whole head comes in one read, spells
HTTP/1.1 in the strictest way, and states the length of a small body: what every SDK sends. What
is anything else (another method or path, a chunked or large body, `Expect`, an upgrade, a head in
pieces, bytes that are no HTTP) goes to the server's own protocol, with all its bytes and the
connection for good; that one refuses and limits. Nothing is refused here.
"""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, cast

from bsod.lib import clock, ids
from proxy import matching
from proxy.errors import ApiError
from proxy.gateway.app import serve
from proxy.gateway.call import EARLY
from proxy.gateway.exchange import reset, too_large
from proxy.gateway.head import Head, Headers, read_head
from proxy.gateway.plane import Gateway
from proxy.route import BodyKind, Close, Plane, Route

MOST_HEAD = 16_384  # bytes of a plain head
MOST_HEADERS = 100  # as gunicorn has it
MOST_WAITING = 65_536  # bytes taken ahead of a request that is being answered
REST = 5.0  # seconds the rest of a body may take; then the server's own protocol waits for it
HIGH = 65_536  # bytes the socket has not taken at which a writer waits
UNTAKEN = 600.0  # seconds a client may take nothing of what it has been sent

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)
# Names without `_`, which some servers read as `-`; values without control or other bytes.
_PLAIN = re.compile(
    rb"POST (/[A-Za-z0-9._/-]*) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[\x20-\x7e\t]*\r\n)+)"
)
_ODD = {b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"trailer"}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a head asks for. SDKs repeat theirs: it is worked out once a connection."""

    route: Route
    params: Mapping[str, str]
    head: Head


class Lane(asyncio.Protocol):
    """One connection. `worker` is gunicorn's; `fallback` makes its own protocol for it."""

    def __init__(
        self, gateway: Gateway, worker: Any, fallback: Callable[[Any], asyncio.Protocol]
    ) -> None:
        self._gateway, self._worker, self._fallback = gateway, worker, fallback
        self._loop: asyncio.AbstractEventLoop = worker.loop
        self._exchange: LaneExchange | None = None
        self._mark, self._known = b"", cast("_Plan | None", None)
        self._parts: list[bytes] = []
        self._missing = 0
        """Bytes of body that are still to come, when `_parts` holds the beginning."""
        self._waiting = b""
        self._writable: asyncio.Event | None = None
        self._paused = self.gone = False

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance: uvloop's transports are their own class.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH)
        self._worker.nr_conns += 1
        self._worker.protocols.add(self)
        _patient(transport.get_extra_info("socket"))
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._idle_since = self._loop.time()
        self._timer = self._loop.call_later(self._worker.cfg.keepalive, self._look)

    def data_received(self, data: bytes) -> None:
        if self._exchange:
            self._keep(data)
        elif self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing <= 0:
                self._take(self._collected())
        else:
            self._take(data)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.Event()
        self._writable.clear()

    def resume_writing(self) -> None:
        if self._writable:
            self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._retire()
        self.resume_writing()  # nobody will make it writable again: let the writer find out
        if self._exchange:
            self._exchange.left()

    # ---- reading

    def _take(self, data: bytes) -> None:
        """Serve the request these bytes begin with, or wait for its body, or hand over."""
        end = data.find(b"\r\n\r\n", 0, MOST_HEAD)
        length = _LENGTH.search(data, 0, end + 2) if end > 0 else None
        size = int(length[1]) if length else EARLY + 1
        if length is None or size > EARLY:
            self._hand_over(data)
            return
        plan = self._plan(data[: length.start()] + data[length.end() : end + 2])
        if plan is None:
            self._hand_over(data)
            return
        body, after = end + 4, end + 4 + size
        if len(data) < after:
            self._parts, self._missing = [data], after - len(data)
            self._late = self._loop.call_later(REST, self._hand_over_late)
            self._read_on()
            return
        self._waiting = data[after:]
        self._read_on()
        self._exchange = exchange = LaneExchange(self, plan.head, data[body:after])
        self._gateway.detach(serve(self._gateway, plan.route, plan.params, exchange))

    def _plan(self, head: bytes) -> _Plan | None:
        """What a head asks for, its Content-Length aside; None: it is not plain."""
        # Not the head itself is kept, for it holds a key.
        mark = blake2b(head, digest_size=16).digest()
        if mark != self._mark:
            self._mark, self._known = mark, _understand(head, self._peer)
        return self._known

    def _collected(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        self._late.cancel()
        return data

    def _keep(self, data: bytes) -> None:
        """Bytes behind the request being answered: the next one, or a flood."""
        self._waiting += data
        if len(self._waiting) > MOST_WAITING and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        """Resume reading, unless the requests that wait are a flood still."""
        if self._paused and len(self._waiting) <= MOST_WAITING:
            self._paused = False
            self.transport.resume_reading()

    def _hand_over_late(self) -> None:
        self._hand_over(self._collected())

    def _hand_over(self, data: bytes) -> None:
        """The server's own protocol takes the connection, as if it had had it from the start."""
        if self.transport.is_closing():
            return  # its end is about to be told to us
        self._retire()
        self._read_on()
        protocol = self._fallback(self._worker)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if data:
            protocol.data_received(data)

    def _retire(self) -> None:
        self._worker.nr_conns -= 1
        self._worker.protocols.discard(self)
        self._timer.cancel()
        if self._parts:
            self._late.cancel()

    # ---- between requests

    def close_if_idle(self) -> None:
        if not self._exchange and not self._parts:
            self.transport.close()

    def _look(self) -> None:
        """The one timer of a connection: it looks, it is never re-armed by a request."""
        keep = self._worker.cfg.keepalive
        left = self._idle_since + keep - self._loop.time()
        if self._exchange or self._parts:
            left = keep
        elif left <= 0:
            self.transport.close()
            return
        self._timer = self._loop.call_later(left, self._look)

    @property
    def closing(self) -> bool:
        """Whether the connection ends with the answer that is being given."""
        worker = self._worker
        return not worker.alive or worker.nr + 1 >= worker.max_requests

    def done(self, whole: bool) -> None:
        """The answer has been given; what has come meanwhile is next."""
        self._exchange = None
        self._worker.nr += 1
        if self._worker.nr >= self._worker.max_requests:
            self._worker.alive = False
        if self.gone:
            return
        if not whole:
            # Also when nothing was said: the client must not take the next answer for this one.
            self.transport.close()
            return
        self._idle_since = self._loop.time()
        if self._waiting:
            data, self._waiting = self._waiting, b""
            self._take(data)

    def abort(self) -> None:
        """End the connection now, whatever of the answer has not gone out."""
        if not self.gone:
            self.gone = True  # what is written from now on is for nobody
            reset(self.transport)

    async def send(self, data: bytes) -> None:
        """To the client; waits while he reads slowly."""
        if self.gone:
            return
        self.transport.write(data)
        if self._writable and not self._writable.is_set():
            await self._writable.wait()


class LaneExchange:
    """A plain request and its answer; see `proxy.gateway.exchange.Exchange`."""

    query = b""  # a plain path has none

    def __init__(self, lane: Lane, head: Head, body: bytes) -> None:
        self.id, self.began = ids.ulid(), clock.monotonic()
        self.length: int | None = len(body)
        self.started, self.status = False, 0
        self._lane, self._head, self._body = lane, head, body
        self._first = b""
        """The head of the answer, until there are bytes to send it with."""
        self._chunked = self._ended = self._closes = False
        self._on_gone: Callable[[], None] | None = None

    def head(self) -> Head:
        return self._head

    async def body(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise too_large(limit)
        body, self._body = self._body, b""
        return body

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        if body := await self.body(limit):
            yield body

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status = True, status
        lines = [_status_line(status), _date(int(time.time()))]
        self._chunked = True
        for name, value in headers:
            if name == b"content-length":
                self._chunked = False
            lines.append(b"%b: %b" % (name, value))
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        self._closes = self._lane.closing
        if self._closes:
            lines.append(b"connection: close")
        first = b"\r\n".join(lines)
        if first.count(b"\n") != len(lines) - 1 or first.count(b"\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        self._first = first + b"\r\n\r\n"

    async def write(self, data: bytes) -> None:
        if not data or self._ended:
            return  # a comment that is late would be read as the next answer
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        first, self._first = self._first, b""
        await self._lane.send(first + data if first else data)

    async def end(self, data: bytes = b"") -> None:
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        first, self._first = self._first, b""
        self._ended = True
        await self._lane.send(first + data)

    def abort(self) -> None:
        self._on_gone = None
        self._lane.abort()

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self._lane.gone:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._on_gone = callback

    def left(self) -> None:
        """The connection has ended before the answer."""
        if self._on_gone:
            self._on_gone()

    def finish(self) -> None:
        self._on_gone = None
        self._lane.done(self._ended and not self._closes)


def _patient(line: socket.socket) -> None:
    """The kernel ends a connection whose client takes nothing, whoever speaks on it by then. That
    client may say for ever that it has no room just now, and an answer may wait for that alone."""
    if _USER_TIMEOUT and line.family in (socket.AF_INET, socket.AF_INET6):
        line.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(UNTAKEN * 1000))


_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux alone


def _understand(head: bytes, peer: str) -> _Plan | None:
    """A head without its Content-Length line; None: not plain, or to be refused."""
    plain = _PLAIN.fullmatch(head)
    found = matching.match("POST", plain[1]) if plain else None
    if not plain or not found or not found.route:
        return None
    if found.route.plane is not Plane.GATEWAY or found.route.close is Close.FREE:
        return None
    if found.route.body is not BodyKind.JSON:
        return None  # no byte of a form is taken before its key is known to be good
    headers = [_pair(line) for line in plain[2].split(b"\r\n")[:-1]]
    if len(headers) >= MOST_HEADERS or any(_odd(*header) for header in headers):
        return None
    try:
        return _Plan(found.route, found.params, read_head(headers, peer))
    except ApiError:
        return None


def _pair(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _odd(name: bytes, value: bytes) -> bool:
    return name in _ODD or (name == b"connection" and value.lower() != b"keep-alive")


_STATUS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}".encode() for s in HTTPStatus}


def _status_line(status: int) -> bytes:
    return _STATUS.get(status) or f"HTTP/1.1 {status} Unknown".encode()


_dated: tuple[int, bytes] = (0, b"")


def _date(second: int) -> bytes:
    global _dated
    if _dated[0] != second:
        _dated = second, f"date: {formatdate(second, usegmt=True)}".encode()
    return _dated[1]
