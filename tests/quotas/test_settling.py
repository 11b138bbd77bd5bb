"""Entries closed outside a batch: by the batch's own rule, once, and only when they are open."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bsod.lib import clock, sql
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Bucket, EndReason, EntryState, UsageSource
from proxy.gateway.admission import price_of
from quotas import meter
from quotas.ledger import EntryRow
from quotas.models import Balance, Entry, UsageDay
from quotas.pricing import Tariff, tariff_from
from quotas.settling import End, amount, settle
from tests import kit
from tests.kit import Person
from tests.quotas import books
from tests.quotas.desk import Clerk, admit, close, model, token

DONE = EndReason.COMPLETED


def used(entry: str, prompt: int | None, completion: int = 0) -> End:
    """The end of what used so many tokens; None: nothing is due."""
    if prompt is None:
        return End(entry, EndReason.UPSTREAM_ERROR)
    return End(entry, DONE, True, prompt, completion, 0, UsageSource.UPSTREAM)


def settled(*ends: End) -> dict[str, Any]:
    with exclusive("test"), sql.hot_cursor() as cursor:
        return settle(cursor, ends)


class Undone(Exception):
    pass


def picture(who: Person) -> list[Any]:
    """Everything of the ledger that a close may change."""
    entry = ("state", "amount", "shortfall", "legs", "prompt_tokens", "completion_tokens",
             "cached_tokens", "usage_source", "end_reason")  # fmt: skip
    sums = ("model", "bucket", "day", "calls", "amount", "prompt_tokens", "completion_tokens")
    return [
        list(Entry.objects.filter(account=who.account, kind="call").values_list(*entry)),
        list(Balance.objects.filter(account=who.account).order_by("id").values()),
        list(UsageDay.objects.filter(account=who.account).values_list(*sums)),
    ]


def as_settled(who: Person, end: End) -> list[Any]:
    """The same after `settle`, which then has not happened."""
    try:
        with exclusive("test"):
            with sql.hot_cursor() as cursor:
                settle(cursor, [end])
            found = picture(who)
            raise Undone
    except Undone:
        return found


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    prompt=st.none() | st.integers(0, 400), completion=st.integers(0, 400),
    gift=st.integers(0, 150), cap=st.none() | st.integers(70, 200), earlier=st.booleans(),
)  # fmt: skip
def test_it_draws_what_the_batch_would(
    prompt: int | None, completion: int, gift: int, cap: int | None, earlier: bool
) -> None:
    """Overruns, shortfalls, grants and a key's cap included."""
    who = kit.person("twin", plan=PLAN.slug, caps={"text.base": cap} if cap else {})
    if gift:
        meter.grant(who.account, Bucket.TEXT_BASE, gift)
    CLERK.stay_alive()
    (ticket,) = CLERK.run(admit(token(who.secret), NAME, prompt=10, limit=50))
    if earlier:
        (other,) = CLERK.run(admit(token(who.secret), NAME, prompt=1, limit=1))
        CLERK.run(close(other, 1, 0))
    outside = as_settled(who, used(ticket.call.id, prompt, completion))
    CLERK.run(close(ticket, prompt, completion))
    assert outside == picture(who)


@pytest.fixture(scope="module", autouse=True)
def desk(database: None) -> Any:
    global CLERK, NAME, PLAN
    from accounts.models import Plan

    CLERK, NAME = Clerk(), model()
    PLAN = Plan.objects.create(
        slug=kit.unique("plan"), caps={"text.base": 100}, open_calls=50, requests_per_minute=10**4
    )
    yield
    CLERK.heart.stop()


@pytest.mark.once
@settings(max_examples=60)
@given(
    st.builds(
        Tariff, st.just(Bucket.CREDITS), st.integers(0, 9999), st.integers(0, 9999),
        st.sampled_from([1, 1000]), st.sampled_from([0, 10]), st.booleans(),
        st.none() | st.integers(0, 10**6),
    ),
    st.none() | st.integers(0, 10**6), st.integers(0, 10**6),
    st.sampled_from([None, "priority", "default"]),
)  # fmt: skip
def test_the_price_an_entry_keeps_is_the_price_it_is_closed_at(
    tariff: Tariff, prompt: int | None, completion: int, tier: str | None
) -> None:
    kept = price_of(tariff)
    assert tariff_from(Bucket.CREDITS, kept) == tariff
    row = EntryRow("E", "open", 1, 2, "user", "m", "credits", "2026-11-22", 77, 0, 0, [],
                   clock.now())  # fmt: skip
    end = End("E", DONE, True, prompt, completion, tier=tier)
    if prompt is None:
        assert amount(row, end, kept) == (77 if tariff.each is None else tariff.each)
        return
    holds = tariff if tier != "default" else tariff.standard()
    assert amount(row, end, kept) == holds.cost(prompt, completion)
    assert amount(row, replace(end, due=False), kept) == 0


def test_an_entry_of_an_older_price_is_charged_by_the_plain_one(alice: Person) -> None:
    held = books.hold(alice, books.day_row(alice), 6)
    assert held.price == "{}"
    assert settled(used(held.pk, 3, 1))[held.pk].amount == 4
    assert kit.ledger_adds_up(alice)


def test_a_good_end_without_usage_costs_what_was_reserved(alice: Person) -> None:
    held = books.hold(alice, books.day_row(alice), 6)
    settled(End(held.pk, DONE, True, source=UsageSource.ESTIMATED))
    (entry,) = alice.entries()
    assert (entry.state, entry.amount, entry.usage_source) == ("settled", 6, "estimated")
    assert entry.prompt_tokens is None
    assert UsageDay.objects.get(account=alice.account).amount == 6
    assert kit.ledger_adds_up(alice)


def test_what_was_written_when_it_was_handed_over_stays(alice: Person) -> None:
    held = books.hold(alice, books.day_row(alice), 6)
    known = {"status": 200, "attempts": 2, "provider_key": 7, "latency_ms": 31, "first_byte_ms": 30}
    Entry.objects.filter(pk=held.pk).update(**known)
    settled(used(held.pk, 1))
    after = Entry.objects.values(*known).get(pk=held.pk)
    assert after == known


def test_a_closed_entry_is_left_alone(alice: Person) -> None:
    held = books.hold(alice, books.day_row(alice), 6)
    assert [*settled(used(held.pk, 3), used(held.pk, 5))] == [held.pk]
    before = picture(alice)
    assert settled(used(held.pk, 5), End("nobody's", DONE)) == {}
    assert picture(alice) == before
    assert alice.used("image") == 3


def test_many_ends_on_one_balance_see_each_other(alice: Person) -> None:
    """Nor does one take what another still holds."""
    row = books.day_row(alice)
    held = [books.hold(alice, row, 3) for _ in range(3)]
    drawn = settled(*(used(entry.pk, 5) for entry in held))
    assert sorted((s.amount, s.shortfall) for s in drawn.values()) == [(3, 2), (3, 2), (4, 1)]
    assert all(s.state is EntryState.SETTLED for s in drawn.values())
    assert alice.used("image") == 10
    assert kit.ledger_adds_up(alice)


def test_djangos_own_cursor_does_as_well(alice: Person) -> None:
    held = books.hold(alice, books.day_row(alice), 6)
    with exclusive("test"), connection.cursor() as cursor:
        assert settle(cursor, [used(held.pk, 3)])[held.pk].amount == 3
    assert kit.ledger_adds_up(alice)
