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
_BACKSLASH = ord("\\")


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
        same = orjson.dumps(value) == raw.strip()
        if not same:
            json.loads(raw, object_pairs_hook=_pairs)
    except _Twice as twice:
        raise ApiError(Code.INVALID_JSON, f"The key {twice.args[0]!r} appears twice.") from None
    except (ValueError, RecursionError, TypeError):
        raise ApiError(Code.INVALID_JSON, "The body is not valid JSON.") from None
    return value


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
    count = here = 0
    while count <= MOST_VALUES:
        quote = raw.find(b'"', here)
        end = quote if quote >= 0 else len(raw)
        count += sum(raw.count(mark, here, end) for mark in _MARKS)
        if quote < 0:
            break
        here = _string_end(raw, quote)
    return count > MOST_VALUES


def _string_end(raw: bytes, quote: int) -> int:
    """Where the string that `quote` opens is over."""
    while (quote := raw.find(b'"', quote + 1)) >= 0:
        first = quote
        while raw[first - 1] == _BACKSLASH:
            first -= 1
        if (quote - first) % 2 == 0:
            return quote + 1
    return len(raw)
