"""Giving a key: what is refused before anything is kept, and what waits for an admin."""

from typing import Any

import pytest
from django.conf import LazySettings

from accounts.service import ban
from proxy.donations import service
from proxy.donations.models import CONSENT, Donation, DonationEvent
from proxy.donations.service import Refused
from proxy.models import Provider, ProviderKey
from proxy.pool import vault
from tests import kit
from tests.kit import Supply, unique
from tests.proxy.donations.gifts import admin, fate, given, shop, story
from tests.upstream import FaultServer, error

pytestmark = pytest.mark.once


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return shop(up, keys=1, more=("second",))


def refusal(supplied: Supply, **terms: Any) -> tuple[str, str]:
    """Why a donation is refused; nothing of it is kept."""
    secret = terms.pop("secret", unique("sk-given"))
    slug = terms.pop("slug", supplied.provider.slug)
    before = Donation.objects.filter(provider=supplied.provider).count()
    with pytest.raises(Refused) as caught:
        service.submit(
            terms.pop("donor", None) or kit.person("donor").account, slug, secret,
            **{"consent": True, **terms},
        )  # fmt: skip
    assert Donation.objects.filter(provider=supplied.provider).count() == before
    assert not secret.strip() or secret not in str(caught.value)
    return caught.value.code, caught.value.param


def test_a_key_that_works_waits_with_what_its_probe_found(supplied: Supply) -> None:
    secret = unique("sk-given")
    row = given(supplied, secret=f" {secret}\n", note=" hi <b>there</b>\r\n", daily_cap=5)
    row.refresh_from_db()
    assert (row.state, row.last4, row.note, row.daily_cap) == (
        "pending", secret[-4:], "hi <b>there</b>", 5,
    )  # fmt: skip
    assert row.opens == sorted([supplied.model, "second"])
    assert row.consent_version == CONSENT
    assert vault().open(row.uid, row.sealed) == secret
    assert secret not in " ".join(str(value) for value in vars(row).values())
    assert story(row) == ["submitted", "checked"]
    untold = DonationEvent.objects.filter(donation=row, notified_at=None)
    assert [event.what for event in untold] == ["checked"]
    assert not ProviderKey.objects.filter(fingerprint=row.fingerprint).exists()


def test_what_makes_no_sense_is_refused(supplied: Supply) -> None:
    odd: list[tuple[dict[str, Any], tuple[str, str]]] = [
        ({"consent": False}, ("consent_needed", "consent")),
        ({"slug": "nobody"}, ("unknown_provider", "provider")),
        ({"secret": "with space inside"}, ("invalid_key", "secret")),
        ({"secret": "short"}, ("invalid_key", "secret")),
        ({"note": "x" * 501}, ("invalid_note", "note")),
        ({"note": "a\0b"}, ("invalid_note", "note")),
        ({"daily_cap": 0}, ("invalid_cap", "daily_cap")),
        ({"daily_cap": True}, ("invalid_cap", "daily_cap")),
        ({"models": []}, ("invalid_models", "models")),
        ({"models": ["second", "third"]}, ("invalid_models", "models")),
    ]
    donor = kit.person("donor").account
    for terms, why in odd:
        assert refusal(supplied, donor=donor, **terms) == why


def test_a_key_that_does_not_work_leaves_nothing_behind(up: FaultServer, supplied: Supply) -> None:
    dead, poor = unique("sk-dead"), unique("sk-poor")
    up.on(error(401), key=dead)
    # A list is given to accounts without money too.
    up.on(error(429, code="insufficient_quota"), key=poor, path_suffix="/chat/completions")
    for secret in (dead, poor):
        assert refusal(supplied, secret=secret) == ("does_not_work", "secret")
        assert not service.check(supplied.provider.slug, secret).works
        mark = vault().fingerprint(secret)
        assert not Donation.objects.filter(fingerprint=mark).exists()
        assert not ProviderKey.objects.filter(fingerprint=mark).exists()


def test_a_key_that_is_here_is_refused_in_one_way_whoever_gave_it(
    up: FaultServer, supplied: Supply
) -> None:
    secret, mine = unique("sk-given"), kit.person("donor").account
    row = given(supplied, mine, secret)
    asked = up.count()
    told = {refusal(supplied, secret=each, donor=who)
            for each in (secret, supplied.keys[0])
            for who in (mine, None)}  # fmt: skip
    assert told == {("duplicate", "secret")}
    assert service.check(supplied.provider.slug, secret).code == "duplicate"
    assert up.count() == asked, "a key that is here is not asked again"
    service.withdraw(row)
    assert given(supplied, secret=secret).state == "pending"


def test_checking_a_key_tells_what_it_opens_and_keeps_nothing(supplied: Supply) -> None:
    secret = unique("sk-given")
    checked = service.check(supplied.provider.slug, secret)
    assert (checked.works, checked.models) == (True, tuple(sorted([supplied.model, "second"])))
    assert not Donation.objects.filter(fingerprint=vault().fingerprint(secret)).exists()


def test_local_locked_and_deleted_providers_are_no_choice(
    supplied: Supply, settings: LazySettings
) -> None:
    rows = Provider.objects.filter(pk=supplied.provider.pk)
    assert supplied.provider in service.choices()
    for change in ({"kind": "local"}, {"lock_text": "closed"}):
        before = rows.values(*change).get()
        rows.update(**change)
        assert refusal(supplied) == ("unknown_provider", "provider")
        rows.update(**before)
    settings.DONATIONS = False
    assert refusal(supplied)[0] == "switched_off"


def test_a_banned_donor_gives_nothing(supplied: Supply) -> None:
    who = kit.person("donor").account
    ban(who, "spam")
    assert refusal(supplied, donor=who)[0] == "banned"


def test_what_waits_can_be_withdrawn_or_rejected_and_is_wiped(supplied: Supply) -> None:
    boss, one, other = admin(), given(supplied), given(supplied)
    with pytest.raises(Refused, match="reason"):
        service.reject(one, boss, "  ")
    for _ in range(2):
        service.reject(one, boss, " not ours ")
        service.withdraw(other)
    assert (fate(one), one.reason) == (("rejected", False), "not ours")
    assert fate(other) == ("withdrawn", False)
    assert story(one)[2:] == ["rejected"]
    for act in (service.approve, service.trust):
        with pytest.raises(Refused, match="rejected"):
            act(one, boss, trusted=True)
    assert not ProviderKey.objects.filter(fingerprint=one.fingerprint).exists()
