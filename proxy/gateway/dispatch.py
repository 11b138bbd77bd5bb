"""Choosing keys for a call until one answers: at most three, quickly, never after a first byte."""

from collections.abc import Sequence
from dataclasses import replace

from django.conf import settings

from bsod.lib.clock import monotonic
from bsod.lib.terms import Blame, EndReason, Shape
from proxy.errors import ApiError, Code
from proxy.gateway import following
from proxy.gateway.answer import Answer
from proxy.gateway.journey import Attempt, Outcome, Receipt, Ticket
from proxy.gateway.leash import Leash, Vigil
from proxy.gateway.operations import Learn
from proxy.gateway.plane import Gateway
from proxy.gateway.relay import Attempting, Ended, limited, unavailable
from proxy.hearsay import TRIAL
from proxy.pool import Lease, NoKey, retry_after
from proxy.providers.base import Asked
from proxy.providers.bridging.adapter import instead
from proxy.providers.bridging.ways import could
from proxy.providers.registry import ADAPTERS
from proxy.route import Route

MOST_ATTEMPTS = 3
QUICK = 20.0  # seconds within which another key may be tried


class Dispatch:
    """The provider's part of one call."""

    def __init__(self, gateway: Gateway, ticket: Ticket, answer: Answer, leash: Leash) -> None:
        self._gateway, self._ticket, self._answer, self._leash = gateway, ticket, answer, leash
        self._attempts: list[Attempt] = []
        self._uncounted: list[int] = []
        """Donated keys for which nobody could count this call."""
        self._began = monotonic()

    async def run(self) -> Outcome:
        """Try keys; returns how it ended, whatever happened."""
        call = self._ticket.call
        silence = settings.STREAM_SILENCE if call.stream else settings.CALL_SILENCE
        every = settings.KEEPALIVE_EVERY if call.stream else float("inf")
        longest = settings.STREAM_LONGEST if call.stream else float("inf")
        vigil = Vigil(self._leash, silence, longest, every, self._answer.comment)
        try:
            return await self._try_keys(vigil)
        finally:
            vigil.stop()

    async def _try_keys(self, vigil: Vigil) -> Outcome:
        last: Ended | None = None
        while True:
            tried = [attempt.key for attempt in self._attempts]
            lease = await self._lease(tried)
            if isinstance(lease, NoKey):
                none = self._last_word(last, lease) if last else nobody(lease, self._ticket)
                return self._outcome(none)
            vigil.restart()
            try:
                last = await self._attempt(lease, vigil)
                self._note(lease, last)
            finally:
                self._gateway.pool.release(lease)
            if last.final or not self._another(last):
                return self._outcome(self._last_word(last))

    async def _lease(self, tried: Sequence[int]) -> Lease | NoKey:
        """A key that may be asked now. One of a donor's counts the call first: where its cap is
        reached it is as if it were not there."""
        while True:
            lease = await self._free([*tried, *self._uncounted])
            if isinstance(lease, NoKey) or not lease.key.donated or await self._counted(lease):
                return lease

    async def _counted(self, lease: Lease) -> bool:
        counted = False
        try:
            counted = await self._gateway.take(lease.key)
        except ApiError:
            self._uncounted.append(lease.key.id)
        finally:
            if not counted:
                self._gateway.pool.release(lease)
        return counted

    async def _free(self, tried: Sequence[int]) -> Lease | NoKey:
        ticket, pool = self._ticket, self._gateway.pool
        assert ticket.call.route.service, "a call that gets here is a provider's"
        ends = monotonic() + TRIAL
        while True:
            left = ends - monotonic()
            lease = pool.lease(
                ticket.model,
                ticket.account,
                tried,
                monotonic(),
                service=ticket.call.route.service,
                pinned=ticket.pinned,
                homes=ticket.homes,
                shunned=[a.provider for a in self._attempts if a.blame is Blame.CONNECT],
                patient=left > 0,
                stored=ticket.call.stateful,
            )
            if not (isinstance(lease, NoKey) and lease.undecided):
                return lease
            await pool.hearsay.news(left)

    def _last_word(self, last: Ended, none: NoKey | None = None) -> Ended:
        """The end of the last attempt; how long to wait is what the first key to be back needs."""
        if last.final or last.blame not in _RESTS_AT_ONCE:
            return last
        ticket = self._ticket
        none = none or self._gateway.pool.outlook(
            ticket.model,
            monotonic(),
            service=ticket.call.route.service,
            pinned=ticket.pinned,
            stored=ticket.call.stateful,
        )
        # 429 says that every key waits for the provider's limit; with a dead one among them it is
        # another wait. A `wait` of 0: a key is free, and only this call's tries are used up.
        if last.blame is Blame.RATE_LIMIT and (none.limited or not none.wait):
            return replace(last, error=limited(none.wait))
        return replace(last, error=unavailable(retry_after(none.wait)))

    def _another(self, last: Ended) -> bool:
        quick = monotonic() - self._began < QUICK or last.end is EndReason.TIMEOUT
        return quick and len(self._attempts) < MOST_ATTEMPTS

    async def _attempt(self, lease: Lease, vigil: Vigil) -> Ended:
        """Ask; in other words where the provider turns out to know no route for these."""
        place = (lease.key.provider, self._ticket.model.name)
        asked = self._asked(lease, ask_usage=place not in self._gateway.no_usage)
        if place in self._gateway.reworded:
            asked = instead(lease.key.adapter, asked) or asked
        ended = await self._ask(lease, vigil, asked)
        other = instead(lease.key.adapter, asked) if self._lost(ended) else None
        again = await self._ask(lease, vigil, other) if other else None
        if again is None or self._lost(again):
            return ended
        if again.blame is Blame.NOBODY:
            self._gateway.reworded.add(place)
        return again

    def _lost(self, ended: Ended) -> bool:
        """Whether what was refused may be the route, and is neither the model nor an object."""
        error = ended.error
        if error is None or error.code is not Code.UPSTREAM_REFUSED or self._ticket.binding:
            return False
        return error.status in (404, 405) and error.extra.get("code") != "model_not_found"

    async def _ask(self, lease: Lease, vigil: Vigil, asked: Asked) -> Ended:
        number = len(self._attempts) + 1
        ended = await self._go(lease, vigil, asked, number)
        if ended.refuses_usage and asked.stream and asked.ask_usage:
            ended = await self._go(lease, vigil, replace(asked, ask_usage=False), number)
            if ended.blame is not Blame.CLIENT:
                # It was our question that was refused, not something else of the client's.
                self._gateway.no_usage.add((lease.key.provider, self._ticket.model.name))
        return ended

    async def _go(self, lease: Lease, vigil: Vigil, asked: Asked, number: int) -> Ended:
        return await Attempting(
            self._gateway, self._ticket, self._answer, self._leash, vigil, number, self._paid
        ).run(lease, asked)

    async def _paid(self, lease: Lease) -> Receipt | None:
        """Close a call with one price while its answer is still to come."""
        ticket = self._ticket
        if ticket.tariff is None:
            await following.downloaded(ticket)
            return None
        attempt = Attempt(lease.key.provider, lease.key.id, ticket.model.name, Blame.NOBODY)
        outcome = Outcome(EndReason.COMPLETED, (*self._attempts, attempt), first_byte=monotonic())
        latency = round((monotonic() - ticket.call.began) * 1000)
        return await self._gateway.settle(ticket, outcome, latency, sent=False)

    def _asked(self, lease: Lease, *, ask_usage: bool) -> Asked:
        ticket, call = self._ticket, self._ticket.call
        route = call.route
        return Asked(
            path=call.path,
            body=call.body,
            stream=call.stream,
            upstream_model=lease.offer.upstream_id if self._names_model() else "",
            model=call.model,
            limit=ticket.limit if route.shape in _LIMITED else None,
            choices=call.choices,
            # Who pays credits is always told what the stream has cost him.
            wants_usage=call.wants_usage or ticket.pays_credits,
            ask_usage=ask_usage,
            user=ticket.user,
            headers=call.forwarded,
            method=route.method,
            query=call.query,
            shape=route.shape,
            creates=route.creates if call.stored else None,
            form=call.form,
            beta=route.beta,
            speaks=ticket.model.traits.speaks,
            request_id=call.id,
        )

    def _names_model(self) -> bool:
        """Whether the provider is told the model. What a thread's assistant, a film or a batch's
        lines have named already is not said again: their calls have no such field."""
        call = self._ticket.call
        if call.route.shape is Shape.BATCH:
            return False
        return "model" in call.body or self._ticket.binding is None

    def _note(self, lease: Lease, ended: Ended) -> None:
        """Remember the attempt; what failed is told to the pool at once."""
        attempt = Attempt(
            lease.key.provider, lease.key.id, self._ticket.model.name, ended.blame, ended.wait
        )
        self._attempts.append(attempt)
        self._gateway.pool.hearsay.hear(
            attempt.provider, attempt.key, attempt.model, ended.blame, ended.wait, monotonic()
        )
        if ended.blame not in (Blame.NOBODY, Blame.CLIENT):
            self._gateway.tell(Learn(attempt))

    def _outcome(self, ended: Ended) -> Outcome:
        attempts: Sequence[Attempt] = tuple(self._attempts)
        first = ended.first_byte
        spent = (first or monotonic()) - self._began if attempts else 0.0
        status = ended.error.status if ended.error else 200
        return Outcome(
            ended.end, attempts, ended.reader, ended.error, first, spent,
            status if ended.error else ended.status, ended.content_type, ended.receipt,
            ended.unknown,
        )  # fmt: skip


# After these no key is there for the moment, and when one is again is known.
_RESTS_AT_ONCE = {Blame.RATE_LIMIT, Blame.AUTH, Blame.BILLING, Blame.CONNECT}
# Calls whose output limit is ours to set. A run's is its caller's alone.
_LIMITED = {Shape.CHAT, Shape.COMPLETION, Shape.RESPONSE}


def nobody(none: NoKey, ticket: Ticket) -> Ended:
    """No key was even tried."""
    if none.donated:
        error = ApiError(
            Code.NO_UPSTREAM,
            "Only donated keys serve this just now, and nothing is stored on their accounts. "
            "Send a request that stores nothing (a chat without 'store', a response with "
            "'store': false), or try again later.",
            retry_after=retry_after(none.wait, 60),
        )
    elif not none.exists:
        error = no_upstream(ticket.call.route, ticket.model.name)
    elif none.locked:
        # An admin's own words; he knows when it ends, we do not.
        error = ApiError(Code.UPSTREAM_UNAVAILABLE, none.locked, retry_after=retry_after(None))
    elif ticket.binding and not none.limited:
        error = ApiError(
            Code.UPSTREAM_KEY_UNAVAILABLE,
            "The provider account that holds this does not answer just now. Try again.",
            retry_after=retry_after(none.wait),
        )
    elif none.limited:
        error = limited(none.wait)
    else:
        error = unavailable(retry_after(none.wait))
    return Ended(Blame.CLIENT, EndReason.UPSTREAM_ERROR, error, final=True)


def no_upstream(route: Route, model: str = "") -> ApiError:
    """Nobody here serves it: which kinds of provider could is said by the adapters' own table."""
    kinds = [
        kind
        for kind, it in ADAPTERS.items()
        if route.service and could(it, route.service, route.shape)
    ]
    what = f"{route.path} for the model '{model}'" if model else route.path
    return ApiError(
        Code.NO_UPSTREAM,
        f"No provider here serves {what} just now. Kinds that could: {', '.join(sorted(kinds))}.",
        retry_after=60,
        extra={"kinds": sorted(kinds)},
    )
