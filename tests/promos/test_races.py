"""Fifty at one moment, each on a connection of its own: as many grants as the code is good for."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from django.db import OperationalError, connection

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Bucket
from promos.models import Promo, PromoCode, Redemption
from promos.rules import Why
from promos.service import disable
from quotas import meter
from quotas.models import Balance, Entry
from tests import kit
from tests.kit import Person
from tests.promos.offers import code, grants, offer, tried

CROWD = 50


def at_once(works: Sequence[Callable[[], Any]]) -> Counter[Any]:
    """What these return, each in a thread that begins when all are there."""
    (told,) = in_turns(works)
    return told


def in_turns(*turns: Sequence[Callable[[], Any]]) -> list[Counter[Any]]:
    """The same several times over, on the same connections."""
    count = len(turns[0])
    barrier = threading.Barrier(count)
    results: list[Counter[Any]] = [Counter() for _ in turns]

    def one(number: int) -> None:
        connection.ensure_connection()
        for turn, told in zip(turns, results, strict=True):
            barrier.wait(60)
            try:
                result = _patiently(turn[number])
            except Exception as error:
                result = repr(error)
            with lock:
                told[result] += 1
        connection.close()

    lock = threading.Lock()
    threads = [threading.Thread(target=one, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def _patiently(work: Callable[[], Any]) -> Any:
    """Whom the database has let wait too long for his turn is told to try again, and does."""
    for _ in range(5):
        try:
            return work()
        except OperationalError as error:
            if "timeout" not in str(error):
                raise
    return work()


def people(count: int) -> list[Person]:
    """Accounts that need no key."""
    made = Account.objects.bulk_create(
        [Account(username=kit.unique("racer"), password="!") for _ in range(count)]
    )
    return [Person(account, ApiKey(), "") for account in made]


def test_fifty_at_once_are_one_grant_for_one_user_and_ten_for_ten_uses() -> None:
    eager, crowd = kit.person("eager"), people(CROWD)
    single, (once,) = offer(grants={"image": 3, "credits": 5})
    public, (wide,) = offer(uses=None)
    ten, (scarce,) = offer(uses=10)
    assert in_turns(
        [lambda: tried(eager, once)] * CROWD,
        [lambda: tried(eager, wide)] * CROWD,
        [lambda who=who: tried(who, scarce) for who in crowd],
    ) == [
        {None: 1, Why.ALREADY: CROWD - 1},
        {None: 1, Why.ALREADY: CROWD - 1},
        {None: 10, Why.INVALID: CROWD - 10},
    ]  # fmt: skip
    assert grants(eager) == {"image": 13, "credits": 5}
    assert Entry.objects.filter(account=eager.account, kind="grant").count() == 3
    given = Balance.objects.filter(account__in=[who.account for who in crowd], period=None)
    assert [row.granted for row in given] == [10] * 10
    assert len({row.account_id for row in given}) == 10
    for promo, uses in ((single, 1), (public, 1), (ten, 10)):
        assert PromoCode.objects.get(promo=promo).redeemed == uses
        assert Redemption.objects.filter(promo=promo).count() == uses
    assert kit.ledger_adds_up(eager)


def test_a_batch_at_once_gives_one_user_his_share() -> None:
    who = kit.person("collector")
    promo, texts = offer(count=20, per_user=3)
    told = at_once([lambda text=text: tried(who, text) for text in texts])
    assert told == {None: 3, Why.ALREADY: 17}
    assert grants(who) == {"image": 30}
    numbers = Redemption.objects.filter(promo=promo).values_list("number", flat=True)
    assert sorted(numbers) == [1, 2, 3]


def test_of_many_first_user_codes_at_once_one_is_redeemed() -> None:
    """Different offers: only the account's own lock is between them."""
    who = kit.person("first")
    texts = [code(first_users_only=True) for _ in range(10)]
    assert at_once([lambda text=text: tried(who, text) for text in texts]) == {
        None: 1, Why.NOT_NEW: 9,
    }  # fmt: skip
    assert grants(who) == {"image": 10}


def test_redeeming_beside_grants_and_a_switch_off_loses_nothing() -> None:
    crowd = people(8)
    promo, (text,) = offer(uses=None)

    def grant(who: Person) -> str:
        meter.grant(who.account, Bucket.IMAGE, 1)
        return "granted"

    def off() -> str:
        return f"off {len(disable(Promo.objects.filter(pk=promo.pk)))}"

    works = [*(lambda who=who: tried(who, text) for who in crowd),
             *(lambda who=who: grant(who) for who in crowd), off, off]  # fmt: skip
    told = at_once(works)
    assert (told["granted"], told["off 1"], told["off 0"]) == (8, 1, 1)
    assert told[None] + told[Why.INVALID] == 8
    assert Redemption.objects.filter(promo=promo).count() == told[None]
    assert sum(grants(who)["image"] for who in crowd) == 8 + 10 * told[None]
    assert tried(kit.person("late"), text) is Why.INVALID
    assert kit.ledger_adds_up()


def test_what_changes_while_one_waits_for_the_lock_is_what_counts() -> None:
    """The first look said yes; the code is switched off before the lock is had."""
    who = kit.person("waiting")
    promo, (text,) = offer()
    told: list[Any] = []

    def redeem() -> None:
        told.append(tried(who, text))

    with exclusive("an admin"):
        Promo.objects.select_for_update().get(pk=promo.pk)
        PromoCode.objects.filter(promo=promo).update(disabled_at=clock.now())
        waiting = kit.beside(redeem)
        waiting.__enter__()
        time.sleep(0.3)
        assert told == [], "it waits: nothing of the change is to be seen yet"
    waiting.__exit__(None, None, None)
    assert told == [Why.INVALID]
    assert grants(who) == {}
