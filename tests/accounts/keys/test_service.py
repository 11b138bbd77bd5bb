"""Making keys: what is asked for is stored as it can be enforced, or refused with a reason."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.caps import MOST
from accounts.keys.models import ApiKey
from accounts.keys.service import create_key, revoke
from accounts.keys.tokens import parse
from bsod.lib import clock
from bsod.lib.terms import Bucket, Permission
from tests import kit
from tests.kit import Person


def test_a_key_is_stored_without_its_secret(alice: Person) -> None:
    row = ApiKey.objects.get(pk=alice.key.pk)
    stored = " ".join(str(value) for value in vars(row).values())
    assert alice.secret[17:60] not in stored
    assert row.last4 == alice.secret[-4:]
    token = parse(alice.secret)
    assert token is not None
    assert (row.public_id, row.digest) == (token.public_id, token.digest)


def test_a_key_may_do_everything_unless_told_otherwise(alice: Person) -> None:
    assert set(alice.key.permissions) == set(Permission)
    key, _ = create_key(alice.account, permissions=["images", "images", "balance"])
    assert key.permissions == ["balance", "images"]
    key, _ = create_key(alice.account, permissions=[])
    assert key.permissions == []


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"permissions": ["admin"]}, "Unknown permission: admin"),
        ({"permissions": ["images", ""]}, "Unknown permission"),
        ({"caps": {"text": 5}}, "Unknown bucket: text"),
        ({"caps": {"text.base": -1}}, "whole number"),
        ({"caps": {"text.base": 1.0}}, "whole number"),
        ({"caps": {"text.base": True}}, "whole number"),
        ({"caps": {"text.base": "5"}}, "whole number"),
        ({"caps": {"text.base": None}}, "whole number"),
        ({"caps": {"text.base": 10**30}}, "whole number"),
        ({"networks": ["everywhere"]}, "Not a network"),
        ({"networks": ["10.0.0.0/33"]}, "Not a network"),
        ({"networks": [""]}, "Not a network"),
        ({"requests_per_minute": -1}, "greater than or equal to 0"),
        ({"open_calls": -1}, "greater than or equal to 0"),
        ({"operator": True}, "staff only"),
        ({"name": ""}, "cannot be blank"),
        ({"name": "x" * 81}, "at most 80"),
    ],
)
def test_a_key_that_cannot_be_enforced_is_not_made(
    alice: Person, asked: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        create_key(alice.account, **asked)
    assert ApiKey.objects.filter(account=alice.account).count() == 1


def test_caps_are_kept_for_every_bucket(alice: Person) -> None:
    caps = dict.fromkeys(Bucket, 0) | {Bucket.IMAGE: MOST}
    key, _ = create_key(alice.account, caps=caps)
    assert ApiKey.objects.get(pk=key.pk).caps == {str(name): cap for name, cap in caps.items()}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_is_stored_as_clients_are_seen(alice: Person, written: str, stored: str) -> None:
    key, _ = create_key(alice.account, networks=[written])
    assert key.networks == [stored]


def test_an_operator_key_is_made_for_staff() -> None:
    admin = kit.person("carol", admin=True, operator=True)
    assert admin.key.operator


def test_revoking_twice_keeps_the_first_moment(alice: Person) -> None:
    revoke(alice.key)
    first = ApiKey.objects.get(pk=alice.key.pk).revoked_at
    assert first is not None
    assert clock.now() - first < timedelta(minutes=1)
    revoke(alice.key)
    assert ApiKey.objects.get(pk=alice.key.pk).revoked_at == first
