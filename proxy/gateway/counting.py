"""A call has ended: it is counted and, where that is asked for, there is a line about it.

The line says what the ledger's entry says and no more: never a body, a key, a name of the
client's own making, a query or an address.
"""

import asyncio
import contextlib
import logging
from typing import Any

from django.conf import settings

from bsod.lib import clock
from proxy import stats
from proxy.errors import ApiError
from proxy.gateway import closing
from proxy.gateway.exchange import Exchange
from proxy.gateway.journey import Call, Outcome, Ticket
from proxy.pool import Pool
from proxy.route import Route

access = logging.getLogger("bsod.access")
_FAREWELL = 5.0  # seconds the last numbers have to be written
_TUNED = "ft:"  # names somebody's own models: not a word of it goes out


class Counting:
    """The statistics of one process: what counts, and the chore that writes."""

    def __init__(self, pool: Pool, process: str) -> None:
        self._pool = pool
        self.counters = stats.Counters()
        self.writer = stats.Writer(process)
        self._every_call = settings.ACCESS_LOG == "all"
        self._failures = settings.ACCESS_LOG != "off"
        self._chore: asyncio.Task[None] | None = None

    # ---- a call

    def ended(
        self,
        exchange: Exchange,
        route: Route | None,
        call: Call | None = None,
        ticket: Ticket | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        """Count it. Called once for every request of the table, whatever became of it."""
        seconds = clock.monotonic() - exchange.began
        model, provider, attempts, prompt, completion, first = "", "", 0, 0, 0, None
        status = stats.status_class(exchange.status)
        if ticket:
            model = self._name(ticket.model.name)
            provider = self._provider(ticket, outcome)
        elif call and call.model:
            model = self._name(call.model)
        if ticket and outcome:
            attempts = len(outcome.attempts)
            if outcome.first_byte is not None:
                first = outcome.first_byte - exchange.began
            # What the provider counted; only where it says nothing what is charged instead.
            usage = outcome.reader and outcome.reader.usage
            due = usage or closing.charge(ticket, outcome)
            prompt, completion = due.prompt or 0, due.completion or 0
            if outcome.error and exchange.status < 300 and exchange.started:
                status = stats.CUT
        key = (stats.route_name(route), provider, model, status)
        self.counters.add(key, seconds, attempts, prompt, completion, first)
        # A 503 of /readyz is an answer, not a failure: each start and each drain has some.
        failed = status in _FAILED and not (route and route.local == "readyz")
        if self._every_call or (self._failures and failed):
            numbers = (seconds, attempts, prompt, completion, first)
            access.log(_LEVELS.get(status, logging.INFO), "call",
                       extra={"fields": _fields(exchange, key, numbers, outcome)})  # fmt: skip

    def _name(self, asked: str) -> str:
        """A model's name as it is counted: one of the catalogue's, or none."""
        if asked in self._pool.snapshot.catalogue.models and not asked.startswith(_TUNED):
            return asked
        return stats.OTHER if asked else ""

    def _provider(self, ticket: Ticket, outcome: Outcome | None) -> str:
        """Who was asked last, else who would have been."""
        slugs = self._pool.snapshot.slugs
        if outcome and outcome.attempts:
            return slugs.get(outcome.attempts[-1].provider, "")
        offers = ticket.model.offers if outcome else ()
        return slugs.get(offers[0].provider, "") if offers else ""

    # ---- the chore

    def start(self) -> None:
        self._chore = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is left; a database that is away does not hold the process back."""
        if self._chore:
            self._chore.cancel()
            # A write that has begun is waited for: two at once would share what is kept.
            await asyncio.wait([self._chore], timeout=_FAREWELL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await asyncio.to_thread(self.writer.write, self.counters.take())
                await asyncio.to_thread(self.writer.leave)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(settings.STATS_EVERY)
            writing = asyncio.to_thread(self.writer.write, self.counters.take())
            try:
                await _to_its_end(writing)
            except Exception:
                access.exception("statistics could not be written; they are tried again")


async def _to_its_end(work: Any) -> None:
    """Wait for it; when we are cancelled it goes on, and we end behind it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


_FAILED = {"5xx", stats.CUT}
_LEVELS = dict.fromkeys(_FAILED, logging.WARNING)


def _fields(
    exchange: Exchange,
    key: tuple[str, str, str, str],
    numbers: tuple[float, int, int, int, float | None],
    outcome: Outcome | None,
) -> dict[str, Any]:
    """What a line says. What is not known, or is none, is left out."""
    route, provider, model, status = key
    seconds, attempts, prompt, completion, first = numbers
    said = {
        "request_id": exchange.id,
        "client_request_id": _theirs(exchange),
        "route": route,
        "model": model,
        "provider": provider,
        "status": exchange.status or None,
        "class": status,
        "ms": round(seconds * 1000, 1),
        "first_byte_ms": None if first is None else round(first * 1000, 1),
        "attempts": attempts or None,
        "prompt_tokens": prompt or None,
        "completion_tokens": completion or None,
        "end": str(outcome.end) if outcome else None,
        "code": str(outcome.error.code) if outcome and outcome.error else None,
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


def _theirs(exchange: Exchange) -> str:
    """The client's own id of the request, where it is harmless."""
    try:
        return exchange.head().client_id
    except ApiError:
        return ""
