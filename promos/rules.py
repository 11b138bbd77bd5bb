"""Whether a code may be redeemed, decided from values alone.

A wrong code, and one that is used up, out of its time or switched off, get one and the same answer:
it tells a guesser nothing. Only who has redeemed a code already is told so, code by code.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Why(StrEnum):
    """What keeps a code from being redeemed."""

    BANNED = "banned"
    INVALID = "invalid"
    ALREADY = "already"
    NOT_NEW = "not_new"


@dataclass(frozen=True, slots=True)
class Terms:
    """A code and its offer as they stand."""

    most: int | None
    """Times the code may be redeemed; None: any number."""
    redeemed: int
    per_user: int
    first_users_only: bool
    valid_from: datetime
    valid_until: datetime | None
    disabled: bool

    def open_at(self, now: datetime) -> bool:
        """Whether anybody can redeem it at this moment."""
        if self.disabled or (self.most is not None and self.redeemed >= self.most):
            return False
        return self.valid_from <= now and (self.valid_until is None or now < self.valid_until)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a try. `terms` None: there is no such code."""

    terms: Terms | None
    banned: bool
    this_code: int
    """Times the account has redeemed this very code; below, any code of its offer."""
    this_offer: int
    used_before: bool
    """The account has used units, or redeemed some code, before."""


def refusal(facts: Facts, now: datetime) -> Why | None:
    """Why the code is not redeemed now, or None."""
    if facts.banned:
        return Why.BANNED
    terms = facts.terms
    if terms is None:
        return Why.INVALID
    full, dead = facts.this_offer >= terms.per_user, not terms.open_at(now)
    if facts.this_code and (full or dead):
        return Why.ALREADY
    if dead:
        return Why.INVALID
    if full:
        return Why.ALREADY
    return Why.NOT_NEW if _too_late(terms, facts) else None


def _too_late(terms: Terms, facts: Facts) -> bool:
    """For first users alone, and this one is none. A second or third use of the same offer, where
    it allows several, is still a first user's."""
    return terms.first_users_only and facts.used_before and not facts.this_offer
