"""One connection to a provider: what is sent on it, and the response that is coming.

Bytes wait in memory only up to a limit, in both directions: the socket is not read until the
caller has taken what came, and the caller's body is not read until the socket has taken it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from bsod.lib.spool import Body

HIGH = 262_144  # bytes of unread body at which reading pauses
MOST_HEADERS = 131_072  # bytes of response headers


class Broken(Exception):
    """The connection ended in the middle of the exchange, or what came was not HTTP."""


class Connection(asyncio.Protocol):
    """One connection, and the response that is coming on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.lost = self.full = False
        """`full`: the socket has not taken what was written; `lost`: it is closed."""
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        """Ready for one response."""
        self._parser = httptools.HttpResponseParser(self)
        self._pairs: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self.waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ready = self.done = self.broken = self.touched = False
        self._until_close = self._reusable = self._sending = False

    def send(self, head: bytes, body: bytes) -> None:
        self._begin()
        assert self.transport is not None
        # Together, so that they go out in one packet; not joined, for a body may be large.
        self.transport.writelines((head, body))

    async def send_pieces(self, head: bytes, body: Body, progress: Callable[[], None]) -> None:
        """Send as the socket takes it, and stop where an answer or the end comes first."""
        self._begin()
        self._sending, left = True, body.length
        data = head
        for chunk in body.chunks():
            left -= len(chunk)
            if left < 0:
                break  # the provider would read the rest as another request
            await self._put(data + chunk if data else chunk)
            data = b""
            if left and (self.ready or self.broken or self.lost):
                return  # this connection's next request would be read as the rest of the body
            progress()
        if left:
            raise ValueError("a body is not as long as it says")
        if data:
            await self._put(data)
        self._sending = self.full

    async def _put(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
        # Also when there is room: whoever sends must hear, and let others have their turn.
        await asyncio.sleep(0)
        while self.full and not (self.ready or self.broken or self.lost):
            await self.wait()

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance: uvloop's transports are their own class.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.touched = True
        if self.done:
            # Bytes nobody asked for: whatever they are, this connection is not to be trusted.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail()
        self._wake()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.done:
            if self._until_close and self.ready and error is None:
                self.done = True
            else:
                self.broken = True
        self._wake()

    # ---- httptools' side

    def on_message_begin(self) -> None:
        if self.done:
            # The first response stands; the parser stops here, and the connection goes.
            raise ValueError("a second response, which nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name, value))
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MOST_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            # An interim response: the real one follows.
            self._pairs = []
            return
        self.status = status
        self.headers = {
            name.lower().decode("latin-1"): value.decode("latin-1") for name, value in self._pairs
        }
        bodiless = status in (204, 304)
        self._until_close = not bodiless and not (
            "content-length" in self.headers or "transfer-encoding" in self.headers
        )
        self._reusable = self._parser.should_keep_alive() and not self._until_close
        self.ready = True

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH and not self._paused and self.transport:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.ready:
            self.done = True

    # ---- the caller's side

    async def wait(self) -> None:
        """Until something changes: headers, bytes, room to write, the end, or a break."""
        self.waiter = self._loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def take(self) -> bytes:
        """What has come and was not taken yet."""
        if not self._chunks:
            return b""
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused and self.transport and not self.lost:
            self._paused = False
            self.transport.resume_reading()
        return data

    @property
    def reusable(self) -> bool:
        usable = self.done and self._reusable and not self._sending
        return usable and not self.lost and not self._chunks

    def abort(self) -> None:
        if self.transport and not self.lost:
            self.transport.abort()
        self.lost = True

    def _fail(self) -> None:
        self.broken = True
        self.abort()

    def _wake(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)
