"""The one module that opens upstream sockets on the event loop: open, read, abort.

A pool of keep-alive connections, parsed by httptools, with nothing in between. Redirects are
never followed, bodies never decompressed, cookies never kept. What can go wrong is two
exceptions: the provider was not reached, or the exchange broke off.
"""

import asyncio
import contextlib
import socket
import ssl
from asyncio.staggered import staggered_race
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache, partial

from bsod.lib.addresses import checked
from bsod.lib.connection import Broken, Connection
from bsod.lib.origin import Origin, origin, proxy_login, request
from bsod.lib.spool import Body

__all__ = ["Broken", "Client", "Reply", "Unreachable"]

STALE = 1.0  # seconds within which the end of a kept connection means it had ended before
IDLE = 30.0  # seconds a connection is kept for the next request
MUTE = 1.0  # seconds after which the next address of a name is tried beside those before it
MOST_IDLE = 512  # idle connections kept for one provider


class Unreachable(Exception):
    """No connection: refused, no such name, no trust, or too slow. Nothing was sent."""


@cache
def _trust() -> ssl.SSLContext:
    # Made at the first https provider: the authorities cost time and memory.
    return ssl.create_default_context()


class Reply:
    """A response whose headers are in and whose body is still coming."""

    def __init__(self, client: "Client", place: "_Place", connection: Connection) -> None:
        self._client, self._place = client, place
        self._connection: Connection | None = connection
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
        self._idle: dict[_Place, deque[Connection]] = {}
        """The one used last is the last."""
        self._closed = False

    async def open(
        self,
        method: str,
        base_url: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Body,
        *,
        proxy: str = "",
        repeat: bool = False,
        progress: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Send a request; returns when the response's headers are in.

        `repeat`: a kept connection that ends without a byte of answer was closed while we wrote;
        with `repeat` the request is sent once more on a fresh one. `progress` is called whenever
        the provider has taken more of a `Body`.
        """
        where = origin(base_url)
        absolute = bool(proxy) and not where.tls
        size = len(body) if isinstance(body, bytes) else body.length
        length = size if size or method != "GET" else None
        head = request(method, where, target, headers, length, proxy if absolute else "")
        place = (base_url, proxy)
        connection = self._reuse(place)
        kept = connection is not None
        while True:
            if connection is None:
                connection = await self._dial(where, proxy)
            sent = self._loop.time()
            try:
                await _exchange(connection, head, body, progress)
                return Reply(self, place, connection)
            except Broken:
                # One that ends later was at work on it: asking again would be paid for twice.
                stale = kept and not connection.touched and self._loop.time() - sent < STALE
                if not (repeat and stale):
                    raise
                connection, kept = None, False

    def keep(self, place: _Place, connection: Connection) -> None:
        """Take a connection back for the next request, or close it."""
        idle, now = self._idle.setdefault(place, deque()), self._loop.time()
        while idle and idle[0].idle_since <= now - IDLE:
            idle.popleft().abort()
        if self._closed or not connection.reusable or len(idle) >= MOST_IDLE:
            connection.abort()
            return
        connection.idle_since = now
        idle.append(connection)

    def _reuse(self, place: _Place) -> Connection | None:
        """The connection used last, while it is still good."""
        idle = self._idle.get(place)
        oldest = self._loop.time() - IDLE
        while idle:
            connection = idle.pop()
            if not connection.lost and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _dial(self, where: Origin, proxy: str) -> Connection:
        try:
            async with asyncio.timeout(self._patience):
                if proxy and where.tls:
                    return await self._tunnel(where, proxy)
                return await self._connect(origin(proxy) if proxy else where)
        except (OSError, ssl.SSLError, TimeoutError, UnicodeError, EOFError):
            raise Unreachable from None

    async def _connect(self, to: Origin) -> Connection:
        """To the first address that answers; to none where one is forbidden. An address that
        says nothing is not waited for: many hosts have a way to IPv6 that leads nowhere."""
        found = await self._loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
        trust = _trust() if to.tls else None

        async def reach(host: str) -> Connection:
            connection = Connection(self._loop)
            await self._loop.create_connection(
                lambda: connection,
                host,
                to.port,
                ssl=trust,
                server_hostname=to.host if trust else None,
            )
            return connection

        hosts = checked(found)
        if len(hosts) == 1:
            return await reach(hosts[0])
        tries = [partial(reach, host) for host in hosts]
        first: Connection | None
        first, _, failed = await staggered_race(tries, MUTE)
        if first is None:
            raise next(filter(None, failed), OSError("the name has no address"))
        return first

    async def _tunnel(self, where: Origin, proxy: str) -> Connection:
        """TLS to the provider through a proxy's CONNECT."""
        to, connection = origin(proxy), Connection(self._loop)
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
        return connection

    async def close(self) -> None:
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


async def _exchange(
    connection: Connection, head: bytes, body: bytes | Body, progress: Callable[[], None]
) -> None:
    """Send, and wait for the headers; a caller that gives up closes the connection."""
    try:
        if isinstance(body, bytes):
            connection.send(head, body)
        else:
            await connection.send_pieces(head, body, progress)
        while not connection.ready:
            if connection.broken or connection.lost:
                raise Broken
            await connection.wait()
    except BaseException:
        with contextlib.suppress(Exception):
            connection.abort()
        raise
