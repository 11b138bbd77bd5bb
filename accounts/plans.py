"""Which plan an account is really on at a moment, decided from values alone (SPEC §2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bsod.lib.terms import PlanKind


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """A plan row's values."""

    slug: str
    kind: str
    requests_per_minute: int
    open_calls: int
    caps: Mapping[str, int]
    credits_per_period: int
    period_days: int


@dataclass(frozen=True, slots=True)
class CreditPeriod:
    """The stretch of days whose credits are granted once."""

    start: str
    ends_at: datetime
    credits: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account may use now. `slug` is the plan it bought, `terms` the one that holds."""

    slug: str
    terms: PlanTerms
    plan_active: bool
    period: CreditPeriod | None

    @property
    def pays_credits(self) -> bool:
        return self.period is not None


def standing(
    plan: PlanTerms,
    free: PlanTerms,
    started_at: datetime,
    expires_at: datetime | None,
    now: datetime,
) -> Standing:
    """A credits plan holds while it has not expired; after that the account is on `free`."""
    current = expires_at is None or expires_at > now
    if plan.kind != PlanKind.CREDITS:
        return Standing(plan.slug, plan if current else free, False, None)
    if not current:
        return Standing(plan.slug, free, False, None)
    return Standing(plan.slug, plan, True, credit_period(plan, started_at, now))


def credit_period(plan: PlanTerms, started_at: datetime, now: datetime) -> CreditPeriod:
    """The period `now` falls in, counted from the plan's start."""
    length = timedelta(days=plan.period_days)
    start = started_at + max(0, (now - started_at) // length) * length
    return CreditPeriod(start.date().isoformat(), start + length, plan.credits_per_period)
