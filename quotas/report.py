"""Every number shown about a balance, read by the same rules that enforce it (SPEC §3).

`/balance/`, refusals, quota headers, the console and the bot all read this; so what is shown as
left is exactly what a reservation may take.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from accounts.keys.identity import Identity
from bsod.lib import clock, sql
from bsod.lib.terms import Bucket
from quotas import ledger
from quotas.book import Book, Holder, Purse, Wanted
from quotas.buckets import DAILY
from quotas.draw import Row


@dataclass(frozen=True, slots=True)
class Left:
    """One bucket, for one key, at one moment; None means without limit."""

    bucket: Bucket
    limit: int | None
    used: int
    reserved: int
    remaining: int | None
    promo: int
    effective: int | None


def holder(identity: Identity) -> Holder:
    owner = identity.owner
    return Holder(owner.id, identity.id, owner.plan, identity.caps, identity.unlimited)


def left(book: Book, who: Holder, bucket: Bucket, day: str, at: datetime) -> Left:
    """What `who` has of a bucket. The book must hold the rows `who.wants`."""
    purse = book.purse(who.account, who.key, who.owner, bucket, day, at)
    narrow = narrowest(purse)
    return Left(
        bucket,
        narrow.granted if narrow else 0,
        narrow.used if narrow else 0,
        narrow.reserved if narrow else 0,
        narrow.free if narrow else 0,
        sum(row.free or 0 for row in purse.payers if not row.period),
        purse.free,
    )


def narrowest(purse: Purse) -> Row | None:
    """The cap that leaves least: the day's (or the period's), or the key's own."""
    found: Row | None = None
    least: int | None = None
    for row in (*purse.payers, purse.bound) if purse.bound else purse.payers:
        if not row.period:
            continue
        free = row.free
        if found is None or (free is not None and (least is None or free < least)):
            found, least = row, free
    return found


def resets_at(purse: Purse, day: str) -> datetime:
    """When there will be more: at midnight, or with the next period of a plan of credits."""
    latest: Row | None = None
    for row in purse.payers:
        if row.period and row.expires_at and (latest is None or row.period > (latest.period or "")):
            latest = row
    if latest is None or latest.expires_at is None:
        return _midnight(day)
    # Told to the second, and never too early.
    ends = latest.expires_at
    return ends.replace(microsecond=0) + timedelta(seconds=bool(ends.microsecond))


_midnight = lru_cache(maxsize=8)(clock.end_of_day)


def binding(purse: Purse) -> str:
    """Which limit a refusal ran into: `key`, `promo` (the cap is spent) or `daily`."""
    total = sum(_or_endless(row.free) for row in purse.payers)
    if purse.bound and _or_endless(purse.bound.free) < total:
        return "key"
    return "promo" if any(not row.period for row in purse.payers) else "daily"


def _or_endless(free: int | None) -> float:
    return float("inf") if free is None else free


def balance(cursor: sql.Cursor, identity: Identity, now: datetime) -> dict[str, Any]:
    """The body of `/balance/` (SPEC §3). Reads only: rows not yet made count as untouched."""
    who, day = holder(identity), clock.day_of(now)
    book = _book(cursor, who, day)
    buckets = [left(book, who, bucket, day, now) for bucket in DAILY]
    return {
        "object": "balance",
        "account": {
            "id": identity.owner.id,
            "username": identity.owner.username,
            "plan": identity.owner.plan.slug,
            "plan_active": identity.owner.plan.plan_active,
        },
        "key": {
            "id": identity.id,
            "name": identity.name,
            "permissions": sorted(identity.permissions),
        },
        "day": day,
        "resets_at": clock.end_of_day(day).isoformat().replace("+00:00", "Z"),
        "daily_limits": {item.bucket: item.limit for item in buckets},
        "daily_used": {item.bucket: item.used for item in buckets},
        "daily_reserved": {item.bucket: item.reserved for item in buckets},
        "daily_remaining": {item.bucket: item.remaining for item in buckets},
        "promo_credits": {item.bucket: item.promo for item in buckets},
        "effective_remaining": {item.bucket: item.effective for item in buckets},
        "credits": left(book, who, Bucket.CREDITS, day, now).effective,
        "fast_mode": {"multiplier": 2.5},
    }


def _book(cursor: sql.Cursor, who: Holder, day: str) -> Book:
    wanted = [row for bucket in Bucket for row in who.wants(bucket, day)]
    periods = sorted({row.period for row in wanted} | {day})
    book = Book(ledger.read_balances(cursor, [who.account], list(Bucket), periods))
    for number, row in enumerate(wanted, 1):
        if book.find(row) is None:
            book.add(virtual(-number, row))
        book.adopt(row)
    for bucket in Bucket:
        for lifted in who.lifted(bucket, day):
            book.adopt(lifted)
    return book


def virtual(number: int, wanted: Wanted) -> Row:
    """A row that is not in the database yet, as it would be made."""
    return Row(
        number, wanted.account, wanted.owner, wanted.bucket, wanted.period, wanted.cap, 0, 0,
        wanted.expires_at,
    )  # fmt: skip
