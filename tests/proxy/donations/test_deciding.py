"""From the approval to the end: one key in the pool, one plan that rises and falls with it."""

from datetime import timedelta

import pytest

from accounts.models import Account, Plan
from accounts.service import change_plan
from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy import rests
from proxy.donations import service
from proxy.donations.models import Donation
from proxy.donations.service import Refused, sweep
from proxy.models import Offer, Provider, ProviderKey, Rest
from proxy.service import add_keys, rotate_vault
from tests import kit
from tests.kit import Supply, unique
from tests.proxy.donations.gifts import (
    acts,
    admin,
    approved,
    fate,
    given,
    in_pool,
    opened,
    plan,
    shop,
    story,
)
from tests.upstream import FaultServer, error, models

pytestmark = pytest.mark.once


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return shop(up)


def disable(donation: Donation, reason: RestReason = RestReason.AUTH) -> None:
    key = donation.provider_key
    assert key
    rests.begin(key.provider_id, key.pk, reason, clock.now())


def test_an_approved_key_is_in_the_pool_on_its_donors_terms(
    up: FaultServer, supplied: Supply
) -> None:
    secret, news = unique("sk-given"), unique("news")
    row = given(supplied, secret=secret, daily_cap=7, models=[supplied.model])
    up.on(models([supplied.model, news]), path_suffix="/models")
    key = service.approve(row, admin(), trusted=True)
    assert opened(key) == secret
    assert key.uid != row.uid
    assert fate(row) == ("approved", True)
    assert Donation.objects.get(pk=row.pk).sealed == "", "the secret lies in one row"
    known = in_pool(row)
    assert known
    assert (known.donated, known.cap, known.models, known.trusted) == (
        True, 7, {supplied.model}, True,
    )  # fmt: skip
    assert secret not in repr(known)
    assert row.opens == sorted([supplied.model, news]), "it was asked again"
    assert Offer.objects.filter(provider=supplied.provider, model__name=news).exists()
    assert (plan(row.donor), acts(row)) == ("supporter", ["donation.approve"])
    assert service.approve(row, admin()).pk == key.pk
    assert acts(row) == ["donation.approve"]


def test_a_key_that_died_while_it_waited_is_not_approved(up: FaultServer, supplied: Supply) -> None:
    secret = unique("sk-given")
    row = given(supplied, secret=secret)
    up.on(error(401), key=secret)
    with pytest.raises(Refused, match="does not know"):
        service.approve(row, admin())
    assert fate(row) == ("pending", True)
    assert plan(row.donor) == "free"


def test_withdrawing_wipes_the_secret_everywhere_and_ends_the_plan(supplied: Supply) -> None:
    row = approved(supplied)
    service.withdraw(row)
    assert fate(row) == ("withdrawn", False)
    assert in_pool(row) is None
    assert plan(row.donor) == "free"
    assert story(row)[2:] == ["approved", "withdrawn"]
    assert acts(row) == ["donation.approve"], "what a donor does is his own affair"


def test_terms_change_and_pauses_hold_in_the_pool_at_once(supplied: Supply) -> None:
    row = approved(supplied)
    service.change(row, 3, [supplied.model])
    known = in_pool(row)
    assert known
    assert (known.cap, known.models) == (3, {supplied.model})
    service.pause(row)
    service.pause(row)
    assert in_pool(row) is None
    service.resume(row)
    assert in_pool(row)
    service.trust(row, admin(), trusted=True)
    assert in_pool(row).trusted  # type: ignore[union-attr]  # just seen
    assert story(row)[3:] == ["changed", "paused", "resumed"]
    with pytest.raises(Refused, match="does not open"):
        service.change(row, 3, ["other"])
    service.withdraw(row)
    with pytest.raises(Refused, match="withdrawn"):
        service.resume(row)


def test_a_key_given_again_is_the_same_row_with_the_new_donors_terms(supplied: Supply) -> None:
    secret = unique("sk-given")
    row = given(supplied, secret=secret, daily_cap=2)
    first = service.approve(row, admin(), trusted=True)
    service.withdraw(row)
    again = given(supplied, secret=secret)
    key = service.approve(again, admin())
    assert key.pk == first.pk
    known = in_pool(again)
    assert known
    assert (known.cap, known.trusted) == (None, False)
    assert ProviderKey.objects.get(pk=key.pk).donor == again.donor
    service.withdraw(again)
    # Whoever adds it by the shell gives a key of his own.
    add_keys(supplied.provider, [secret])
    own = in_pool(again)
    assert own
    assert not own.donated


# ---- the plan


def test_the_plan_stays_until_the_last_of_several_keys_is_gone(supplied: Supply) -> None:
    who = kit.person("donor").account
    rows = [approved(supplied, who), approved(supplied, who)]
    service.withdraw(rows[0])
    assert plan(who) == "supporter"
    service.withdraw(rows[1])
    assert plan(who) == "free"


def test_a_better_plan_is_left_alone_and_one_an_admin_set_stays(supplied: Supply) -> None:
    paying, lifted = kit.person("paying", plan="pro").account, kit.person("lifted").account
    service.withdraw(approved(supplied, paying))
    assert plan(paying) == "pro"
    row = approved(supplied, lifted)
    change_plan(lifted, Plan.objects.get(pk="pro"))
    service.withdraw(row)
    assert plan(lifted) == "pro"


def test_a_plan_that_runs_out_makes_room_for_what_a_donor_has_earned(supplied: Supply) -> None:
    who = kit.person("donor").account
    soon = clock.now() + timedelta(hours=1)
    change_plan(who, Plan.objects.get(pk="pro"), soon)
    row = approved(supplied, who)
    assert plan(who) == "pro"
    over = clock.now() - timedelta(hours=1)
    Account.objects.filter(pk=who.pk).update(plan_expires_at=over)
    sweep()
    sweep()
    assert plan(who) == "supporter"
    service.withdraw(row)
    who.refresh_from_db()
    assert (who.plan_id, who.plan_expires_at) == ("pro", over)


# ---- what becomes of it


def test_a_key_its_provider_refuses_is_dead_until_a_probe_passes(supplied: Supply) -> None:
    row = approved(supplied)
    disable(row, RestReason.BILLING)
    sweep()
    row.refresh_from_db()
    assert fate(row) == ("approved", True), "it rests, and may have slipped"
    assert plan(row.donor) == "supporter"
    rests.postpone(Rest.objects.get(key=row.provider_key), clock.now())
    for _ in range(2):
        sweep()
    row.refresh_from_db()
    assert fate(row) == ("dead", True)
    assert "credit" in row.reason
    assert plan(row.donor) == "free"
    Rest.objects.filter(key=row.provider_key).delete()
    for _ in range(2):
        sweep()
    assert fate(row) == ("approved", True)
    assert plan(row.donor) == "supporter"
    assert story(row)[3:] == ["dead", "revived"]
    disable(row, RestReason.FAILURES)
    sweep()
    assert fate(row) == ("approved", True), "one that fails for a while is not dead"


@pytest.mark.parametrize("gone", ["key", "provider"])
def test_what_an_admin_takes_out_has_ended(supplied: Supply, gone: str) -> None:
    row = approved(supplied)
    rows = ProviderKey.objects.filter(pk=row.provider_key_id)
    (rows if gone == "key" else Provider.objects.filter(pk=supplied.provider.pk)).update(
        deleted_at=clock.now()
    )
    sweep()
    assert fate(row) == ("dead", False)
    row.refresh_from_db()
    assert row.ended
    assert plan(row.donor) == "free"


def test_a_key_that_an_admin_made_his_own_is_not_the_donors_to_withdraw(supplied: Supply) -> None:
    secret = unique("sk-given")
    row = given(supplied, secret=secret)
    key = service.approve(row, admin())
    ProviderKey.objects.filter(pk=key.pk).update(deleted_at=clock.now())
    add_keys(supplied.provider, [secret])
    service.withdraw(row)
    sweep()
    assert opened(ProviderKey.objects.get(pk=key.pk, deleted_at=None)) == secret
    assert in_pool(row)


def test_of_a_deleted_account_nothing_is_left(supplied: Supply) -> None:
    who = kit.person("donor").account
    rows = [approved(supplied, who), given(supplied, who)]
    Account.objects.filter(pk=who.pk).update(deleted_at=clock.now())
    sweep()
    assert [fate(row) for row in rows] == [("withdrawn", False)] * 2


def test_once_a_day_it_is_looked_which_models_a_key_opens(
    up: FaultServer, supplied: Supply
) -> None:
    row = approved(supplied)
    secret = opened(row.provider_key)  # type: ignore[arg-type]  # approved
    old = Donation.objects.filter(pk=row.pk)
    up.on(models(["only"]), path_suffix="/models", key=secret)
    sweep()
    assert in_pool(row).models == {supplied.model}  # type: ignore[union-attr]  # approved
    old.update(probed_at=clock.now() - timedelta(days=2))
    sweep()
    assert in_pool(row).models == {"only"}  # type: ignore[union-attr]  # as above
    up.on(error(401), key=secret)
    old.update(probed_at=clock.now() - timedelta(days=2))
    sweep()
    rests.postpone(Rest.objects.get(key=row.provider_key), clock.now())
    sweep()
    assert fate(row) == ("dead", True)


def test_a_new_vault_key_seals_what_waits_too(supplied: Supply) -> None:
    waiting, pooled = given(supplied), approved(supplied)
    before = [waiting.sealed, pooled.provider_key.sealed]  # type: ignore[union-attr]  # approved
    rotate_vault()
    waiting.refresh_from_db()
    key = ProviderKey.objects.get(pk=pooled.provider_key_id)
    assert before[0] != waiting.sealed
    assert before[1] != key.sealed
    assert service.approve(waiting, admin())
