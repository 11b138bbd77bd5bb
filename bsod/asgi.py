"""The front door of every worker: matches a path once, then hands the request to its plane.

`/v1` and the other JSON routes are rows of `proxy/routes.py`; what is not there is Django's. The
data plane runs without Django's middleware, each metered call in a task of its own.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")

from django.core.asgi import get_asgi_application  # after the settings are named

_django = get_asgi_application()
FORMS, FILES = 4_000_000, 64_000_000  # bytes of a page's form, and of what the playground sends

from django.conf import settings

from bsod.lane import Lane
from bsod.lib import ids
from proxy import matching
from proxy.errors import ApiError, Code
from proxy.gateway.answer import COMMON, base_headers, send_error
from proxy.gateway.app import serve
from proxy.gateway.exchange import AsgiExchange, Message, Receive, Send, too_large
from proxy.gateway.plane import GATEWAY, Gateway
from proxy.route import Plane


class Application:
    """The ASGI application of one process."""

    def __init__(self) -> None:
        self.gateway: Gateway | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.gateway = Gateway()
        self.gateway.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.close()
        await send({"type": "lifespan.shutdown.complete"})

    def drain(self) -> None:
        """Called at SIGTERM, before the server waits for its connections."""
        if self.gateway:
            self.gateway.drain(settings.DRAIN_SECONDS)

    def lane(self, worker: Any, fallback: Callable[[Any], asyncio.Protocol]) -> Lane:
        """What a connection begins with; `fallback` is the protocol that speaks ASGI to us."""
        assert self.gateway is not None, "lifespan comes first"
        return Lane(self.gateway, worker, fallback)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            send = _headers_alone(send)
        path = scope["raw_path"].partition(b"?")[0]
        found = matching.match(scope["method"], path, scope["query_string"])
        if found.route is None and not found.allow and not matching.ours(path):
            # What is behind a page may call models, too: the playground does.
            await _page({**scope, GATEWAY: self.gateway}, receive, send)
            return
        exchange = AsgiExchange(ids.ulid(), scope, receive, send)
        if found.route and found.route.plane is Plane.GATEWAY:
            await self._serve(found, exchange)
            return
        if fault := _fault(exchange):
            await send_error(exchange, fault)
        elif found.route is None:
            await _no_route(exchange, found.allow)
        else:
            scope = {**scope, "path": found.route.path + "/"}
            signed = _signed(exchange, scope, send)
            await _django(scope, receive, signed)  # type: ignore[arg-type]  # as above
        if self.gateway and exchange.method != "OPTIONS":
            self.gateway.counting.ended(exchange, found.route)

    async def _serve(self, found: matching.Match, exchange: AsgiExchange) -> None:
        assert self.gateway is not None, "lifespan comes first"
        assert found.route is not None
        work = serve(self.gateway, found.route, found.params, exchange)
        if found.route.service is None:
            await work
        else:
            # The server cancels us some seconds after the client has gone; a call goes on.
            await asyncio.shield(self.gateway.detach(work))


def _headers_alone(send: Send) -> Send:
    """gunicorn drops what is said after the headers, and warns in the log of each time."""

    async def alone(message: Message) -> None:
        await send({**message, "body": b""} if "body" in message else message)

    return alone


async def _page(scope: Message, receive: Receive, send: Send) -> None:
    """Django's answer. It would take a body of any size into a file before it looks at who sends
    it: here a body ends where it becomes too large for any page."""
    exchange = AsgiExchange(ids.ulid(), scope, receive, send)
    limit = FILES if scope["path"].startswith("/playground/") else FORMS
    left = limit

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    if (exchange.length or 0) <= limit:
        await _django(scope, bounded, send)  # type: ignore[arg-type]  # the same ASGI types
    if (exchange.length or 0) > limit or left < 0:
        await send_error(exchange, too_large(limit))


def _fault(exchange: AsgiExchange) -> ApiError | None:
    """What is wrong with the request's head: said before there is talk of routes."""
    try:
        exchange.head()
    except ApiError as error:
        return error
    return None


async def _no_route(exchange: AsgiExchange, allow: tuple[str, ...]) -> None:
    """404, 405 with what would be allowed, or the answer to a CORS preflight."""
    if not allow:
        await send_error(exchange, ApiError(Code.NOT_FOUND, "There is no such route. See GET /v1."))
    elif exchange.method == "OPTIONS":
        await exchange.start(204, _preflight(exchange.id, allow))
        await exchange.end()
    else:
        methods = ", ".join(allow)
        await send_error(
            exchange,
            ApiError(
                Code.METHOD_NOT_ALLOWED,
                f"{exchange.method} is not allowed here.",
                extra={"allow": list(allow), "hint": f"Use {methods}."},
                headers={"allow": methods},
            ),
        )


def _preflight(request_id: str, allow: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    methods = ", ".join(allow).encode()
    return [
        *base_headers(request_id),
        (b"allow", methods),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", b"*, authorization"),
        (b"access-control-max-age", b"86400"),
    ]


def _signed(exchange: AsgiExchange, scope: Message, send: Send) -> Send:
    """Adds our common headers to an answer of the control plane's JSON routes."""
    names = {name for name, _ in scope["headers"]}
    # What a session opens is for our own pages: those of another site shall not read it.
    session = b"cookie" in names and b"authorization" not in names
    own = [pair for pair in COMMON if not (session and pair[0] == b"access-control-allow-origin")]
    own.append((b"x-request-id", exchange.id.encode()))

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.started, exchange.status = True, message["status"]
            message = {**message, "headers": [*message["headers"], *own]}
        await send(message)

    return signed


application = Application()
