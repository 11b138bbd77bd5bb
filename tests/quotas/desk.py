"""The ledger's own verbs, called as a gateway process calls them, without the gateway.

A `Clerk` is one process: its heart, and the real batch code inside the real transaction.
"""

from dataclasses import replace
from typing import Any

import orjson

from accounts.keys.tokens import Token, parse
from bsod.lib import clock, ids
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import EndReason, UsageSource
from proxy.gateway import closing
from proxy.gateway.batch import Batch
from proxy.gateway.journey import Call, Caller, Charge, Outcome, Ticket
from proxy.gateway.operations import Admit, Closing, Op
from proxy.pool import Pool
from proxy.providers.base import Asked
from proxy.providers.registry import ADAPTERS
from proxy.routes import ROUTES
from quotas.processes import Heart
from tests import kit

CHAT = next(route for route in ROUTES if route.path == "/v1/chat/completions")
NOWHERE = "http://127.0.0.1:9/v1"


def model(tier: str = "base") -> str:
    """A model on offer at a provider nobody will call."""
    return kit.supply(None, base_url=NOWHERE, tier=tier).model


def token(secret: str) -> Token:
    found = parse(secret)
    assert found is not None
    return found


def call(
    of: Token, model: str, *, prompt: int = 10, limit: int | None = 50, choices: int = 1
) -> Call:
    caller = Caller(of, "127.0.0.1")
    return Call(
        ids.ulid(), CHAT, caller, clock.monotonic(), None, model,
        limit=limit, choices=choices, prompt=prompt,
    )  # fmt: skip


def admit(of: Token, model: str, **what: Any) -> Admit:
    return Admit(call(of, model, **what))


def close(ticket: Ticket, prompt: int | None, completion: int | None = 0) -> Closing:
    """The end of a call that used so many tokens; None: nothing is due."""
    if prompt is None:
        return Closing(ticket, Outcome(EndReason.UPSTREAM_ERROR, ()), closing.FREE, 502, 7)
    charge = Charge(prompt, completion, 0, UsageSource.UPSTREAM)
    return Closing(ticket, Outcome(EndReason.COMPLETED, ()), charge, 200, 7)


def outcome(prompt: int, completion: int) -> Outcome:
    """A call whose provider stated this usage."""
    asked = Asked("chat/completions", {}, False, "m", "m", None, 1, False)
    reader = ADAPTERS["compatible"].whole_reader(asked)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
    reader.whole(orjson.dumps({"choices": [choice], "usage": usage}))
    return Outcome(EndReason.COMPLETED, (), reader)


def nameless(ticket: Ticket) -> Ticket:
    """The same call under an id no entry has."""
    return replace(ticket, call=replace(ticket.call, id=ids.ulid()))


class Clerk:
    """One process of the gateway, as far as the ledger knows it."""

    def __init__(self, pool: Pool | None = None) -> None:
        self.pool = pool or Pool()
        self.heart = Heart()
        self.heart.register()
        self.batch = Batch(self.heart, self.pool)
        self.beaten = clock.monotonic()

    def run(self, *ops: Op) -> list[Any]:
        """One committed batch."""
        with exclusive("clerk"):
            results = self.batch.run(ops)
        self.beaten = clock.monotonic()
        return results

    def stay_alive(self) -> None:
        """Other processes watch: one that has nothing to do beats all the same."""
        if clock.monotonic() - self.beaten > 0.5:
            self.run()
