"""Which key serves the next attempt: the account's own one while it is nearly the idlest."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy.models import Model, Provider, ProviderKey, Rest
from proxy.pool import Lease, NoKey, Pool, Rested, Snapshot, bump, bump_rests, load, retry_after
from proxy.snapshot import Readings
from tests import kit
from tests.proxy.pools import ALICE, BOB, NOW, lease, model, nobody, pool
from tests.proxy.rows import generation
from tests.upstream import FaultServer


def test_strangers_are_spread_over_the_least_loaded_keys() -> None:
    made = pool({1: [1, 2, 3]})
    taken = [lease(made, account).key.id for account in range(9)]
    assert sorted(taken) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_released_key_is_idle_again() -> None:
    made = pool({1: [1, 2]})
    first, second = lease(made, 10), lease(made, 11)
    made.release(first)
    assert lease(made, 12).key.id == first.key.id
    made.release(second)
    assert lease(made, 13).key.id == second.key.id


def test_an_account_keeps_its_key_while_it_is_within_two_calls_of_the_idlest() -> None:
    made = pool({1: [1, 2]})
    assert [lease(made, ALICE).key.id for _ in range(3)] == [1, 1, 1]
    assert lease(made, ALICE).key.id == 2, "three calls more than the idlest are too many"
    assert lease(made, ALICE).key.id == 2, "and that one is his now"


def test_an_account_comes_back_to_its_key_after_a_pause() -> None:
    made = pool({1: [1, 2]})
    held = lease(made, BOB)
    second = lease(made, ALICE)
    made.release(held)
    made.release(second)
    assert second.key.id == 2
    assert lease(made, ALICE).key.id == 2


def test_a_call_of_another_model_does_not_forget_the_key_of_this_one() -> None:
    """Chat and embeddings at two providers: both prompt caches stay warm."""
    made = pool({1: [1, 2], 2: [3]})
    held = lease(made, BOB)
    mine = lease(made, ALICE)
    other = lease(made, ALICE, what=model(2, name="e"))
    for one in (held, mine, other):
        made.release(one)
    assert (mine.key.id, other.key.id) == (2, 3)
    assert lease(made, ALICE).key.id == 2


def test_a_key_that_was_tried_is_not_tried_again() -> None:
    made = pool({1: [1, 2, 3]})
    assert lease(made, tried=(1, 3)).key.id == 2
    assert nobody(made, tried=(1, 2, 3)).exists


def test_a_model_of_two_providers_is_served_by_the_keys_of_both() -> None:
    made = pool({1: [1], 2: [2]})
    both = model(1, 2)
    assert {lease(made, account, what=both).key.id for account in (1, 2)} == {1, 2}
    assert lease(made, what=both, tried=(1,)).offer.provider == 2


@pytest.mark.parametrize(
    ("scope", "other_model_lives"),
    [((1, None, ""), False), ((None, 1, ""), False), ((None, 1, "m"), True)],
)
def test_a_rest_holds_for_its_scope(scope: tuple[object, ...], other_model_lives: bool) -> None:
    made = pool({1: [1]}, {scope: Rested(None, RestReason.FAILURES)})
    assert nobody(made) == NoKey(None, False, True)
    assert not made.available(model(1), NOW)
    other = model(1, name="other")
    assert made.available(other, NOW) is other_model_lives
    assert isinstance(made.lease(other, ALICE, (), NOW), Lease) is other_model_lives


def test_a_rest_of_one_key_leaves_the_others() -> None:
    made = pool({1: [1, 2]}, {(None, 1, ""): Rested(None, RestReason.AUTH)})
    assert lease(made).key.id == 2
    assert made.available(model(1), NOW)


def test_a_limit_ends_by_the_clock_and_a_rest_does_not() -> None:
    made = pool({1: [1]}, {(None, 1, "m"): Rested(NOW + 5, RestReason.RATE_LIMIT)})
    assert nobody(made) == NoKey(5.0, True, True)
    assert lease(made, now=NOW + 5).key.id == 1
    made = pool({1: [1]}, {(None, 1, ""): Rested(None, RestReason.AUTH)})
    assert isinstance(made.lease(model(1), ALICE, (), NOW + 10**9), NoKey)


def test_the_earliest_return_is_told_and_only_pure_limits_are_limits() -> None:
    limit = RestReason.RATE_LIMIT
    both = {(None, 1, "m"): Rested(NOW + 9, limit), (None, 2, "m"): Rested(NOW + 4, limit)}
    assert nobody(pool({1: [1, 2]}, both)) == NoKey(4.0, True, True)
    mixed = {**both, (None, 2, ""): Rested(None, RestReason.BILLING)}
    assert nobody(pool({1: [1, 2]}, mixed)) == NoKey(9.0, False, True)


def test_what_ends_by_a_probe_is_back_when_it_is_probed() -> None:
    dead = {(None, 1, ""): Rested(None, RestReason.AUTH, NOW + 60),
            (None, 2, ""): Rested(None, RestReason.FAILURES, NOW + 5)}  # fmt: skip
    assert nobody(pool({1: [1, 2]}, dead)) == NoKey(5.0, False, True)
    down = {(1, None, ""): Rested(None, RestReason.UNREACHABLE, NOW + 40)}
    assert nobody(pool({1: [1, 2]}, {**dead, **down})).wait == 40, "all of it must have ended"
    overdue = {(1, None, ""): Rested(None, RestReason.UNREACHABLE, NOW - 3)}
    assert nobody(pool({1: [1, 2]}, overdue)).wait == 0


def test_the_outlook_of_a_model_that_is_served_is_now() -> None:
    limit = {(None, 1, "m"): Rested(NOW + 9, RestReason.RATE_LIMIT)}
    assert pool({1: [1, 2]}, limit).outlook(model(1), NOW) == NoKey(0.0, False, True)
    assert pool({1: [1]}, limit).outlook(model(1), NOW) == NoKey(9.0, True, True)


def test_a_model_without_any_key_says_so() -> None:
    assert nobody(pool({1: []})) == NoKey(None, False, False)
    assert nobody(pool({})) == NoKey(None, False, False)
    assert nobody(pool({1: [1]}), what=model()) == NoKey(None, False, False)


@pytest.mark.parametrize(
    ("wait", "seconds"), [(None, 30), (0.0, 1), (0.2, 1), (4.1, 5), (600, 600)]
)
def test_a_wait_is_told_in_whole_seconds(wait: float | None, seconds: int) -> None:
    assert retry_after(wait) == seconds


# ---- from the database


def test_the_pool_is_read_again_when_its_number_has_grown(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    made = Pool()
    made.refresh(41)
    first = made.snapshot
    assert [x.secret for x in first.keys[supplied.provider.pk]] == supplied.keys
    made.refresh(41)
    assert made.snapshot is first
    made.refresh(42 + (1 << 32))
    assert made.snapshot.keys is not first.keys


def test_where_only_rests_have_changed_only_they_are_read(up: FaultServer) -> None:
    supplied, made = kit.supply(up), Pool()
    made.refresh(generation())
    first = made.snapshot
    Rest.objects.create(provider=supplied.provider, key=supplied.key_row(), reason="auth")
    bump_rests()
    made.refresh(generation())
    assert (None, supplied.key_row().pk, "") in made.snapshot.rests
    # Others change the pool meanwhile; then all is read, and this says nothing.
    same = made.snapshot.generation >> 32 == first.generation >> 32
    assert (made.snapshot.keys is first.keys) is same
    with CaptureQueriesContext(connection) as asked:
        made.refresh(made.snapshot.generation + 1)
    assert len(asked) == 1
    bump()
    assert generation() >> 32 > made.snapshot.generation >> 32


def test_a_catalogue_is_not_built_again_for_another_key(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)

    def same(after: Callable[[], object]) -> tuple[bool, Snapshot]:
        first = load(1)
        after()
        second = load(2, first)
        return second.catalogue is first.catalogue, second

    def paused() -> bool:
        # Others may change the catalogue meanwhile: then once more.
        rows = ProviderKey.objects.filter(pk=supplied.key_row().pk)
        rows.update(paused=False)
        kept, found = same(lambda: rows.update(paused=True))
        assert [x.secret for x in found.keys[supplied.provider.pk]] == supplied.keys[1:]
        return kept

    assert kit.eventually(paused)
    model = Model.objects.filter(name=supplied.model)
    kept, found = same(lambda: model.update(context_window=77))
    assert not kept
    assert found.catalogue.models[supplied.model].traits.context == 77
    # Where its models can be asked is made of it, too.
    kept, found = same(
        lambda: Provider.objects.filter(pk=supplied.provider.pk).update(kind="openai")
    )
    assert not kept


def test_what_one_has_read_nobody_in_the_process_reads_again(up: FaultServer) -> None:
    kit.supply(up)
    shared = Readings()
    one, other, number = Pool(shared), Pool(shared), generation()
    one.refresh(number)
    with CaptureQueriesContext(connection) as asked:
        other.refresh(number)
    assert (len(asked), other.snapshot is one.snapshot) == (0, True)


def test_a_row_that_makes_no_sense_leaves_the_pool_as_it_was(up: FaultServer) -> None:
    supplied, made = kit.supply(up), Pool()
    made.refresh(1 << 32)
    row = Model.objects.filter(name=supplied.model)
    row.update(tier="nonsense")
    try:
        made.refresh(2 << 32)
    finally:
        row.update(tier="base")
    assert supplied.model in made.snapshot.catalogue.models
    assert made.snapshot.generation == 2 << 32
    Rest.objects.create(provider=supplied.provider, key=supplied.key_row(), reason="auth")
    made.refresh((2 << 32) + 1)
    assert (None, supplied.key_row().pk, "") in made.snapshot.rests


@pytest.mark.parametrize("broken", ["", "sk-plain", "copied"])
def test_a_secret_that_does_not_open_is_never_used(up: FaultServer, broken: str) -> None:
    """Corrupt, in the clear, or copied from another row: the rest of the pool works."""
    supplied = kit.supply(up, keys=2)
    bad, good = supplied.key_row(0), supplied.key_row(1)
    sealed = good.sealed if broken == "copied" else broken
    ProviderKey.objects.filter(pk=bad.pk).update(sealed=sealed)
    keys = load(1).keys[supplied.provider.pk]
    assert [(x.id, x.secret) for x in keys] == [(good.pk, supplied.keys[1])]


def test_no_secret_shows_when_a_key_is_printed(up: FaultServer) -> None:
    supplied = kit.supply(up)
    assert supplied.keys[0] not in repr(load(1).keys[supplied.provider.pk])


def test_what_was_deleted_or_is_unknown_is_not_in_the_pool(up: FaultServer) -> None:
    supplied, gone, odd = kit.supply(up, keys=2), kit.supply(up), kit.supply(up)
    ProviderKey.objects.filter(pk=supplied.key_row().pk).update(deleted_at=clock.now())
    Provider.objects.filter(pk=gone.provider.pk).update(deleted_at=clock.now())
    Provider.objects.filter(pk=odd.provider.pk).update(kind="nobody-knows")
    found = load(1)
    assert [x.secret for x in found.keys[supplied.provider.pk]] == [supplied.keys[1]]
    assert gone.provider.pk not in found.keys
    assert gone.model not in found.catalogue.models
    assert odd.provider.pk not in found.keys


def test_a_model_that_is_listed_no_more_is_gone_and_one_without_keys_stays(up: FaultServer) -> None:
    kept, gone = kit.supply(up, keys=0), kit.supply(up)
    gone.provider.offers.update(gone_at=clock.now())
    found = load(1)
    assert kept.model in found.catalogue.models
    assert gone.model not in found.catalogue.models


def test_rests_come_with_the_pool_and_by_the_monotonic_clock(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=3)
    limited, dead, provider = supplied.key_row(0), supplied.key_row(1), supplied.provider
    now = clock.now()
    Rest.objects.create(
        provider=provider, key=limited, model="m", reason="rate_limit",
        until=now + timedelta(seconds=30), created_at=now,
    )  # fmt: skip
    Rest.objects.create(
        provider=provider, key=dead, reason="auth", probe_at=now + timedelta(seconds=60)
    )
    over = {"provider": provider, "key": limited, "reason": "rate_limit"}
    Rest.objects.create(**over, model="over", until=now - timedelta(seconds=1))
    rests = load(1).rests
    assert (None, limited.pk, "over") not in rests
    until = rests[None, limited.pk, "m"].until
    assert until is not None
    assert 25 < until - clock.monotonic() <= 30
    rested = rests[None, dead.pk, ""]
    assert (rested.until, rested.reason) == (None, "auth")
    assert rested.probe is not None
    assert 55 < rested.probe - clock.monotonic() <= 60


def test_a_wall_clock_set_back_does_not_keep_a_key_asleep(up: FaultServer) -> None:
    supplied = kit.supply(up)
    began = clock.now() + timedelta(hours=1)  # so the clock said when the provider refused
    Rest.objects.create(
        provider=supplied.provider, key=supplied.key_row(), model="m", reason="rate_limit",
        until=began + timedelta(seconds=5), created_at=began,
    )  # fmt: skip
    until = load(1).rests[None, supplied.key_row().pk, "m"].until
    assert until is not None
    assert until - clock.monotonic() <= 5
