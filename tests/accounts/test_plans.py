"""Which plan holds at a moment, and which period of credits the moment lies in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Plan
from accounts.plans import PlanTerms, credit_period, standing
from bsod.lib.terms import PlanKind

pytestmark = pytest.mark.once

FREE = PlanTerms("free", PlanKind.BUCKETS, 1000, 100, {"image": 10}, 0, 30)
SUPPORTER = PlanTerms("supporter", PlanKind.BUCKETS, 2000, 200, {"image": 30}, 0, 30)
PRO = PlanTerms("pro", PlanKind.CREDITS, 5000, 500, {}, 15_000_000, 30)
START = datetime(2026, 11, 1, 15, 30, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def test_a_bucket_plan_holds_and_is_never_active() -> None:
    found = standing(SUPPORTER, FREE, START, None, START)
    assert (found.slug, found.terms, found.plan_active, found.period) == (
        "supporter",
        SUPPORTER,
        False,
        None,
    )
    assert not found.pays_credits


def test_a_credits_plan_holds_until_the_moment_it_expires() -> None:
    ends = START + timedelta(days=90)
    before = standing(PRO, FREE, START, ends, ends - TICK)
    assert (before.plan_active, before.terms, before.pays_credits) == (True, PRO, True)
    after = standing(PRO, FREE, START, ends, ends)
    assert (after.slug, after.terms, after.plan_active, after.pays_credits) == (
        "pro",
        FREE,
        False,
        False,
    )


def test_a_credits_plan_without_an_end_goes_on() -> None:
    found = standing(PRO, FREE, START, None, START + timedelta(days=4000))
    assert found.plan_active
    assert found.period is not None


def test_an_expired_supporter_is_on_the_free_plan() -> None:
    found = standing(SUPPORTER, FREE, START, START + TICK, START + TICK)
    assert (found.slug, found.terms) == ("supporter", FREE)


@pytest.mark.parametrize(
    ("after", "start", "ends"),
    [
        (timedelta(0), "2026-11-01", datetime(2026, 12, 1, 15, 30, tzinfo=UTC)),
        (timedelta(days=30) - TICK, "2026-11-01", datetime(2026, 12, 1, 15, 30, tzinfo=UTC)),
        (timedelta(days=30), "2026-12-01", datetime(2026, 12, 31, 15, 30, tzinfo=UTC)),
        (timedelta(days=365), "2027-10-27", datetime(2027, 11, 26, 15, 30, tzinfo=UTC)),
        (timedelta(days=-400), "2026-11-01", datetime(2026, 12, 1, 15, 30, tzinfo=UTC)),
    ],
)
def test_periods_follow_each_other_without_gap(
    after: timedelta, start: str, ends: datetime
) -> None:
    found = credit_period(PRO, START, START + after)
    assert (found.start, found.ends_at, found.credits) == (start, ends, 15_000_000)


def test_no_two_periods_share_a_name_even_when_they_are_a_day_long() -> None:
    daily = replace(PRO, period_days=1)
    names = [credit_period(daily, START, START + timedelta(hours=12 * n)).start for n in range(60)]
    assert len(set(names)) == 30
    assert names == sorted(names)


def test_the_three_seeded_plans_are_those_of_the_specification() -> None:
    plans = {plan.slug: plan for plan in Plan.objects.filter(slug__in=["free", "supporter", "pro"])}
    paces = {slug: (plan.requests_per_minute, plan.open_calls) for slug, plan in plans.items()}
    assert paces == {"free": (1000, 100), "supporter": (2000, 200), "pro": (5000, 500)}
    assert plans["free"].caps == {
        "text.base": 500_000, "text.pro": 100_000, "image": 10, "audio": 25,
        "video.sora2pro": 1, "video.sora2": 3, "video.other": 5, "file": 5,
    }  # fmt: skip
    assert plans["supporter"].caps == {name: 3 * cap for name, cap in plans["free"].caps.items()}
    assert (plans["pro"].kind, plans["pro"].credits_per_period, plans["pro"].period_days) == (
        "credits",
        15_000_000,
        30,
    )


@pytest.mark.parametrize(
    "caps", [{"text": 1}, {"image": -1}, {"image": "10"}, {"image": 1.5}, {"image": None}, [5]]
)
def test_a_plan_with_caps_the_ledger_cannot_keep_is_not_valid(caps: object) -> None:
    plan = Plan(slug="odd", name="Odd", caps=caps)
    with pytest.raises(ValidationError, match=r"cap|Caps|bucket"):
        plan.full_clean()
