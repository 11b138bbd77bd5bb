"""An answer that may be asked for again: it is copied as it goes out, and kept before its end.

Only calls with an `Idempotency-Key` have a Copy; it stands between their Answer and the exchange.
The last byte waits until the copy is durable: whoever has seen an answer whole gets the same when
he asks again. A client that is cut off in the middle, or a copy that cannot be made, leaves word
that there is none; without a word it is the process that died.
"""

import asyncio

from bsod.lib.terms import OutcomeState
from proxy.gateway.answer import COMMENT
from proxy.gateway.exchange import Outlet
from proxy.gateway.head import Headers
from proxy.gateway.journey import Mark, Ticket
from proxy.gateway.operations import Keep
from proxy.gateway.plane import Gateway
from proxy.pool import vault
from quotas.outcomes import Kept

MOST = 8_000_000  # bytes of an answer that is kept
_THREAD = 65_536  # bytes beyond which sealing leaves the event loop


class Copy:
    """The answering half of an exchange, copied."""

    def __init__(self, gateway: Gateway, ticket: Ticket, mark: Mark, exchange: Outlet) -> None:
        self._gateway, self._ticket, self._exchange = gateway, ticket, exchange
        self._mark = mark
        self.id, self.began = exchange.id, exchange.began
        self._status, self._type = 0, ""
        self._sized = False
        """The answer's length has been announced: its last byte is its end."""
        self._parts: list[bytes] | None = []
        """None: there is too much of it."""
        self._size = 0
        self._held = b""
        self._told = False

    @property
    def started(self) -> bool:
        return self._exchange.started

    async def start(self, status: int, headers: Headers) -> None:
        headers = list(headers)
        known = dict(headers)
        self._status = status
        self._type = known.get(b"content-type", b"").decode("latin-1")
        self._sized = b"content-length" in known
        await self._exchange.start(status, headers)

    async def write(self, data: bytes) -> None:
        if data != COMMENT:  # what keeps a line alive is no part of an answer
            self._add(data)
        if self._sized:
            data = self._held + data
            data, self._held = data[:-1], data[-1:]
        await self._exchange.write(data)

    async def end(self, data: bytes = b"") -> None:
        self._add(data)
        if 200 <= self._status < 300:
            await self._gateway.keep(self._ticket.account, await self._kept())
            self._told = True
        await self._exchange.end(self._held + data)

    def abort(self) -> None:
        self._exchange.abort()

    def leave(self) -> None:
        """The call is over. Of one that was not charged nobody knows by now, if it made nothing."""
        if not self._told:
            self._gateway.tell(Keep(self._ticket.account, self._as(OutcomeState.LOST)))
        self._parts = None

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST:
            self._parts = None
        elif self._parts is not None:
            self._parts.append(data)

    async def _kept(self) -> Kept:
        if self._parts is None:
            return self._as(OutcomeState.TOO_LARGE)
        if self._size > _THREAD:
            return await asyncio.to_thread(self._sealed, self._parts)
        return self._sealed(self._parts)

    def _sealed(self, parts: list[bytes]) -> Kept:
        body = vault().seal_bytes(owner(self._mark.scope, self._ticket.call.id), b"".join(parts))
        return self._as(OutcomeState.KEPT, body)

    def _as(self, state: OutcomeState, sealed: bytes | None = None) -> Kept:
        kept = state is OutcomeState.KEPT
        return Kept(
            self._mark.scope, self._ticket.call.id, state, self._status if kept else None,
            self._type if kept else "", sealed,
        )  # fmt: skip


def owner(scope: str, entry: str) -> str:
    """The row an answer is sealed for."""
    return f"outcome:{scope}:{entry}"
