"""Identifiers we make: ULIDs, which sort by the moment they were made."""

import os
import time

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]


def ulid() -> str:
    """26 characters: 48 bits of milliseconds since 1970, then 80 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    # Thirteen pairs of five-bit digits: half the steps of a digit-by-digit loop.
    return "".join([_PAIRS[value >> shift & 0x3FF] for shift in range(120, -1, -10)])
