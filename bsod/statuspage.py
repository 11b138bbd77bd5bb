"""The page of `/status/` for people: the same figures, drawn without a line of script.

Bars and lines are SVG with attributes and classes, for the policy allows no inline style; each has
a table beside it. What a bar says by its colour it says by its height too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, override

from bsod.drawing import (
    BAD,
    SLOW,
    THIN,
    Bar,
    bars,
    chart,
    date,
    hours_to,
    milliseconds,
    moment,
    number,
    percent,
)
from bsod.incidents import models as incidents
from bsod.incidents.models import Incident, State
from bsod.standing import Health, ProviderStanding, Standing
from proxy import figures, stats
from proxy.figures import FAILED, GOOD, WINDOWS, Counted, Tally
from proxy.histogram import quantile
from proxy.stats import Step

DAYS = 90
_MOST_ROUTES, _MOST_MODELS, _MOST_NOTES = 30, 50, 6
_NOTED = 20  # calls of an hour that are worth a note
_LATELY = timedelta(days=14)  # for which a note that is over is shown


# ---- what is on the page


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table: of a route, or of a model."""

    name: str
    requests: str
    answered: str
    p50: str
    p95: str
    bars: Sequence[Bar]
    words: str


@dataclass(frozen=True, slots=True)
class ProviderLine:
    slug: str
    up: bool
    reason: str
    answered: str
    bars: Sequence[Bar]
    words: str


@dataclass(frozen=True, slots=True)
class Note:
    """What was found by counting; with a title, what an admin has written."""

    look: str
    when: str
    words: str
    title: str = ""


def board(standing: Standing, window: str, language: str, now: datetime) -> SafeString:
    """What the page says, without what stands around it: that is each visitor's own."""
    with override(language):
        return render_to_string("monitoring/board.html", _context(standing, window, now))


def _context(standing: Standing, window: str, now: datetime) -> dict[str, Any]:
    hours = hours_to(now)
    day = figures.calls(figures.counted(Step.HOUR, hours[0]))
    chosen = figures.calls(figures.of_window(WINDOWS[window], now))
    whole = figures.tally(chosen)
    return {
        # Where there is nobody yet, nothing is down: the page says what to do.
        "face": _FACES[standing.state if standing.providers else Health.DEGRADED],
        "spoken": _spoken(standing),
        "headline": headline(standing),
        "detail": detail(standing),
        "checked": f"{now:%H:%M:%S}",
        "cards": _cards(standing, whole, chosen, window),
        "providers": _providers(standing, now),
        "chart": chart(day, hours),
        "notes": _notes(standing, day, now),
        "routes": _lines(chosen, day, hours, "route", _MOST_ROUTES),
        "models": _lines(chosen, day, hours, "model", _MOST_MODELS),
        "window": window,
        "windows": [(name, _WINDOWS[name]()) for name in WINDOWS],
    }


_WINDOWS = {"1h": lambda: _("1 hour"), "24h": lambda: _("24 hours"), "7d": lambda: _("7 days")}
_FACES = {
    Health.OK: ("good", "M20 9.5Q25.4 16 20 22.5"),
    Health.DEGRADED: ("so-so", "M21.5 9.5V22.5"),
    Health.DOWN: ("bad", "M23.5 9.5Q18.1 16 23.5 22.5"),
}


def _spoken(standing: Standing) -> str:
    if not standing.providers:
        return headline(standing)
    return {
        Health.OK: _("all systems answer"),
        Health.DEGRADED: _("some systems do not answer"),
        Health.DOWN: _("nothing answers"),
    }[standing.state]


def headline(standing: Standing) -> str:
    if not standing.providers:
        return _("There is no provider yet.")
    if standing.state is Health.OK:
        return _("Everything answers.")
    if standing.state is Health.DOWN:
        return (
            _("Most calls fail.")
            if any(p.up for p in standing.providers)
            else _("Nothing answers.")
        )
    out = standing.out
    if not out:
        return _("Mostly working. Some calls fail.")
    if len(out) == 1:
        return _("Mostly working. %(name)s is out.") % {"name": out[0].slug}
    return _("Mostly working. %(count)d providers are out.") % {"count": len(out)}


def detail(standing: Standing) -> str:
    every, up = len(standing.providers), len(standing.providers) - len(standing.out)
    if not every:
        return _("An admin adds one with its key.")
    said = [_out(one) for one in standing.out[:1] if len(standing.out) == 1]
    answer = ngettext(
        "%(up)d of %(every)d provider answers.", "%(up)d of %(every)d providers answer.", every
    )
    return " ".join([*said, answer % {"up": up, "every": every}])


def _out(one: ProviderStanding) -> str:
    """The reason and since when, as a sentence."""
    reason = (one.reason or "").rstrip(".")
    reason = reason[:1].upper() + reason[1:]
    if one.since is None:
        return f"{reason}."
    return _("%(reason)s, since %(since)s.") % {"reason": reason, "since": moment(one.since)}


def _cards(
    standing: Standing, whole: Tally, rows: Iterable[Counted], window: str
) -> list[tuple[str, str, str, str]]:
    """(name, number, unit, caption)"""
    failed = whole.of(FAILED)
    upstream = figures.tally(row for row in rows if row.key.provider).of(FAILED)
    tried = failed + whole.of(GOOD)
    shares = [percent(n / tried if tried else None) for n in (failed, upstream)]
    waiting = standing.models - standing.available
    calls = ngettext("%(n)s request", "%(n)s requests", whole.requests) % {
        "n": number(whole.requests)
    }
    return [
        (_("Answered"), *_unit(percent(whole.success)), f"{_WINDOWS[window]()}, {calls}"),
        (_("First byte, p50"), *_unit(milliseconds(quantile(whole.first, 0.5))),
         f"p95 {milliseconds(quantile(whole.first, 0.95))}"),
        (_("Models up"), number(standing.available), f"/ {number(standing.models)}",
         _("not answering now: %(n)s") % {"n": number(waiting)} if waiting else _("all of them")),
        (_("Errors"), *_unit(shares[0]), _("%(share)s at a provider") % {"share": shares[1]}),
    ]  # fmt: skip


def _unit(text: str) -> tuple[str, str]:
    """A number and its unit, which is drawn smaller."""
    value, _thin, unit = text.rpartition(THIN)
    return (value, unit) if unit in ("%", _("ms")) else (text, "")


def _providers(standing: Standing, now: datetime) -> list[ProviderLine]:
    first = stats.beginning(Step.DAY, now) - timedelta(days=DAYS - 1)
    days = [first + timedelta(days=n) for n in range(DAYS)]
    dates = [date(day) for day in days]
    found = figures.ended(Step.DAY, first, "provider")
    lines = []
    for one in standing.providers:
        known = found.get((one.slug,), {})
        whole = Tally()
        for tally in known.values():
            whole.by_status.update(tally.by_status)
        row = bars([(name, known.get(day)) for name, day in zip(dates, days, strict=True)], 6, 32)
        said = _("%(name)s: %(share)s answered in 90 days") % {
            "name": one.slug, "share": percent(whole.success)
        }  # fmt: skip
        lines.append(
            ProviderLine(one.slug, one.up, one.reason or "", percent(whole.success), row, said)
        )
    return lines


def _lines(
    rows: Iterable[Counted], day: Iterable[Counted], hours: Sequence[datetime], what: str, most: int
) -> list[Line]:
    """The busiest routes or models of a window, each with its last 24 hours."""
    found = figures.by(rows, lambda row: str(getattr(row.key, what)))
    by_hour = figures.by(day, lambda row: (getattr(row.key, what), row.at))
    order = sorted(found, key=lambda name: (-found[name].requests, name))
    return [
        _line(name, found[name], {at: by_hour.get((name, at)) for at in hours})
        for name in order[:most]
        if name
    ]


def _line(name: str, whole: Tally, hours: Mapping[datetime, Tally | None]) -> Line:
    row = bars([(f"{at:%H:%M}", one) for at, one in hours.items()], 6, 20)
    worst = [bar.words for bar in row if bar.look in ("slow", "down")]
    words = "; ".join(worst) or _("no hour with failures")
    return Line(
        name, number(whole.requests), percent(whole.success),
        milliseconds(quantile(whole.latency, 0.5)), milliseconds(quantile(whole.latency, 0.95)),
        row, words,
    )  # fmt: skip


# ---- notes


def _notes(standing: Standing, day: Iterable[Counted], now: datetime) -> list[Note]:
    """What an admin says is going on, who is out now, the hours in which many calls at a provider
    failed, and what an admin says is over."""
    notes = [
        Note("down", moment(one.since) if one.since else _("now"),
             f"{one.slug}: {one.reason}")
        for one in standing.out
    ]  # fmt: skip
    hours = figures.by((row for row in day if row.key.provider), lambda r: (r.at, r.key.provider))
    for (at, provider), one in sorted(hours.items(), key=lambda item: str(item[0]), reverse=True):
        success, tried = one.success, one.of(GOOD) + one.of(FAILED)
        if at is not None and success is not None and tried >= _NOTED and success < SLOW:
            said = {"name": provider, "share": percent(1 - success)}
            words = _("%(name)s: %(share)s of calls failed in this hour.") % said
            notes.append(Note("down" if success < BAD else "slow", moment(at), words))
    told = incidents.recent(now, _LATELY, _MOST_NOTES)
    written = [(one.over, _written(one)) for one in told]
    first, last = ([note for over, note in written if over is ended] for ended in (False, True))
    return [*first, *notes, *last][:_MOST_NOTES]


_LOOKS = {State.LOOKING: "down", State.WATCHING: "slow"}


def _written(one: Incident) -> Note:
    until = f" – {moment(one.ended_at)}" if one.ended_at else ""
    about = [moment(one.began_at) + until, str(State(one.state).label)]
    if one.provider:
        about.append(one.provider.slug)
    return Note(_LOOKS.get(State(one.state), "none"), " · ".join(about), one.text, one.title)
