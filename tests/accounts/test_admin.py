"""Keys and bans in the admin: made once, seen without their secret, ended with a reason."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.keys.console import console_token
from accounts.keys.models import ApiKey
from accounts.keys.service import create_key
from accounts.keys.tokens import digest, parse
from accounts.models import Account, AuditEvent, Ban
from accounts.service import ban
from bsod.lib import clock
from tests import kit
from tests.kit import Person, staff_client

pytestmark = pytest.mark.once  # about pages, not about the database

KEYS = "/admin/keys/apikey/"
BANS = "/admin/accounts/ban/"


def raised(*, superuser: bool = False) -> Account:
    """Somebody of the staff, with every permission there is."""
    account = kit.person("staff").account
    account.is_staff, account.is_superuser = True, superuser
    account.save()
    account.user_permissions.set(Permission.objects.all())
    return account


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return staff_client(raised(superuser=True))


@pytest.fixture(scope="module")
def helper(database: None) -> Client:
    return staff_client(raised())


def who(client: Client) -> Account:
    return Account.objects.get(pk=client.session["_auth_user_id"])


def make(client: Client, account: Account, **more: Any) -> Any:
    said = {"account": account.pk, "name": kit.unique("made"), "permissions": ["images"],
            "reason": "asked for it"}  # fmt: skip
    return client.post(f"{KEYS}add/", said | more)


def act(client: Client, place: str, action: str, row: Any, reason: str = "leaked") -> Any:
    said = {"action": action, "_selected_action": [row.pk], "reason": reason, "index": "0"}
    return client.post(place, said, follow=True)


def wrong(page: Any) -> set[str]:
    assert page.status_code == 200
    return set(page.context["adminform"].form.errors)


def test_a_key_made_for_somebody_is_shown_once_and_works(root: Client, alice: Person) -> None:
    page = make(root, alice.account, unlimited="on")
    text = page.context["text"]
    assert "no-store" in page["Cache-Control"]
    token = parse(text)
    assert token
    row = ApiKey.objects.get(public_id=token.public_id)
    assert (row.digest, row.account, row.unlimited) == (token.digest, alice.account, True)
    assert row.permissions == ["images"]
    (event,) = AuditEvent.objects.filter(target_kind="keys.apikey", target_id=str(row.pk))
    assert (event.verb, event.actor, event.reason) == ("key.create", who(root), "asked for it")
    secrets = [text, text[17:-4], row.digest, digest(text[17:-4])]
    for place in (f"{KEYS}?q={row.public_id}", f"{KEYS}{row.pk}/change/",
                  f"/admin/accounts/auditevent/{event.pk}/change/"):  # fmt: skip
        later = root.get(place)
        assert (later.status_code, row.last4 in later.content.decode()) == (200, True), place
        assert not [one for one in secrets if one in later.content.decode()], place
    assert not [one for one in secrets if one in str(vars(event))]


@pytest.mark.parametrize(
    ("more", "field"),
    [({"reason": " "}, "reason"), ({"permissions": ["root"]}, "permissions"),
     ({"name": ""}, "name"), ({"operator": "on"}, "operator"),
     ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "expires_at")],
)  # fmt: skip
def test_no_key_is_made_of_what_makes_no_sense(
    root: Client, alice: Person, more: dict[str, Any], field: str
) -> None:
    before = ApiKey.objects.filter(account=alice.account).count()
    assert field in wrong(make(root, alice.account, **more))
    assert ApiKey.objects.filter(account=alice.account).count() == before


def test_keys_above_every_limit_and_staffs_keys_are_a_superusers(
    root: Client, helper: Client, alice: Person
) -> None:
    assert wrong(make(helper, alice.account, unlimited="on")) == {"__all__"}
    assert "__all__" in wrong(make(helper, who(helper), operator="on"))
    boss = who(root)
    assert wrong(make(helper, boss)) == {"account"}
    theirs = boss.api_keys.get(name="staff")
    act(helper, KEYS, "revoke_keys", theirs)
    theirs.refresh_from_db()
    assert theirs.revoked_at is None
    made = make(root, who(helper), operator="on").context["key"]
    assert ApiKey.objects.get(pk=made.pk).operator


def test_a_key_is_revoked_with_a_reason_and_the_consoles_by_nobody(
    root: Client, alice: Person
) -> None:
    silent = act(root, KEYS, "revoke_keys", alice.key, reason=" ")
    assert "Give a reason" in silent.content.decode()
    alice.key.refresh_from_db()
    assert alice.key.revoked_at is None
    assert 'value="revoke_keys"' in root.get(f"{KEYS}{alice.key.pk}/change/").content.decode()
    act(root, KEYS, "revoke_keys", alice.key)
    assert ApiKey.objects.get(pk=alice.key.pk).revoked_at is not None
    (event,) = AuditEvent.objects.filter(target_kind="keys.apikey", target_id=str(alice.key.pk))
    assert (event.verb, event.reason) == ("key.revoke", "leaked")
    console_token(alice.account.pk)
    hidden = ApiKey.objects.get(account=alice.account, console=True)
    told = act(root, KEYS, "revoke_keys", hidden).content.decode()
    assert "console key" in told
    assert "console (hidden)" in root.get(f"{KEYS}?q={hidden.public_id}").content.decode()
    hidden.refresh_from_db()
    assert hidden.revoked_at is None


def test_the_list_of_keys_is_narrowed_by_state_and_owner(root: Client) -> None:
    person = kit.person("owner", unlimited=True)
    names = ("live", "expired", "revoked")
    made = {name: create_key(person.account, name)[0].pk for name in names}
    ApiKey.objects.filter(pk=made["expired"]).update(expires_at=clock.now())
    ApiKey.objects.filter(pk=made["revoked"]).update(revoked_at=clock.now())
    wanted = {name: {pk} for name, pk in made.items()} | {"unlimited": {person.key.pk}}
    wanted |= {"live": {made["live"], person.key.pk}, "operator": set(), "console": set()}
    for state, keys in wanted.items():
        page = root.get(KEYS, {"account": person.account.username, "state": state})
        assert {row.pk for row in page.context["cl"].result_list} == keys, state


def test_a_ban_is_laid_read_and_lifted_and_never_rewritten(root: Client, alice: Person) -> None:
    said = {"account": alice.account.pk, "reason": " spam ", "until_0": "", "until_1": ""}
    assert root.post(f"{BANS}add/", said).status_code == 302
    row = alice.account.bans.get()
    assert (row.reason, row.created_by, row.until) == ("spam", who(root), None)
    assert root.post(f"{BANS}{row.pk}/change/", {"reason": "other"}).status_code == 403
    page = root.get(f"{BANS}{row.pk}/change/").content.decode()
    assert "stands" in page
    assert 'value="lift"' in page
    act(root, BANS, "lift", row, reason="")
    assert alice.account.bans.get().lifted_at is None
    act(root, BANS, "lift", row, reason="appeal")
    assert alice.account.bans.get().lifted_at is not None
    kept = AuditEvent.objects.filter(
        target_kind="accounts.account", target_id=str(alice.account.pk)
    ).order_by("pk")
    assert [(one.verb, one.reason) for one in kept] == [
        ("account.ban", "spam"), ("account.unban", "appeal")]  # fmt: skip


def test_staff_bans_no_staff_and_nobody_himself(root: Client, helper: Client) -> None:
    for client, account in ((helper, who(root)), (helper, raised()), (root, who(root))):
        refused = client.post(f"{BANS}add/", {"account": account.pk, "reason": "x"})
        assert wrong(refused) == {"account"}
        assert not account.bans.exists()
    past = {"until_0": "2020-01-01", "until_1": "00:00"}
    user = kit.person("user").account
    assert wrong(root.post(f"{BANS}add/", {"account": user.pk, "reason": "x", **past})) == {"until"}
    boss = raised(superuser=True)
    laid: Ban = ban(boss, "by mistake", clock.now() + timedelta(hours=1))
    act(helper, BANS, "lift", laid)
    laid.refresh_from_db()
    assert laid.lifted_at is None
