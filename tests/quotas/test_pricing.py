"""What a call costs and reserves: exact integers, one rounding, and never more than is free."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import Bucket
from quotas.pricing import Reservation, Tariff, TooLittle, media_tariff, reserve, text_tariff

pytestmark = pytest.mark.once

BASE = text_tariff(pro=False, credits=False, price_in=7, price_out=9)
PRO = text_tariff(pro=True, credits=False, price_in=7, price_out=9)
CREDITS = text_tariff(pro=True, credits=True, price_in=42, price_out=334)


def test_a_bucket_plan_pays_tokens_whatever_the_price() -> None:
    assert (BASE.bucket, PRO.bucket) == (Bucket.TEXT_BASE, Bucket.TEXT_PRO)
    assert BASE.cost(11, 7) == 18
    assert BASE.cost(0, 0) == 0


def test_a_credit_plan_pays_by_the_thousand_and_at_least_the_minimum() -> None:
    assert CREDITS.bucket is Bucket.CREDITS
    assert CREDITS.cost(1000, 1000) == 376
    assert CREDITS.cost(1000, 1) == 43
    assert CREDITS.cost(0, 0) == 10
    assert CREDITS.cost(238, 0) == 10
    assert CREDITS.cost(239, 0) == 11


def test_fast_mode_costs_five_halves_with_one_rounding() -> None:
    fast = text_tariff(pro=False, credits=False, price_in=0, price_out=0, fast=True)
    assert [fast.cost(tokens, 0) for tokens in (1, 2, 3)] == [3, 5, 8]
    # 11 × 42 × 2.5 / 1000 = 1.155: the minimum; 250 × 42 × 2.5 / 1000 = 26.25: one rounding up.
    credits = text_tariff(pro=True, credits=True, price_in=42, price_out=334, fast=True)
    assert credits.cost(11, 0) == 10
    assert credits.cost(250, 0) == 27
    assert credits.standard().cost(250, 0) == 11


def test_media_cost_their_units_or_their_price_and_a_part_of_them_its_part() -> None:
    units = media_tariff(Bucket.IMAGE, credits=False, per_call=4_000, units=3)
    assert (units.bucket, units.cost(9, 9), units.part(None)) == (Bucket.IMAGE, 3, 3)
    assert [units.part(count) for count in (0, 1, 2, 3, 9)] == [0, 1, 2, 3, 3]
    credits = media_tariff(Bucket.IMAGE, credits=True, per_call=7, units=3)
    assert (credits.bucket, credits.cost(9, 9)) == (Bucket.CREDITS, 21)
    assert [credits.part(count) for count in (0, 1, 2, 3, 9)] == [0, 7, 14, 21, 21]
    unpriced = media_tariff(Bucket.IMAGE, credits=True, per_call=0, units=3)
    assert (unpriced.cost(0, 0), unpriced.part(1)) == (30, 10)
    assert media_tariff(Bucket.FILE, credits=True, per_call=0).cost(0, 0) == 10


@pytest.mark.parametrize(
    ("seconds", "cost"), [(1, 241), (4, 961), (5, 1_201), (6, 1_442), (3_600, 864_720)]
)
def test_a_film_costs_by_the_second_rounded_up_once(seconds: int, cost: int) -> None:
    film = media_tariff(Bucket.VIDEO_OTHER, credits=True, per_call=1_201, seconds=seconds)
    assert film.cost(0, 0) == cost
    film = media_tariff(Bucket.VIDEO_OTHER, credits=False, per_call=1_201, seconds=seconds)
    assert film.cost(0, 0) == 1


@pytest.mark.parametrize(
    ("free", "outcome"),
    [
        (1034, Reservation(1034, 1024)),
        (5000, Reservation(1034, 4990)),
        (20_000, Reservation(1034, None)),
        (16_394, Reservation(1034, None)),
        (16_393, Reservation(1034, 16_383)),
        (1033, Reservation(1033, 1023)),
        (11, Reservation(11, 1)),
        (10, TooLittle(11)),
        (0, TooLittle(11)),
        (None, Reservation(1034, None)),
    ],
)
def test_without_a_limit_of_the_callers_own(
    free: int | None, outcome: Reservation | TooLittle
) -> None:
    """min(1024, left) is reserved; forwarded is what can be paid, or nothing at the model's own."""
    found = reserve(BASE, prompt=10, limit=None, choices=1, free=free, model_limit=16_384)
    assert found == outcome


def test_a_model_of_unknown_length_gets_what_can_be_paid() -> None:
    found = reserve(BASE, prompt=10, limit=None, choices=1, free=50_000, model_limit=None)
    assert found == Reservation(1034, 49_990)
    found = reserve(BASE, prompt=10, limit=None, choices=1, free=None, model_limit=None)
    assert found == Reservation(1034, None)


def test_choices_multiply_the_output_and_share_what_is_left() -> None:
    found = reserve(BASE, prompt=10, limit=100, choices=3, free=310, model_limit=None)
    assert found == Reservation(310, 100)
    assert reserve(BASE, prompt=10, limit=100, choices=3, free=309, model_limit=None) == TooLittle(
        310
    )
    found = reserve(BASE, prompt=10, limit=None, choices=3, free=110, model_limit=16_384)
    assert found == Reservation(110, 33)
    assert reserve(BASE, prompt=10, limit=None, choices=3, free=12, model_limit=None) == TooLittle(
        13
    )


def test_the_callers_own_limit_is_forwarded_as_it_is() -> None:
    assert reserve(BASE, prompt=10, limit=99_999, choices=1, free=None, model_limit=10) == (
        Reservation(100_009, 99_999)
    )


def test_output_that_costs_nothing_is_not_limited_by_the_purse() -> None:
    free_output = Tariff(Bucket.CREDITS, 10, 0, 1000, 10)
    assert reserve(free_output, prompt=5, limit=None, choices=1, free=10, model_limit=64) == (
        Reservation(10, None)
    )
    assert reserve(free_output, prompt=5, limit=None, choices=1, free=9, model_limit=64) == (
        TooLittle(10)
    )


tariffs = st.builds(
    Tariff,
    st.just(Bucket.CREDITS),
    st.integers(0, 4000),
    st.integers(0, 4000),
    st.sampled_from([1, 1000]),
    st.sampled_from([0, 10]),
    st.booleans(),
)
tokens = st.integers(0, 200_000)


@given(tariffs, tokens, tokens)
def test_a_cost_is_the_formula_rounded_up_once(tariff: Tariff, prompt: int, output: int) -> None:
    exact = Fraction(prompt * tariff.input + output * tariff.output, tariff.per)
    exact *= Fraction(5, 2) if tariff.fast else 1
    assert tariff.cost(prompt, output) == max(tariff.minimum, ceil(exact))


@given(tariffs, tokens, st.integers(0, 10**9))
def test_what_is_affordable_can_be_paid_and_one_token_more_cannot(
    tariff: Tariff, prompt: int, free: int
) -> None:
    most = tariff.affordable(prompt, free)
    if most is None:
        assert tariff.cost(prompt, 10**9) <= free
    elif most < 0:
        assert tariff.cost(prompt, 0) > free
    else:
        assert tariff.cost(prompt, most) <= free < tariff.cost(prompt, most + 1)


limits = st.none() | st.integers(1, 100_000)


@given(tariffs, st.integers(1, 50_000), limits, st.integers(1, 128), st.integers(0, 10**8), limits)
def test_a_reservation_is_never_more_than_is_free_and_covers_what_it_promises(
    tariff: Tariff, prompt: int, limit: int | None, choices: int, free: int, model: int | None
) -> None:
    found = reserve(
        tariff, prompt=prompt, limit=limit, choices=choices, free=free, model_limit=model
    )
    if isinstance(found, TooLittle):
        assert found.needed > free
        return
    assert 0 <= found.amount <= free
    if limit is not None:
        assert found == Reservation(tariff.cost(prompt, limit * choices), limit)
    elif found.limit is not None:
        assert found.limit >= 1
        assert tariff.cost(prompt, found.limit * choices) <= free
        assert model is None or found.limit < model
