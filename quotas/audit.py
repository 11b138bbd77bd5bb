"""Does the ledger add up? For every balance: `reserved` is the sum of open entries, `used` the
sum of closed ones plus what purges moved to `closed`. Read in one snapshot, so that a busy
gateway cannot look like drift. The worker does it every hour, and when it is asked to."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from accounts.models import Account
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import EntryState
from quotas.meter import used_by
from quotas.models import AuditRun, Balance, Entry, Worker

EVERY = timedelta(hours=1)
KEPT = 200
"""Runs that are kept for the admin to see."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A balance that does not agree with its entries."""

    balance: int
    field: str
    stored: int
    entries: int


@dataclass(frozen=True, slots=True)
class Audit:
    balances: int
    open_entries: int
    closed_entries: int
    amounts: dict[str, int]
    """Units charged by closed calls, by bucket."""
    drift: list[Drift]


def audit() -> Audit:
    """Add everything up and keep the result where the admin shows it."""
    began = clock.now()
    with _snapshot():
        result = _add_up()
    # In the queue of writers: beside a busy ledger a lone write on SQLite would find no gap.
    with exclusive("audit"):
        AuditRun.objects.create(
            at=began, balances=result.balances, drift=[asdict(drift) for drift in result.drift]
        )
        old = AuditRun.objects.order_by("-at", "-pk").values_list("pk", flat=True)[KEPT:]
        AuditRun.objects.filter(pk__in=list(old)).delete()
    return result


def ask(now: datetime) -> None:
    """Have the worker add it up at once: a page must not wait for a million entries."""
    Worker.objects.filter(id=1).update(audit_asked_at=now)


def run_due(now: datetime) -> bool:
    """Add it up if the last time is an hour ago, or somebody has asked since."""
    last = AuditRun.objects.values_list("at", flat=True).first()
    asked = Worker.objects.values_list("audit_asked_at", flat=True).filter(id=1).first()
    if last and last > now - EVERY and (asked is None or asked < last):
        return False
    audit()
    return True


def drift_of(account: Account) -> list[Drift]:
    """What does not agree in the balances of one account."""
    with _snapshot():
        return _add_up(account).drift


@contextlib.contextmanager
def _snapshot() -> Iterator[None]:
    """One view of all three tables, which on neither database keeps a writer waiting."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with transaction.atomic():
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                yield
            return
        # Our transactions begin IMMEDIATE, which takes the write lock; this one only reads.
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def _add_up(account: Account | None = None) -> Audit:
    entries, balances = Entry.objects.order_by(), Balance.objects.order_by("id")
    if account:
        entries, balances = entries.filter(account=account), balances.filter(account=account)
    opened = entries.filter(state=EntryState.OPEN)
    closed = entries.exclude(state=EntryState.OPEN)
    reserved = used_by(opened.values_list("kind", "legs").iterator())
    used = used_by(closed.values_list("kind", "legs").iterator())
    amounts: dict[str, int] = {}
    for bucket, amount in closed.filter(kind="call").values_list("bucket", "amount").iterator():
        amounts[bucket] = amounts.get(bucket, 0) + amount
    drift, count = [], 0
    for row in balances.iterator():
        count += 1
        due = row.closed + used.pop(row.pk, 0)
        held = reserved.pop(row.pk, 0)
        if row.used != due:
            drift.append(Drift(row.pk, "used", row.used, due))
        if row.reserved != held:
            drift.append(Drift(row.pk, "reserved", row.reserved, held))
    drift += [Drift(pk, "missing", 0, amount) for pk, amount in (used | reserved).items() if amount]
    return Audit(count, opened.count(), closed.count(), amounts, drift)
