"""The pool as the database has it now, for pages: one snapshot for all threads of a process.

The gateway's own is its event loop's; this one is read when somebody looks.
"""

import threading

from proxy.models import PoolState
from proxy.pool import Pool, Snapshot

_pool, _lock = Pool(), threading.Lock()


def generation() -> int:
    """What grows with every change of the pool: one small statement."""
    return PoolState.objects.values_list("generation", flat=True).get(id=1)


def current() -> Snapshot:
    """One small statement, more only when the pool has changed."""
    with _lock:
        _pool.refresh(generation())
        return _pool.snapshot
