"""A client's request and our answer to it, whoever carries them.

The steps of the gateway know only `Exchange`. ASGI is one implementation, the fast lane of
`bsod/lane.py` another, held to the same suite; the console's (`bsod/console/sitting.py`) a third.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from bsod.lib import clock
from proxy.errors import ApiError, Code
from proxy.gateway.head import Head, Headers, read_head

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


ABORT = "bsod.abort"
"""The ASGI extension by which our server ends a connection at once."""


class ClientGone(Exception):
    """The client left before its request was read, or stopped sending it."""


class Outlet(Protocol):
    """The half of an exchange that answers."""

    id: str
    began: float
    """Monotonic seconds when the request's head was in."""

    @property
    def started(self) -> bool: ...

    async def start(self, status: int, headers: Headers) -> None: ...

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the client reads slowly."""

    async def end(self, data: bytes = b"") -> None:
        """Send the last bytes."""

    def abort(self) -> None:
        """Break the answer off, so that no client can take it for whole; instead of `end`."""


class Exchange(Outlet, Protocol):
    length: int | None
    """Bytes of body; None: it is chunked, or there is none."""
    query: bytes
    """The query as the wire has it."""
    status: int
    """What was answered; 0: nothing yet."""

    def head(self) -> Head:
        """What the headers say. ApiError 400, see `read_head`."""

    async def body(self, limit: int) -> bytes:
        """The whole body; ApiError 413 beyond `limit` bytes, ClientGone when it never came."""

    def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """The body as it comes, once, instead of `body`; it raises the same. The client is held
        back while nobody asks for the next piece."""

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call back, once, when the client has left. Only after the body has been read."""

    def finish(self) -> None:
        """The answer is complete: stop watching."""


class AsgiExchange:
    def __init__(self, id: str, scope: Message, receive: Receive, send: Send) -> None:
        self.id, self.began = id, clock.monotonic()
        self.method: str = scope["method"]
        self.query: bytes = scope.get("query_string", b"")
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._peer: str = (scope.get("client") or ("",))[0]
        length = dict(self._headers).get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else None
        self.started, self.status = False, 0
        self._receive, self._send = receive, send
        self._abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
        self._aborted = False
        self._watcher: asyncio.Task[None] | None = None

    def head(self) -> Head:
        return read_head(self._headers, self._peer)

    async def body(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(limit)])

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        if (self.length or 0) > limit:
            raise too_large(limit)
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            if piece:
                yield piece

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status = True, status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def write(self, data: bytes) -> None:
        if not self._aborted:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        if not self._aborted:
            await self._send({"type": "http.response.body", "body": data, "more_body": False})

    def abort(self) -> None:
        # ASGI has no word for it. Our server lends us one; any other closes the connection when
        # an application returns in the middle of its answer.
        self._aborted = True
        self.finish()
        if self._abort:
            self._abort()

    def on_gone(self, callback: Callable[[], None]) -> None:
        async def listen() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            callback()

        self._watcher = asyncio.get_running_loop().create_task(listen())

    def finish(self) -> None:
        if self._watcher:
            self._watcher.cancel()


def too_large(limit: int) -> ApiError:
    return ApiError(
        Code.REQUEST_TOO_LARGE,
        f"The body is larger than the {limit // 1_000_000} MB this route takes.",
    )


def reset(transport: asyncio.Transport) -> None:
    """Close a connection so that its client cannot miss it: a plain end would be the end of an
    answer that says neither its length nor that it comes in chunks."""
    line = transport.get_extra_info("socket")
    if line is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
