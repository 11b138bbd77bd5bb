"""The database's own walls: no negative or overdrawn balance, no change of a closed entry."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from quotas.draw import Leg
from quotas.models import Balance, Entry
from quotas.triggers import create
from tests.kit import Person
from tests.quotas import books

COLUMNS = [field.column for field in Entry._meta.concrete_fields if field.column != "id"]


@pytest.mark.parametrize(
    "change",
    [
        {"reserved": -1},
        {"used": -1},
        {"closed": -1},
        {"granted": -1},
        {"used": 11},
        {"reserved": 11},
        {"reserved": 6, "used": 5},
        {"granted": None, "used": -1},
        {"granted": None, "reserved": -1},
    ],
)
def test_a_balance_is_never_negative_or_overdrawn(alice: Person, change: dict[str, Any]) -> None:
    balance = books.day_row(alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        Balance.objects.filter(pk=balance.pk).update(**change)
    with pytest.raises(IntegrityError), transaction.atomic():
        Balance.objects.create(account=alice.account, bucket="audio", **{"granted": 10, **change})


def test_a_balance_may_be_spent_to_the_last_unit(alice: Person) -> None:
    balance = books.day_row(alice)
    held = books.hold(alice, balance, 10)
    books.let_go(held, balance)
    books.spend(alice, (balance, 10))
    with pytest.raises(IntegrityError), transaction.atomic():
        Balance.objects.filter(pk=balance.pk).update(used=F("used") + 1)


def test_a_period_has_one_row_for_each_owner_and_grants_have_any_number(alice: Person) -> None:
    row = {"account": alice.account, "bucket": "image", "granted": 1}
    Balance.objects.create(**row, period="2026-11-21")
    Balance.objects.create(**row, period="2026-11-21", owner="key:1")
    with pytest.raises(IntegrityError), transaction.atomic():
        Balance.objects.create(**row, period="2026-11-21")
    Balance.objects.create(**row)
    Balance.objects.create(**row)


@pytest.mark.parametrize("change", [{"estimate": -1}, {"shortfall": -1}])
def test_an_entry_reserves_and_lacks_nothing_negative(
    alice: Person, change: dict[str, int]
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        books.entry(alice, [], **change)


@pytest.mark.parametrize("state", ["settled", "released", "expired"])
def test_a_closed_entry_cannot_change_in_any_column(alice: Person, state: str) -> None:
    made = books.entry(alice, [], state=state)
    before = Entry.objects.filter(pk=made.pk).values().get()
    with connection.cursor() as cursor:
        for column in COLUMNS:
            name = connection.ops.quote_name(column)
            with pytest.raises(IntegrityError, match="closed entry"), transaction.atomic():
                # Not even to the value it has.
                cursor.execute(f"UPDATE quotas_entry SET {name} = {name} WHERE id = %s", [made.pk])
    assert Entry.objects.filter(pk=made.pk).values().get() == before


@pytest.mark.parametrize(
    "attempt",
    [
        lambda made: Entry.objects.filter(pk=made.pk).update(state="open"),
        lambda made: Entry.objects.filter(pk=made.pk).update(amount=0),
        lambda made: made.save(),
        lambda made: Entry.objects.bulk_update([made], ["legs"]),
        lambda made: Entry.objects.bulk_create(
            [made], update_conflicts=True, unique_fields=["id"], update_fields=["amount"]
        ),
    ],
    ids=["reopen", "update", "save", "bulk_update", "upsert"],
)
def test_no_way_through_the_orm_changes_a_closed_entry(
    alice: Person, attempt: Callable[[Entry], object]
) -> None:
    made = books.entry(alice, [])
    with pytest.raises(IntegrityError, match="closed entry"), transaction.atomic():
        attempt(made)
    assert Entry.objects.get(pk=made.pk).state == "settled"


def test_an_open_entry_closes_once(alice: Person) -> None:
    cap = books.day_row(alice)
    made = books.hold(alice, cap, 2)
    books.let_go(made, cap)
    with pytest.raises(IntegrityError, match="closed entry"), transaction.atomic():
        Entry.objects.filter(pk=made.pk).update(state="settled")


def test_one_closed_entry_stops_the_whole_statement(alice: Person) -> None:
    cap = books.day_row(alice)
    books.spend(alice, (cap, 1))
    held = books.hold(alice, cap, 2)
    with pytest.raises(IntegrityError), transaction.atomic():
        Entry.objects.filter(account=alice.account).update(status=200)
    assert Entry.objects.get(pk=held.pk).status is None
    books.let_go(held, cap)


def test_making_the_guard_again_is_harmless(alice: Person) -> None:
    """A later migration that rebuilds the table must be able to call it."""
    with connection.schema_editor() as editor:
        create(None, editor)
    made = books.entry(alice, [Leg(books.day_row(alice).pk, 0)])
    with pytest.raises(IntegrityError, match="closed entry"), transaction.atomic():
        Entry.objects.filter(pk=made.pk).update(amount=1)
