"""Ledger rows as calls leave them, written without a gateway; the audit finds them clean."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from bsod.lib import clock, ids
from bsod.lib.groupcommit import exclusive
from quotas.draw import Leg
from quotas.ledger import dump_legs
from quotas.models import Balance, Entry, UsageDay
from tests.kit import Person


def day_row(who: Person, bucket: str = "image", granted: int = 10) -> Balance:
    row, _ = Balance.objects.get_or_create(
        account=who.account, owner="user", bucket=bucket, period=clock.day_of(clock.now()),
        defaults={"granted": granted},
    )  # fmt: skip
    return row


def entry(who: Person, legs: list[Leg], **more: Any) -> Entry:
    """An entry of a call; settled unless told otherwise."""
    now = clock.now()
    amount = sum(leg.amount for leg in legs)
    values: dict[str, Any] = {
        "state": "settled", "bucket": "image", "day": clock.day_of(now), "estimate": amount,
        "amount": amount, "created_at": now, "model": "m", "legs": dump_legs(legs),
    }  # fmt: skip
    return Entry.objects.create(
        id=ids.ulid(), account=who.account, api_key=who.key, **values | more
    )


def spend(who: Person, *legs: tuple[Balance, int], at: datetime | None = None) -> Entry:
    """A closed call that used so much of these balances."""
    moment = at or clock.now()
    with exclusive("test"):
        for balance, amount in legs:
            Balance.objects.filter(pk=balance.pk).update(used=F("used") + amount)
        made = entry(who, [Leg(row.pk, amount) for row, amount in legs], created_at=moment)
        day, _ = UsageDay.objects.get_or_create(
            account=who.account, api_key=who.key, model="m", bucket="image",
            day=clock.day_of(moment),
        )  # fmt: skip
        UsageDay.objects.filter(pk=day.pk).update(calls=F("calls") + 1)
    return made


def hold(who: Person, balance: Balance, amount: int) -> Entry:
    """A call that is still open."""
    with transaction.atomic():
        Balance.objects.filter(pk=balance.pk).update(reserved=F("reserved") + amount)
        return entry(who, [Leg(balance.pk, amount)], state="open", amount=0)


def let_go(made: Entry, balance: Balance) -> None:
    """Release an open call, so that nothing is held when the test ends."""
    with transaction.atomic():
        held = Entry.objects.get(pk=made.pk).estimate
        Balance.objects.filter(pk=balance.pk).update(reserved=F("reserved") - held)
        Entry.objects.filter(pk=made.pk).update(state="released", legs="[]", end_reason="crashed")
