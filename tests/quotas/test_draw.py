"""The rule of drawing: the day's cap, then grants by expiry and age; a key's cap over them all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotas.draw import Drawn, Leg, Row, draw, free, order

pytestmark = pytest.mark.once

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = "2026-11-21"


def cap(number: int, granted: int | None, reserved: int = 0, used: int = 0) -> Row:
    return Row(number, 1, "user", "image", DAY, granted, reserved, used)


def gift(number: int, granted: int, days: int | None = None, used: int = 0) -> Row:
    ends = None if days is None else NOW + timedelta(days=days)
    return Row(number, 1, "user", "image", None, granted, 0, used, ends)


def test_the_days_cap_pays_first_then_the_soonest_to_expire_then_the_oldest() -> None:
    rows = [gift(5, 1), gift(2, 1), gift(9, 1, days=9), gift(7, 1, days=3), cap(8, 1)]
    assert [row.id for row in order(rows)] == [8, 7, 9, 2, 5]


def test_a_periods_credits_are_drawn_as_a_grant_that_expires() -> None:
    period = Row(1, 1, "user", "credits", "2026-11-01", 100, 0, 0, NOW + timedelta(days=10))
    assert [row.id for row in order([gift(2, 5), period, gift(3, 5, days=1)])] == [3, 1, 2]


def test_a_charge_splits_and_says_what_is_missing() -> None:
    rows = [cap(1, 10, reserved=3, used=4), gift(2, 5, used=5), gift(3, 4)]
    assert draw(rows, None, 3) == Drawn((Leg(1, 3),), 0)
    assert draw(rows, None, 6) == Drawn((Leg(1, 3), Leg(3, 3)), 0)
    assert draw(rows, None, 9) == Drawn((Leg(1, 3), Leg(3, 4)), 2)


def test_the_keys_cap_bounds_the_sum_and_counts_promo_draws() -> None:
    bound = Row(9, 1, "key:4", "image", DAY, 5, 1, 0)
    rows = [cap(1, 2), gift(2, 100)]
    assert draw(rows, bound, 10) == Drawn((Leg(1, 2), Leg(2, 2), Leg(9, 4)), 6)
    assert free(rows, bound) == 4


def test_without_limit_everything_is_drawn_from_the_first_such_row() -> None:
    assert draw([cap(1, None)], None, 10**15) == Drawn((Leg(1, 10**15),), 0)
    assert free([cap(1, None), gift(2, 5)], None) is None
    assert free([cap(1, None)], Row(9, 1, "key:4", "image", DAY, 5, 0, 0)) == 5


def test_nothing_to_draw_leaves_no_legs() -> None:
    assert draw([cap(1, 10)], None, 0) == Drawn((), 0)
    assert draw([], None, 7) == Drawn((), 7)
    assert draw([cap(1, 0)], None, 7) == Drawn((), 7)
    assert free([], None) == 0


def test_a_negative_charge_is_nobodys() -> None:
    with pytest.raises(ValueError):
        draw([cap(1, 10)], None, -1)


amounts = st.integers(0, 60)


@st.composite
def rows(draw_: st.DrawFn) -> list[Row]:
    made = []
    for number in range(draw_(st.integers(0, 5))):
        reserved, used, left = draw_(amounts), draw_(amounts), draw_(amounts)
        endless = draw_(st.integers(0, 7)) == 0
        period = DAY if draw_(st.booleans()) else None
        days = draw_(st.sampled_from([None, 1, 2])) if period is None else None
        ends = None if days is None else NOW + timedelta(days=days)
        granted = None if endless else reserved + used + left
        made.append(Row(number, 1, "user", "image", period, granted, reserved, used, ends))
    return made


bounds = st.none() | st.builds(
    lambda used, left: Row(99, 1, "key:4", "image", DAY, used + left, 0, used), amounts, amounts
)


@given(rows(), bounds, st.integers(0, 400))
def test_a_draw_takes_what_there_is_in_order_and_no_more(
    payers: list[Row], bound: Row | None, amount: int
) -> None:
    payers = order(payers)
    available = free(payers, bound)

    legs, shortfall = draw(payers, bound, amount)

    taken = {leg.balance: leg.amount for leg in legs}
    assert len(taken) == len(legs), "one leg a balance"
    assert all(part > 0 for part in taken.values())
    drawn = sum(part for balance, part in taken.items() if balance != 99)
    assert drawn + shortfall == amount
    assert drawn == (amount if available is None else min(amount, available))
    assert taken.get(99, 0) == (drawn if bound else 0)
    for place, row in enumerate(payers):
        part = taken.get(row.id, 0)
        assert row.free is None or part <= row.free
        if part != row.free:
            assert not any(later.id in taken for later in payers[place + 1 :])
