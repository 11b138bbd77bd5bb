"""What the status page draws: numbers as people read them, bars and lines as SVG has them.

No data is said as such: a bar is a stub, a number a dash, a line has a gap.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.dateformat import format as formatted
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from proxy import figures
from proxy.figures import Counted, Tally
from proxy.histogram import quantile

SLOW, BAD = 0.99, 0.5  # shares of success below which a bar is amber, and red
THIN = "\u2009"


def moment(when: datetime) -> str:
    return f"{formatted(when, 'j M, H:i')} UTC"


def number(value: int) -> str:
    return f"{value:,}".replace(",", THIN)


def percent(share: float | None) -> str:
    if share is None:
        return "–"
    # Not rounded up: 100 % means all.
    text = f"{int(share * 1e4) / 100:.2f}" if 0.99 <= share < 1 else f"{share * 100:.1f}"
    return _decimal(text.removesuffix(".0")) + THIN + "%"


def milliseconds(seconds: float | None) -> str:
    """Three figures at most: a bucket knows no more."""
    if seconds is None:
        return "–"
    value = seconds * 1000
    if value < 10:
        return _decimal(f"{value:.1f}") + THIN + "ms"
    return number(round(value, -1 if value >= 100 else 0).__int__()) + THIN + "ms"


def _decimal(text: str) -> str:
    return text.replace(".", ",") if get_language() == "ru" else text


# ---- bars


@dataclass(frozen=True, slots=True)
class Bar:
    """One day or hour: where it stands, how high, which class, and what it says."""

    x: float
    y: float
    height: float
    look: str
    words: str
    when: str
    share: str


def bars(tallies: Sequence[tuple[str, Tally | None]], width: float, height: float) -> list[Bar]:
    """Side by side, `width` from one to the next. No data is a stub in the track's colour."""
    return [_bar(n * width, when, one, height) for n, (when, one) in enumerate(tallies)]


def _bar(x: float, when: str, one: Tally | None, most: float) -> Bar:
    share = one.success if one else None
    if share is None:
        return Bar(x, most * 0.8, most * 0.2, "none", f"{when}: {_('no calls')}", when, "–")
    look = "down" if share < BAD else "slow" if share < SLOW else "ok"
    # One that is not all well must be seen to be lower.
    high = most if look == "ok" else most * max(0.15, min(share, 0.75))
    said = percent(share)
    return Bar(x, most - high, high, look, f"{when}: {said}", when, said)


# ---- the chart of first bytes


@dataclass(frozen=True, slots=True)
class Chart:
    """Two lines over 24 hours, in a box of `WIDE` by `HIGH`, and the same as rows."""

    p50: Sequence[str]
    p95: Sequence[str]
    grid: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str]]
    rows: Sequence[tuple[str, str, str]]


WIDE, HIGH = 432.0, 108.0
_STEPS = (1, 2, 5)


def chart(day: Iterable[Counted], hours: Sequence[datetime]) -> Chart | None:
    """None: there was nothing to draw."""
    found = figures.by(day, lambda row: row.at)
    first = [found[at].first if at in found else [] for at in hours]
    half = [quantile(counts, 0.5) if counts else None for counts in first]
    most = [quantile(counts, 0.95) if counts else None for counts in first]
    known = [value for value in (*half, *most) if value is not None]
    if not known:
        return None
    top = _top(max(known))
    step = WIDE / (len(hours) - 1)
    every = [number for number in range(len(hours)) if number % 5 == 0]
    return Chart(
        _paths(half, top, step),
        _paths(most, top, step),
        [(HIGH - HIGH * n / 3, milliseconds(top * n / 3) if n else "0" + THIN + "ms")
         for n in range(4)],
        [(n * step, f"{hours[n]:%H:%M}") for n in every],
        [(f"{at:%H:%M}", milliseconds(a), milliseconds(b))
         for at, a, b in zip(hours, half, most, strict=True)],
    )  # fmt: skip


def _top(seconds: float) -> float:
    """The least round number of which three make a scale that holds it."""
    third, size = seconds / 3, 0.001
    while True:
        for step in _STEPS:
            if step * size >= third:
                return 3 * step * size
        size *= 10


def _paths(values: Sequence[float | None], top: float, step: float) -> list[str]:
    """A line for each stretch without a gap; an hour alone is a dot's length."""
    lines: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{number * step:.1f},{HIGH - HIGH * min(value / top, 1):.1f}")
    return [
        " ".join(line if len(line) > 1 else [line[0], f"{float(line[0].split(',')[0]) + 3:.1f},"
                                             f"{line[0].split(',')[1]}"])
        for line in lines
        if line
    ]  # fmt: skip
