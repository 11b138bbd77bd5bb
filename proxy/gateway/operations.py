"""What the ledger's thread is asked to do, one operation at a time, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.keys.identity import Identity
from bsod.lib.terms import ObjectKind, Permission
from proxy.errors import ApiError
from proxy.gateway.journey import (
    Attempt,
    Call,
    Caller,
    Charge,
    Outcome,
    Receipt,
    Replay,
    Ticket,
)
from proxy.objects import Binding, Made
from quotas.outcomes import Kept


@dataclass(frozen=True, slots=True)
class Check:
    """Is this key good? For free routes, and before a large body is read."""

    caller: Caller
    permission: Permission | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    call: Call


@dataclass(frozen=True, slots=True)
class Look:
    """Whose objects does a call name, before there is enough known of it to admit it?"""

    call: Call


@dataclass(frozen=True, slots=True)
class Begun:
    """What a call has begun at its provider: from now on its entry is the job's."""

    kind: ObjectKind
    upstream_id: str
    path: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """Ids an answer has made somebody's, before he gets to see them; ids that are no more."""

    made: Sequence[Made]
    gone: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of an admitted call. From `void_after` (monotonic seconds) on nothing is due any
    more: nothing was sent, and the client is being told that nothing will be."""

    ticket: Ticket
    outcome: Outcome
    charge: Charge
    status: int
    latency_ms: int
    void_after: float | None = None
    made: Sequence[Made] = ()
    begun: Begun | None = None

    def void(self, ticks: float) -> bool:
        return self.void_after is not None and ticks >= self.void_after


@dataclass(frozen=True, slots=True)
class Learn:
    """A failed attempt: the pool hears of it at once, not when the call ends elsewhere."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Take:
    """A call is about to be sent with a donated key: it is counted, or its cap is reached."""

    key: int


@dataclass(frozen=True, slots=True)
class Keep:
    """The answer of a call that may be asked for again."""

    account: int
    kept: Kept


Op = Check | Look | Admit | Closing | Learn | Record | Keep | Take
Result = Identity | Binding | Ticket | Replay | Receipt | ApiError | bool | None
