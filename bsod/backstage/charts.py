"""Columns of calls over time, as SVG has them: answered, refused, failed, one upon the other.

Attributes and classes only. What a column says by its colours it says in words too, and in the
table beside the chart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bsod.drawing import milliseconds, number, percent
from proxy.figures import FAILED, GOOD, Tally
from proxy.histogram import quantile

WIDE, HIGH = 480.0, 120.0
_LEAST = 2.0  # a failure must be seen, however many calls are beside it


@dataclass(frozen=True, slots=True)
class Part:
    look: str
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Column:
    x: str
    parts: Sequence[Part]
    words: str


@dataclass(frozen=True, slots=True)
class Columns:
    columns: Sequence[Column]
    width: str
    grid: Sequence[tuple[str, str]]
    ticks: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, ...]]
    """When, requests, failed, answered, p50, p95."""


def columns(tallies: Sequence[tuple[str, Tally]], ticks: int) -> Columns:
    """One for each stretch of time; every so many of them have their name below."""
    top = _top(max((one.requests for _, one in tallies), default=0))
    step = WIDE / len(tallies)
    halves = (0, top // 2, top) if top % 2 == 0 else (0, top)
    return Columns(
        [Column(_at(n * step), _parts(one, top), _words(when, one))
         for n, (when, one) in enumerate(tallies)],
        _at(step * 0.78),
        [(_at(HIGH - HIGH * value / top), number(value)) for value in halves],
        [(_at((n + 0.39) * step), when) for n, (when, _) in enumerate(tallies) if n % ticks == 0],
        [_row(when, one) for when, one in tallies],
    )  # fmt: skip


def _at(place: float) -> str:
    """A coordinate, the same in every language."""
    return f"{place:.1f}"


def _top(most: int) -> int:
    """The least round number that holds it."""
    size = 1
    while True:
        for step in (1, 2, 4, 6, 8):
            if step * size >= most:
                return step * size
        size *= 10


def _parts(one: Tally, top: int) -> list[Part]:
    good, failed = one.of(GOOD), one.of(FAILED)
    parts, base = [], HIGH
    for look, count in (("ok", good), ("refused", one.requests - good - failed), ("bad", failed)):
        if count:
            height = max(_LEAST, HIGH * count / top)
            base -= height
            parts.append(Part(look, _at(base), _at(height)))
    return parts


def _words(when: str, one: Tally) -> str:
    if not one.requests:
        return f"{when}: no calls"
    return f"{when}: {number(one.requests)} calls, {number(one.of(FAILED))} failed"


def _row(when: str, one: Tally) -> tuple[str, ...]:
    half, most = (quantile(one.latency, share) for share in (0.5, 0.95))
    return (
        when, number(one.requests), number(one.of(FAILED)), percent(one.success),
        milliseconds(half), milliseconds(most),
    )  # fmt: skip
