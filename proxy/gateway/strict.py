"""JSON read strictly: what two readers could understand differently, nobody reads.

No duplicate keys, NaN, lone surrogates or endless depth; and not so many values that the objects
made of them would take twenty times the memory of the text.
"""

import json
from typing import Any

import orjson

from proxy.errors import ApiError, Code

MOST_VALUES = 300_000
_SMALL = 1_000_000  # bytes that cannot hold enough values to matter
_MARKS = (b",", b"{", b"[")  # each value of a JSON text but the first stands behind one


def strict(raw: bytes) -> Any:
    """The value of a JSON text. ApiError 400 or 413.

    orjson refuses all that is not strict but duplicate keys. A text it writes back byte for byte
    has none; any other is read once more by a slower parser that sees them.
    """
    if len(raw) > _SMALL and _crowded(raw):
        raise ApiError(
            Code.REQUEST_TOO_LARGE, f"The body holds more than {MOST_VALUES} JSON values."
        )
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value) == raw.strip():
            return value
        # A large text is in memory beside one other form of it, not beside two.
        del value
        json.loads(raw, object_pairs_hook=_pairs)
        return orjson.loads(raw)
    except _Twice as twice:
        raise ApiError(Code.INVALID_JSON, f"The key {twice.args[0]!r} appears twice.") from None
    except (ValueError, RecursionError, TypeError):
        raise ApiError(Code.INVALID_JSON, "The body is not valid JSON.") from None


class _Twice(Exception):
    """A key that an object has twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise _Twice(name[:64])
        names.add(name)


def _crowded(raw: bytes) -> bool:
    """Whether there are more than MOST_VALUES marks outside of strings."""
    if sum(map(raw.count, _MARKS)) <= MOST_VALUES:
        return False
    # Without its escaped quotes every quote begins or ends a string.
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    count = start = 0
    while start >= 0 and count <= MOST_VALUES:
        quote = bare.find(b'"', start)
        end = len(bare) if quote < 0 else quote
        count += sum(bare.count(mark, start, end) for mark in _MARKS)
        start = _after(bare, quote)
    return count > MOST_VALUES


def _after(bare: bytes, quote: int) -> int:
    """Where the string is over that begins at `quote`; -1: there is no more."""
    last = bare.find(b'"', quote + 1) if quote >= 0 else -1
    return last + 1 if last >= 0 else -1
