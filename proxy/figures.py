"""What the counters say: requests, success, latency, of a window, by whatever is asked.

`/status/`, `/status/raw/`, `/health/` and `/metrics` all read here. A call that failed is one whose
fault was ours or a provider's: a client's own mistakes and departures are neither success nor
failure. Latencies are those of answered calls.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, TypeVar

from django.db.models import Q, Sum

from bsod.lib.terms import RestReason
from proxy import stats
from proxy.histogram import BUCKETS, names, quantile
from proxy.models import Busy, Stat
from proxy.pool import Snapshot
from proxy.routes import ROUTES
from proxy.stats import COLUMNS, FIRST, LATENCY, Key, Step

Named = TypeVar("Named")
GOOD = {"2xx", "3xx"}
FAILED = {"5xx", stats.CUT}
# Asked by machines every few seconds, or no call at all: they would drown the others.
ASIDE = {stats.LEDGER} | {
    stats.name_of(route.method, route.path) for route in ROUTES if route.group == "monitoring"
}

_NOTHING, _NO_TIMES = [0] * (LATENCY - 1), [0] * BUCKETS


class Window(NamedTuple):
    """A stretch of time up to now, and the rows that make it up."""

    name: str
    length: timedelta
    step: Step


WINDOWS = {
    window.name: window
    for window in (
        Window("1h", timedelta(hours=1), Step.MINUTE),
        Window("24h", timedelta(hours=24), Step.HOUR),
        Window("7d", timedelta(days=7), Step.HOUR),
    )
}


class Counted(NamedTuple):
    """A row as it was read, or the sum of many."""

    at: datetime | None
    key: Key
    cell: Sequence[int]


@dataclass(slots=True)
class Tally:
    """Numbers added up."""

    by_status: Counter[str] = field(default_factory=Counter)
    latency: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    first: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    attempts: int = 0
    prompt: int = 0
    completion: int = 0

    def add(self, status: str, cell: Sequence[int]) -> None:
        self.by_status[status] += cell[0]
        self.attempts += cell[1]
        self.prompt += cell[2]
        self.completion += cell[3]
        if status in GOOD:
            for number in range(BUCKETS):
                self.latency[number] += cell[LATENCY + number]
                self.first[number] += cell[FIRST + number]

    @property
    def requests(self) -> int:
        return self.by_status.total()

    def of(self, kinds: Iterable[str]) -> int:
        return sum(self.by_status[kind] for kind in kinds)

    @property
    def success(self) -> float | None:
        """The share of calls answered among those that could have been; None: there were none."""
        good, failed = self.of(GOOD), self.of(FAILED)
        return good / (good + failed) if good + failed else None


def counted(step: Step, since: datetime) -> list[Counted]:
    """All rows of a step from some moment on."""
    rows = Stat.objects.filter(step=step, at__gte=since)
    found = rows.values_list("at", *Key._fields, *COLUMNS)
    return [Counted(row[0], Key(*row[1:5]), row[5:]) for row in found.iterator()]


def summed(step: Step, since: datetime) -> list[Counted]:
    """The same, added up over time by the database."""
    rows = Stat.objects.filter(step=step, at__gte=since).order_by()
    sums = {f"sum_{name}": Sum(name) for name in COLUMNS}
    found = rows.values(*Key._fields).annotate(**sums)
    return [Counted(None, Key(*row[:4]), row[4:]) for row in found.values_list(*Key._fields, *sums)]


def over_time(since: Mapping[Step, datetime]) -> dict[Step, list[Counted]]:
    """How many calls there were in each hour, day and so on from some moment, by how they ended,
    and how long they took; without what is asked by machines. One statement, few rows."""
    wanted = reduce(or_, (Q(step=step, at__gte=at) for step, at in since.items()))
    rows = Stat.objects.filter(wanted).exclude(route__in=ASIDE).order_by()
    sums = {f"sum_{name}": Sum(name) for name in ("count", *names("latency"))}
    found: dict[Step, list[Counted]] = {step: [] for step in since}
    grouped = rows.values("step", "at", "status").annotate(**sums)
    for step, at, status, count, *latency in grouped.values_list("step", "at", "status", *sums):
        cell = [count, *_NOTHING, *latency, *_NO_TIMES]
        found[Step(step)].append(Counted(at, Key("", "", "", status), cell))
    return found


def ended(
    step: Step, since: datetime, *names: str, **only: Any
) -> dict[Any, dict[datetime, Tally]]:
    """How calls ended in each hour or day from some moment on, by what `names` say of them; of
    their numbers nothing but how many there were."""
    rows = Stat.objects.filter(step=step, at__gte=since, **only).order_by()
    found: dict[Any, dict[datetime, Tally]] = {}
    for *of, at, status, count in rows.values_list(*names, "at", "status").annotate(Sum("count")):
        times = found.setdefault(tuple(of), {})
        one = times.get(at) or times.setdefault(at, Tally())
        one.by_status[status] += count
    return found


class Asked(NamedTuple):
    """What a model was asked for."""

    model: str
    calls: int
    tokens: int


def busiest(step: Step, since: datetime, most: int) -> list[Asked]:
    """The models with most calls from some moment on."""
    rows = Stat.objects.filter(step=step, at__gte=since).exclude(model="")
    tokens = Sum("prompt") + Sum("completion")
    found = rows.order_by().values("model").annotate(calls=Sum("count"), tokens=tokens)
    return [Asked(**row) for row in found.order_by("-calls", "model")[:most]]


def of_window(window: Window, now: datetime) -> list[Counted]:
    """What was counted in a window, in whole minutes or hours, the current one included."""
    unit = timedelta(minutes=1) if window.step is Step.MINUTE else timedelta(hours=1)
    since = stats.beginning(window.step, now - window.length + unit)
    return summed(window.step, since)


def tally(rows: Iterable[Counted]) -> Tally:
    whole = Tally()
    for row in rows:
        whole.add(row.key.status, row.cell)
    return whole


def by(rows: Iterable[Counted], name: Callable[[Counted], Named]) -> dict[Named, Tally]:
    """Tallies by whatever a row is of."""
    found: dict[Named, Tally] = {}
    for row in rows:
        found.setdefault(name(row), Tally()).add(row.key.status, row.cell)
    return found


def calls(rows: Iterable[Counted]) -> list[Counted]:
    """Without what is asked by machines."""
    return [row for row in rows if row.key.route not in ASIDE]


# ---- as it is told


def told(one: Tally) -> dict[str, Any]:
    """A tally as JSON: shares of one, seconds."""
    requests = one.requests
    return {
        "requests": requests,
        "success_rate": _share(one.success),
        "error_rate": None if one.success is None else _share(1 - one.success),
        "statuses": dict(sorted(one.by_status.items())),
        "shares": {kind: _share(n / requests) for kind, n in sorted(one.by_status.items()) if n},
        "latency_seconds": percentiles(one.latency),
        "first_byte_seconds": percentiles(one.first),
        "attempts": one.attempts,
        "prompt_tokens": one.prompt,
        "completion_tokens": one.completion,
    }


def percentiles(counts: Sequence[int]) -> dict[str, float | None]:
    found = {f"p{share}": quantile(counts, share / 100) for share in (50, 95, 99)}
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


# ---- what is now


def open_now(now: datetime) -> tuple[int, int]:
    """Calls and streams that are open in all processes together."""
    fresh = Busy.objects.filter(seen_at__gte=now - stats.VOID_AFTER)
    found = fresh.aggregate(calls=Sum("calls"), streams=Sum("streams"))
    return found["calls"] or 0, found["streams"] or 0


KEY_STATES = ("live", "limited", "resting", "disabled", "new")
_STATES = {
    RestReason.RATE_LIMIT: "limited",
    RestReason.AUTH: "disabled",
    RestReason.BILLING: "disabled",
    RestReason.OFF: "disabled",
    RestReason.NEW: "new",
}


def state_of(reason: str) -> str:
    """What a key is called that rests for this."""
    return _STATES.get(RestReason(reason), "resting")


def key_states(snapshot: Snapshot, provider: int, now: float) -> Mapping[str, int]:
    """How many keys of a provider are in which state."""
    found = Counter(dict.fromkeys(KEY_STATES, 0))
    whole = snapshot.rests.get((provider, None, ""))
    for key in snapshot.keys.get(provider, ()):
        rests = [whole, snapshot.rests.get((None, key.id, ""))]
        reasons = [rest.reason for rest in rests if rest and rest.holds(now)]
        states = [state_of(reason) for reason in reasons]
        found[max(states, key=KEY_STATES.index, default="live")] += 1
    return found
