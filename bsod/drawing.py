"""What the status page draws: numbers as people read them, bars and lines as SVG has them.

No data is said as such: a bar is a stub, a number a dash, a line has a gap.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from django.utils.dateformat import format as formatted
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from proxy import figures, stats
from proxy.figures import FAILED, GOOD, Counted, Tally
from proxy.histogram import quantile
from proxy.stats import Step

SLOW, BAD = 0.99, 0.5  # shares of success below which a bar is amber, and red
THIN = "\u2009"
HOURS = 24
_SAID = 6  # hours with failures that are said of a day


def moment(when: datetime) -> str:
    return f"{date(when)}, {when:%H:%M} UTC"


def date(when: datetime) -> str:
    """A day and its month, as the language writes them."""
    return formatted(when, _("j M"))


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
        return _decimal(f"{value:.1f}") + THIN + _("ms")
    return number(round(value, -1 if value >= 100 else 0).__int__()) + THIN + _("ms")


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

    @property
    def drawn(self) -> SafeString:
        return _drawn(self.look, self.x, self.y, self.height, self.words)


@lru_cache(maxsize=8192)
def _drawn(look: str, x: float, y: float, height: float, words: str) -> SafeString:
    """Most days are like the same day of others."""
    return format_html(
        '<rect class="{}" x="{}" y="{}" width="4.6" height="{}" rx="1.5"><title>{}</title></rect>',
        look, f"{x:.1f}", f"{y:.1f}", f"{height:.1f}", words,
    )  # fmt: skip


def bars(tallies: Sequence[tuple[str, Tally | None]], width: float, height: float) -> list[Bar]:
    """Side by side, `width` from one to the next. No data is a stub in the track's colour."""
    nothing = _("no calls")
    return [_bar(n * width, when, one, height, nothing) for n, (when, one) in enumerate(tallies)]


def _bar(x: float, when: str, one: Tally | None, most: float, nothing: str) -> Bar:
    share = one.success if one else None
    look, part = level(share)
    said = percent(share) if share is not None else nothing
    shown = said if share is not None else "–"
    return Bar(x, most * (1 - part), most * part, look, f"{when}: {said}", when, shown)


def level(share: float | None) -> tuple[str, float]:
    """The class of a bar, and how much of its height it has."""
    if share is None:
        return "none", 0.2
    look = "down" if share < BAD else "slow" if share < SLOW else "ok"
    # One that is not all well must be seen to be lower.
    return look, 1.0 if look == "ok" else max(0.15, min(share, 0.75))


# ---- a day in little bars


def hours_to(now: datetime) -> list[datetime]:
    """The last 24 hours, the current one included."""
    last = stats.beginning(Step.HOUR, now)
    return [last - timedelta(hours=n) for n in reversed(range(HOURS))]


@dataclass(frozen=True, slots=True)
class Day:
    """24 bars in a box of 144 by 20, a path for each look, and the same in words."""

    paths: Sequence[tuple[str, str]]
    words: str


def day(hours: Sequence[datetime], known: Mapping[datetime, Tally]) -> Day:
    if not known:
        return Day(_day((None,) * len(hours)), _("no calls in 24 hours"))
    shares, good, tried = [], 0, 0
    for at in hours:
        one = known.get(at)
        well, badly = (one.of(GOOD), one.of(FAILED)) if one else (0, 0)
        good, tried = good + well, tried + well + badly
        shares.append(well / (well + badly) if well + badly else None)
    low = ((at, n) for at, n in zip(hours, shares, strict=True) if n is not None and n < SLOW)
    worst = [f"{at:%H:%M}: {percent(share)}" for at, share in islice(low, _SAID)]
    said = _("%(share)s answered in 24 hours") % {"share": percent(good / tried if tried else None)}
    return Day(_day(tuple(shares)), "; ".join([said, *worst]))


@lru_cache(maxsize=1024)
def _day(shares: tuple[float | None, ...]) -> list[tuple[str, str]]:
    """Most days are alike. A line around each bar rounds its corners."""
    found: dict[str, list[str]] = {}
    for number, share in enumerate(shares):
        look, part = level(share)
        top = 19.25 - 18.5 * part
        found.setdefault(look, []).append(f"M{number * 6 + 0.75} {top:.4g}h3.1V19.25h-3.1z")
    return [(look, "".join(bars)) for look, bars in found.items()]


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
        [(HIGH - HIGH * n / 3, milliseconds(top * n / 3) if n else "0" + THIN + _("ms"))
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
