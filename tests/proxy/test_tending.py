"""What admins do to the pool, where it is about rows: twice at once, and beside failures."""

import threading

import pytest
from django.db import connection

from accounts.models import AuditEvent
from bsod.lib import clock
from bsod.lib.terms import Blame, RestReason
from proxy import rechecks, rests, service, tending
from proxy.models import Model, ProviderKey, Rest
from tests import kit
from tests.kit import Supply
from tests.proxy.rows import reasons
from tests.proxy.test_rests import teach
from tests.upstream import FaultServer, chat_stream


def keys_of(supplied: Supply) -> list[ProviderKey]:
    return list(ProviderKey.objects.filter(provider=supplied.provider).order_by("pk"))


def test_many_who_ask_the_same_keys_at_once_ask_each_of_them_once(up: FaultServer) -> None:
    supplied, root = kit.supply(up, keys=3), kit.person().account
    numbers = [key.pk for key in keys_of(supplied)]
    up.default = chat_stream()
    begin, found = threading.Barrier(6), []

    def ask() -> None:
        try:
            begin.wait(10)
            found.append(rechecks.recheck(numbers, root))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    asked = sum(len(one.found) for one in found)
    assert len(found) == 6
    # Whoever comes when the first is through may ask again.
    assert len(up.seen) == asked
    assert sum(one.waiting for one in found) == 6 * 3 - asked
    assert not ProviderKey.objects.filter(pk__in=numbers, asked_at__isnull=False).exists()


def test_an_admins_rest_is_neither_ended_nor_replaced_by_failures(up: FaultServer) -> None:
    supplied, root = kit.supply(up, keys=2), kit.person().account
    first, second = keys_of(supplied)
    assert tending.cool([first], root, 30, "loud") == 1
    assert tending.switch_off([second], root, "leaked") == 1
    for number in (0, 1):
        teach(supplied, Blame.AUTH, key=number)
        teach(supplied, Blame.RATE_LIMIT, key=number, model="")
    assert reasons(supplied.provider) == ["cooled", "off"]
    due = Rest.objects.filter(provider=supplied.provider, probe_at__isnull=False)
    assert not due.exists(), "no probe is ever due"
    assert tending.end_rests(Rest.objects.filter(key=first), root) == 1
    assert tending.switch_on([first, second], root) == 1
    assert reasons(supplied.provider) == ["new"]
    Rest.objects.filter(provider=supplied.provider).delete()


def test_a_rest_that_says_a_key_is_bad_does_not_end_by_the_clock(up: FaultServer) -> None:
    supplied, root = kit.supply(up), kit.person().account
    key = keys_of(supplied)[0]
    rests.begin(supplied.provider.pk, key.pk, RestReason.AUTH, clock.now())
    assert tending.cool([key], root, 1, "x") == 0
    assert tending.end_rests(Rest.objects.filter(key=key), root) == 0
    assert reasons(supplied.provider) == ["auth"]
    Rest.objects.filter(provider=supplied.provider).delete()


def test_an_act_that_is_not_done_is_not_kept_either(up: FaultServer) -> None:
    supplied, root = kit.supply(up), kit.person().account
    key = keys_of(supplied)[0]
    for act in (tending.switch_off, tending.remove_keys):
        with pytest.raises(tending.NoReason, match="Give a reason"):
            act([key], root, "  ")
    kept = AuditEvent.objects.filter(target_kind="proxy.providerkey", target_id=str(key.pk))
    assert not kept.exists()
    assert reasons(supplied.provider) == []


def test_many_models_are_fixed_and_follow_again_whatever_was_set_of_each(up: FaultServer) -> None:
    root = kit.person().account
    rows = [Model.objects.get(name=kit.supply(up, tier="base").model) for _ in range(3)]
    service.fix([rows[0].pk], {"max_output": 7})
    numbers = [row.pk for row in rows]
    assert tending.fix(numbers, {"tier": "pro"}, root) == 3
    found = Model.objects.filter(pk__in=numbers).order_by("pk")
    assert [(row.tier, row.fixed) for row in found] == [
        ("pro", ["max_output", "tier"]), ("pro", ["tier"]), ("pro", ["tier"]),
    ]  # fmt: skip
    assert tending.follow(numbers, root) == 3
    assert [(row.tier, row.fixed) for row in found.all()] == [("base", [])] * 3
