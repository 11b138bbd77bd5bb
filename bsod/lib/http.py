"""The one module that opens upstream sockets on the event loop: open, read, abort.

A pool of keep-alive connections, parsed by httptools, with nothing in between. Redirects are
never followed, bodies never decompressed, cookies never kept. What can go wrong is two
exceptions: the provider was not reached, or the exchange broke off. Bytes wait in memory only up
to a limit; then the socket is not read until the caller has taken them.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import cast

import httptools

from bsod.lib.addresses import checked
from bsod.lib.origin import Origin, origin, proxy_login, request

STALE = 1.0  # seconds within which the end of a kept connection means it had ended before
IDLE = 30.0  # seconds a connection is kept for the next request
MOST_IDLE = 512  # idle connections kept for one provider
HIGH, LOW = 262_144, 65_536  # bytes of unread body at which reading pauses and goes on
MOST_HEADERS = 131_072  # bytes of response headers


class Unreachable(Exception):
    """No connection: refused, no such name, no trust, or too slow. Nothing was sent."""


class Broken(Exception):
    """The connection ended in the middle of the exchange, or what came was not HTTP."""


@cache
def _trust() -> ssl.SSLContext:
    # Made at the first https provider: the authorities cost time and memory.
    return ssl.create_default_context()


class _Connection(asyncio.Protocol):
    """One connection, and the response that is coming on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.lost = False
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
        self._until_close = self._reusable = False

    def send(self, head: bytes, body: bytes) -> None:
        self._begin()
        assert self.transport is not None
        # Together, so that they go out in one packet; not joined, for a body may be large.
        self.transport.writelines((head, body))

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
        """Until something changes: headers, bytes, the end, or a break."""
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
        return self.done and self._reusable and not self.lost and not self._chunks

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


class Reply:
    """A response whose headers are in and whose body is still coming."""

    def __init__(self, client: "Client", place: "_Place", connection: _Connection) -> None:
        self._client, self._place = client, place
        self._connection: _Connection | None = connection
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        """Names in lower case; of several with one name the last."""

    async def read(self) -> bytes:
        """The next bytes, as soon as there are any; b"" at the end. Raises Broken."""
        connection = self._connection
        if connection is None:
            return b""
        while True:
            data = connection.take()
            if data:
                return data
            if connection.done:
                return b""
            if connection.broken:
                raise Broken
            await connection.wait()

    def abort(self) -> None:
        """Close the connection now, unless it was released: the provider sees us leave."""
        connection, self._connection = self._connection, None
        if connection:
            connection.abort()

    def release(self) -> None:
        """The body is of no more interest: keep the connection if it can be used again."""
        connection, self._connection = self._connection, None
        if connection:
            self._client.keep(self._place, connection)


_Place = tuple[str, str]
"""What connections are pooled by: base URL and proxy."""


class Client:
    """Connections to every provider. Make it on the loop, close it at the end."""

    def __init__(self, connect: float) -> None:
        """`connect`: seconds for name, connection and TLS together."""
        self._loop = asyncio.get_running_loop()
        self._patience = connect
        self._idle: dict[_Place, list[_Connection]] = {}
        self._closed = False

    async def open(
        self,
        method: str,
        base_url: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        proxy: str = "",
        repeat: bool = False,
    ) -> Reply:
        """Send a request; returns when the response's headers are in.

        `repeat`: a kept connection that ends without a byte of answer was closed while we wrote;
        with `repeat` the request is sent once more on a fresh one.
        """
        where = origin(base_url)
        absolute = bool(proxy) and not where.tls
        length = len(body) if body or method != "GET" else None
        head = request(method, where, target, headers, length, proxy if absolute else "")
        place = (base_url, proxy)
        connection = self._reuse(place)
        kept = connection is not None
        while True:
            if connection is None:
                connection = await self._dial(where, proxy)
            sent = self._loop.time()
            try:
                await _exchange(connection, head, body)
                return Reply(self, place, connection)
            except Broken:
                # One that ends later was at work on it: asking again would be paid for twice.
                stale = kept and not connection.touched and self._loop.time() - sent < STALE
                if not (repeat and stale):
                    raise
                connection, kept = None, False

    def keep(self, place: _Place, connection: _Connection) -> None:
        """Take a connection back for the next request, or close it."""
        idle = self._idle.setdefault(place, [])
        if self._closed or not connection.reusable or len(idle) >= MOST_IDLE:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        idle.append(connection)

    def _reuse(self, place: _Place) -> _Connection | None:
        """The connection used last, while it is still good; older ones are closed on the way."""
        idle = self._idle.get(place)
        oldest = self._loop.time() - IDLE
        while idle:
            connection = idle.pop()
            if not connection.lost and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _dial(self, where: Origin, proxy: str) -> _Connection:
        connection = _Connection(self._loop)
        try:
            async with asyncio.timeout(self._patience):
                if proxy and where.tls:
                    await self._tunnel(connection, where, proxy)
                else:
                    await self._connect(connection, origin(proxy) if proxy else where)
        except (OSError, ssl.SSLError, TimeoutError, UnicodeError, EOFError):
            connection.abort()
            raise Unreachable from None
        return connection

    async def _connect(self, connection: _Connection, to: Origin) -> None:
        """To the first address that answers; to none where one is forbidden."""
        found = await self._loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
        trust = _trust() if to.tls else None
        failed: OSError | None = None
        for host in checked(found):
            try:
                await self._loop.create_connection(
                    lambda: connection,
                    host,
                    to.port,
                    ssl=trust,
                    server_hostname=to.host if trust else None,
                )
                return
            except ssl.SSLError:
                raise
            except OSError as error:
                failed = error
        raise failed or OSError("the name has no address")

    async def _tunnel(self, connection: _Connection, where: Origin, proxy: str) -> None:
        """TLS to the provider through a proxy's CONNECT."""
        to = origin(proxy)
        reader, writer = await asyncio.open_connection(to.host, to.port)
        try:
            target = f"{where.host}:{where.port}"
            lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *proxy_login(proxy)]
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[1:2] != [b"200"]:
                raise OSError("the proxy refuses to connect")
            transport = await self._loop.start_tls(
                writer.transport, connection, _trust(), server_hostname=where.host
            )
        except BaseException:
            writer.transport.abort()
            raise
        assert transport is not None
        connection.connection_made(transport)

    async def close(self) -> None:
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


async def _exchange(connection: _Connection, head: bytes, body: bytes) -> None:
    """Send, and wait for the headers; a caller that gives up closes the connection."""
    try:
        connection.send(head, body)
        while not connection.ready:
            if connection.broken or connection.lost:
                raise Broken
            await connection.wait()
    except BaseException:
        with contextlib.suppress(Exception):
            connection.abort()
        raise
