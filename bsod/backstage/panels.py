"""What the panels of the admin's first page show, each read where the rest of the product reads it.

A panel is plain values and links. None of them looks through the entries of the ledger.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Count, Min, Q
from django.urls import reverse

from accounts.models import Account, Ban
from bsod import poolview
from bsod.backstage.charts import Columns, columns
from bsod.drawing import milliseconds, number, percent
from bsod.lib import clock
from bsod.templatetags.look import waiting
from proxy import figures, stats
from proxy.donations.models import Donation, State
from proxy.figures import FAILED, GOOD, Counted, Tally
from proxy.hearsay import back_at
from proxy.histogram import quantile
from proxy.showing import Look
from proxy.snapshot import Snapshot
from proxy.stats import Step
from quotas import audit as ledger_audit
from quotas import heartbeat, overview, usage
from quotas.models import AuditRun
from quotas.overview import InFlight, Short

HOURS, DAYS = 24, 7
BUSIEST = 8
WELL, ENOUGH = 0.95, 20  # a share of success below which so many calls are not well
LATE = 3  # audits that have not been made
_DRIFTS = 5


def listed(model: str, **filters: object) -> str:
    """The list of a model in the admin, with only the rows that are meant."""
    address = reverse(f"admin:{model}_changelist")
    return f"{address}?{urlencode(filters)}" if filters else address


def lasting(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    return f"{seconds} s" if seconds < 120 else waiting(length)


def first_day(now: datetime, days: int = DAYS) -> datetime:
    """When the first of so many UTC days began, today being the last."""
    return stats.beginning(Step.DAY, now) - timedelta(days=days - 1)


# ---- traffic


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, drawn."""

    name: str
    requests: str
    answered: str
    failed: str
    p50: str
    p95: str
    ill: bool
    chart: Columns | None
    """None: there were no calls."""
    link: str
    failures: str


def traffic(now: datetime) -> list[Span]:
    last, first = stats.beginning(Step.HOUR, now), first_day(now)
    hours = [last - timedelta(hours=n) for n in reversed(range(HOURS))]
    days = [first + timedelta(days=n) for n in range(DAYS)]
    found = figures.over_time({Step.HOUR: hours[0], Step.DAY: days[0]})
    return [
        _span("24h", "24 hours", found[Step.HOUR], [(at, f"{at:%H:%M}") for at in hours], 6),
        _span("7d", "7 days", found[Step.DAY], [(at, f"{at:%d %b}") for at in days], 1),
    ]


def _span(
    window: str, name: str, rows: list[Counted], places: list[tuple[datetime, str]], ticks: int
) -> Span:
    whole, by_time = figures.tally(rows), figures.by(rows, lambda row: row.at)
    success, tried = whole.success, whole.of(GOOD) + whole.of(FAILED)
    drawn = [(words, by_time.get(at) or Tally()) for at, words in places]
    return Span(
        name, number(whole.requests), percent(success), number(whole.of(FAILED)),
        milliseconds(quantile(whole.latency, 0.5)), milliseconds(quantile(whole.latency, 0.95)),
        success is not None and success < WELL and tried >= ENOUGH,
        columns(drawn, ticks) if whole.requests else None,
        f"/status/?window={window}",
        listed("quotas_entry", end_reason__exact="upstream_error"),
    )  # fmt: skip


# ---- the pool


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    slug: str
    up: bool
    locked: bool
    """By an admin: then it is no news that it does not answer."""
    why: str
    """Why it does not answer, or why some of its keys do not."""
    back: str
    """When the next of them is tried again, where that is known."""
    keys: Sequence[tuple[str, int]]
    """How many are in which state; only of the states in which there are some."""
    donated: int
    link: str


def pool(now: datetime) -> list[ProviderHealth]:
    snapshot, ticks = poolview.current(), clock.monotonic()
    look = Look(snapshot, ticks, now.date())
    order = sorted(snapshot.slugs.items(), key=lambda item: item[1])
    return [_provider(snapshot, look, id_, ticks) for id_, _ in order]


def _provider(snapshot: Snapshot, look: Look, id_: int, ticks: float) -> ProviderHealth:
    state, keys = look.provider(id_), snapshot.keys.get(id_, [])
    own = {key.id for key in keys}
    rests = [
        rest
        for (provider, key, model), rest in snapshot.rests.items()
        if (provider == id_ or key in own) and not model and rest.holds(ticks)
    ]
    reasons = Counter(rest.reason.replace("_", " ") for rest in rests)
    said = ", ".join(f"{count} {word}" for word, count in sorted(reasons.items()))
    ends = [end for rest in rests if (end := back_at([rest], ticks)) is not None]
    counts = figures.key_states(snapshot, id_, ticks)
    return ProviderHealth(
        snapshot.slugs[id_], state.available, id_ in snapshot.locks,
        " · ".join(filter(None, [state.reason, said])),
        _next_try(min(ends) - ticks) if ends else "",
        [(word, counts[word]) for word in figures.KEY_STATES if counts[word]],
        sum(key.donated for key in keys),
        listed("proxy_providerkey", provider__id__exact=id_),
    )  # fmt: skip


def _next_try(seconds: float) -> str:
    return f"in {lasting(timedelta(seconds=seconds))}" if seconds >= 1 else "is due"


# ---- the ledger


@dataclass(frozen=True, slots=True)
class Flight:
    rows: Sequence[tuple[InFlight, str, str]]
    """Each with the age of its oldest, and the list of them."""
    calls: int
    jobs: int


def in_flight(now: datetime) -> Flight:
    rows, open_ones = overview.in_flight(), {"state__exact": "open"}
    return Flight(
        [(row, lasting(now - row.oldest), listed("quotas_entry", bucket=row.bucket, **open_ones))
         for row in rows],
        sum(row.calls for row in rows), sum(row.jobs for row in rows),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Audit:
    run: AuditRun | None
    ago: str
    asked: bool
    late: bool
    """The worker should have done it again by now."""
    drift: Sequence[tuple[dict[str, object], str]]
    """The first few, each with its balance."""

    @property
    def red(self) -> bool:
        return bool(self.run and self.run.drift)


def audit(now: datetime) -> Audit:
    found = overview.audited()
    run = found.run
    drift = run.drift[:_DRIFTS] if run else []
    return Audit(
        run, lasting(now - run.at) if run else "", found.asked,
        run is None or now - run.at > LATE * ledger_audit.EVERY,
        [(one, listed("quotas_balance", id__exact=one["balance"])) for one in drift],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shortfall:
    rows: Sequence[tuple[Short, str]]


def shortfall(now: datetime) -> Shortfall:
    first = clock.day_of(first_day(now))
    wanted = {"shortfall__gt": 0, "day__gte": first}
    return Shortfall(
        [(row, listed("quotas_entry", bucket=row.bucket, **wanted))
         for row in overview.shortfall(first)]
    )  # fmt: skip


# ---- people


@dataclass(frozen=True, slots=True)
class Waiting:
    count: int
    oldest: str
    link: str


def donations(now: datetime) -> Waiting:
    rows = Donation.objects.filter(state=State.PENDING, ended_at=None).order_by()
    found = rows.aggregate(count=Count("pk"), oldest=Min("created_at"))
    oldest = lasting(now - found["oldest"]) if found["oldest"] else ""
    return Waiting(
        found["count"], oldest, listed("donations_donation", state__exact=State.PENDING.value)
    )


@dataclass(frozen=True, slots=True)
class Busy:
    name: str
    calls: int
    tokens: int
    share: str
    """Of the busiest one's calls, in a hundred."""
    link: str


def busiest_users(since: datetime) -> list[Busy]:
    rows = usage.busiest(clock.day_of(since), BUSIEST)
    return _busy(
        (row.username, row.calls, row.tokens,
         reverse("admin:accounts_account_change", args=[row.account]))
        for row in rows
    )  # fmt: skip


def busiest_models(since: datetime) -> list[Busy]:
    rows = figures.busiest(Step.DAY, since, BUSIEST)
    return _busy((*row, listed("proxy_model", q=row.model)) for row in rows)


def _busy(rows: Iterable[tuple[str, int, int, str]]) -> list[Busy]:
    known = list(rows)
    most = max((calls for _, calls, *_ in known), default=0) or 1
    return [
        Busy(name, calls, tokens, f"{100 * calls / most:.1f}", link)
        for name, calls, tokens, link in known
    ]


@dataclass(frozen=True, slots=True)
class Users:
    count: int
    new: int
    """Of the last seven days."""
    link: str


def users(now: datetime) -> Users:
    new = Count("pk", filter=Q(date_joined__gte=now - timedelta(days=DAYS)))
    found = Account.objects.filter(deleted_at=None).aggregate(count=Count("pk"), new=new)
    return Users(found["count"], found["new"], listed("accounts_account"))


@dataclass(frozen=True, slots=True)
class Bans:
    count: int
    link: str


def bans(now: datetime) -> Bans:
    standing = Ban.objects.filter(Q(until=None) | Q(until__gt=now), lifted_at=None)
    return Bans(standing.count(), listed("accounts_ban"))


# ---- what runs


@dataclass(frozen=True, slots=True)
class Running:
    seen: str
    """How long ago the worker was; "": never."""
    late: bool
    processes: int
    link: str


def running(now: datetime) -> Running:
    seen, processes = overview.alive()
    return Running(
        lasting(now - seen) if seen else "", heartbeat.late(seen, now), processes,
        listed("quotas_process"),
    )  # fmt: skip
