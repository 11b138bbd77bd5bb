"""What a call is at each step: Call → Ticket → Outcome → Receipt. Frozen; each step takes the
last and returns the next. There is no shared bag of context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accounts.keys.tokens import Token
from bsod.lib.terms import Blame, Bucket, EndReason, Permission, UsageSource
from proxy.catalogue import ModelInfo
from proxy.errors import ApiError
from proxy.providers.base import StreamReader, WholeReader
from proxy.routes import Route
from quotas.pricing import Tariff


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as far as the request alone can say."""

    token: Token
    address: str


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
    fault: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """The call's bucket at admission, after its reservation."""

    bucket: Bucket
    limit: int | None
    remaining: int | None
    resets_in: int
    """Seconds until the bucket's day ends."""
    pace_limit: int | None
    pace_remaining: int | None
    pace_resets_in: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """An admitted call: its entry is open and durable."""

    call: Call
    account: int
    model: ModelInfo
    tariff: Tariff
    reserved: int
    limit: int | None
    """The output limit to forward, for each choice; None: none."""
    user: str
    """An opaque hash, the same for all calls of the account."""
    quota: Quota
    pays_credits: bool


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


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call costs: tokens, and where they are known from. None tokens: nothing is due."""

    prompt: int | None
    completion: int | None
    cached: int = 0
    source: UsageSource | None = None
    fast: bool = False

    @property
    def due(self) -> bool:
        return self.prompt is not None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A closed call: what was charged, and the balance after it (None: without limit)."""

    amount: int
    shortfall: int
    balance: int | None
