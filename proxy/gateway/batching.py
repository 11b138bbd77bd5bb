"""A batch before it is admitted: its input is read once from the key that holds it, and every
line checked, because the provider will run the lines without asking us again.

That takes seconds of a processor, and nothing of it is counted yet: it is done beside the event
loop, and the batches of one key wait for each other.
"""

import asyncio
from dataclasses import replace
from weakref import WeakValueDictionary

from django.conf import settings

from bsod.lib import clock, http
from bsod.lib.terms import Service, Shape
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.batchfile import BatchLines, Plan
from proxy.gateway.dispatch import no_upstream
from proxy.gateway.journey import Call
from proxy.gateway.plane import Gateway
from proxy.objects import Wanted
from proxy.pool import PoolKey
from proxy.providers.base import Asked

_AT_ONCE = 2  # files that are read at a time for one of our keys
_turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
"""By our keys' public ids, as long as somebody waits or reads."""


async def planned(gateway: Gateway, call: Call) -> Call:
    """The call with what its lines ask for. ApiError with any refusal up to there."""
    file = call.body.get("input_file_id")
    if not isinstance(file, str):
        return replace(call, fault=invalid("input_file_id", "'input_file_id' must name a file."))
    binding = await gateway.look(call)
    pool = gateway.pool
    named = binding.key if binding else None
    if binding is None:
        named = pool.oldest(pool.snapshot.catalogue.catch_alls, clock.monotonic())
    key = pool.key(named)
    try:
        if key is None or not key.keeps or not await gateway.take(key):
            raise unavailable()
        if not key.adapter.serves(Service.BATCHES):
            raise no_upstream(call.route)
        turn = _turns.setdefault(call.caller.token.public_id, asyncio.Semaphore(_AT_ONCE))
        async with turn:
            plan = await _read(gateway, key, file, BatchLines(call.body.get("endpoint")))
    except ApiError:
        if binding:
            raise
        # An operator's own affair: nobody here knows the file, and only the operator answers
        # for it. It is charged from what the batch says at its end.
        return call
    refs = tuple(Wanted(found.id, None, found.param) for found in plan.refs)
    return replace(
        call, model=plan.model, prompt=plan.prompt, limit=plan.output, fast=plan.fast,
        wanted=call.wanted + refs,
    )  # fmt: skip


async def _read(gateway: Gateway, key: PoolKey, file: str, lines: BatchLines) -> Plan:
    """The whole file through the checker, a piece at a time."""
    reply: http.Reply | None = None
    asked = Asked(
        f"files/{file}/content", {}, False, "", "", None, 1, False, method="GET",
        shape=Shape.CONTENT,
    )  # fmt: skip
    try:
        out = key.adapter.prepare(asked, key.secret)
        async with asyncio.timeout(settings.CALL_SILENCE):
            reply = await gateway.client.open(
                out.method, key.base_url, out.target, out.headers, out.body,
                proxy=key.proxy_url, repeat=True,
            )  # fmt: skip
            if reply.status in (404, 410):
                raise ApiError(
                    Code.NOT_FOUND, f"There is no such object as '{file}'.", param="input_file_id"
                )
            if reply.status != 200:
                raise unavailable()
            while data := await reply.read():
                await asyncio.to_thread(lines.feed, data)
        plan = await asyncio.to_thread(lines.finish)
        reply.release()
        return plan
    except (http.Unreachable, http.Broken, TimeoutError):
        raise unavailable() from None
    finally:
        if reply:
            reply.abort()


def unavailable() -> ApiError:
    return ApiError(
        Code.UPSTREAM_KEY_UNAVAILABLE,
        "The provider account that holds this does not answer just now. Try again.",
        retry_after=5,
    )
