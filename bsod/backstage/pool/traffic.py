"""What each provider key has been used for lately, from the ledger's entries.

There is no index by key, which every call would pay for: the newest entries are read, so many at
most, in one statement for all keys, and its answer is kept for a minute.
"""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Q

from bsod.lib import clock, ids
from bsod.lib.terms import EndReason, EntryKind
from quotas.models import Entry

WINDOW = timedelta(hours=24)
MOST = 100_000
"""Entries that are looked at: more calls than that, and it is the newest of them."""
_KEPT = 60.0


class Used(NamedTuple):
    calls: int
    failed: int

    @property
    def told(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.calls:,}{failed}"


_lock = threading.Lock()
_known: tuple[float, Mapping[int, Used]] = (float("-inf"), {})


def by_key() -> Mapping[int, Used]:
    """Calls of the last 24 hours by the key that served them last."""
    global _known
    with _lock:
        made, found = _known
        if clock.monotonic() - made > _KEPT:
            found = read(clock.now())
            _known = (clock.monotonic(), found)
        return found


def read(now: datetime) -> Mapping[int, Used]:
    first = ids.first(now - WINDOW)
    newest = Entry.objects.filter(id__gte=first).order_by("-id").values_list("id", flat=True)
    edge = next(iter(newest[MOST : MOST + 1]), first)
    rows = Entry.objects.filter(id__gte=edge, kind=EntryKind.CALL, provider_key__isnull=False)
    bad = Q(end_reason__in=(EndReason.UPSTREAM_ERROR, EndReason.TIMEOUT, EndReason.CRASHED))
    counted = (
        rows.order_by()
        .values("provider_key")
        .annotate(calls=Count("pk"), failed=Count("pk", filter=bad))
    )
    return {row["provider_key"] or 0: Used(row["calls"], row["failed"]) for row in counted}
