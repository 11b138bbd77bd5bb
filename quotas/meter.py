"""The rare movements of the ledger: grant, correct, purge. Each is one transaction."""

from collections.abc import Iterable
from datetime import datetime

from django.db import connection
from django.db.models import Q

from accounts.audit import Verb, record
from accounts.caps import MOST
from accounts.keys.identity import lock_accounts
from accounts.models import Account
from bsod.lib import clock, ids
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Bucket, EntryKind, EntryState
from quotas import ledger
from quotas.draw import Leg
from quotas.models import Balance, Entry, UsageDay


class Impossible(ValueError):
    """The movement would break a law of the ledger; nothing was changed."""


def grant(
    account: Account, bucket: Bucket, amount: int, expires_at: datetime | None = None
) -> Balance:
    """Give an account `amount` units of `bucket`, drawn after its daily cap."""
    if not 0 < amount <= MOST:
        raise Impossible(f"A grant is a whole number from 1 to {MOST}.")
    now = clock.now()
    with exclusive("grant"), connection.cursor() as cursor:
        lock_accounts(cursor, [account.pk])
        return give(account, bucket, amount, expires_at, now)


def give(
    account: Account, bucket: Bucket, amount: int, expires_at: datetime | None, now: datetime
) -> Balance:
    """A grant's rows, for whoever holds the account's lock already."""
    balance = Balance.objects.create(
        account=account, bucket=bucket, granted=amount, expires_at=expires_at
    )
    _record(account, EntryKind.GRANT, bucket, amount, [Leg(balance.pk, amount)], now)
    return balance


def correct(
    account: Account, balance: Balance, amount: int, *, by: Account | None = None, reason: str = ""
) -> Entry:
    """Move `used` of one balance: positive charges, negative gives back. Entries never change;
    a correction is an entry of its own, and is in the audit log."""
    with exclusive("correct"), connection.cursor() as cursor:
        lock_accounts(cursor, [account.pk])
        row = Balance.objects.get(pk=balance.pk, account=account)
        used = row.used + amount
        if used < 0 or (row.granted is not None and used + row.reserved > row.granted):
            raise Impossible("The balance does not hold that much.")
        Balance.objects.filter(pk=row.pk).update(used=used)
        entry = _record(
            account, EntryKind.CORRECTION, row.bucket, amount, [Leg(row.pk, amount)], clock.now()
        )
        record(by, Verb.ACCOUNT_CORRECT, account, reason=reason, bucket=row.bucket, units=amount,
               balance=row.pk, entry=entry.pk)  # fmt: skip
        return entry


def _record(
    account: Account, kind: EntryKind, bucket: str, amount: int, legs: list[Leg], now: datetime
) -> Entry:
    return Entry.objects.create(
        id=ids.ulid(),
        kind=kind,
        state=EntryState.SETTLED,
        account=account,
        bucket=bucket,
        day=clock.day_of(now),
        amount=amount,
        legs=ledger.dump_legs(legs),
        created_at=now,
        closed_at=now,
    )


def purge(account: Account, before: datetime | None = None) -> int:
    """Delete an account's closed entries (all, or those from before a moment) and its usage by
    day. What they used stays used: the sums go to `closed`, in the same transaction."""
    gone = Entry.objects.filter(account=account).exclude(state=EntryState.OPEN)
    days = UsageDay.objects.filter(account=account)
    if before:
        gone = gone.filter(created_at__lt=before)
        days = days.filter(day__lt=clock.day_of(before))
    with exclusive("purge"), connection.cursor() as cursor:
        lock_accounts(cursor, [account.pk])
        sums = used_by(gone.values_list("kind", "legs").iterator())
        for balance in Balance.objects.filter(id__in=sums):
            Balance.objects.filter(pk=balance.pk).update(closed=balance.closed + sums[balance.pk])
        deleted, _ = gone.delete()
        days.delete()
    return deleted


def prune(before: datetime) -> int:
    """Delete every account's closed entries from before a moment, an account at a time."""
    accounts = Account.objects.filter(
        Q(pk__in=Entry.objects.filter(created_at__lt=before).values("account"))
    )
    # Read to the end first: no purge can begin while its own connection is reading.
    return sum(purge(account, before) for account in list(accounts))


def used_by(entries: Iterable[tuple[str, str]]) -> dict[int, int]:
    """Units each balance has spent, from (kind, legs) of closed entries. Grants spend nothing."""
    sums: dict[int, int] = {}
    for kind, legs in entries:
        if kind == EntryKind.GRANT:
            continue
        for balance, amount in ledger.load_legs(legs):
            sums[balance] = sums.get(balance, 0) + amount
    return sums
