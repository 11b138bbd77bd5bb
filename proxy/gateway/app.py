"""The journey of a call, top to bottom. Everything else in this package is one of its steps."""

import logging
from collections.abc import Mapping, Sequence

from bsod.lib import clock
from bsod.lib.steps import step
from bsod.lib.terms import EndReason, Shape
from proxy.errors import ApiError, Code
from proxy.gateway import batching, following, lists, local, replaying
from proxy.gateway.answer import Answer, send_error
from proxy.gateway.call import caller_of, early, read_call
from proxy.gateway.copying import Copy
from proxy.gateway.dispatch import Dispatch
from proxy.gateway.exchange import ClientGone, Exchange
from proxy.gateway.journey import Call, Outcome, Receipt, Replay, Ticket
from proxy.gateway.leash import Leash, Why
from proxy.gateway.plane import MOST_ORPHANS, Gateway
from proxy.objects import Made
from proxy.route import ReplyKind, Route

log = logging.getLogger("bsod.gateway")


async def serve(
    gateway: Gateway, route: Route, params: Mapping[str, str], exchange: Exchange
) -> None:
    """Answer one request. Every refusal on the way is an ApiError and ends here."""
    call: Call | None = None
    ticket: Ticket | None = None
    outcome: Outcome | None = None
    try:
        if route.service is None:
            await local.answer(gateway, route, params, exchange)
            return
        call = await take(gateway, route, params, exchange)
        admitted = await gateway.admit(call)
        if isinstance(admitted, Replay):
            await replaying.answer(admitted, exchange)
            return
        ticket = admitted
        if route.lists and not ticket.operator:
            await lists.answer(gateway, ticket, exchange)
            return
        await following.before_end(ticket)
        outcome = await perform(gateway, ticket, exchange)
    except ClientGone:
        # He has left, and nobody reads this; or his body has stalled for too long.
        await send_error(exchange, ApiError(Code.REQUEST_TIMEOUT, "The body did not come in time."))
    except ApiError as error:
        await send_error(exchange, error, ticket.quota if ticket else None)
    except Exception:
        log.exception("request %s failed", exchange.id)
        if not exchange.started:
            await send_error(exchange, broken())
    finally:
        if call:
            call.forget()
        exchange.finish()
        gateway.counting.ended(exchange, route, call, ticket, outcome)


async def perform(gateway: Gateway, ticket: Ticket, exchange: Exchange) -> Outcome:
    """An admitted call, to its end."""
    mark = ticket.call.idempotency
    copy = Copy(gateway, ticket, mark, exchange) if mark else None
    answer = Answer(copy or exchange, ticket)
    try:
        outcome = await relay(gateway, ticket, answer, exchange)
        await finish(gateway, ticket, answer, outcome)
        return outcome
    finally:
        if copy:
            copy.leave()


@step("read")
async def take(
    gateway: Gateway, route: Route, params: Mapping[str, str], exchange: Exchange
) -> Call:
    """Read the request. A large body, or a form, waits until its key is known to be good."""
    head = exchange.head()
    caller = caller_of(head)
    if gateway.draining:
        raise ApiError(Code.SHUTTING_DOWN, "This server is being restarted.", retry_after=1)
    if not early(route, exchange.length):
        await gateway.check(caller, route.permission)
    call = await read_call(exchange, route, params, head, caller)
    if route.shape is Shape.BATCH and not call.fault:
        call = await batching.planned(gateway, call)
    return call


@step("relay")
async def relay(gateway: Gateway, ticket: Ticket, answer: Answer, exchange: Exchange) -> Outcome:
    """The provider's part; it never raises, for its entry is open and must be closed."""
    with gateway.leash(ticket.call.stream) as leash:
        cut = ticket.call.stream or ticket.call.route.reply is ReplyKind.BYTES
        parting = _Parting(gateway, leash, cut)
        exchange.on_gone(parting.left)
        try:
            return await Dispatch(gateway, ticket, answer, leash).run()
        except Exception:
            log.exception("request %s failed while its provider was asked", ticket.call.id)
            return Outcome(EndReason.UPSTREAM_ERROR, (), error=broken(), status=500)
        finally:
            parting.over()


class _Parting:
    """A client that leaves: his stream is cut; what is not streamed is finished without him,
    within bounds."""

    def __init__(self, gateway: Gateway, leash: Leash, stream: bool) -> None:
        self._gateway, self._leash, self._stream = gateway, leash, stream
        self._counted, self._over = 0, False

    def left(self) -> None:
        if self._stream or self._gateway.orphans >= MOST_ORPHANS:
            self._leash.pull(Why.GONE)
        elif not self._over:
            self._counted = 1
            self._gateway.orphans += 1

    def over(self) -> None:
        self._over = True
        self._gateway.orphans -= self._counted


@step("finish")
async def finish(gateway: Gateway, ticket: Ticket, answer: Answer, outcome: Outcome) -> None:
    """Close, then say the last word: nothing is answered before its entry is durable."""
    try:
        with answer.awaited():
            receipt = outcome.receipt or await _close(gateway, ticket, answer, outcome)
    except ApiError as error:
        await answer.fail(error, outcome)
        return
    await answer.finish(outcome, receipt)


async def _close(
    gateway: Gateway, ticket: Ticket, answer: Answer, outcome: Outcome
) -> Receipt | None:
    """The ledger's part of the end, and what the answer leaves behind. None: nothing was due."""
    made: Sequence[Made] = ()
    if outcome.attempts and outcome.reader and outcome.reader.found:
        last = outcome.attempts[-1]
        made = following.made(ticket, outcome.reader.found, last.provider, last.key)
    if ticket.tariff:
        latency = round((clock.monotonic() - ticket.call.began) * 1000)
        begun = following.begun(ticket, outcome)
        return await gateway.settle(
            ticket, outcome, latency, sent=answer.started, made=made, begun=begun
        )
    if outcome.error is None:
        await following.watch(ticket, outcome)
        gone = following.gone(ticket, outcome)
        if made or gone:
            await gateway.record(made, gone)
    return None


def broken() -> ApiError:
    return ApiError(
        Code.INTERNAL_ERROR,
        "We broke something. Your quota is untouched. Quote the x-request-id when you tell us.",
    )
