"""The end of what ends later: whoever sees it first closes the entry, once.

Either a reply that passes through the gateway shows the final state, or the worker asks the
provider for it. Both call `finish`, which in one transaction closes the entry, takes over the ids
that the end has made, and deletes the Job row: a second one finds no open entry. A job nobody saw
ending is closed by the ledger when its time is over (`quotas/processes.py`).
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import Error, connection
from django.db.models import Exists, F, OuterRef

from accounts.keys.identity import lock_accounts
from bsod.lib import clock, sql
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import EntryState, ObjectKind
from proxy import jobs, objects
from proxy.gateway import looking
from proxy.jobs import Ending
from proxy.models import Job
from proxy.providers.harvest import harvest
from quotas.models import Entry
from quotas.settling import End, settle

log = logging.getLogger("bsod.jobs")
_CLAIM = timedelta(minutes=2)  # a look that has not come back by then is somebody else's
_CLAIM_FILE = timedelta(minutes=15)  # the same for one that reads a batch's output
_TURN = 20.0  # seconds after which a turn takes up no more
_A_TURN = 500  # jobs
_AT_ONCE = 8


class Look(StrEnum):
    """What a look at the provider's object has shown."""

    ENDED = "ended"
    RUNNING = "running"
    UNSEEN = "unseen"


def finish(
    entry: str,
    kind: ObjectKind,
    seen: Mapping[str, Any] | Ending,
    shown: Mapping[str, Any] | None = None,
) -> bool:
    """Close a job's entry if what was seen of it is an end; whether this closed it.

    `seen` is the provider's object, or the end itself; then `shown` is the object it was read
    from. An end that needs a file read is left to the worker, who is told to hurry.
    """
    end = seen if isinstance(seen, Ending) else jobs.ending(kind, seen)
    if end is None:
        return False
    if end.needs:
        _hurry(entry)
        return False
    job = Job.objects.filter(pk=entry).first()
    if job is None:
        return False
    made = _made(job, shown if isinstance(seen, Ending) else seen)
    with exclusive("job"), sql.hot_cursor() as cursor:
        lock_accounts(cursor, [job.account_id])
        closed = settle(cursor, [_end(entry, end)])
        if made and closed and objects.record(cursor, made):
            log.error("a job's end names ids that are somebody else's; they stay his")
        Job.objects.filter(pk=entry).delete()
    return bool(closed)


def _hurry(entry: str) -> None:
    """Let the worker look at once, unless one is reading the output already."""
    now = clock.now()
    Job.objects.filter(pk=entry, next_at__lt=now + _CLAIM_FILE / 2).update(next_at=now)


def _end(entry: str, end: Ending) -> End:
    return End(
        entry, end.end_reason, end.due, end.prompt, end.completion, end.cached, end.source, end.tier
    )


def _made(job: Job, shown: Mapping[str, Any] | None) -> Sequence[objects.Made]:
    """What the end has made, for the job's account: output files, a fine-tuned model."""
    now = clock.now()
    return [
        objects.Made(
            job.account_id, job.provider_id, job.key_id, found.kind, found.id, found.data,
            None if found.lives is None else now + timedelta(seconds=found.lives),
        )
        for found in (harvest(None, shown) if shown else ())
    ]  # fmt: skip


def look(entry: str) -> Look:
    """Look at a job now, as before what it began is deleted or cancelled. One that has ended is
    closed, but for a batch whose output must be read: that is left to the worker."""
    job = Job.objects.select_related("provider", "key").filter(pk=entry).first()
    try:
        return Look.ENDED if job is None else _look(job)
    except looking.Away:
        return Look.UNSEEN


def look_below(key: int, path: str) -> None:
    """Look at all that was begun below a path, as below a thread that is to be deleted."""
    below = Job.objects.filter(key=key, path__startswith=f"{path}/")
    for entry in list(below.values_list("pk", flat=True)):
        look(entry)


def _look(job: Job, *, patient: bool = False) -> Look:
    """Ask the provider once; if `patient`, also for a batch's output. Raises looking.Away where
    that shows nothing."""
    kind = ObjectKind(job.kind)
    if job.key.deleted_at or job.provider.deleted_at:
        finish(job.pk, kind, jobs.nothing())
        return Look.ENDED
    try:
        shown = looking.state(job)
    except looking.Gone:
        finish(job.pk, kind, jobs.nothing())
        return Look.ENDED
    end = jobs.ending(kind, shown)
    if end is None:
        return Look.RUNNING
    finish(job.pk, kind, _complete(job, end) if patient else end, shown)
    return Look.ENDED


def _complete(job: Job, end: Ending) -> Ending:
    """The end with the usage that only a batch's output states; what was reserved where it does
    not."""
    if not end.needs:
        return end
    Job.objects.filter(pk=job.pk).update(next_at=clock.now() + _CLAIM_FILE)
    used = looking.output_usage(job, end.needs)
    if used is None:
        return replace(end, needs=None)
    return jobs.stated(used, end.end_reason)


# ---- the worker


def poll_due(now: datetime) -> int:
    """Look at all jobs that are due; returns how many. Two workers never look at one."""
    due = Job.objects.filter(next_at__lte=now, expires_at__gt=now).order_by("next_at")
    turn = _Turn(list(due.select_related("provider", "key")[:_A_TURN]))
    threads = [
        threading.Thread(target=turn.work, name="jobs", daemon=True)
        for _ in range(min(_AT_ONCE, len(turn.waiting)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return turn.looked


class _Turn:
    """The jobs of one turn, looked at by a few threads: a slow provider holds up its own."""

    def __init__(self, due: list[Job]) -> None:
        self.waiting = due[::-1]
        self.looked = 0
        self._away: set[int] = set()
        """Providers that could not be reached in this turn."""
        self._ends = clock.monotonic() + _TURN
        self._lock = threading.Lock()

    def work(self) -> None:
        try:
            while job := self._next():
                self._do(job)
        except Error as error:
            log.error("jobs: the database is away (%s)", type(error).__name__)
        finally:
            connection.close()

    def _next(self) -> Job | None:
        with self._lock:
            return self.waiting.pop() if self.waiting and clock.monotonic() < self._ends else None

    def _do(self, job: Job) -> None:
        if not _claim(job):
            return
        with self._lock:
            self.looked += 1
            away = job.provider_id in self._away
        try:
            seen = Look.UNSEEN if away else _look(job, patient=True)
        except looking.Away as error:
            seen = Look.UNSEEN
            if error.unreachable:
                with self._lock:
                    self._away.add(job.provider_id)
        except Error:
            raise
        except Exception:
            log.exception("a job could not be looked at; it is tried again")
            seen = Look.UNSEEN
        if seen is not Look.ENDED:
            _put_off(job, failed=seen is Look.UNSEEN)


def _claim(job: Job) -> bool:
    own = Job.objects.filter(pk=job.pk, next_at=job.next_at)
    return own.update(next_at=clock.now() + _CLAIM, attempts=F("attempts") + 1) == 1


def _put_off(job: Job, *, failed: bool) -> None:
    at = jobs.next_look(ObjectKind(job.kind), job.attempts, clock.now(), failed=failed)
    Job.objects.filter(pk=job.pk).update(next_at=at)


def drop_expired(now: datetime) -> int:
    """Delete the rows of jobs whose entries the ledger has closed when their time was over."""
    still = Exists(Entry.objects.filter(pk=OuterRef("pk"), state=EntryState.OPEN))
    dropped, _ = Job.objects.filter(~still, expires_at__lte=now).delete()
    return dropped
