"""Donations as their donors see them: state, timeline, use by day, and what there is to gain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import Account, Plan
from bsod.console.keyrows import DAYS, Bars, bars, days_to
from bsod.console.quota import LOOKS, Look, Meter, standing_of
from bsod.lib import clock
from proxy.donations.models import Donation, DonationEvent, Happened
from proxy.models import KeyDay

_CALLS = Look(_("Calls"), "bar_chart", "")
# What a line of the timeline says, and its icon.
WORDS: dict[str, tuple[str | Promise, str]] = {
    Happened.SUBMITTED: (pgettext_lazy("donation", "Submitted"), "send"),
    Happened.CHECKED: (pgettext_lazy("donation", "Checked: it works"), "search"),
    Happened.APPROVED: (pgettext_lazy("donation", "Approved: it is in the pool"), "check"),
    Happened.REJECTED: (pgettext_lazy("donation", "Rejected"), "block"),
    Happened.WITHDRAWN: (pgettext_lazy("donation", "Withdrawn: it is wiped"), "delete"),
    Happened.DEAD: (pgettext_lazy("donation", "It stopped working"), "error"),
    Happened.REVIVED: (pgettext_lazy("donation", "It works again"), "refresh"),
    Happened.PAUSED: (pgettext_lazy("donation", "Paused"), "stop"),
    Happened.RESUMED: (pgettext_lazy("donation", "Resumed"), "play_arrow"),
    Happened.CHANGED: (pgettext_lazy("donation", "Limits changed"), "tune"),
}
_BAD = {Happened.REJECTED, Happened.DEAD}
_TOLD = {*_BAD, Happened.WITHDRAWN}  # with a reason, where there is one


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened to a donation."""

    at: datetime
    words: str | Promise
    icon: str
    text: str
    bad: bool


def timeline(donation: Donation) -> list[Line]:
    """Newest first."""
    return [_line(event) for event in donation.events.order_by("-id")]


def _line(event: DonationEvent) -> Line:
    words, icon = WORDS.get(event.what, (event.what, "info"))
    text = event.text if event.what in _TOLD else ""
    return Line(event.at, words, icon, text, event.what in _BAD)


# ---- use


class Use(Bars):
    """Calls of a donated key, day by day."""

    @property
    def look(self) -> Look:
        return _CALLS


def used(donations: Sequence[Donation], since: str) -> dict[int, dict[str, int]]:
    """Calls by the donation's id and the day, as the pool has counted them for its caps."""
    keys = {one.provider_key_id: one for one in donations if one.provider_key_id}
    found: dict[int, dict[str, int]] = {one.pk: {} for one in donations}
    rows = KeyDay.objects.filter(key__in=keys, day__gte=since)
    for key, day, calls in rows.values_list("key", "day", "calls"):
        one = keys[key]
        # The row of a key that was donated before knows days that are not this donation's.
        if one.decided_at and clock.day_of(one.decided_at) <= day <= _last_day(one):
            found[one.pk][day] = calls
    return found


def _last_day(donation: Donation) -> str:
    return clock.day_of(donation.ended_at or clock.now())


def use(donation: Donation) -> dict[str, int]:
    """Calls of every day it was in the pool."""
    return used([donation], "")[donation.pk]


@dataclass(frozen=True, slots=True)
class Month:
    """Thirty days of one: drawn, and as a table, newest first."""

    drawn: Use
    today: int
    days: list[tuple[date, int]]

    def meter(self, cap: int | None) -> Meter:
        return Meter.of(self.today, 0, cap)


def month(donation: Donation, now: datetime) -> Month | None:
    """None: it was never in the pool."""
    if donation.provider_key_id is None:
        return None
    days = days_to(now.date(), DAYS)
    amounts = used([donation], days[0])[donation.pk]
    drawn = bars("", days, amounts)
    table = [(date.fromisoformat(day), amounts.get(day, 0)) for day in reversed(days)]
    return Month(Use("", drawn.bars, drawn.total), amounts.get(days[-1], 0), table)


def with_today(donations: Sequence[Donation], now: datetime) -> Sequence[Donation]:
    """The same, each with its calls of today as `today`."""
    day = clock.day_of(now)
    found = used(donations, day)
    for one in donations:
        one.today = found[one.pk].get(day, 0)  # type: ignore[attr-defined]  # for the list alone
    return donations


# ---- what there is to gain


@dataclass(frozen=True, slots=True)
class Gain:
    """The plan of donors beside one's own; `mine` is empty for a guest and where nothing rises."""

    plan: str
    mine: str
    same: bool
    better: bool
    rows: list[tuple[str, Any, int, int]]
    """(icon, limit, now, then)"""


def gain(account: Account | None, slug: str, now: datetime) -> Gain | None:
    """None: the operator has taken that plan away."""
    plan = Plan.objects.filter(slug=slug).first()
    if plan is None:
        return None
    if account is None:
        return Gain(plan.name, "", False, True, _rows({}, plan))
    holds = standing_of(account, now)
    if holds.terms.slug == slug:
        return Gain(plan.name, "", True, False, _rows({}, plan))
    mine = {"rpm": holds.terms.requests_per_minute, "open": holds.terms.open_calls}
    rows = _rows(mine | dict(holds.terms.caps), plan)
    if holds.pays_credits or any(now > then for _icon, _name, now, then in rows):
        return Gain(plan.name, "", False, False, _rows({}, plan))
    return Gain(plan.name, Plan.objects.get(slug=holds.terms.slug).name, False, True, rows)


def _rows(mine: Mapping[str, int], plan: Plan) -> list[tuple[str, Any, int, int]]:
    speed: Iterable[tuple[str, Any, int, int]] = (
        ("bolt", _("Requests per minute"), mine.get("rpm", 0), plan.requests_per_minute),
        ("compare_arrows", _("Calls at once"), mine.get("open", 0), plan.open_calls),
    )
    caps = [(look.icon, look.name, mine.get(bucket, 0), plan.caps[bucket])
            for bucket, look in LOOKS.items() if bucket in plan.caps]  # fmt: skip
    return [*speed, *caps]


# ---- for scripts and for the export


def described(donation: Donation) -> dict[str, Any]:
    """A donation as its donor's script is told it: everything but its secret."""
    plain = ("last4", "state", "paused", "note", "daily_cap", "opens", "reason", "created_at",
             "decided_at", "ended_at", "consent_version", "consent_at")  # fmt: skip
    said = {name: getattr(donation, name) for name in plain}
    return {"object": "donation", "id": donation.uid, "provider": donation.provider.slug,
            "models": donation.allowed_models, **said}  # fmt: skip
