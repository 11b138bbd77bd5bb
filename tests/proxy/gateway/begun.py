"""Jobs as calls leave them, and their ends: for the tests of both who may see one."""

from datetime import timedelta
from typing import Any

import orjson

from bsod.lib import clock
from bsod.lib.terms import ObjectKind
from proxy.gateway import jobs
from proxy.jobs import LIFETIME
from proxy.models import Job
from quotas.meter import used_by
from quotas.models import Balance, Entry
from tests import kit
from tests.kit import Person, Supply
from tests.quotas import books

VIDEO, RUN, BATCH = ObjectKind.VIDEO, ObjectKind.RUN, ObjectKind.BATCH
DONE = {"id": "video_1", "object": "video", "status": "completed"}


def begun(
    who: Person, supplied: Supply, kind: ObjectKind = VIDEO, *, reserved: int = 50,
    each: int | None = None, lives: timedelta | None = None, due: bool = True,
) -> Job:  # fmt: skip
    """A call that was handed over: its entry open, held by no process, and its job."""
    now = clock.now()
    ends = now + (LIFETIME[kind] if lives is None else lives)
    bucket = "video.other" if each else "text.base"
    held = books.hold(who, books.day_row(who, bucket, 1000), reserved)
    price = orjson.dumps({"each": each} if each else {}).decode()
    Entry.objects.filter(pk=held.pk).update(
        bucket=bucket, price=price, expires_at=ends, process=None, status=200, attempts=1
    )
    upstream_id = kit.unique(str(kind)).replace("_", "-")
    return Job.objects.create(
        entry=held.pk, account=who.account, provider=supplied.provider, key=supplied.key_row(),
        kind=kind, upstream_id=upstream_id, path=f"things/{upstream_id}", expires_at=ends,
        next_at=now - timedelta(seconds=1) if due else ends,
    )  # fmt: skip


def nothing_due() -> None:
    """What other tests have left waits, so that a turn is the test's own."""
    Job.objects.update(next_at=clock.now() + timedelta(days=1))


def again(job: Job) -> Job:
    """The same job, due now."""
    Job.objects.filter(pk=job.pk).update(next_at=clock.now() - timedelta(seconds=1))
    return Job.objects.get(pk=job.pk)


def poll() -> int:
    return jobs.poll_due(clock.now())


def end_of(who: Person) -> tuple[Any, ...]:
    """How somebody's only job has ended; his balances agree with it."""
    (entry,) = who.closed()
    assert not Job.objects.filter(pk=entry.pk).exists()
    used = used_by([(entry.kind, entry.legs)])
    rows = Balance.objects.filter(account=who.account)
    assert {row.pk: row.used for row in rows if row.used} == used
    assert not any(row.reserved for row in rows)
    return entry.state, entry.amount, entry.usage_source, entry.end_reason
