"""What the machine's people ask for: text of two tiers, images by the piece, and films, which are
jobs. Each as the real batch code sees it, and as plain numbers for the model."""

from dataclasses import dataclass
from datetime import datetime

from hypothesis import strategies as st

from accounts.keys.tokens import Token
from bsod.lib import clock, ids
from bsod.lib.terms import Blame, EndReason, Modality, ObjectKind, UsageSource
from proxy import jobs
from proxy.gateway import closing
from proxy.gateway.journey import Attempt, Call, Caller, Charge, Outcome, Ticket
from proxy.gateway.operations import Admit, Begun, Closing
from proxy.jobs import Ending, Tokens
from proxy.route import Route
from proxy.routes import ROUTES
from tests import kit
from tests.quotas.desk import CHAT, NOWHERE

BUCKETS = {"base": "text.base", "pro": "text.pro", "image": "image", "film": "video.other"}
BY_THE_PIECE = ("image", "film")
TOKENS = st.one_of(st.integers(0, 60), st.integers(0, 2_500))
CALL = st.tuples(
    st.sampled_from(["plain", "capped", "few", "unlimited"]),
    st.sampled_from(["base", "base", "pro", "image", "film"]),
    TOKENS,  # prompt
    st.one_of(st.none(), st.integers(1, 3_000)),  # output limit
    st.integers(1, 3),  # choices, or pieces
)
END = st.tuples(st.integers(0, 50), st.one_of(st.none(), TOKENS), TOKENS)
Asked = tuple[str, str, int, int | None, int]
Ended = tuple[int, int | None, int]
_PATHS = {"image": "/v1/images/generations", "film": "/v1/videos"}


def _route(ware: str) -> Route:
    return next((row for row in ROUTES if row.path == _PATHS.get(ware) and row.spends), CHAT)


@dataclass(frozen=True)
class Ware:
    """A model on offer at a provider that nobody will call."""

    model: str
    route: Route
    provider: int
    key: int


def ware(name: str) -> Ware:
    traits = {"image": Modality.IMAGE, "film": Modality.VIDEO}
    supplied = kit.supply(
        None, base_url=NOWHERE, tier="pro" if name == "pro" else "base",
        modality=traits.get(name, Modality.TEXT),
    )  # fmt: skip
    return Ware(supplied.model, _route(name), supplied.provider.pk, supplied.key_row().pk)


def admit(of: Token, what: Ware, prompt: int, limit: int | None, choices: int) -> Admit:
    """A call for it; of what goes by the piece `choices` says how many."""
    call = Call(
        ids.ulid(), what.route, Caller(of, "127.0.0.1"), clock.monotonic(), None, what.model,
        limit=limit, choices=choices, prompt=prompt, units=choices,
        job=ObjectKind.VIDEO if what.route.path == _PATHS["film"] else None,
    )  # fmt: skip
    return Admit(call)


def close(ticket: Ticket, units: int) -> Closing:
    """The end of a call by the piece, of which so many came."""
    if not units:
        return Closing(ticket, Outcome(EndReason.UPSTREAM_ERROR, ()), closing.FREE, 502, 7)
    charge = Charge(0, 0, 0, UsageSource.UPSTREAM, units=units)
    return Closing(ticket, Outcome(EndReason.COMPLETED, ()), charge, 200, 7)


def hand_over(ticket: Ticket, what: Ware, expires_at: datetime) -> Closing:
    """The call has begun something, which has its entry from now on."""
    attempt = Attempt(what.provider, what.key, what.model, Blame.NOBODY)
    name = kit.unique("thing")
    begun = Begun(ObjectKind.VIDEO, name, f"videos/{name}", expires_at)
    outcome = Outcome(EndReason.COMPLETED, (attempt,))
    return Closing(ticket, outcome, closing.FREE, 200, 7, begun=begun)


def ending(prompt: int | None, out: int, *, stated: bool) -> Ending:
    """The end of a job: failed, with usage, or good without a word of it."""
    if prompt is None:
        return jobs.nothing()
    return jobs.stated(Tokens(prompt, out, 0), EndReason.COMPLETED) if stated else jobs.whole()
