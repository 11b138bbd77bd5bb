"""What a process has just seen of keys itself: who is on trial, and who is left alone at once."""

import asyncio
from collections.abc import Callable

import pytest

from bsod.lib.terms import Blame, RestReason
from proxy.failures import backoff
from proxy.hearsay import TRIAL
from proxy.pool import Lease, NoKey
from tests.proxy.pools import ALICE, NOW, fresh, lease, model, nobody, patiently, pool

pytestmark = pytest.mark.once


def test_a_key_that_nobody_knows_is_tried_by_one_call_until_a_refusal_would_have_come() -> None:
    made = fresh({1: [1, 2, 3]})
    assert [patiently(made, n) for n in range(5)] == [1, 2, 3, None, None]
    made.hearsay.prove(1)
    taken = [patiently(made, n) for n in range(10, 15)]
    assert taken == [1, 1, 1, None, None], "so many more than those on trial, and no more"
    assert patiently(made, 20, NOW + TRIAL) == 2, "whoever is not dead may be slow"
    assert lease(made, 21).key.id == 3, "whoever cannot wait is served at once"


def test_a_key_that_has_failed_last_is_tried_by_one_call_at_a_time_until_it_answers() -> None:
    made = pool({1: [1, 2]})
    made.hearsay.hear(1, 1, "m", Blame.FAILURE, None, NOW)
    trial = lease(made, 10)
    assert [patiently(made, n, NOW + 60) for n in range(11, 20)] == [2] * 9
    made.release(trial)
    assert patiently(made, 20) == 1, "its trial is over, whatever it has shown"
    assert patiently(made, 21) == 2
    made.hearsay.prove(1)
    assert [patiently(made, n) for n in range(22, 25)] == [1, 1, 1]


def test_a_call_that_has_met_a_bad_key_goes_to_one_that_answers() -> None:
    made = fresh({1: [1, 2, 3]})
    made.hearsay.prove(3)
    assert lease(made, 10).key.id == 1
    assert [lease(made, n, tried=(1,)).key.id for n in range(11, 15)] == [3] * 4
    assert lease(made, 15, tried=(1, 3)).key.id == 2
    cold = fresh({1: [1, 2, 3]})
    first, _ = lease(cold, 10), lease(cold, 11)
    cold.release(first)
    waiting = cold.lease(model(1), 10, (1,), NOW, patient=True)
    assert isinstance(waiting, NoKey), "the second key is about to answer"
    assert waiting.undecided
    assert lease(cold, 10, tried=(1,)).key.id == 3


def test_with_one_live_key_there_is_nobody_to_wait_for() -> None:
    made = fresh({1: [1]})
    assert [patiently(made, n) for n in range(3)] == [1, 1, 1]
    made.hearsay.hear(1, 1, "m", Blame.FAILURE, None, NOW)
    assert patiently(made, 4) == 1


def test_news_comes_with_an_answer_the_end_of_a_trial_or_after_its_time() -> None:
    made = fresh({1: [1, 2]})
    held = lease(made, 10)

    async def waits(show: Callable[[], None], seconds: float = 5.0) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_later(0.01, show)
        await made.hearsay.news(seconds)
        return loop.time() - began

    assert asyncio.run(waits(lambda: made.hearsay.prove(1))) < 2
    assert asyncio.run(waits(lambda: made.release(held))) < 2
    assert asyncio.run(waits(lambda: None, 0.05)) >= 0.04


@pytest.mark.parametrize("blame", [Blame.AUTH, Blame.BILLING, Blame.RATE_LIMIT])
def test_what_an_attempt_has_shown_holds_before_the_database_has_heard_of_it(blame: Blame) -> None:
    made = pool({1: [1, 2]})
    made.hearsay.hear(1, 1, "m", blame, 3.0, NOW)
    assert [lease(made, n).key.id for n in range(5)] == [2] * 5
    made.hearsay.hear(1, 2, "m", blame, 7.0, NOW)
    limited = blame is Blame.RATE_LIMIT
    first = 3.0 if limited else backoff(blame).first
    found = nobody(made)
    assert found == NoKey(found.wait, limited, True)
    assert found.wait == pytest.approx(first)
    other = made.lease(model(1, name="other"), ALICE, (), NOW)
    assert isinstance(other, Lease) is limited, "a limit is the model's alone"
    later = 4.0 if limited else 1.1
    assert lease(made, now=NOW + later).key.id == 1, "then it is the database's word that counts"


def test_a_process_that_cannot_reach_a_provider_five_times_leaves_it_alone() -> None:
    made = pool({1: [1, 2]})
    for _ in range(4):
        made.hearsay.hear(1, 1, "m", Blame.CONNECT, None, NOW)
    lease(made)
    made.hearsay.hear(1, 2, "m", Blame.FAILURE, None, NOW)
    made.hearsay.hear(1, 1, "m", Blame.CONNECT, None, NOW)
    lease(made)
    for _ in range(4):
        made.hearsay.hear(1, 1, "m", Blame.CONNECT, None, NOW)
    first = backoff(RestReason.UNREACHABLE).first
    assert nobody(made).wait == pytest.approx(first)


def test_a_clients_own_fault_leaves_a_key_what_it_is() -> None:
    made = pool({1: [1, 2]})
    made.hearsay.hear(1, 1, "m", Blame.CLIENT, None, NOW)
    assert [lease(made, n).key.id for n in (10, 11, 12, 13)] == [1, 2, 1, 2]


def test_of_a_host_that_cannot_be_reached_no_other_key_is_tried_while_there_is_another_host() -> (
    None
):
    made, both = pool({1: [1, 2, 3], 2: [4]}), model(1, 2)
    found = made.lease(both, ALICE, (1,), NOW, shunned=[1])
    assert isinstance(found, Lease)
    assert found.key.id == 4
    again = made.lease(both, ALICE, (1, 4), NOW, shunned=[1])
    assert isinstance(again, Lease)
    assert again.key.id == 2, "with nobody else it is tried again"
