"""Wall time for people and the ledger, monotonic time for waiting. Nothing else reads a clock."""

import time
from datetime import UTC, date, datetime, timedelta

monotonic = time.monotonic


def now() -> datetime:
    """The present moment, aware, UTC."""
    return datetime.now(UTC)


def day_of(moment: datetime) -> str:
    """The UTC date a moment belongs to, as `2026-11-21`."""
    return moment.astimezone(UTC).date().isoformat()


def end_of_day(day: str) -> datetime:
    """Midnight UTC at which the caps of `day` are replaced by the next day's."""
    start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    return start + timedelta(days=1)


def unix(moment: datetime) -> int:
    return int(moment.timestamp())
