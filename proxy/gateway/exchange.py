"""A client's request and our answer to it, whoever carries them.

The steps of the gateway know only `Exchange`. ASGI is one implementation, the fast lane of
`bsod/lane.py` another; the console's view is to be a third, held to the same suite.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from proxy.errors import ApiError, Code
from proxy.gateway.head import Head, Headers, read_head

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGone(Exception):
    """The client left before its request was read, or stopped sending it."""


class Exchange(Protocol):
    id: str
    length: int | None
    """Bytes of body; None: it is chunked, or there is none."""
    started: bool

    def head(self) -> Head:
        """What the headers say. ApiError 400, see `read_head`."""

    async def body(self, limit: int) -> bytes:
        """The whole body; ApiError 413 beyond `limit` bytes, ClientGone when it never came."""

    async def start(self, status: int, headers: Headers) -> None: ...

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the client reads slowly."""

    async def end(self, data: bytes = b"") -> None:
        """Send the last bytes."""

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call back, once, when the client has left. Only after the body has been read."""

    def finish(self) -> None:
        """The answer is complete: stop watching."""


class AsgiExchange:
    def __init__(self, id: str, scope: Message, receive: Receive, send: Send) -> None:
        self.id = id
        self.method: str = scope["method"]
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._peer: str = (scope.get("client") or ("",))[0]
        length = dict(self._headers).get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else None
        self.started = False
        self._receive, self._send = receive, send
        self._watcher: asyncio.Task[None] | None = None

    def head(self) -> Head:
        return read_head(self._headers, self._peer)

    async def body(self, limit: int) -> bytes:
        chunks, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body"):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

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
