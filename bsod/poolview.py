"""The pool as the database has it now, for pages: read by one of them for all, and not at all where
the gateway's own pool has read it already, nor the reverse.
"""

import threading

from django.db import connection

from proxy.models import PoolState
from proxy.pool import Snapshot
from proxy.snapshot import Readings, readings

_lock = threading.Lock()


def generation() -> int:
    """What grows with every change of the pool: one small statement."""
    return PoolState.objects.values_list("generation", flat=True).get(id=1)


def current() -> Snapshot:
    """One small statement, more only when the pool has changed and nobody has read it yet."""
    with _lock:
        # What a transaction sees of its own may never come to be: it is not for the others.
        mine = Readings() if connection.in_atomic_block else readings
        return mine.at(generation())
