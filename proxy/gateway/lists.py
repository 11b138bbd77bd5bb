"""Lists of one's own objects, from our record of who owns what (SPEC §4).

The record says which objects there are, and each is fetched from its key, a few ahead, so that a
page shows the provider's truth: filters look at that, and what the provider has no more leaves
the record. A page is whole or it is not answered: an object that cannot be seen just now must not
look deleted.
"""

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import Any, NamedTuple

import orjson

from bsod.lib import clock, http
from bsod.lib.terms import Blame, ObjectKind, Shape
from proxy.catalogue import ModelInfo, OfferInfo, Traits
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.answer import send_json
from proxy.gateway.exchange import ClientGone, Exchange
from proxy.gateway.journey import Attempt, Ticket
from proxy.gateway.leash import Interrupted, Why
from proxy.gateway.limits import quota_headers
from proxy.gateway.operations import Learn
from proxy.gateway.page import Page, Row, body, fits, may_fit, own_rows, page_of
from proxy.gateway.plane import Gateway
from proxy.gateway.relay import limited
from proxy.gateway.uploading import upload as upload
from proxy.gateway.uploading import uploads as uploads
from proxy.matching import ID
from proxy.objects import Made
from proxy.pool import Lease, NoKey, retry_after
from proxy.providers.base import Asked, Malformed, Refused, TooLarge, UpstreamFault, Verdict
from proxy.providers.harvest import harvest
from proxy.rests import limit_seconds
from proxy.route import Route

log = logging.getLogger("bsod.gateway")
_AHEAD = 8  # objects that are being fetched at a time
_PATIENCE = 30.0  # seconds for one object
_LONGEST = 120.0  # seconds for a page
_MOST_OBJECT, _MOST_PAGE = 16_000_000, 64_000_000  # bytes


class _Away(Exception):
    """An object cannot be seen just now. `blame` is what the pool is to hear of it."""

    def __init__(self, row: Row, blame: Blame, error: ApiError, wait: float | None = None) -> None:
        super().__init__()
        self.row, self.blame, self.error, self.wait = row, blame, error, wait


async def answer(gateway: Gateway, ticket: Ticket, exchange: Exchange) -> None:
    """A page of the caller's own objects. Raises ApiError."""
    kind = ticket.call.route.lists
    assert kind, "only a list is answered here"
    page = page_of(ticket.call.query, kind)
    with gateway.leash() as leash:
        exchange.on_gone(lambda: leash.pull(Why.GONE))
        try:
            with leash:
                shown = await _Gathering(gateway, ticket, page, kind).run()
        except Interrupted as interrupted:
            if interrupted.why is Why.GONE:
                raise ClientGone from None
            raise ApiError(
                Code.SHUTTING_DOWN, "This server is being restarted.", retry_after=1
            ) from None
    elapsed = round((clock.monotonic() - exchange.began) * 1000)
    headers = quota_headers(ticket.quota) | {"openai-processing-ms": str(elapsed)}
    await send_json(exchange, 200, shown, headers)


# ---- gathering


class _Gathering:
    """One page in the making."""

    def __init__(self, gateway: Gateway, ticket: Ticket, page: Page, kind: ObjectKind) -> None:
        self._gateway, self._ticket, self._page, self._kind = gateway, ticket, page, kind
        self._rows = own_rows(ticket.account, kind, page)
        self._waiting: deque[tuple[Row, asyncio.Task[_Seen | None]]] = deque()
        self._taken: list[tuple[Row, dict[str, Any]]] = []
        self._gone: list[Row] = []
        self._size = 0

    async def run(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_LONGEST), aclosing(self._rows):
                await self._gather()
        except TimeoutError:
            raise _slow() from None
        except _Away as away:
            if away.blame is not Blame.NOBODY:
                # Once for the page, not once for each object of it.
                place = (away.row.provider, away.row.key)
                self._gateway.tell(Learn(Attempt(*place, "", away.blame, away.wait)))
            raise away.error from None
        finally:
            await self._stop()
        await self._note()
        return body([(row.id, shown) for row, shown in self._taken], self._page)

    async def _gather(self) -> None:
        """Until there is one object more than the page has, or no row is left."""
        wanted, left = self._page.limit + 1, True
        while len(self._taken) < wanted:
            ahead = _AHEAD if self._page.filters else min(_AHEAD, wanted - len(self._taken))
            while left and len(self._waiting) < ahead:
                left = await self._begin()
            if not self._waiting:
                return
            row, task = self._waiting.popleft()
            self._take(row, await task)

    async def _begin(self) -> bool:
        """Begin to fetch the next object; whether there was one."""
        row = await anext(self._rows, None)
        if row and may_fit(row, self._page.filters) and ID.fullmatch(row.id.encode()):
            task = asyncio.create_task(_fetch(self._gateway, self._ticket.call.route, row))
            self._waiting.append((row, task))
        return row is not None

    def _take(self, row: Row, seen: "_Seen | None") -> None:
        if seen is None:
            self._gone.append(row)
            return
        if not fits(seen.shown, self._page.filters):
            return
        self._size += seen.size
        if self._size > _MOST_PAGE:
            raise ApiError(
                Code.UPSTREAM_TOO_LARGE, "The page is too large; ask for fewer with 'limit'."
            )
        self._taken.append((row, seen.shown))

    async def _stop(self) -> None:
        """What is still being fetched is of no more use."""
        tasks = [task for _, task in self._waiting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _note(self) -> None:
        """Before they are shown: ids that the objects have made since, as a batch its output
        file; and what the provider does not know any more is forgotten."""
        made = [
            Made(self._ticket.account, row.provider, row.key, found.kind, found.id, found.data)
            for row, shown in self._taken[: self._page.limit]
            for found in harvest(None, shown)
        ]
        gone = [(row.key, row.id) for row in self._gone]
        if made or gone:
            try:
                await self._gateway.record(made, gone)
            except ApiError as error:
                if error.code is not Code.UPSTREAM_ID_CONFLICT:
                    raise
                log.error("a listed object names ids that are somebody else's; they stay his")


# ---- one object


class _Seen(NamedTuple):
    """An object as its provider shows it, and its size."""

    shown: dict[str, Any]
    size: int


async def _fetch(gateway: Gateway, route: Route, row: Row) -> _Seen | None:
    """The provider's object; None: the provider has it no more. Raises _Away."""
    assert route.service, "a list of a provider's objects"
    place = ModelInfo("", Traits(), (OfferInfo(row.provider, ""),))
    # For nobody in particular: what is listed says nothing of where anyone's prompts are cached.
    lease = gateway.pool.lease(
        place, 0, (), clock.monotonic(), service=route.service, pinned=row.key
    )
    if isinstance(lease, NoKey):
        wait = retry_after(lease.wait)
        raise _Away(row, Blame.NOBODY, limited(lease.wait) if lease.limited else unseen(wait))
    try:
        if not await gateway.take(lease.key):
            raise _Away(row, Blame.NOBODY, unseen())
        async with asyncio.timeout(_PATIENCE):
            return await _get(gateway, route, row, lease)
    except http.Unreachable:
        raise _Away(row, Blame.CONNECT, unseen()) from None
    except (TimeoutError, http.Broken):
        raise _Away(row, Blame.FAILURE, unseen()) from None
    except (Malformed, UpstreamFault, orjson.JSONDecodeError):
        error = ApiError(Code.UPSTREAM_ERROR, "The provider's reply made no sense.")
        raise _Away(row, Blame.FAILURE, error) from None
    except Refused as refused:
        raise _Away(row, Blame.NOBODY, invalid(refused.param, refused.message)) from None
    finally:
        gateway.pool.release(lease)


async def _get(gateway: Gateway, route: Route, row: Row, lease: Lease) -> _Seen | None:
    key = lease.key
    asked = Asked(
        f"{route.upstream}/{row.id}", {}, False, "", "", None, 1, False,
        method="GET", shape=Shape.OBJECT, beta=route.beta,
    )  # fmt: skip
    out = key.adapter.prepare(asked, key.secret)
    reply = await gateway.client.open(
        out.method, out.under(key.base_url), out.target, out.headers, out.body,
        proxy=key.proxy_url, repeat=True,
    )  # fmt: skip
    try:
        data = await _collect(reply)
        if 200 <= reply.status < 300:
            reader = key.adapter.whole_reader(asked)
            reader.whole(data)
            return _Seen(orjson.loads(reader.finish(None)), len(data))
        if reply.status in (404, 410) and _is_object(data):
            return None
        raise _refused(row, key.adapter.judge(reply.status, reply.headers, data))
    finally:
        reply.abort()


async def _collect(reply: http.Reply) -> bytes:
    parts, size = [], 0
    while data := await reply.read():
        parts.append(data)
        size += len(data)
        if size > _MOST_OBJECT:
            raise TooLarge
    reply.release()
    return b"".join(parts)


def _is_object(data: bytes) -> bool:
    """Whether it is the API that answers: any server has a page for paths it does not know."""
    try:
        return isinstance(orjson.loads(data), dict)
    except orjson.JSONDecodeError:
        return False


def _refused(row: Row, verdict: Verdict) -> _Away:
    if verdict.blame is Blame.RATE_LIMIT:
        # No rest for the key: what is limited are looks like these, and nobody's answers.
        return _Away(row, Blame.NOBODY, limited(limit_seconds(0, verdict.wait)))
    if verdict.blame is Blame.CLIENT:
        error = ApiError(Code.UPSTREAM_ERROR, "The provider would not show one of these objects.")
        return _Away(row, Blame.NOBODY, error)
    return _Away(row, verdict.blame, unseen(), verdict.wait)


def unseen(wait: int = 30) -> ApiError:
    return ApiError(
        Code.UPSTREAM_KEY_UNAVAILABLE,
        "A provider account that holds some of these objects does not answer just now. Try again.",
        retry_after=wait,
    )


def _slow() -> ApiError:
    return ApiError(
        Code.UPSTREAM_TIMEOUT,
        "The provider is too slow for a page of this size; ask for fewer with 'limit'.",
    )
