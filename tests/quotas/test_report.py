"""Shown = enforced: a reservation of exactly what is shown is admitted, one unit more is not."""

from datetime import UTC, datetime, timedelta

from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys.identity import Identity, read
from accounts.keys.models import ApiKey
from accounts.models import Account, Plan
from accounts.plans import CreditPeriod, PlanTerms, Standing
from bsod.lib import clock
from bsod.lib.terms import Bucket, PlanKind
from quotas import report
from quotas.book import Book, Holder
from quotas.draw import Row, draw
from quotas.meter import grant
from quotas.models import Balance
from quotas.pricing import Reservation, Tariff, TooLittle, reserve
from tests import kit
from tests.kit import Person

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = "2026-11-21"
PERIOD = CreditPeriod("2026-11-05", NOW + timedelta(days=14), 5000)
small = st.integers(0, 3000)


@st.composite
def holders(draw_: st.DrawFn) -> Holder:
    caps = {bucket: draw_(small) for bucket in Bucket if draw_(st.booleans())}
    terms = PlanTerms("p", PlanKind.BUCKETS, 10, 10, caps, 0, 30)
    period = PERIOD if draw_(st.booleans()) else None
    own = {bucket: draw_(small) for bucket in Bucket if draw_(st.booleans())}
    unlimited = draw_(st.integers(0, 5)) == 0
    return Holder(1, 4, Standing("p", terms, period is not None, period), own, unlimited)


@st.composite
def books(draw_: st.DrawFn, who: Holder) -> Book:
    """Rows as a day leaves them: some made, some not yet, partly used and reserved, and grants."""
    book, number = Book([]), 0
    for wanted in (row for bucket in Bucket for row in who.wants(bucket, DAY)):
        number += 1
        made = report.virtual(number, wanted)
        if draw_(st.booleans()):
            made.reserved, made.used = draw_(small), draw_(small)
            if made.granted is not None:
                # As the database would have it: never overdrawn, whatever the cap is by now.
                made.granted = max(made.granted, made.reserved + made.used)
        book.add(made)
        book.adopt(wanted)
    for bucket in Bucket:
        for _ in range(draw_(st.integers(0, 2))):
            number += 1
            left, used, held = draw_(small), draw_(small), draw_(small)
            days = draw_(st.sampled_from([None, -1, 1]))
            ends = None if days is None else NOW + timedelta(days=days)
            book.add(Row(number, 1, "user", bucket, None, left + used + held, held, used, ends))
    return book


@given(st.data(), st.sampled_from(list(Bucket)), st.integers(1, 5))
def test_what_is_shown_as_left_can_be_reserved_and_not_one_unit_more(
    data: st.DataObject, bucket: Bucket, choices: int
) -> None:
    who = data.draw(holders())
    book = data.draw(books(who))

    shown = report.left(book, who, bucket, DAY, NOW)
    purse = book.purse(who.account, who.key, who.owner, bucket, DAY, NOW)

    def ask(units: int) -> Reservation | TooLittle:
        return reserve(
            Tariff(bucket), prompt=units, limit=0, choices=choices, free=purse.free,
            model_limit=None,
        )  # fmt: skip

    if shown.effective is None:
        assert ask(10**12) == Reservation(10**12, 0)
        return
    assert shown.effective >= 0
    assert ask(shown.effective) == Reservation(shown.effective, 0)
    assert draw(purse.payers, purse.bound, shown.effective).shortfall == 0
    assert ask(shown.effective + 1) == TooLittle(shown.effective + 1)
    assert draw(purse.payers, purse.bound, shown.effective + 1).shortfall == 1


@given(st.data(), st.sampled_from(list(Bucket)))
def test_the_numbers_shown_agree_with_each_other(data: st.DataObject, bucket: Bucket) -> None:
    who = data.draw(holders())
    shown = report.left(data.draw(books(who)), who, bucket, DAY, NOW)
    assert min(shown.used, shown.reserved, shown.promo) >= 0
    if shown.limit is None:
        assert shown.remaining is None
    else:
        assert shown.remaining == shown.limit - shown.used - shown.reserved
        assert shown.remaining >= 0
    if shown.effective is not None and shown.remaining is not None:
        assert shown.effective <= shown.remaining + shown.promo


@given(st.data(), st.sampled_from(list(Bucket)))
def test_a_refusal_names_the_limit_that_binds(data: st.DataObject, bucket: Bucket) -> None:
    who = data.draw(holders())
    book = data.draw(books(who))
    purse = book.purse(who.account, who.key, who.owner, bucket, DAY, NOW)
    if purse.free is None:
        return
    without_key = report.Purse(purse.payers, None).free
    promo = any(row.period is None for row in purse.payers)
    expected = "promo" if promo else "daily"
    assert report.binding(purse) == ("key" if without_key != purse.free else expected)


# ---- the same, from the database


def shown_to(who: Person) -> dict[str, dict[str, int | None]]:
    now = clock.now()
    with connection.cursor() as cursor:
        identity = _identity(who, now)
        return report.balance(cursor, identity, now)


def _identity(who: Person, now: datetime) -> Identity:
    with connection.cursor() as cursor:
        return read(cursor, [who.key.public_id], now, lock=False)[who.key.public_id]


def test_a_fresh_account_has_its_whole_plan_and_nothing_is_written(alice: Person) -> None:
    body = shown_to(alice)
    caps = Plan.objects.get(slug="free").caps
    for field in ("daily_limits", "daily_remaining", "effective_remaining"):
        assert body[field] == caps
    assert set(body["daily_used"].values()) == set(body["daily_reserved"].values()) == {0}
    assert set(body["promo_credits"].values()) == {0}
    assert body["credits"] == 0
    assert body["key"]["permissions"] == sorted(alice.key.permissions)
    assert not Balance.objects.filter(account=alice.account).exists()


def test_grants_add_to_what_is_left_until_they_end(alice: Person) -> None:
    grant(alice.account, Bucket.IMAGE, 7)
    grant(alice.account, Bucket.IMAGE, 5, expires_at=clock.now() + timedelta(hours=1))
    ended = grant(alice.account, Bucket.IMAGE, 3)
    Balance.objects.filter(pk=ended.pk).update(expires_at=clock.now() - timedelta(seconds=1))
    grant(alice.account, Bucket.CREDITS, 900)

    body = shown_to(alice)

    assert body["promo_credits"]["image"] == 12
    assert body["effective_remaining"]["image"] == 22
    assert body["daily_remaining"]["image"] == 10
    assert body["credits"] == 900, "shown, though only a credits plan can spend them"


def test_a_key_is_shown_its_own_narrower_cap() -> None:
    who = kit.person(caps={"image": 3, "audio": 999})
    body = shown_to(who)
    assert (body["daily_limits"]["image"], body["effective_remaining"]["image"]) == (3, 3)
    assert (body["daily_limits"]["audio"], body["effective_remaining"]["audio"]) == (25, 25)


def test_an_unlimited_key_is_shown_no_limit() -> None:
    body = shown_to(kit.person(unlimited=True))
    assert set(body["effective_remaining"].values()) == {None}
    assert set(body["daily_limits"].values()) == {None}
    assert body["credits"] is None


def test_a_credits_plan_shows_its_period_before_anything_was_called() -> None:
    who = kit.person(plan="pro")
    body = shown_to(who)
    assert body["credits"] == 15_000_000
    assert body["account"]["plan_active"] is True


def test_credits_of_a_plan_that_has_ended_stay_and_are_shown() -> None:
    who = kit.person(plan="pro")
    now = clock.now()
    period = _identity(who, now).owner.plan.period
    assert period is not None
    Balance.objects.create(
        account=who.account, bucket="credits", period=period.start, granted=500, used=100,
        closed=100,        expires_at=period.ends_at,
    )  # fmt: skip
    Account.objects.filter(pk=who.account.pk).update(plan_expires_at=now)
    body = shown_to(who)
    assert (body["account"]["plan"], body["account"]["plan_active"]) == ("pro", False)
    assert body["credits"] == 400
    assert body["daily_limits"]["image"] == 10


def test_a_cap_lowered_below_what_is_used_leaves_nothing_and_never_less() -> None:
    who = kit.person(caps={"image": 8})
    Balance.objects.create(
        account=who.account, owner=f"key:{who.key.pk}", bucket="image",
        period=clock.day_of(clock.now()), granted=8, used=7, closed=7,
    )  # fmt: skip
    ApiKey.objects.filter(pk=who.key.pk).update(caps={"image": 2})
    body = shown_to(who)
    assert body["daily_remaining"]["image"] == body["effective_remaining"]["image"] == 0
    assert (body["daily_used"]["image"], body["daily_reserved"]["image"]) == (7, 0)
