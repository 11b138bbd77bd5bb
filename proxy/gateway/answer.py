"""What the client gets to see: headers, the stream as it comes, one last word after the close.

Nothing is said before there is something to say: a stream starts with its first upstream byte, or
with a comment after fifteen silent seconds. From then on an error is an event inside the 200.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from django.conf import settings

from bsod.lib import clock
from bsod.lib.terms import EndReason
from proxy.errors import ApiError
from proxy.gateway.exchange import Outlet
from proxy.gateway.journey import Outcome, Receipt, Ticket
from proxy.gateway.limits import Quota, quota_headers

COMMENT = b": keep-alive\n\n"
COMMON = ((b"access-control-allow-origin", b"*"), (b"openai-version", b"2020-10-01"))


async def send_error(exchange: Outlet, error: ApiError, quota: Quota | None = None) -> None:
    """A refusal as the whole answer. `quota`: of a call that had been admitted."""
    headers = quota_headers(quota) | error.headers() | timing(exchange)
    await send_json(exchange, error.status, error.body(), headers)


async def send_json(
    exchange: Outlet,
    status: int,
    body: Any,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> None:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    await exchange.start(
        status,
        [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(data)).encode()),
            *base_headers(exchange.id),
            *_encoded(headers or {}),
        ],
    )
    await exchange.end(data)


async def send_unchanged(exchange: Outlet, headers: Mapping[str, str]) -> None:
    """304: what the client has is what it would get. There is no body, and no length of one."""
    await exchange.start(304, [*base_headers(exchange.id), *_encoded(headers)])
    await exchange.end()


def base_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-request-id", request_id.encode()), *COMMON]


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


def timing(exchange: Outlet) -> dict[str, str]:
    """The time an answer took that no provider had a part in."""
    elapsed = (clock.monotonic() - exchange.began) * 1000
    return {"openai-processing-ms": str(round(elapsed)), "x-gateway-overhead-ms": f"{elapsed:.1f}"}


class Answer:
    """The answer to one admitted call."""

    def __init__(self, exchange: Outlet, ticket: Ticket) -> None:
        self._exchange, self._ticket = exchange, ticket
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = self._raw = False

    @property
    def started(self) -> bool:
        return self._exchange.started

    async def write(self, data: bytes, attempts: int) -> None:
        """Upstream bytes, straight on."""
        if not self._exchange.started:
            await self._start(attempts)
        await self._exchange.write(data)

    async def begin(
        self, status: int, headers: Mapping[str, str], attempts: int, receipt: Receipt | None
    ) -> None:
        """Bytes are about to come, with these headers; what they cost has been charged."""
        self._raw = True
        elapsed = round((clock.monotonic() - self._ticket.call.began) * 1000)
        own = {"openai-processing-ms": str(elapsed), "x-attempts": str(attempts)}
        own |= _charge_headers(self._charge_block(receipt))
        await self._exchange.start(
            status,
            [
                *base_headers(self._exchange.id),
                *_encoded({**headers, **quota_headers(self._quota(receipt)), **own}),
            ],
        )

    def comment(self) -> None:
        """A keep-alive, from a timer: the call itself is waiting for its provider."""
        task = asyncio.get_running_loop().create_task(self._say(COMMENT))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """While a stream's end waits for its close it is kept alive like any other silence."""
        if not self.started:
            yield
            return
        loop = asyncio.get_running_loop()

        def remind() -> None:
            self.comment()
            timers.append(loop.call_later(settings.KEEPALIVE_EVERY, remind))

        timers = [loop.call_later(settings.KEEPALIVE_EVERY, remind)]
        try:
            yield
        finally:
            timers[-1].cancel()

    async def _say(self, data: bytes) -> None:
        if self._over:
            return  # late, behind the last word
        if not self._exchange.started:
            await self._start(0)
        await self._exchange.write(data)

    async def _start(self, attempts: int) -> None:
        elapsed = round((clock.monotonic() - self._ticket.call.began) * 1000)
        headers = quota_headers(self._ticket.quota) | {"openai-processing-ms": str(elapsed)}
        if attempts:
            headers["x-attempts"] = str(attempts)
        await self._exchange.start(
            200,
            [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
                *base_headers(self._exchange.id),
                *_encoded(headers),
            ],
        )

    async def finish(self, outcome: Outcome, receipt: Receipt | None) -> None:
        """The last word, once the close is durable."""
        if outcome.end is EndReason.CLIENT_GONE and (self._ticket.call.stream or self._raw):
            return
        self._over = True
        if outcome.error:
            await self.fail(outcome.error, outcome, receipt)
            return
        if self._raw:
            await self._exchange.end()
            return
        reader = outcome.reader
        assert reader is not None, "a call without error has read something"
        block = self._charge_block(receipt)
        last = reader.finish({settings.CHARGE_FIELD: block} if block else None)
        if outcome.content_type == "text/event-stream" and not self._exchange.started:
            # Its only event was held back until the close.
            await self._start(len(outcome.attempts))
        if self._exchange.started:
            await self._exchange.end(_as_event(last))
            return
        headers = self._headers(outcome, receipt)
        headers |= _charge_headers(block)
        await send_json(self._exchange, outcome.status, last, headers, outcome.content_type)

    async def fail(
        self, error: ApiError, outcome: Outcome | None = None, receipt: Receipt | None = None
    ) -> None:
        """The error as the whole answer, or as the event that ends a stream already begun."""
        self._over = True
        if self._raw:
            # What is missing of the bytes must be seen to be missing.
            self._exchange.abort()
            return
        if self._exchange.started:
            await self._exchange.end(error.event())
            return
        own = self._headers(outcome, receipt) if outcome else quota_headers(self._ticket.quota)
        headers = error.headers() | own
        await send_json(self._exchange, error.status, error.body(), headers)

    def _quota(self, receipt: Receipt | None) -> Quota | None:
        """The limits as they are once the call is closed; a stream's are those at admission."""
        quota = self._ticket.quota
        if receipt is None or quota is None or quota.bucket is None:
            return quota
        return quota._replace(bucket=quota.bucket._replace(remaining=receipt.balance))

    def _headers(self, outcome: Outcome, receipt: Receipt | None) -> dict[str, str]:
        elapsed = clock.monotonic() - self._ticket.call.began
        overhead = max(0.0, elapsed - outcome.upstream_seconds)
        return quota_headers(self._quota(receipt)) | {
            "openai-processing-ms": str(round(elapsed * 1000)),
            "x-gateway-overhead-ms": f"{overhead * 1000:.1f}",
            "x-attempts": str(len(outcome.attempts)),
        }

    def _charge_block(self, receipt: Receipt | None) -> dict[str, int | None] | None:
        if not self._ticket.pays_credits or receipt is None:
            return None
        block = {"credits_charged": receipt.amount, "balance": receipt.balance}
        # What has only been begun is charged when it ends: until then so much is held for it.
        return block | ({"credits_reserved": receipt.reserved} if receipt.reserved else {})


def _charge_headers(block: Mapping[str, int | None] | None) -> dict[str, str]:
    """The same as headers, where it is known before the first byte."""
    return {f"x-credits-{n.removeprefix('credits_')}": str(v) for n, v in (block or {}).items()}


def _as_event(last: bytes) -> bytes:
    """The end of a stream that a comment has begun, for an answer that came whole."""
    if not last or last.startswith((b"data:", b"event:", b":")):
        return last
    return b"data: " + last.replace(b"\n", b" ") + b"\n\n"
