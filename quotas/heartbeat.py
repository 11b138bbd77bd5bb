"""Does the worker live? It says when it has last done all of its chores; pages say what that means.

Without it nothing is probed, no job ends and no dead process is noticed by an idle gateway.
"""

from datetime import datetime, timedelta

from quotas.models import Worker

EVERY = 20.0  # seconds
LATE = timedelta(minutes=2)


def beat(now: datetime) -> None:
    Worker.objects.filter(id=1).update(beat_at=now)


def late(seen: datetime | None, now: datetime) -> bool:
    """Whether it has been silent for too long."""
    return seen is None or now - seen > LATE
