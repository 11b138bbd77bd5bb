"""Whose key it is and whether it may call: decided afresh from what the database holds now."""

from datetime import datetime, timedelta

import pytest
from django.db import connection

from accounts.keys.identity import Identity, Refusal, read, refusal
from accounts.keys.models import ApiKey
from accounts.keys.service import create_key, revoke
from accounts.keys.tokens import Token, parse
from accounts.models import Account, Plan
from accounts.service import ban, lift_bans
from bsod.lib import clock
from tests import kit
from tests.kit import Person

HOUR = timedelta(hours=1)


def identity_of(who: Person, now: datetime | None = None) -> Identity:
    with connection.cursor() as cursor:
        found = read(cursor, [who.key.public_id], now or clock.now(), lock=False)
    return found[who.key.public_id]


def verdict(who: Person, address: str = "192.0.2.1", now: datetime | None = None) -> Refusal | None:
    token = parse(who.secret)
    assert token is not None
    moment = now or clock.now()
    return refusal(identity_of(who, moment), token, address, moment)


def test_a_good_key_is_refused_nothing(alice: Person) -> None:
    assert verdict(alice) is None
    identity = identity_of(alice)
    assert identity.id == alice.key.pk
    assert identity.owner.id == alice.account.pk
    assert identity.owner.ban is None


def test_an_unknown_key_and_a_wrong_secret_are_refused_alike(alice: Person) -> None:
    wrong = Token(alice.key.public_id, "f" * 64)
    now = clock.now()
    assert refusal(identity_of(alice), wrong, "192.0.2.1", now) is Refusal.INVALID
    assert refusal(None, Token("nobody000000", "0" * 64), "192.0.2.1", now) is Refusal.INVALID
    with connection.cursor() as cursor:
        assert read(cursor, ["nobody000000"], now, lock=False) == {}


def test_a_revoked_key_is_refused_at_once(alice: Person) -> None:
    revoke(alice.key)
    assert verdict(alice) is Refusal.INVALID


def test_a_key_ends_at_its_expiry_and_not_before() -> None:
    ends = clock.now().replace(microsecond=0) + HOUR
    who = kit.person(expires_at=ends)
    assert verdict(who, now=ends - timedelta(microseconds=1)) is None
    assert verdict(who, now=ends) is Refusal.INVALID


def test_a_closed_account_has_no_keys(alice: Person) -> None:
    Account.objects.filter(pk=alice.account.pk).update(is_active=False)
    assert verdict(alice) is Refusal.INVALID


def test_an_operator_key_is_gone_with_the_staff_flag() -> None:
    admin = kit.person("carol", admin=True, operator=True)
    plain = Person(admin.account, *create_key(admin.account, "plain"))
    assert verdict(admin) is None
    Account.objects.filter(pk=admin.account.pk).update(is_staff=False)
    assert verdict(admin) is Refusal.INVALID
    assert verdict(plain) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.200.0.1", True),
        ("::ffff:10.200.0.1", True),
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("", False),
        ("unix", False),
        ("10.200.0.1, 11.0.0.1", False),
    ],
)
def test_a_key_is_only_for_its_networks(address: str, allowed: bool) -> None:
    who = kit.person(networks=["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.7"])
    assert verdict(who, address) is (None if allowed else Refusal.NETWORK)


def test_a_key_without_networks_is_for_everywhere(alice: Person) -> None:
    assert verdict(alice, "") is None


def test_a_ban_stops_the_account_until_it_ends(alice: Person) -> None:
    until = clock.now().replace(microsecond=0) + HOUR
    ban(alice.account, " spam ", until)
    assert verdict(alice, now=until - timedelta(microseconds=1)) is Refusal.BANNED
    assert verdict(alice, now=until) is None
    found = identity_of(alice).owner.ban
    assert found is not None
    assert (found.reason, found.until) == ("spam", until)


def test_a_ban_says_nothing_to_somebody_with_a_wrong_secret(alice: Person) -> None:
    ban(alice.account, "spam")
    wrong = Token(alice.key.public_id, "f" * 64)
    assert refusal(identity_of(alice), wrong, "", clock.now()) is Refusal.INVALID


def test_of_several_bans_the_longest_is_shown(alice: Person) -> None:
    now = clock.now()
    ban(alice.account, "an hour", now + HOUR)
    ban(alice.account, "two hours", now + 2 * HOUR)
    ban(alice.account, "half an hour", now + HOUR / 2)
    shown = identity_of(alice).owner.ban
    assert shown is not None
    assert shown.reason == "two hours"
    ban(alice.account, "for good")
    ban(alice.account, "three hours", now + 3 * HOUR)
    shown = identity_of(alice).owner.ban
    assert shown is not None
    assert (shown.reason, shown.until) == ("for good", None)


def test_lifting_ends_every_ban_of_one_account_only(alice: Person, bob: Person) -> None:
    ban(alice.account, "one")
    ban(alice.account, "two", clock.now() + HOUR)
    ban(bob.account, "his own")
    assert lift_bans(alice.account) == 2
    assert verdict(alice) is None
    assert verdict(bob) is Refusal.BANNED
    assert lift_bans(alice.account) == 0


def test_many_keys_are_read_in_one_go_each_with_its_own_owner() -> None:
    people = [kit.person() for _ in range(3)]
    second = Person(people[0].account, *create_key(people[0].account, "second"))
    with connection.cursor() as cursor:
        ids = [who.key.public_id for who in [*people, second]]
        found = read(cursor, ids, clock.now(), lock=False)
    assert [found[public].owner.username for public in ids] == [
        who.account.username for who in [*people, people[0]]
    ]


def test_rights_are_those_the_row_has_now(alice: Person) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(permissions=["balance"], caps={"image": 3})
    identity = identity_of(alice)
    assert list(identity.permissions) == ["balance"]
    assert dict(identity.caps) == {"image": 3}


def test_the_plan_is_the_one_that_stands_now() -> None:
    who = kit.person(plan="pro")
    now = clock.now()
    assert identity_of(who).owner.plan.plan_active
    Account.objects.filter(pk=who.account.pk).update(plan_expires_at=now + HOUR)
    assert identity_of(who, now).owner.plan.plan_active
    standing = identity_of(who, now + HOUR).owner.plan
    assert (standing.plan_active, standing.slug, standing.terms.slug) == (False, "pro", "free")
    assert standing.terms.caps == Plan.objects.get(slug="free").caps
