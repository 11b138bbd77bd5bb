"""The ledger as plain Python: what the balances must be after each movement, and nothing else.

Written from SPEC §3 alone. No database, no batches, no code of the product.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(eq=False)
class Pot:
    """One balance. `day` None is a grant; `granted` None is without limit."""

    owner: str
    bucket: str
    day: str | None
    granted: int | None
    number: int
    expires: datetime | None = None
    reserved: int = 0
    used: int = 0
    purged: int = 0

    def free(self) -> int:
        return 10**15 if self.granted is None else self.granted - self.reserved - self.used


Legs = list[tuple[Pot, int]]


@dataclass(eq=False)
class Held:
    """A call: open, then closed once."""

    key: str
    owner: str
    bucket: str
    day: str
    began: datetime
    reserved: Legs
    process: object | None
    estimate: int = 0
    pieces: int = 0
    """How many were asked for of what has a price for each; 0: tokens."""
    due_by: datetime | None = None
    state: str = "open"
    amount: int = 0
    shortfall: int = 0
    why: str = ""
    spent: Legs = field(default_factory=list)


@dataclass
class Terms:
    """What a key may use: its owner on the balance sheet, the plan's caps, its own."""

    name: str
    owner: str
    caps: dict[str, int]
    most_open: int | None = None


class Ledger:
    """One account."""

    def __init__(self, caps: dict[str, int], most_open: int) -> None:
        self.caps, self.most_open = caps, most_open
        self.pots: list[Pot] = []
        self.calls: dict[str, Held] = {}
        self.corrections: list[tuple[datetime, Pot, int]] = []

    # ---- before a batch decides

    def prepare(self, key: Terms, bucket: str, day: str) -> None:
        """Today's rows exist, with the caps as they are now."""
        if key.owner != "user":
            self._cap(key.owner, bucket, day, None)
            return
        self._cap("user", bucket, day, self.caps[bucket])
        if bucket in key.caps:
            self._cap(key.name, bucket, day, key.caps[bucket])

    def _cap(self, owner: str, bucket: str, day: str, cap: int | None) -> None:
        pot = self._find(owner, bucket, day)
        if pot is None:
            self.pots.append(Pot(owner, bucket, day, cap, len(self.pots)))
        else:
            pot.granted = None if cap is None else max(cap, pot.reserved + pot.used)

    def _find(self, owner: str, bucket: str, day: str) -> Pot | None:
        same = (p for p in self.pots if (p.owner, p.bucket, p.day) == (owner, bucket, day))
        return next(same, None)

    def counts_open(self) -> dict[str, int]:
        """Open calls of processes by key, as a batch finds them when it begins."""
        counts: dict[str, int] = {}
        for held in self.calls.values():
            if held.state == "open" and held.process and held.owner == "user":
                counts[held.key] = counts.get(held.key, 0) + 1
        return counts

    # ---- movements

    def payers(self, owner: str, bucket: str, day: str, at: datetime) -> list[Pot]:
        """The day's cap first; then grants, soonest-expiring first, then oldest."""
        mine = [pot for pot in self.pots if (pot.owner, pot.bucket) == (owner, bucket)]
        caps = [pot for pot in mine if pot.day == day]
        grants = [p for p in mine if p.day is None and (p.expires is None or p.expires > at)]
        return caps + sorted(grants, key=lambda pot: (pot.expires or NEVER, pot.number))

    def admit(
        self, key: Terms, bucket: str, prompt: int, limit: int | None, choices: int,
        day: str, now: datetime, opened: dict[str, int], process: object, pieces: bool = False,
    ) -> Held | str:  # fmt: skip
        """A call that is let in, or the code of its refusal."""
        if key.owner == "user":
            most = key.most_open
            full = most is not None and opened.get(key.name, 0) >= most
            if sum(opened.values()) >= self.most_open or full:
                return "concurrency"
        payers = self.payers(key.owner, bucket, day, now)
        bound = self._find(key.name, bucket, day) if key.owner == "user" else None
        free = sum(pot.free() for pot in payers)
        if bound:
            free = min(free, bound.free())
        if pieces:
            amount = choices
        elif limit is None:
            left = free - prompt
            if left < choices:
                return "quota_exceeded"
            amount = prompt + min(1024 * choices, left)
        else:
            amount = prompt + limit * choices
        if amount > free:
            return "quota_exceeded"
        held = Held(key.name, key.owner, bucket, day, now, [], process, amount)
        held.pieces = choices if pieces else 0
        held.reserved = self._draw(payers, bound, amount)
        for pot, part in held.reserved:
            pot.reserved += part
        if key.owner == "user":
            opened[key.name] = opened.get(key.name, 0) + 1
        return held

    def _draw(self, payers: list[Pot], bound: Pot | None, amount: int) -> Legs:
        left = min(amount, bound.free()) if bound else amount
        legs = []
        for pot in payers:
            part = min(left, pot.free())
            if part:
                legs.append((pot, part))
                left -= part
        drawn = sum(part for _, part in legs)
        return [*legs, (bound, drawn)] if bound and drawn else legs

    def close(
        self, held: Held, amount: int, state: str = "settled", why: str = "completed"
    ) -> None:
        """Give everything back, draw what it really cost on the call's own day."""
        if held.state != "open":
            return
        for pot, part in held.reserved:
            pot.reserved -= part
        payers = self.payers(held.owner, held.bucket, held.day, held.began)
        bound = self._find(held.key, held.bucket, held.day) if held.owner == "user" else None
        held.spent = self._draw(payers, bound, amount)
        for pot, part in held.spent:
            pot.used += part
        held.amount = sum(part for pot, part in held.spent if pot is not bound)
        held.shortfall = amount - held.amount
        held.state, held.why = state, why

    def grant(self, bucket: str, amount: int, expires: datetime | None) -> Pot:
        pot = Pot("user", bucket, None, amount, len(self.pots), expires)
        self.pots.append(pot)
        return pot

    def correct(self, pot: Pot, amount: int, now: datetime) -> bool:
        """Move `used`; False where the balance does not hold that much."""
        if pot.used + amount < 0 or amount > pot.free():
            return False
        pot.used += amount
        self.corrections.append((now, pot, amount))
        return True

    def crash(self, process: object) -> None:
        for held in self.open_of(process):
            self.close(held, 0, "released", "crashed")

    def open_of(self, process: object) -> Iterator[Held]:
        for held in self.calls.values():
            if held.state == "open" and held.process is process:
                yield held

    def expire(self, now: datetime) -> None:
        for held in self.calls.values():
            if held.state == "open" and held.due_by and held.due_by <= now:
                self.close(held, 0, "expired", "timeout")

    def purge(self, before: datetime | None) -> None:
        """Closed calls go; what they used stays used."""
        limit = before or NEVER
        for name, held in list(self.calls.items()):
            if held.state != "open" and held.began < limit:
                for pot, part in held.spent:
                    pot.purged += part
                del self.calls[name]
        for at, pot, amount in self.corrections:
            if at < limit:
                pot.purged += amount
        self.corrections = [row for row in self.corrections if row[0] >= limit]


def later(now: datetime, hours: float) -> datetime:
    return now + timedelta(hours=hours)
