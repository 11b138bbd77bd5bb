"""The rule of drawing, as one pure function (SPEC §3).

A charge is drawn from the day's cap first, then from grants: soonest-expiring first, then
oldest. A key's own cap bounds the sum, and is drawn beside the others so that it counts too.
One charge may split over several balances; what none can pay is the shortfall.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

_NEVER = datetime.max.replace(tzinfo=UTC)


class Leg(NamedTuple):
    """One balance's part of a charge, in the bucket's units."""

    balance: int
    amount: int


class Drawn(NamedTuple):
    legs: tuple[Leg, ...]
    shortfall: int


@dataclass(slots=True)
class Row:
    """A balance as read. `granted` None means without limit; `period` None means a grant."""

    id: int
    account: int
    owner: str
    bucket: str
    period: str | None
    granted: int | None
    reserved: int
    used: int
    expires_at: datetime | None = None

    @property
    def free(self) -> int | None:
        """Units that can still be drawn; None: any number."""
        return None if self.granted is None else self.granted - self.reserved - self.used


def order(rows: Iterable[Row]) -> list[Row]:
    """Payers in the order they are drawn."""
    return sorted(
        rows,
        key=lambda row: (
            # A day's cap has a period and no expiry; a period's credits expire like a grant.
            not (row.period and row.expires_at is None),
            row.expires_at or _NEVER,
            row.id,
        ),
    )


def free(payers: Sequence[Row], bound: Row | None) -> int | None:
    """What one charge could draw now: the payers together, within the bound. None: no limit."""
    total: int | None = 0
    for row in payers:
        left = row.free
        total = None if left is None or total is None else total + left
    limit = bound.free if bound else None
    if total is None or limit is None:
        return limit if total is None else total
    return min(total, limit)


def draw(payers: Sequence[Row], bound: Row | None, amount: int) -> Drawn:
    """Split `amount` over the payers in their order. Takes what is there and says what is not."""
    if amount < 0:
        raise ValueError("a charge is never negative")
    limit = bound.free if bound else None
    wanted = amount if limit is None else min(amount, limit)
    legs, left = [], wanted
    for row in payers:
        free_ = row.free
        part = left if free_ is None else min(left, free_)
        if part:
            legs.append(Leg(row.id, part))
            left -= part
        if not left:
            break
    drawn = wanted - left
    if bound and drawn:
        legs.append(Leg(bound.id, drawn))
    return Drawn(tuple(legs), amount - drawn)
