"""What failures teach the pool: who rests, for how long, and whose fault nothing was."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction

from bsod.lib import clock
from bsod.lib.terms import Blame, RestReason
from proxy import rests
from proxy.failures import backoff
from proxy.models import PoolState, Provider, ProviderKey, Rest
from tests import kit
from tests.kit import Supply
from tests.upstream import FaultServer

SECOND = timedelta(seconds=1)


@dataclass
class Attempt:
    provider: int
    key: int
    model: str
    blame: Blame
    wait: float | None = None


def teach(
    supplied: Supply, blame: Blame, *, key: int = 0, times: int = 1, now: datetime | None = None,
    wait: float | None = None, model: str = "m",
) -> None:  # fmt: skip
    """Verdicts one after another, each in a transaction of its own."""
    row = supplied.key_row(key)
    for _ in range(times):
        with transaction.atomic(), connection.cursor() as cursor:
            attempt = Attempt(supplied.provider.pk, row.pk, model, blame, wait)
            rests.learn(cursor, [attempt], now or clock.now())


def resting(supplied: Supply, key: int | None = 0) -> list[tuple[str, str]]:
    """(reason, model) of a key's rests, or of the provider's own."""
    rows = Rest.objects.filter(provider=supplied.provider)
    row = None if key is None else supplied.key_row(key)
    return list(rows.filter(key=row).values_list("reason", "model").order_by("model"))


def generation() -> int:
    return PoolState.objects.get(id=1).generation


def the_rest(supplied: Supply, key: int = 0) -> Rest:
    return Rest.objects.get(key=supplied.key_row(key))


# ---- a provider's own limit


@pytest.mark.parametrize(("wait", "seconds"), [(7.5, 7.5), (0.0, 0), (600.0, 600), (9000.0, 600)])
def test_a_limit_rests_the_key_for_the_model_as_long_as_asked(
    up: FaultServer, wait: float, seconds: float
) -> None:
    supplied, now, before = kit.supply(up), clock.now(), generation()
    teach(supplied, Blame.RATE_LIMIT, wait=wait, now=now)
    rest = the_rest(supplied)
    assert (rest.reason, rest.model, rest.probe_at) == ("rate_limit", "m", None)
    assert rest.until == now + seconds * SECOND
    assert generation() > before, "every process hears of it"


def test_limits_that_follow_each_other_double_up_to_ten_minutes(up: FaultServer) -> None:
    supplied, now, lengths = kit.supply(up), clock.now(), []
    for _ in range(9):
        teach(supplied, Blame.RATE_LIMIT, now=now)
        until = the_rest(supplied).until
        assert until is not None
        lengths.append((until - now).total_seconds())
        now = until + SECOND
    assert lengths == [5, 10, 20, 40, 80, 160, 320, 600, 600]


def test_a_limit_after_a_quiet_while_begins_anew(up: FaultServer) -> None:
    supplied, now = kit.supply(up), clock.now()
    teach(supplied, Blame.RATE_LIMIT, now=now)
    teach(supplied, Blame.RATE_LIMIT, now=now + 6 * SECOND)
    assert the_rest(supplied).until == now + 16 * SECOND
    later = now + 16 * SECOND + 10 * SECOND
    teach(supplied, Blame.RATE_LIMIT, now=later)
    assert the_rest(supplied).until == later + 5 * SECOND


def test_ten_calls_refused_at_once_are_one_lesson(up: FaultServer) -> None:
    """They were all sent before the first refusal came: nothing doubles."""
    supplied, now = kit.supply(up), clock.now()
    for tick in range(10):
        teach(supplied, Blame.RATE_LIMIT, now=now + tick * SECOND / 10)
    until = the_rest(supplied).until
    assert until is not None
    assert until <= now + 6 * SECOND


def test_a_refusal_that_was_on_its_way_does_not_end_a_limit_sooner(up: FaultServer) -> None:
    supplied, now = kit.supply(up), clock.now()
    teach(supplied, Blame.RATE_LIMIT, wait=60, now=now)
    teach(supplied, Blame.RATE_LIMIT, wait=2, now=now + SECOND)
    assert the_rest(supplied).until == now + 60 * SECOND
    teach(supplied, Blame.RATE_LIMIT, wait=90, now=now + 2 * SECOND)
    assert the_rest(supplied).until == now + 92 * SECOND


def test_a_limit_of_a_call_without_a_model_does_not_end_what_a_probe_must(up: FaultServer) -> None:
    supplied = kit.supply(up)
    teach(supplied, Blame.AUTH)
    teach(supplied, Blame.RATE_LIMIT, model="")
    assert (resting(supplied), the_rest(supplied).until) == ([("auth", "")], None)
    other = kit.supply(up)
    teach(other, Blame.RATE_LIMIT, model="")
    teach(other, Blame.AUTH)
    assert (resting(other), the_rest(other).until) == ([("auth", "")], None)


def test_each_model_has_a_limit_of_its_own(up: FaultServer) -> None:
    supplied = kit.supply(up)
    teach(supplied, Blame.RATE_LIMIT, model="a")
    teach(supplied, Blame.RATE_LIMIT, model="b")
    assert resting(supplied) == [("rate_limit", "a"), ("rate_limit", "b")]
    assert supplied.key_row().failures == 0


# ---- failures of a key


def test_five_failures_in_a_row_rest_the_key(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    before = generation()
    teach(supplied, Blame.FAILURE, times=4)
    assert resting(supplied) == []
    assert generation() == before, "nothing has changed for anybody yet"
    now = clock.now()
    teach(supplied, Blame.FAILURE, now=now)
    assert resting(supplied) == [("failures", "")]
    assert generation() > before
    rest = the_rest(supplied)
    assert (rest.until, rest.step) == (None, 0)
    assert rest.probe_at == now + settings.FIRST_PROBE * SECOND
    assert resting(supplied, 1) == []


def test_a_success_forgives_failures(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    for _ in range(3):
        teach(supplied, Blame.FAILURE, times=4)
        teach(supplied, Blame.NOBODY)
    assert resting(supplied) == []
    assert supplied.key_row().failures == 0


def test_the_last_live_key_is_not_rested_by_failures(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    teach(supplied, Blame.FAILURE, times=5, key=0)
    teach(supplied, Blame.FAILURE, times=20, key=1)
    assert (resting(supplied, 0), resting(supplied, 1)) == ([("failures", "")], [])
    alone = kit.supply(up)
    teach(alone, Blame.FAILURE, times=20)
    assert resting(alone) == []


def test_a_key_that_waits_for_a_limit_or_was_deleted_counts_as_what_it_is(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    teach(supplied, Blame.RATE_LIMIT, key=1)
    teach(supplied, Blame.FAILURE, times=5, key=0)
    assert resting(supplied, 0) == [("failures", "")], "the other one lives"
    other = kit.supply(up, keys=2)
    ProviderKey.objects.filter(pk=other.key_row(1).pk).update(deleted_at=clock.now())
    teach(other, Blame.FAILURE, times=9, key=0)
    assert resting(other, 0) == []


def test_a_spared_key_rests_with_its_next_failure_once_another_lives(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    teach(supplied, Blame.AUTH, key=1)
    teach(supplied, Blame.FAILURE, times=7, key=0)
    assert resting(supplied, 0) == []
    rests.end(the_rest(supplied, 1))
    teach(supplied, Blame.FAILURE, key=0)
    assert resting(supplied, 0) == [("failures", "")]


@pytest.mark.parametrize("blame", [Blame.CLIENT, Blame.NOBODY])
def test_a_clients_own_fault_is_never_counted(up: FaultServer, blame: Blame) -> None:
    supplied, before = kit.supply(up, keys=2), generation()
    teach(supplied, blame, times=20)
    assert resting(supplied) == resting(supplied, None) == []
    assert supplied.key_row().failures == 0
    assert generation() == before


# ---- a key that is refused


@pytest.mark.parametrize("blame", [Blame.AUTH, Blame.BILLING])
def test_a_refused_key_rests_at_once_even_the_last_one(up: FaultServer, blame: Blame) -> None:
    supplied, now = kit.supply(up), clock.now()
    teach(supplied, blame, now=now)
    assert resting(supplied) == [(str(blame), "")]
    rest = the_rest(supplied)
    assert rest.until is None
    assert rest.probe_at == now + 12 * settings.FIRST_PROBE * SECOND
    teach(supplied, blame, times=3)
    assert resting(supplied) == [(str(blame), "")]


def test_three_keys_refused_within_a_minute_make_the_provider_suspect(up: FaultServer) -> None:
    supplied, now = kit.supply(up, keys=6), clock.now()
    for number in range(3):
        teach(supplied, Blame.AUTH, key=number, now=now + number * SECOND)
    teach(supplied, Blame.AUTH, key=3, now=now + 10 * SECOND)
    assert [bool(resting(supplied, number)) for number in range(4)] == [True, True, True, False]
    assert supplied.key_row(3).failures == 1, "it counts as a failure instead"
    teach(supplied, Blame.AUTH, key=4, now=now + 63 * SECOND)
    assert resting(supplied, 4) == [("auth", "")], "a minute later a refusal is a refusal again"


def test_a_suspect_providers_keys_rest_after_five_refusals_like_any_failure(
    up: FaultServer,
) -> None:
    supplied, now = kit.supply(up, keys=5), clock.now()
    for number in range(3):
        teach(supplied, Blame.AUTH, key=number, now=now)
    teach(supplied, Blame.AUTH, key=3, times=5, now=now)
    assert resting(supplied, 3) == [("failures", "")]


def test_two_processes_never_rest_each_others_last_live_key(up: FaultServer) -> None:
    """Both keys have failed often enough; whoever comes second sees what the first has done."""
    supplied = kit.supply(up, keys=2)
    ProviderKey.objects.filter(provider=supplied.provider).update(failures=9)
    taught = threading.Event()

    def other() -> None:
        taught.wait(5)
        teach(supplied, Blame.FAILURE, key=1)

    with kit.beside(other), transaction.atomic(), connection.cursor() as cursor:
        row = supplied.key_row()
        attempt = Attempt(supplied.provider.pk, row.pk, "m", Blame.FAILURE)
        rests.learn(cursor, [attempt], clock.now())
        taught.set()
        time.sleep(0.1)  # long enough for the other one to look, were he not to wait
    assert (resting(supplied, 0), resting(supplied, 1)) == ([("failures", "")], [])


def test_refusals_elsewhere_make_nobody_suspect(up: FaultServer) -> None:
    one, two = kit.supply(up, keys=3), kit.supply(up)
    for number in range(3):
        teach(one, Blame.AUTH, key=number)
    teach(two, Blame.AUTH)
    assert resting(two) == [("auth", "")]


# ---- a provider that cannot be reached


def test_five_connect_failures_rest_the_provider_and_no_key(up: FaultServer) -> None:
    supplied, now = kit.supply(up, keys=2), clock.now()
    teach(supplied, Blame.CONNECT, times=2, key=0)
    teach(supplied, Blame.CONNECT, times=2, key=1)
    assert resting(supplied, None) == []
    teach(supplied, Blame.CONNECT, key=0, now=now)
    assert resting(supplied, None) == [("unreachable", "")]
    assert resting(supplied, 0) == resting(supplied, 1) == []
    assert [supplied.key_row(number).failures for number in range(2)] == [0, 0]
    rest = Rest.objects.get(provider=supplied.provider, key=None)
    assert rest.probe_at == now + settings.FIRST_PROBE * SECOND


def test_one_answer_forgives_connect_failures(up: FaultServer) -> None:
    supplied = kit.supply(up)
    for _ in range(3):
        teach(supplied, Blame.CONNECT, times=4)
        teach(supplied, Blame.NOBODY)
    assert resting(supplied, None) == []
    assert Provider.objects.get(pk=supplied.provider.pk).failures == 0


# ---- probes


@pytest.mark.parametrize(
    ("reason", "first", "most"),
    [
        (RestReason.FAILURES, 1, 3600),
        (RestReason.UNREACHABLE, 1, 3600),
        (RestReason.NEW, 1, 3600),
        (RestReason.AUTH, 12, 86_400),
        (RestReason.BILLING, 12, 86_400),
    ],
)
def test_probes_that_fail_are_put_off_by_doubling(
    up: FaultServer, reason: RestReason, first: int, most: float
) -> None:
    supplied, now = kit.supply(up), clock.now()
    key = None if reason is RestReason.UNREACHABLE else supplied.key_row().pk
    assert rests.begin(supplied.provider.pk, key, reason, now)
    waits = []
    for _ in range(24):
        rest = Rest.objects.get(provider=supplied.provider)
        rests.postpone(rest, now)
        probe_at = Rest.objects.get(pk=rest.pk).probe_at
        assert probe_at is not None
        waits.append((probe_at - now).total_seconds())
    unit = first * settings.FIRST_PROBE
    assert waits[:3] == pytest.approx([2 * unit, 4 * unit, 8 * unit])
    assert waits[-1] == most
    assert waits == sorted(waits)


def test_the_first_probe_of_production_is_after_five_seconds_or_a_minute() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "FIRST_PROBE", 5.0)
        assert backoff(RestReason.FAILURES) == (5.0, 3600.0)
        assert backoff(RestReason.AUTH) == (60.0, 86_400.0)


def test_the_end_of_a_rest_forgets_its_failures(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    teach(supplied, Blame.FAILURE, times=5)
    before = generation()
    rests.end(the_rest(supplied))
    assert resting(supplied) == []
    assert supplied.key_row().failures == 0
    assert generation() > before


def test_putting_off_a_rest_that_somebody_else_has_ended_is_harmless(up: FaultServer) -> None:
    supplied = kit.supply(up)
    teach(supplied, Blame.AUTH)
    rest = the_rest(supplied)
    rests.end(Rest.objects.get(pk=rest.pk))
    rests.postpone(rest, clock.now())
    assert resting(supplied) == []


def test_a_batch_of_verdicts_is_learnt_together(up: FaultServer) -> None:
    supplied, now = kit.supply(up, keys=3), clock.now()
    rows = [supplied.key_row(number).pk for number in range(3)]
    provider = supplied.provider.pk
    with transaction.atomic(), connection.cursor() as cursor:
        rests.learn(
            cursor,
            [
                *[Attempt(provider, rows[0], "m", Blame.FAILURE)] * 5,
                Attempt(provider, rows[1], "m", Blame.RATE_LIMIT, 9.0),
                Attempt(provider, rows[2], "m", Blame.NOBODY),
                Attempt(provider, rows[2], "m", Blame.CLIENT),
            ],
            now,
        )
        rests.learn(cursor, [], now)
    assert resting(supplied, 0) == [("failures", "")]
    assert resting(supplied, 1) == [("rate_limit", "m")]
    assert resting(supplied, 2) == []
