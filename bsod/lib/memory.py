"""Memory a busy while has left behind, given back to the system once there is quiet.

The C library keeps what large bodies leave between small objects: tens of megabytes in each
worker, until somebody asks it to let go.
"""

import ctypes
from collections.abc import Callable

_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone


class Quiet:
    """Looks at a counter of work now and then; the first look at which it stands still trims."""

    def __init__(self) -> None:
        self._seen = -1
        self._trimmed = False

    def look(self, work: int) -> bool:
        """Whether memory was given back. A few milliseconds, without the interpreter's lock."""
        if work != self._seen:
            self._seen, self._trimmed = work, False
            return False
        if self._trimmed or _trim is None:
            return False
        self._trimmed = True
        _trim(0)
        return True
