"""The one table of failures: what went wrong with an attempt, and what it teaches the pool.

`KINDS` says how each kind of failure shows and whom it is blamed on; `RULES` what rests for that
blame, after how many in a row, for how long, and who ends it. `rests.py` writes by these rules what
every process will know, `pool.py` keeps to them until the database has spoken, and
`python -m tests.faults` makes every kind happen and prints both.
"""

from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from bsod.lib.terms import Blame, RestReason


class Scope(StrEnum):
    """What is left alone."""

    PROVIDER = "provider"
    KEY = "key"
    MODEL = "key and model"


class Ends(StrEnum):
    """Who ends a rest."""

    CLOCK = "the clock"
    PROBE = "a probe"


class Rule(NamedTuple):
    """What one blame does to the pool."""

    scope: Scope
    reason: RestReason
    ends: Ends
    in_a_row: int
    """So many without a success in between; 1: at once."""
    first: float
    """Seconds of a limit that names no time; of the others before the first probe."""
    most: float
    """The longest limit; the longest time between two probes."""
    spares_last: bool = False
    """The provider's last live key is not rested for it."""
    suspect: int = 0
    """So many keys within SUSPECT_SECONDS, and it is the provider: the next are not rested."""

    @property
    def words(self) -> tuple[str, str, str]:
        """What rests and from when on, for how long, and who ends it."""
        when = "at once" if self.in_a_row == 1 else f"after {self.in_a_row} in a row"
        when += ", but for the last live one" * self.spares_last
        when += f", but for more than {self.suspect} a minute" if self.suspect else ""
        asked = "as asked, else " if self.ends is Ends.CLOCK else "probed after "
        length = f"{asked}{self.first:g} s, doubling up to {self.most:g} s"
        return f"{self.scope} {when}", length, str(self.ends)


class Kind(NamedTuple):
    """A kind of failure: how it shows, and on whom it is blamed."""

    name: str
    shows: str
    blame: Blame


SUSPECT_SECONDS = 60
RULES = {
    Blame.RATE_LIMIT: Rule(
        Scope.MODEL, RestReason.RATE_LIMIT, Ends.CLOCK, in_a_row=1, first=5, most=600
    ),
    Blame.AUTH: Rule(
        Scope.KEY, RestReason.AUTH, Ends.PROBE, in_a_row=1, first=60, most=86_400, suspect=3
    ),
    Blame.BILLING: Rule(
        Scope.KEY, RestReason.BILLING, Ends.PROBE, in_a_row=1, first=60, most=86_400, suspect=3
    ),
    Blame.FAILURE: Rule(
        Scope.KEY, RestReason.FAILURES, Ends.PROBE, in_a_row=5, first=5, most=3_600,
        spares_last=True,
    ),
    Blame.CONNECT: Rule(
        Scope.PROVIDER, RestReason.UNREACHABLE, Ends.PROBE, in_a_row=5, first=5, most=3_600
    ),
}  # fmt: skip
"""Who is not in it (nobody, the client) teaches the pool nothing."""

KINDS = (
    Kind("client", "a 4xx about the request; a flagged prompt; a model the key may not use",
         Blame.CLIENT),
    Kind("auth", "401", Blame.AUTH),
    Kind("billing", "402, 403; 429 insufficient_quota", Blame.BILLING),
    Kind("minute limit", "429, for as long as it says; else 5 s doubling", Blame.RATE_LIMIT),
    Kind("day limit", "429 with a quota a day, whatever it says", Blame.RATE_LIMIT),
    Kind("overloaded", "5xx, 529, 408", Blame.FAILURE),
    Kind("redirect", "3xx, which nobody follows", Blame.FAILURE),
    Kind("silent", "no byte within the deadline, before the first one or behind it", Blame.FAILURE),
    Kind("cut", "the connection ends before the answer does", Blame.FAILURE),
    Kind("malformed", "no HTTP, no JSON, no choices, an error in a 200", Blame.FAILURE),
    Kind("too large", "a body or a line beyond its cap", Blame.FAILURE),
    Kind("empty 200", "a 200 without a word", Blame.FAILURE),
    Kind("network", "refused, no such name, no trust, too slow to connect", Blame.CONNECT),
)  # fmt: skip


class Backoff(NamedTuple):
    """Seconds before the first probe, and the most between two."""

    first: float
    most: float


def backoff(reason: str) -> Backoff:
    """When a rest that ends by a probe is probed; a new key like one that failed."""
    rule = next((rule for rule in RULES.values() if rule.reason == reason), RULES[Blame.FAILURE])
    unit = settings.FIRST_PROBE / RULES[Blame.FAILURE].first
    return Backoff(rule.first * unit, rule.most)


def limit_seconds(step: int, wait: float | None) -> float:
    """What the provider asked for, else 5 s doubling; never more than ten minutes."""
    rule = RULES[Blame.RATE_LIMIT]
    return min(rule.most, wait if wait is not None else rule.first * 2 ** min(step, 10))
