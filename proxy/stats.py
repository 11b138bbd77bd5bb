"""What is counted of calls: in memory as they end, in the database a few seconds later.

Its laws:

- A call costs a few additions to a list: no lock, no object, nothing that waits. Only the event
  loop counts, and only there is what was counted taken away to be written.
- It is added to the row of its minute, its hour, its day and all time in one transaction. Nothing
  is rolled up afterwards, so nothing is rolled up twice.
- While the database is away it is kept, up to `MOST_KEPT` rows of a minute; then the oldest go. A
  process that is killed takes with it what it has not written.
- Names come from the table of routes, the catalogue and the providers: what a client makes up is
  `other`, so that nobody can make rows. Nothing says whose a call was.
"""

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from django.db import DatabaseError, connection

from bsod.lib import clock, sql
from bsod.lib.groupcommit import exclusive
from bsod.lib.steps import step
from proxy.histogram import BOUNDS, BUCKETS, names
from proxy.models import Busy, Stat
from proxy.routes import ROUTES

log = logging.getLogger("bsod.stats")
MOST_KEPT = 20_000
OTHER = "other"
"""Of a route or a model that is none of ours."""
LEDGER = "ledger"
"""The route of the ledger's batches."""
VOID_AFTER = timedelta(seconds=30)  # what a process says of itself, when it says nothing more
COLUMNS = (
    "count", "attempts", "prompt", "completion", "latency", "first",
    *names("latency"), *names("first"),
)  # fmt: skip
WIDTH = len(COLUMNS)
LATENCY, FIRST = 6, 6 + BUCKETS  # where the two histograms begin
_ROWS = 8  # a statement
_KEYS = 15  # a transaction
_PURGED = 2_000  # rows a transaction

Cell = list[int]
"""The numbers of a row, as `COLUMNS` has them."""


class Key(NamedTuple):
    route: str
    provider: str
    model: str
    status: str


class Step(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    EVER = "ever"


LIVES = {
    Step.MINUTE: timedelta(days=2),
    Step.HOUR: timedelta(days=90),
    Step.DAY: timedelta(days=400),
}
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_FIELDS = ("step", "at", *Key._fields)


def beginning(step: Step, moment: datetime) -> datetime:
    """When the minute, hour or day of a moment began."""
    if step is Step.EVER:
        return _BEGINNING
    minute = moment.replace(second=0, microsecond=0)
    if step is Step.MINUTE:
        return minute
    hour = minute.replace(minute=0)
    return hour if step is Step.HOUR else hour.replace(hour=0)


def name_of(method: str, path: str) -> str:
    return f"{method} {path}"


# A row's own hash would cost more than all the rest: rows are constants, so are their places.
_NAMES = {id(route): name_of(route.method, route.path) for route in ROUTES}
_APART = {401, 404, 429}  # codes of which an operator wants to know how many there are
_CLASSES = {n: str(n) if n in _APART else f"{n // 100}xx" for n in range(100, 600)}
CUT, GONE = "cut", "gone"
"""A stream that ended in an error event; a client who left before anything was said."""


def route_name(route: Any) -> str:
    return _NAMES.get(id(route), OTHER)


def status_class(status: int) -> str:
    return _CLASSES.get(status, GONE)


class Counters:
    """One process's numbers since they were last taken away. For its event loop alone."""

    def __init__(self) -> None:
        self._cells: dict[Key | tuple[str, str, str, str], Cell] = {}
        self._since = clock.now()
        self.calls = self.streams = 0

    def add(
        self,
        key: Key | tuple[str, str, str, str],
        seconds: float,
        attempts: int = 0,
        prompt: int = 0,
        completion: int = 0,
        first: float | None = None,
    ) -> None:
        """A call has ended."""
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = [0] * WIDTH
        cell[0] += 1
        cell[1] += attempts
        cell[2] += prompt
        cell[3] += completion
        cell[4] += int(seconds * 1e6)
        cell[LATENCY + bisect_left(BOUNDS, seconds)] += 1
        if first is not None:
            cell[5] += int(first * 1e6)
            cell[FIRST + bisect_left(BOUNDS, first)] += 1

    def take(self) -> "Taken":
        """What there is, which begins anew; it is of the minute in which it began."""
        taken = Taken(self._since, self._cells, self.calls, self.streams)
        self._cells, self._since = {}, clock.now()
        return taken


@dataclass(frozen=True, slots=True)
class Taken:
    since: datetime
    cells: Mapping[Any, Cell]
    calls: int = 0
    streams: int = 0


@dataclass(slots=True)
class Writer:
    """Adds what was taken to the database. For one thread at a time, and never the event loop."""

    process: str
    batches: "deque[tuple[int, float]]" = field(default_factory=deque)
    """Operations and seconds of the ledger's batches; its thread puts them here."""
    _kept: dict[tuple[datetime, Key], Cell] = field(default_factory=dict)
    _busy: bool = False
    _away: bool = False

    def write(self, taken: Taken) -> None:
        """Add it, and whatever was kept. What cannot be written now is kept."""
        self._keep(taken)
        self._keep(Taken(taken.since, self._of_the_ledger()))
        busy = bool(taken.calls or taken.streams)
        try:
            while self._kept:
                some = [*self._kept][:_KEYS]
                add({place: self._kept[place] for place in some})
                for place in some:
                    del self._kept[place]
            if busy or self._busy:
                self._say(taken)
            self._busy, self._away = busy, False
        except DatabaseError as error:
            self._lost(error)
        finally:
            connection.close()

    def leave(self) -> None:
        """The process ends in order: it has nothing open any more."""
        try:
            if self._busy:
                Busy.objects.filter(process=self.process).delete()
        except DatabaseError as error:
            self._lost(error)
        finally:
            connection.close()

    def _say(self, taken: Taken) -> None:
        said = {"calls": taken.calls, "streams": taken.streams, "seen_at": clock.now()}
        Busy.objects.update_or_create(defaults=said, process=self.process)

    def _of_the_ledger(self) -> dict[Key, Cell]:
        counted = Counters()
        while self.batches:
            size, seconds = self.batches.popleft()
            least = 1 << (size - 1).bit_length()
            counted.add(Key(LEDGER, "", "", str(least)), seconds, size)
        return {Key(*key): cell for key, cell in counted.take().cells.items()}

    def _keep(self, taken: Taken) -> None:
        minute = beginning(Step.MINUTE, taken.since)
        for key, cell in taken.cells.items():
            _sum_up(self._kept, (minute, Key(*key)), cell)
        if len(self._kept) > MOST_KEPT:
            for place in [*self._kept][: len(self._kept) - MOST_KEPT]:
                del self._kept[place]

    def _lost(self, error: Exception) -> None:
        if not self._away:
            log.warning("statistics wait for the database: %s", type(error).__name__)
        self._away = True


def _sum_up(cells: dict[Any, Cell], key: Any, more: Sequence[int]) -> None:
    known = cells.get(key)
    cells[key] = [*more] if known is None else [a + b for a, b in zip(known, more, strict=True)]


@step("statistics")
def add(cells: Mapping[tuple[datetime, Key], Cell]) -> None:
    """Add numbers of minutes to their rows. DatabaseError: none has been added."""
    rows: dict[tuple[Any, ...], Cell] = {}
    for (minute, key), cell in cells.items():
        for kind in Step:
            _sum_up(rows, (kind, beginning(kind, minute), key), cell)
    # In one order everywhere, or two processes wait for each other.
    places = sorted(rows)
    with exclusive("statistics"), connection.cursor() as cursor:
        for number in range(0, len(places), _ROWS):
            some = places[number : number + _ROWS]
            named = [(str(s), sql.stamp(at), *key) for s, at, key in some]
            cursor.execute(_upsert([rows[place] for place in some]), sql.flat(named))


def _upsert(cells: Sequence[Cell]) -> str:
    """A statement that adds rows of numbers to what there is of them. Only columns in which there
    is something are named, for most are empty; numbers are written out, they need no quotes."""
    used = [n for n in range(WIDTH) if any(cell[n] for cell in cells)]
    own = {n: sql.bare(Stat, COLUMNS[n]) for n in used}
    same = ", ".join(sql.bare(Stat, name) for name in _FIELDS)
    places = sql.marks(_FIELDS)
    rows = ", ".join(f"({places}, {', '.join(str(cell[n]) for n in used)})" for cell in cells)
    sums = ", ".join(f"{own[n]} = {sql.column(Stat, COLUMNS[n])} + excluded.{own[n]}" for n in used)
    return (
        f"INSERT INTO {sql.table(Stat)} ({same}, {', '.join(own.values())}) VALUES {rows} "
        f"ON CONFLICT ({same}) DO UPDATE SET {sums}"
    )


def purge(now: datetime) -> int:
    """Drop the rows that are past their time, some at once; returns how many."""
    gone = 0
    for kind, lives in LIVES.items():
        old = Stat.objects.filter(step=kind, at__lt=now - lives).order_by("at")
        while ids := list(old.values_list("id", flat=True)[:_PURGED]):
            with exclusive("old statistics"):
                gone += Stat.objects.filter(id__in=ids).delete()[0]
    Busy.objects.filter(seen_at__lt=now - timedelta(hours=1)).delete()
    return gone
