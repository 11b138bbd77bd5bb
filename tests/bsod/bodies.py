"""A small application behind our server class, for what the product's routes do not do alone.

`POST /take` reads the body as it comes, after the seconds of the query; `/form` reads a form into
a spool and sends it on to the base URL of the query; `/break` answers a part and breaks it off, in
the framing the query names.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from bsod.lib.http import Client
from bsod.lib.multipart import BadForm, FormReader, FormTooLarge
from bsod.lib.spool import Spool
from proxy.errors import ApiError, Code
from proxy.gateway.exchange import AsgiExchange, ClientGone

MOST = 600_000_000
FOLDER = Path(os.environ.get("BODIES_FOLDER", "/nowhere"))


class Application:
    def lane(self, worker: Any, fallback: Callable[[Any], asyncio.Protocol]) -> asyncio.Protocol:
        return fallback(worker)

    def drain(self) -> None:
        """Nothing here waits."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = AsgiExchange("one", scope, receive, send)
        verbs = {"/take": take, "/form": form, "/break": broken}
        try:
            await verbs[scope["path"]](exchange, unquote(scope["query_string"].decode()))
        except ApiError as error:
            await say(exchange, error.status, error.body())
        except ClientGone:
            await say(exchange, 408, ApiError(Code.REQUEST_TIMEOUT, "It stalled.").body())


async def say(exchange: AsgiExchange, status: int, body: Any) -> None:
    await exchange.start(status, [(b"content-type", b"application/json")])
    await exchange.end(orjson.dumps(body))


async def take(exchange: AsgiExchange, query: str) -> None:
    """What came: how much in what pieces, and its digest."""
    await asyncio.sleep(float(query or 0))
    digest, size, largest = hashlib.sha256(), 0, 0
    async for piece in exchange.pieces(MOST):
        digest.update(piece)
        size, largest = size + len(piece), max(largest, len(piece))
    await say(exchange, 200, {"size": size, "largest": largest, "sha256": digest.hexdigest()})


async def form(exchange: AsgiExchange, query: str) -> None:
    client = Client(5)
    with Spool(FOLDER) as spool:
        reader = FormReader(dict(exchange._headers)[b"content-type"], spool)
        try:
            async for piece in exchange.pieces(MOST):
                reader.feed(piece)
            found = reader.finish()
        except BadForm as bad:
            raise ApiError(Code.INVALID_VALUE, str(bad)) from None
        except FormTooLarge as large:
            raise ApiError(Code.REQUEST_TOO_LARGE, str(large)) from None
        headers = {"content-type": found.content_type}
        reply = await client.open("POST", query, "/files", headers, found.body())
        data = b""
        while more := await reply.read():
            data += more
        status = reply.status
    await client.close()
    await say(exchange, status, orjson.loads(data))


async def broken(exchange: AsgiExchange, query: str) -> None:
    await exchange.body(MOST)
    length = [(b"content-length", b"1000")] if query == "length" else []
    await exchange.start(200, length)
    await exchange.write(b"x" * 100)
    await asyncio.sleep(0.05)
    exchange.abort()
    await exchange.write(b"late")
    await exchange.end(b"late")


application = Application()
