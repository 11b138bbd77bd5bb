"""The balances one batch touches: read once, decided on in order, written once.

Ten operations on one balance see each other here, before any of them is in the database.
Nothing in this module talks to the database.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from accounts.plans import Standing
from bsod.lib.terms import Bucket, EntryState
from quotas.draw import Drawn, Leg, Row, draw, free, order
from quotas.ledger import EntryRow
from quotas.models import USER


class Purse(NamedTuple):
    """Who pays a charge: the payers in order, and the key's own cap over their sum."""

    payers: Sequence[Row]
    bound: Row | None

    @property
    def free(self) -> int | None:
        return free(self.payers, self.bound)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row that must exist before a charge can be drawn, and what it grants now."""

    account: int
    owner: str
    bucket: str
    period: str
    cap: int | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose balances a call draws on."""

    account: int
    key: int
    plan: Standing
    caps: Mapping[str, int]
    unlimited: bool

    @property
    def owner(self) -> str:
        """`user`, or for an unlimited key the key itself."""
        return key_owner(self.key) if self.unlimited else USER

    def wants(self, bucket: Bucket, day: str) -> list[Wanted]:
        """The rows a charge to `bucket` on `day` needs, with their caps as they are now."""
        if self.unlimited:
            return [Wanted(self.account, self.owner, bucket, day, None)]
        rows = []
        period = self.plan.period
        if bucket is Bucket.CREDITS and period:
            rows.append(
                Wanted(self.account, USER, bucket, period.start, period.credits, period.ends_at)
            )
        elif bucket is not Bucket.CREDITS:
            rows.append(
                Wanted(self.account, USER, bucket, day, self.plan.terms.caps.get(bucket, 0))
            )
        if bucket in self.caps:
            rows.append(Wanted(self.account, key_owner(self.key), bucket, day, self.caps[bucket]))
        return rows

    def lifted(self, bucket: Bucket, day: str) -> list[Wanted]:
        """A cap of the key that is no more: the row it left binds nothing, but goes on counting."""
        if self.unlimited or bucket in self.caps:
            return []
        return [Wanted(self.account, key_owner(self.key), bucket, day, None)]


class Settled(NamedTuple):
    """What a close has drawn."""

    state: EntryState
    amount: int
    shortfall: int
    legs: Sequence[Leg]


def key_owner(key: int) -> str:
    return f"key:{key}"


class Book:
    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[int, Row] = {}
        self._places: dict[tuple[int, str, str], list[Row]] = defaultdict(list)
        self._purses: dict[tuple[object, ...], Purse] = {}
        self.changed: dict[int, Row] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        self._rows[row.id] = row
        self._places[row.account, row.owner, row.bucket].append(row)
        self._purses.clear()

    def find(self, wanted: Wanted) -> Row | None:
        for row in self._places[wanted.account, wanted.owner, wanted.bucket]:
            if row.period == wanted.period:
                return row
        return None

    def adopt(self, wanted: Wanted) -> None:
        """A capped row grants the cap as it is now, and never less than what is spent of it."""
        row = self.find(wanted)
        if row is None:
            return
        granted = wanted.cap if wanted.cap is None else max(wanted.cap, row.reserved + row.used)
        # A period's credits are granted once; a plan edited later counts from the next period.
        if row.granted != granted and row.expires_at is None:
            row.granted = granted
            self.changed[row.id] = row

    def purse(
        self, account: int, key: int | None, owner: str, bucket: str, day: str, at: datetime
    ) -> Purse:
        """The payers of a call that began at `at`, on `day`. Its rows are the book's own: what is
        free in it changes with them."""
        key_ = (account, key, owner, bucket, day, at)
        purse = self._purses.get(key_)
        if purse is None:
            purse = self._purses[key_] = self._purse(*key_)
        return purse

    def _purse(
        self, account: int, key: int | None, owner: str, bucket: str, day: str, at: datetime
    ) -> Purse:
        payers = order(
            row
            for row in self._places[account, owner, bucket]
            if row.period in (None, day) or (row.expires_at and (row.period or "") <= day)
            if row.expires_at is None or row.expires_at > at
        )
        if owner != USER or key is None:
            return Purse(payers, None)
        bounds = self._places.get((account, key_owner(key), bucket), [])
        return Purse(payers, next((row for row in bounds if row.period == day), None))

    def reserve(self, legs: Iterable[Leg]) -> None:
        for balance, amount in legs:
            row = self._touch(balance)
            row.reserved += amount

    def give_back(self, legs: Iterable[Leg]) -> None:
        for balance, amount in legs:
            row = self._touch(balance)
            row.reserved -= amount

    def spend(self, legs: Iterable[Leg]) -> None:
        for balance, amount in legs:
            row = self._touch(balance)
            row.used += amount

    def settle(self, entry: EntryRow, amount: int) -> Settled:
        """Give back what the entry drew and draw what it really cost, by the same rule."""
        self.give_back(entry.legs)
        if not amount:
            return Settled(EntryState.RELEASED, 0, 0, ())
        drawn = self.draw_for(entry, amount)
        self.spend(drawn.legs)
        return Settled(EntryState.SETTLED, amount - drawn.shortfall, drawn.shortfall, drawn.legs)

    def draw_for(self, entry: EntryRow, amount: int) -> Drawn:
        purse = self.purse(
            entry.account, entry.api_key, entry.owner, entry.bucket, entry.day, entry.created_at
        )
        return draw(purse.payers, purse.bound, amount)

    def _touch(self, balance: int) -> Row:
        row = self._rows[balance]
        self.changed[balance] = row
        return row
