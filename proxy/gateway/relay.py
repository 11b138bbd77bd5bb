"""One attempt at a provider: send, judge, and carry the answer to the client as it comes.

Laws: a byte goes on as soon as it is there, and waiting for a slow client is the back-pressure.
After the first byte there is no other attempt. The end of a stream waits for the close. A client
that leaves is noticed at once, whatever we were waiting for, and the provider sees us leave too.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from bsod.lib import http
from bsod.lib.clock import monotonic
from bsod.lib.terms import Blame, EndReason, Shape
from proxy.errors import ApiError, Code, invalid
from proxy.failures import limit_seconds
from proxy.gateway import content, following
from proxy.gateway.answer import Answer
from proxy.gateway.idempotency import once
from proxy.gateway.journey import Receipt, Ticket
from proxy.gateway.leash import Interrupted, Leash, Vigil, Why
from proxy.gateway.plane import Gateway
from proxy.pool import Lease, retry_after
from proxy.providers.base import (
    Asked,
    Malformed,
    Outbound,
    Refused,
    StreamReader,
    TooLarge,
    UpstreamFault,
    Verdict,
    WholeReader,
)
from proxy.route import ReplyKind

MOST_JSON = 64_000_000  # bytes of a whole reply (SPEC §4)
MOST_ERROR = 65_536  # bytes of an error body that are looked at
JSON = "application/json"
EVENTS = "text/event-stream"
FAREWELL = 1.0  # seconds a body may go on behind a stream's last word
# What stands before a provider says these for want of an answer: the provider may be at work yet.
_SECONDHAND = frozenset({408, 502, 504, *range(520, 528)})


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. `final`: there is no other attempt, whatever keys are left."""

    blame: Blame
    end: EndReason
    error: ApiError | None = None
    reader: StreamReader | WholeReader | None = None
    first_byte: float | None = None
    wait: float | None = None
    final: bool = False
    refuses_usage: bool = False
    status: int = 200
    content_type: str = JSON
    receipt: Receipt | None = None
    unknown: bool = False
    """What is made once may have been made, and nobody has been told."""


Paid = Callable[[Lease], Awaitable[Receipt | None]]
"""Closes a call with one price, before the first byte of its answer goes out."""


class Attempting:
    """An attempt in progress."""

    def __init__(
        self,
        gateway: Gateway,
        ticket: Ticket,
        answer: Answer,
        leash: Leash,
        vigil: Vigil,
        number: int,
        paid: Paid,
    ) -> None:
        self._gateway, self._ticket, self._answer = gateway, ticket, answer
        self._leash, self._vigil, self._number, self._paid = leash, vigil, number, paid
        self._once = once(ticket.call)
        self._key = 0
        self._first: float | None = None
        self._reader: StreamReader | WholeReader | None = None

    async def run(self, lease: Lease, asked: Asked) -> Ended:
        """Do it. Every way a provider can fail ends here, in a value."""
        reply: http.Reply | None = None
        self._key = lease.key.id
        try:
            reply = await self._open(lease, asked)
            if not 200 <= reply.status < 300:
                return await self._refused(lease, reply)
            if reply.headers.get("content-encoding", "identity") != "identity":
                raise Malformed("the body is encoded although it was not to be")
            return await self._success(lease, asked, reply)
        except Interrupted as interrupted:
            return self._interrupted(interrupted.why)
        except Refused as refused:
            error = invalid(refused.param, refused.message)
            return Ended(Blame.CLIENT, EndReason.UPSTREAM_ERROR, error, final=True)
        except ApiError as error:
            return Ended(Blame.NOBODY, EndReason.UPSTREAM_ERROR, error, final=True)
        except http.Unreachable:
            return Ended(Blame.CONNECT, EndReason.UPSTREAM_ERROR, unavailable())
        except http.Broken:
            return self._broken(Code.UPSTREAM_TRUNCATED, "The provider's reply broke off.")
        except TooLarge:
            return self._broken(Code.UPSTREAM_TOO_LARGE, "The provider's reply was too large.")
        except Malformed:
            return self._broken(Code.UPSTREAM_ERROR, "The provider's reply made no sense.")
        except UpstreamFault:
            return self._broken(Code.UPSTREAM_ERROR, "The provider failed while answering.")
        finally:
            if reply:
                reply.abort()

    async def _open(self, lease: Lease, asked: Asked) -> http.Reply:
        out = lease.key.adapter.prepare(asked, lease.key.secret)
        reply = await self._send(lease, out)
        while out.onward and 200 <= reply.status < 300:
            try:
                out = out.onward(await self._collect(reply, MOST_JSON))
                reply.release()
            except BaseException:
                reply.abort()
                raise
            reply = await self._send(lease, out)
        return reply

    async def _send(self, lease: Lease, out: Outbound) -> http.Reply:
        key = lease.key
        with self._leash:
            return await self._gateway.client.open(
                out.method,
                out.under(key.base_url),
                out.target,
                out.headers,
                out.body,
                proxy=key.proxy_url,
                repeat=not self._once,
                progress=self._heard,
            )

    def _heard(self) -> None:
        """The provider takes what we send it: that is no silence."""
        self._vigil.heard = asyncio.get_running_loop().time()

    async def _success(self, lease: Lease, asked: Asked, reply: http.Reply) -> Ended:
        adapter = lease.key.adapter
        events = "event-stream" in reply.headers.get("content-type", "event-stream")
        if self._ticket.call.route.reply is ReplyKind.BYTES and not (asked.stream and events):
            return await self._bytes(lease, reply)
        if not asked.stream:
            return await self._whole(adapter.whole_reader(asked), reply)
        reader = adapter.stream_reader(asked)
        if events:
            return await self._stream(lease, reader, reply)
        if reader.passes_json:
            return await self._whole(adapter.whole_reader(asked), reply)
        return await self._as_stream(lease, reader, reply)

    async def _whole(self, reader: WholeReader, reply: http.Reply) -> Ended:
        data = await self._collect(reply, MOST_JSON)
        reader.whole(data)
        reply.release()
        self._reader = reader
        self._answers()
        kind = content.text_type(reply.headers) if self._worded else JSON
        return self._completed(reply.status, kind)

    @property
    def _worded(self) -> bool:
        """Whether the answer may be plain text."""
        return self._ticket.call.route.shape is Shape.TRANSCRIPTION

    async def _as_stream(self, lease: Lease, reader: StreamReader, reply: http.Reply) -> Ended:
        """A whole reply to a client that waits for events."""
        out = reader.whole(await self._collect(reply, MOST_JSON))
        reply.release()
        self._reader = reader
        await self._hold(lease, reader)
        await self._pass(out)
        return self._streamed()

    async def _bytes(self, lease: Lease, reply: http.Reply) -> Ended:
        """Bytes as they come. What costs is paid when the first are there, before they go out."""
        data = await self._next(reply)
        if not data and self._ticket.tariff:
            raise Malformed("the answer is empty")
        receipt = await self._paid(lease)
        self._answers()
        headers = content.headers(reply.headers, bool(self._ticket.tariff))
        await self._answer.begin(reply.status, headers, self._number, receipt)
        while data:
            await self._pass(data)
            data = await self._next(reply)
        reply.release()
        return self._completed(reply.status, receipt=receipt)

    async def _next(self, reply: http.Reply) -> bytes:
        with self._leash:
            data = await reply.read()
        self._heard()
        return data

    async def _hold(self, lease: Lease, reader: StreamReader) -> None:
        """Nobody sees an id before it is known whose it is. ApiError 502, 503."""
        if reader.found:
            found, reader.found = reader.found, []
            rows = following.made(self._ticket, found, lease.key.provider, lease.key.id)
            if rows:
                await self._gateway.record(rows)

    async def _collect(self, reply: http.Reply, most: int) -> bytes:
        parts, size = [], 0
        with self._leash:
            while part := await reply.read():
                self._vigil.heard = self._vigil.spoke = asyncio.get_running_loop().time()
                size += len(part)
                if size > most:
                    raise TooLarge
                parts.append(part)
        return b"".join(parts)

    async def _stream(self, lease: Lease, reader: StreamReader, reply: http.Reply) -> Ended:
        self._reader = reader
        vigil, leash, loop = self._vigil, self._leash, asyncio.get_running_loop()
        while not reader.done:
            with leash:
                data = await reply.read()
            if not data:
                break
            vigil.heard = loop.time()
            out = reader.feed(data)
            if reader.found:
                await self._hold(lease, reader)
            if out:
                await self._pass(out)
        if not reader.complete:
            raise http.Broken
        if reader.done:
            await self._rest(reply)
        reply.release()
        return self._streamed()

    async def _pass(self, out: bytes) -> None:
        """Bytes to the client, who may take his time."""
        self._answers()
        vigil = self._vigil
        vigil.writing = True
        with self._leash:
            await self._answer.write(out, self._number)
        vigil.writing = False
        vigil.spoke = asyncio.get_running_loop().time()

    def _answers(self) -> None:
        """The first byte of an answer: its key is good."""
        if self._first is None:
            self._first = monotonic()
            self._gateway.pool.hearsay.prove(self._key)

    async def _rest(self, reply: http.Reply) -> None:
        """Behind the last word only the end of the body is due. A provider that forgets it loses
        its connection, not the client the answer."""
        with contextlib.suppress(TimeoutError, http.Broken, Interrupted), self._leash:
            async with asyncio.timeout(FAREWELL):
                while await reply.read():
                    pass

    def _completed(
        self, status: int = 200, content_type: str = JSON, receipt: Receipt | None = None
    ) -> Ended:
        end = EndReason.UPSTREAM_ERROR if _failed(self._reader) else EndReason.COMPLETED
        return Ended(
            Blame.NOBODY, end, None, self._reader, self._first, None, True, False, status,
            content_type, receipt,
        )  # fmt: skip

    def _streamed(self) -> Ended:
        """The end of events, of which the only one may still be to come: it waits for the close."""
        return self._completed(content_type=EVENTS)

    async def _refused(self, lease: Lease, reply: http.Reply) -> Ended:
        """A status other than 2xx. Only the client's own fault is passed on."""
        head = await self._head(reply)
        verdict = lease.key.adapter.judge(reply.status, reply.headers, head)
        if not self._ticket.call.route.modality and _forbids(reply.status, head):
            verdict = replace(
                verdict, blame=Blame.CLIENT, message="The provider's account may not do this."
            )
        if verdict.blame is Blame.CLIENT:
            self._gateway.pool.hearsay.prove(self._key)
            error = passed_on(reply.status, verdict, lease.key.secret)
            return Ended(
                Blame.CLIENT, EndReason.UPSTREAM_ERROR, error, final=True,
                refuses_usage=verdict.refuses_usage,
            )  # fmt: skip
        unknown = self._once and verdict.blame is Blame.FAILURE and reply.status in _SECONDHAND
        return Ended(
            verdict.blame, EndReason.UPSTREAM_ERROR, error_for(verdict), wait=verdict.wait,
            final=unknown, unknown=unknown,
        )  # fmt: skip

    async def _head(self, reply: http.Reply) -> bytes:
        """The beginning of an error body: more than that is nobody's business."""
        head = b""
        with self._leash:
            while len(head) < MOST_ERROR and (part := await reply.read()):
                head += part
            else:
                if len(head) < MOST_ERROR:
                    reply.release()
        return head[:MOST_ERROR]

    def _broken(self, code: Code, message: str) -> Ended:
        """The provider failed; after the first byte that is the end."""
        return Ended(
            Blame.FAILURE,
            EndReason.UPSTREAM_ERROR,
            ApiError(code, message, retry_after=None if self._first else 1),
            self._reader if self._first else None,
            self._first,
            final=self._first is not None or self._once,
            unknown=self._once,
        )

    def _interrupted(self, why: Why) -> Ended:
        if why is Why.GONE:
            blame = Blame.NOBODY if self._first else Blame.CLIENT
            return Ended(blame, EndReason.CLIENT_GONE, None, self._reader, self._first, final=True)
        if why is Why.DRAIN:
            error = ApiError(Code.SHUTTING_DOWN, "This server is being restarted.", retry_after=1)
            return Ended(
                Blame.CLIENT, EndReason.TIMEOUT, error, self._reader, self._first, final=True,
                unknown=self._once,
            )  # fmt: skip
        error = ApiError(Code.UPSTREAM_TIMEOUT, "The provider did not answer in time.")
        final = why is Why.TOO_LONG or self._first is not None or not self._ticket.call.stream
        reader = self._reader if self._first else None
        return Ended(
            Blame.FAILURE, EndReason.TIMEOUT, error, reader, self._first, final=final,
            unknown=self._once,
        )  # fmt: skip


def _failed(reader: StreamReader | WholeReader | None) -> bool:
    """Whether a whole answer says of itself that nothing came of it."""
    return bool(reader and reader.state and reader.state.get("status") == "failed")


def _forbids(status: int, head: bytes) -> bool:
    """Whether a key is refused this one operation, which says nothing of its other calls."""
    said = head.lower()
    return status == 403 or (status == 401 and (b"scope" in said or b"permission" in said))


def unavailable(retry_after: int = 5) -> ApiError:
    return ApiError(
        Code.UPSTREAM_UNAVAILABLE,
        "No key of the provider answers just now. Try again, or pick another model.",
        retry_after=retry_after,
    )


def limited(seconds: float | None) -> ApiError:
    """Every key waits for the provider's own limit, the first one for so long."""
    wait = retry_after(seconds)
    return ApiError(
        Code.UPSTREAM_RATE_LIMITED,
        f"Every key waits for the provider's rate limit. Try again in {wait} s.",
        retry_after=wait,
    )


def error_for(verdict: Verdict) -> ApiError:
    """What the client is told when no other key can help."""
    if verdict.blame is Blame.RATE_LIMIT:
        return limited(limit_seconds(0, verdict.wait))
    if verdict.blame in (Blame.AUTH, Blame.BILLING):
        return unavailable(60)
    return ApiError(Code.UPSTREAM_ERROR, "The provider failed.", retry_after=1)


def passed_on(status: int, verdict: Verdict, secret: str) -> ApiError:
    """The provider's own refusal of the request, in our shape, without its account or key."""
    extra: Mapping[str, str] = {"code": verdict.code} if verdict.code else {}
    message = verdict.message.replace(secret, "…") if secret else verdict.message
    return ApiError(Code.UPSTREAM_REFUSED, message, param=verdict.param, extra=extra, status=status)
