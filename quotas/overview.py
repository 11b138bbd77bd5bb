"""The ledger as a whole, for whoever runs the place: what is open, what was drawn short.

Both are read from the few rows they are about, by partial indexes, however many entries there are.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, IntegerField, Min, Subquery, Sum, Value

from bsod.lib.terms import EntryState
from quotas.models import AuditRun, Entry, Process, Worker

_NONE = Value(0, IntegerField())


class InFlight(NamedTuple):
    """Open entries of a bucket, and what they have reserved."""

    bucket: str
    calls: int
    """Held by a process that waits for the answer."""
    jobs: int
    """Begun at a provider, to end later."""
    units: int
    oldest: datetime

    def with_(self, other: "InFlight") -> "InFlight":
        return InFlight(
            self.bucket, self.calls + other.calls, self.jobs + other.jobs,
            self.units + other.units, min(self.oldest, other.oldest),
        )  # fmt: skip


class Short(NamedTuple):
    bucket: str
    calls: int
    units: int


@dataclass(frozen=True, slots=True)
class Audited:
    """The last time the ledger was added up, and whether it is about to be again."""

    run: AuditRun | None
    asked: bool


def in_flight() -> list[InFlight]:
    # Apart, for each has an index of its own: an open entry is a process's or has an end.
    calls = _open(process__isnull=False).annotate(calls=Count("pk"), jobs=_NONE)
    jobs = _open(process=None, expires_at__isnull=False).annotate(calls=_NONE, jobs=Count("pk"))
    ends = {"units": Sum("estimate"), "oldest": Min("created_at")}
    found: dict[str, InFlight] = {}
    for row in calls.annotate(**ends).union(jobs.annotate(**ends), all=True):
        known = found.get(row["bucket"])
        found[row["bucket"]] = InFlight(**row) if known is None else known.with_(InFlight(**row))
    return [found[bucket] for bucket in sorted(found)]


def _open(**which: object) -> Any:
    return Entry.objects.filter(state=EntryState.OPEN, **which).order_by().values("bucket")


def shortfall(first: str) -> list[Short]:
    """What calls since a day have used beyond what there was: never charged, so it is our loss."""
    rows = Entry.objects.filter(shortfall__gt=0, day__gte=first).order_by("bucket").values("bucket")
    return [Short(**row) for row in rows.annotate(calls=Count("pk"), units=Sum("shortfall"))]


def audited() -> Audited:
    asked = Worker.objects.filter(id=1).values("audit_asked_at")
    run = AuditRun.objects.annotate(asked=Subquery(asked[:1])).first()
    # Where there was none yet, the worker needs not be asked.
    return Audited(run, asked=bool(run and run.asked and run.at < run.asked))


def alive() -> tuple[datetime | None, int]:
    """When the worker has last done its chores, and how many processes answer calls."""
    seen = Worker.objects.filter(id=1).values_list("beat_at", flat=True).first()
    return seen, Process.objects.count()
