"""A signed-in person's request to the gateway: the third implementation of its `Exchange`.

Django has checked the session and read the head by the time there is one. The body waits where
Django has put it, the answer goes out through Django's streaming response, and the gateway's steps
see the account's console key in place of an `Authorization` header. Laws: waiting for a slow
browser is the back-pressure, and a browser that leaves is told to the gateway at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponseBase, StreamingHttpResponse

from accounts.keys.tokens import Token
from bsod.lib import clock, ids
from proxy.gateway.exchange import ABORT, too_large
from proxy.gateway.head import Head, Headers, address_of

_PIECE = 65_536
_BROKEN = bytes(1)  # in place of a part: told by its identity
# What the gateway says to strangers' pages, and what Django says itself.
_LEFT_OUT = {b"access-control-allow-origin", b"access-control-expose-headers", b"content-type"}
_FORWARDED = {"HTTP_RANGE": "range", "HTTP_ACCEPT_LANGUAGE": "accept-language"}


class Sitting:
    """One request of a session, and its answer as a response of Django's."""

    def __init__(self, request: ASGIRequest, token: Token, body: bytes | None = None) -> None:
        self.id, self.began = ids.ulid(), clock.monotonic()
        self.query = b""
        self.started, self.status = False, 0
        self._request, self._token, self._body = request, token, body
        self.length: int | None = _length(request) if body is None else len(body)
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._begun: asyncio.Future[StreamingHttpResponse] = (
            asyncio.get_running_loop().create_future()
        )
        self._abort: Callable[[], None] | None = request.scope.get("extensions", {}).get(ABORT)
        self._tell: Callable[[], None] | None = None
        self._gone = self._ended = False

    # ---- what the gateway asks

    def head(self) -> Head:
        meta = self._request.META
        forwarded = meta.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace")
        kind = "application/json" if self._body is not None else meta.get("CONTENT_TYPE", "")
        return Head(
            self._token,
            kind.encode("latin-1", "replace"),
            encoded=bool(meta.get("HTTP_CONTENT_ENCODING")),
            forwarded=tuple((name, meta[key]) for key, name in _FORWARDED.items() if key in meta),
            address=address_of(meta.get("REMOTE_ADDR", ""), forwarded),
        )

    async def body(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(limit)])

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        if (self.length or 0) > limit:
            raise too_large(limit)
        if self._body is not None:
            yield self._body
            return
        size = 0
        while piece := self._request.read(_PIECE):
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            yield piece

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status = True, status
        response = StreamingHttpResponse(self._out(), status=HTTPStatus(status))
        del response["Content-Type"]
        for name, value in headers:
            if name not in _LEFT_OUT or name == b"content-type":
                response[name.decode("latin-1")] = value.decode("latin-1")
        # An account's own answers are nobody's to keep, and run nowhere.
        response["Cache-Control"] = "no-store"
        response["X-Content-Type-Options"] = "nosniff"
        if not self._begun.done():
            self._begun.set_result(response)

    async def write(self, data: bytes) -> None:
        if data and not self._gone:
            await self._parts.put(data)

    async def end(self, data: bytes = b"") -> None:
        await self.write(data)
        self._ended = True
        if not self._gone:
            await self._parts.put(None)

    def abort(self) -> None:
        self._leave()
        if self._abort:
            self._abort()
        else:
            self._parts.put_nowait(_BROKEN)

    def on_gone(self, callback: Callable[[], None]) -> None:
        self._tell = callback
        if self._gone:
            callback()

    def finish(self) -> None:
        self._tell = None

    # ---- what Django is given

    async def response(self, work: "asyncio.Task[None]") -> HttpResponseBase:
        """The answer, as soon as it has begun; `work` is what is to begin it."""
        try:
            either: tuple[asyncio.Future[Any], ...] = (work, self._begun)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._leave()
            raise
        return self._begun.result()

    async def _out(self) -> AsyncIterator[bytes]:
        try:
            while (part := await self._parts.get()) is not None:
                if part is _BROKEN:
                    raise ConnectionAbortedError("the answer broke off")
                yield part
        finally:
            self._leave()

    def _leave(self) -> None:
        """Nobody reads any more: whoever waits to write is let go."""
        self._gone = True
        with contextlib.suppress(asyncio.QueueEmpty):
            self._parts.get_nowait()
        if self._tell and not self._ended:
            self._tell()
        self._tell = None


def _length(request: ASGIRequest) -> int | None:
    text = request.META.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdecimal() else None
