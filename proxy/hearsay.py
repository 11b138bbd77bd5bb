"""What a process's own attempts have just shown of keys, before the database says what it means.

Every rest is decided on the database's rows, a batch later than the attempt that gave the reason.
Until then no other call of this process needs to meet the same: what was refused is left alone at
once, for a moment or until its limit ends. A key that this process does not know yet is tried by
one call, for as long as a refusal takes to come; one that has failed last by one call at a time,
until it answers again. The others take all calls meanwhile.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from bsod.lib.terms import Blame
from proxy.failures import RULES, Ends, Rule, Scope, backoff, limit_seconds

_HOLDS = 1.0  # seconds within which the database has had its say
TRIAL = 0.25  # seconds within which a refusal comes, and calls may wait for it

Place = tuple[int | None, int | None, str]
"""(provider, None, ""), (None, key, "") or (None, key, model)."""


@dataclass(frozen=True, slots=True)
class Rested:
    """Until when (monotonic seconds; None: until a probe passes), and why."""

    until: float | None
    reason: str
    probe: float | None = None
    """When it is probed next, where that is what ends it."""

    def holds(self, now: float) -> bool:
        return self.until is None or self.until > now


def back_at(rests: Sequence[Rested], now: float) -> float | None:
    """When a key is back: once all that keeps it has ended. None: nobody knows."""
    ends = [now]
    for rest in rests:
        end = rest.until if rest.probe is None else rest.probe
        if end is None:
            return None
        ends.append(end)
    return max(ends)


class Doubt(Enum):
    """Why a key that has an open call should not get another one."""

    UNKNOWN = "unknown"
    FAILED = "failed"


class Hearsay:
    """Belongs to the event loop. `rests` is replaced and never changed: the ledger's thread reads
    it too."""

    def __init__(self) -> None:
        self._proven: set[int] = set()
        self._failed: set[int] = set()
        self._tried: dict[int, float] = {}
        self.rests: Mapping[Place, Rested] = {}
        self._unreached: Counter[int] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    def prove(self, key: int) -> None:
        """It has answered: it takes as many calls as there are."""
        if key not in self._proven:
            self._proven.add(key)
            self._failed.discard(key)
            self._tried.pop(key, None)
            self.wake()

    def answers(self, key: int) -> bool:
        """Whether it has answered, and not failed since."""
        return key in self._proven

    def tries(self, key: int, now: float) -> None:
        """A call is about to ask it."""
        if key not in self._proven:
            self._tried.setdefault(key, now)

    def doubts(self, key: int, now: float) -> Doubt | None:
        """Whether it is on trial."""
        if key in self._proven:
            return None
        if key in self._failed:
            return Doubt.FAILED
        return Doubt.UNKNOWN if now < self._tried.get(key, now) + TRIAL else None

    def hear(
        self, provider: int, key: int, model: str, blame: Blame, wait: float | None, now: float
    ) -> None:
        """An attempt has ended so."""
        if blame is Blame.CONNECT:
            self._unreached[provider] += 1
        else:
            self._unreached.pop(provider, None)
        rule = RULES.get(blame)
        if rule is None:
            return
        self._proven.discard(key)
        self._failed.add(key)
        # Which key has failed too often, and is not the last one, is for the database to say.
        if rule.in_a_row == 1 or self._unreached[provider] >= rule.in_a_row:
            kept = {place: rest for place, rest in self.rests.items() if rest.holds(now)}
            place = _place(rule.scope, provider, key, model)
            self.rests = {**kept, place: _rested(rule, wait, now)}

    async def news(self, seconds: float) -> None:
        """Wait until an attempt has shown something, or so long."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await future

    def wake(self) -> None:
        """Something has been shown, or a trial is over."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _place(scope: Scope, provider: int, key: int, model: str) -> Place:
    if scope is Scope.PROVIDER:
        return (provider, None, "")
    return (None, key, model if scope is Scope.MODEL else "")


def _rested(rule: Rule, wait: float | None, now: float) -> Rested:
    if rule.ends is Ends.CLOCK:
        return Rested(now + limit_seconds(0, wait), rule.reason)
    return Rested(now + _HOLDS, rule.reason, now + backoff(rule.reason).first)
