"""Two who decide at one moment: one decision, one key, and one plan."""

from collections import Counter

from accounts.models import Account
from proxy.donations import service
from proxy.donations.models import Donation, DonationEvent, Raised
from proxy.donations.service import Refused
from proxy.models import ProviderKey
from tests import kit
from tests.kit import unique
from tests.promos.test_races import at_once
from tests.proxy.donations.gifts import acts, admin, fate, given, plan, shop, story
from tests.upstream import FaultServer


def approve(pk: int, boss: Account) -> str:
    """What becomes of one click. Each has read the row for itself."""
    try:
        return f"key {service.approve(Donation.objects.get(pk=pk), boss).pk}"
    except Refused as why:
        return why.code


def test_approving_twice_at_once_makes_one_key(up: FaultServer) -> None:
    row, bosses = given(shop(up)), [admin(), admin()]
    told = at_once([lambda boss=boss: approve(row.pk, boss) for boss in bosses * 2])
    key = ProviderKey.objects.get(fingerprint=row.fingerprint)
    assert told == {f"key {key.pk}": 4}
    assert story(row) == ["submitted", "checked", "approved"]
    assert acts(row) == ["donation.approve"]
    assert plan(row.donor) == "supporter"
    raised = Raised.objects.get(account=row.donor)
    assert raised.plan_id == "free"


def test_what_is_withdrawn_while_it_is_approved_does_not_stay_in_the_pool(up: FaultServer) -> None:
    supplied, boss = shop(up), admin()
    for _ in range(3):
        row = given(supplied)
        at_once([
            lambda row=row: approve(row.pk, boss),
            lambda row=row: service.withdraw(Donation.objects.get(pk=row.pk)).state,
        ])  # fmt: skip
        assert fate(row) == ("withdrawn", False)
        alive = ProviderKey.objects.filter(fingerprint=row.fingerprint, deleted_at=None)
        assert not alive.exists()
        assert plan(row.donor) == "free"


def test_the_same_key_given_by_many_at_once_is_one_donation(up: FaultServer) -> None:
    supplied, secret = shop(up), unique("sk-given")
    people = [kit.person("donor").account for _ in range(5)]

    def give(who: Account) -> str:
        try:
            return str(given(supplied, who, secret).state)
        except Refused as why:
            return why.code

    told = at_once([lambda who=who: give(who) for who in people])
    assert told == Counter({"duplicate": 4, "pending": 1})
    rows = Donation.objects.filter(provider=supplied.provider)
    assert DonationEvent.objects.filter(donation__in=rows).count() == 2
