"""What a call is at each step: Call → Ticket → Outcome → Receipt. Frozen; each step takes the
last and returns the next. There is no shared bag of context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accounts.keys.tokens import Token
from bsod.lib.multipart import Form
from bsod.lib.spool import Spool
from bsod.lib.terms import Blame, EndReason, ObjectKind, Permission, UsageSource
from proxy.catalogue import ModelInfo
from proxy.errors import ApiError
from proxy.gateway.limits import Quota
from proxy.objects import Binding, Wanted
from proxy.providers.base import Refused, StreamReader, WholeReader
from proxy.route import Route
from quotas.outcomes import Known
from quotas.pricing import Tariff


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as far as the request alone can say."""

    token: Token
    address: str


class Mark(NamedTuple):
    """What an `Idempotency-Key` makes of a request; see `idempotency.py`."""

    scope: str
    fingerprint: str


class Weighed(NamedTuple):
    """Whether a call can be put in the words of another route; see `crossing.py`."""

    refused: Refused | None


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has been read: what it wants, or what is wrong with it (`fault`)."""

    id: str
    route: Route
    caller: Caller
    began: float
    """Monotonic seconds when the request's head was in."""
    permission: Permission | None = None
    model: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    forwarded: Sequence[tuple[str, str]] = ()
    stream: bool = False
    wants_usage: bool = False
    limit: int | None = None
    choices: int = 1
    fast: bool = False
    prompt: int = 0
    """Estimated tokens of the prompt."""
    units: int = 1
    """Images, recordings or films."""
    seconds: int | None = None
    """Length of a film."""
    path: str = ""
    """The provider's path, its ids filled in."""
    query: str = ""
    wanted: tuple[Wanted, ...] = ()
    """Objects the path and the body name: they must be the caller's."""
    stored: bool = False
    """The answer leaves something on the provider's account."""
    job: ObjectKind | None = None
    """What it begins there, that ends later."""
    zero: str = ""
    """A number that is 0, for which only a key without limits may ask."""
    form: Form | None = None
    spool: Spool | None = field(default=None, repr=False)
    fault: ApiError | None = None
    idempotency: Mark | None = None
    weighed: Weighed | None = None

    @property
    def stateful(self) -> bool:
        """It leaves something on the provider's account, or is about what lies there (`wanted` has
        the ids of the path too): not for an account whose owner is a donor."""
        return bool(self.stored or self.job or self.wanted or self.route.lists)

    def forget(self) -> None:
        """The call is over: what of it lay on disk goes."""
        if self.spool:
            self.spool.close()


@dataclass(frozen=True, slots=True)
class Ticket:
    """An admitted call: its entry is open and durable, unless it is free."""

    call: Call
    account: int
    model: ModelInfo
    """For a call of no model the providers that serve its route."""
    tariff: Tariff | None
    """None: it is free, and has no entry."""
    reserved: int
    limit: int | None
    """The output limit to forward, for each choice; None: none."""
    user: str
    """An opaque hash, the same for all calls of the account."""
    quota: Quota | None
    pays_credits: bool
    binding: Binding | None = None
    """The one key that holds what the call names."""
    pinned: int | None = None
    """The one key that may be asked."""
    homes: Mapping[int, int] = field(default_factory=dict)
    """The account's own key at each provider, for what it leaves there."""
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """A call that has been made before: its answer is given again, and nothing is drawn."""

    first: Known
    quota: Quota


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try on one key, and whose fault its end was."""

    provider: int
    key: int
    model: str
    blame: Blame
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the provider's part ended. `error` is what the client is told, if anything is wrong."""

    end: EndReason
    attempts: Sequence[Attempt]
    reader: StreamReader | WholeReader | None = None
    error: ApiError | None = None
    first_byte: float | None = None
    """Monotonic seconds of the first upstream byte relayed."""
    upstream_seconds: float = 0.0
    status: int = 200
    content_type: str = "application/json"
    receipt: "Receipt | None" = None
    """The close, where it came before the answer."""
    unknown: bool = False
    """Something that is made once may have been made, and nobody has been told."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call costs: tokens, and where they are known from. None tokens: nothing is due."""

    prompt: int | None
    completion: int | None
    cached: int = 0
    source: UsageSource | None = None
    fast: bool = False
    units: int | None = None
    """Of a call with one price: how many of its units there were. None: all."""

    @property
    def due(self) -> bool:
        return self.prompt is not None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A closed call: what was charged, and the balance after it (None: without limit)."""

    amount: int
    shortfall: int
    balance: int | None
    reserved: int = 0
    """What is held for what the call has begun: it is charged when that ends."""
