"""The balances of a batch: caps as they are now, charges on the day their call began."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts.plans import CreditPeriod, PlanTerms, Standing
from bsod.lib.terms import Bucket, EntryState, PlanKind
from quotas.book import Book, Holder, Settled, Wanted
from quotas.draw import Leg, Row
from quotas.ledger import EntryRow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY, EVE = "2026-11-21", "2026-11-20"
FREE = PlanTerms("free", PlanKind.BUCKETS, 1000, 100, {"image": 10, "audio": 2}, 0, 30)
PERIOD = CreditPeriod("2026-11-01", NOW + timedelta(days=10), 500)


def row(number: int, granted: int | None, **more: object) -> Row:
    values = {"owner": "user", "bucket": "image", "period": DAY, "reserved": 0, "used": 0, **more}
    return Row(number, 1, granted=granted, **values)


def entry(legs: list[Leg], **more: object) -> EntryRow:
    values = {"api_key": 4, "owner": "user", "bucket": "image", "day": DAY, "created_at": NOW}
    return EntryRow(
        id="E", state="open", account=1, model="m", amount=0, shortfall=0, legs=legs,
        estimate=sum(leg.amount for leg in legs), **values | more,
    )  # fmt: skip


def holder(**more: object) -> Holder:
    values = {"plan": Standing("free", FREE, False, None), "caps": {}, "unlimited": False}
    return Holder(1, 4, **values | more)


def state(book: Book, number: int) -> tuple[int, int]:
    found = book._rows[number]
    return found.reserved, found.used


def test_a_call_wants_the_days_cap_and_the_keys_own() -> None:
    assert holder().wants(Bucket.IMAGE, DAY) == [Wanted(1, "user", Bucket.IMAGE, DAY, 10)]
    assert holder(caps={"image": 3}).wants(Bucket.IMAGE, DAY) == [
        Wanted(1, "user", Bucket.IMAGE, DAY, 10),
        Wanted(1, "key:4", Bucket.IMAGE, DAY, 3),
    ]


def test_a_bucket_the_plan_does_not_name_has_a_cap_of_nothing() -> None:
    assert holder().wants(Bucket.FILE, DAY) == [Wanted(1, "user", Bucket.FILE, DAY, 0)]


def test_credits_have_a_period_and_no_daily_cap() -> None:
    assert holder().wants(Bucket.CREDITS, DAY) == []
    paying = holder(plan=Standing("pro", FREE, True, PERIOD))
    assert paying.wants(Bucket.CREDITS, DAY) == [
        Wanted(1, "user", Bucket.CREDITS, "2026-11-01", 500, PERIOD.ends_at)
    ]


def test_an_unlimited_key_draws_on_a_balance_of_its_own() -> None:
    who = holder(unlimited=True, caps={"image": 1})
    assert who.owner == "key:4"
    assert who.wants(Bucket.IMAGE, DAY) == [Wanted(1, "key:4", Bucket.IMAGE, DAY, None)]


@pytest.mark.parametrize(
    ("granted", "used", "cap", "then"),
    [(10, 0, 20, 20), (10, 4, 6, 6), (10, 8, 6, 8), (10, 0, None, None), (None, 8, 6, 8)],
)
def test_a_capped_row_grants_the_cap_as_it_is_now(
    granted: int | None, used: int, cap: int | None, then: int | None
) -> None:
    book = Book([row(1, granted, used=used)])
    book.adopt(Wanted(1, "user", "image", DAY, cap))
    assert book.changed[1].granted == then


def test_a_cap_that_has_not_changed_writes_nothing() -> None:
    book = Book([row(1, 10, used=3, reserved=2)])
    book.adopt(Wanted(1, "user", "image", DAY, 10))
    book.adopt(Wanted(1, "user", "audio", DAY, 10))
    assert book.changed == {}


def test_a_periods_credits_are_granted_once_whatever_the_plan_says_later() -> None:
    book = Book([row(1, 500, bucket="credits", period="2026-11-01", expires_at=PERIOD.ends_at)])
    book.adopt(Wanted(1, "user", "credits", "2026-11-01", 900, PERIOD.ends_at))
    assert book.changed == {}


def test_two_calls_of_one_batch_see_each_other() -> None:
    book = Book([row(1, 5), row(2, 3, period=None)])
    first = book.draw_for(entry([]), 4)
    book.reserve(first.legs)
    second = book.draw_for(entry([]), 4)
    book.reserve(second.legs)
    third = book.draw_for(entry([]), 4)
    assert first.legs == (Leg(1, 4),)
    assert second.legs == (Leg(1, 1), Leg(2, 3))
    assert (third.legs, third.shortfall) == ((), 4)


def test_a_close_gives_everything_back_and_draws_what_it_cost() -> None:
    book = Book([row(1, 10, reserved=6), row(2, 9, period=None, reserved=2)])
    settled = book.settle(entry([Leg(1, 6), Leg(2, 2)]), 3)
    assert settled == Settled(EntryState.SETTLED, 3, 0, (Leg(1, 3),))
    assert (state(book, 1), state(book, 2)) == ((0, 3), (0, 0))


def test_an_overrun_takes_what_is_left_and_tells_the_rest() -> None:
    book = Book([row(1, 10, reserved=6, used=1), row(2, 4, period=None, used=2)])
    settled = book.settle(entry([Leg(1, 6)]), 50)
    assert settled == Settled(EntryState.SETTLED, 11, 39, (Leg(1, 9), Leg(2, 2)))
    assert (state(book, 1), state(book, 2)) == ((0, 10), (0, 4))


def test_an_overrun_never_takes_what_others_have_reserved() -> None:
    book = Book([row(1, 10, reserved=8)])
    settled = book.settle(entry([Leg(1, 2)]), 50)
    assert (settled.amount, settled.shortfall) == (4, 46)
    assert state(book, 1) == (6, 4)


def test_a_failed_call_costs_nothing() -> None:
    book = Book([row(1, 10, reserved=6)])
    assert book.settle(entry([Leg(1, 6)]), 0) == Settled(EntryState.RELEASED, 0, 0, ())
    assert state(book, 1) == (0, 0)


def test_the_keys_cap_is_given_back_and_drawn_beside_the_others() -> None:
    book = Book([row(1, 10, reserved=6), row(7, 8, owner="key:4", reserved=6)])
    settled = book.settle(entry([Leg(1, 6), Leg(7, 6)]), 20)
    assert settled == Settled(EntryState.SETTLED, 8, 12, (Leg(1, 8), Leg(7, 8)))
    assert (state(book, 1), state(book, 7)) == ((0, 8), (0, 8))


def test_a_call_stays_on_the_day_it_began() -> None:
    book = Book([row(1, 10, period=EVE, reserved=6), row(2, 10), row(7, 9, owner="key:4")])
    settled = book.settle(entry([Leg(1, 6)], day=EVE), 15)
    assert settled == Settled(EntryState.SETTLED, 10, 5, (Leg(1, 10),))
    assert state(book, 2) == (0, 0)
    assert state(book, 7) == (0, 0), "today's cap of the key is not for yesterday's call"


def test_a_grant_that_ended_while_the_call_ran_still_pays_for_it() -> None:
    ends = NOW + timedelta(minutes=1)
    book = Book([row(1, 0), row(2, 9, period=None, reserved=5, expires_at=ends)])
    assert book.settle(entry([Leg(2, 5)]), 7).legs == (Leg(2, 7),)
    late = entry([], created_at=ends)
    assert book.draw_for(late, 1) == ((), 1)


def test_nobody_pays_from_another_account_owner_or_bucket() -> None:
    book = Book(
        [
            Row(1, 2, "user", "image", DAY, 10, 0, 0),
            row(2, 10, owner="key:5"),
            row(3, 10, bucket="audio"),
            row(4, 10, period=EVE),
        ]
    )
    assert book.draw_for(entry([]), 1) == ((), 1)


def test_the_credits_of_a_later_period_do_not_pay_for_an_earlier_call() -> None:
    later = row(1, 9, bucket="credits", period="2026-11-25", expires_at=NOW + timedelta(days=40))
    book = Book([later])
    assert book.draw_for(entry([], bucket="credits"), 1) == ((), 1)
    assert book.draw_for(entry([], bucket="credits", day="2026-11-25"), 1).shortfall == 0
