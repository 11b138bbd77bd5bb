"""Identifiers we make: ULIDs, which sort by the moment they were made."""

import os
import time
from collections import deque
from datetime import datetime

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]
_EACH = 10
_drawn: deque[bytes] = deque()
# A child must not repeat what its parent drew before the fork.
os.register_at_fork(after_in_child=_drawn.clear)


def ulid() -> str:
    """26 characters: 48 bits of milliseconds since 1970, then 80 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(_ten_bytes(), "big")
    return _spelt(value)


def _spelt(value: int) -> str:
    # Thirteen pairs of five-bit digits: half the steps of a digit-by-digit loop.
    return "".join([_PAIRS[value >> shift & 0x3FF] for shift in range(120, -1, -10)])


def _ten_bytes() -> bytes:
    """From the system's generator, drawn in blocks: a system call for each id is dear.

    `pop` is atomic, so two threads never get the same piece.
    """
    try:
        return _drawn.pop()
    except IndexError:
        block = os.urandom(_EACH * 256)
        _drawn.extend(block[at : at + _EACH] for at in range(0, len(block), _EACH))
        return os.urandom(_EACH)


def first(moment: datetime) -> str:
    """What sorts before every id made at this moment or later, and after all others."""
    return _spelt(max(0, int(moment.timestamp() * 1000)) << 80)
