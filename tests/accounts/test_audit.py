"""The audit log: what is kept of an act, who may read it, and that nothing of it ever changes."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client

from accounts.audit import Verb, asked_from, name_people, plain, record
from accounts.flows.close_account import close_account
from accounts.models import Account, AuditEvent
from tests import kit

LIST = "/admin/accounts/auditevent/"


@pytest.fixture(scope="module")
def root(database: None) -> Account:
    account = kit.person("root").account
    account.is_staff = account.is_superuser = True
    account.save()
    return account


@pytest.fixture(scope="module")
def client(root: Account) -> Client:
    return kit.staff_client(root)


def events(target: Any) -> list[AuditEvent]:
    kind = target._meta.label_lower
    return list(AuditEvent.objects.filter(target_kind=kind, target_id=target.pk).order_by("id"))


def named(name: str) -> Account:
    """Somebody with a name that no form would have let through."""
    account = kit.person("odd").account
    account.username = kit.unique(name)
    account.save()
    return account


def test_what_has_been_done_is_neither_changed_nor_deleted(root: Account) -> None:
    event = record(root, Verb.ACCOUNT_BAN, root, reason="spam")
    rows = AuditEvent.objects.filter(pk=event.pk)
    for attempt in (event.save, event.delete):
        with pytest.raises(TypeError):
            attempt()
    for statement in (lambda: rows.update(reason="x"), rows.delete,
                      lambda: rows._raw_delete("default")):  # fmt: skip
        with pytest.raises(IntegrityError, match="cannot change"), transaction.atomic():
            statement()
    event.refresh_from_db()
    assert event.reason == "spam"


def test_it_outlives_who_did_it_and_whom_it_was_done_to() -> None:
    actor, target = kit.person("eve").account, kit.person("bob").account
    name, other = actor.username, target.username
    event = record(actor, Verb.ACCOUNT_BAN, target, reason="spam")
    close_account(actor)
    target.api_keys.all().delete()
    target.delete()
    event.refresh_from_db()
    assert name not in str(vars(event))
    assert other not in str(vars(event))
    name_people([event])
    assert (event.actor_name, event.target_text) == (f"deleted-{actor.pk}", "")
    assert (event.actor_id, event.target_id != "") == (actor.pk, True)


def test_an_act_that_fails_leaves_no_trace(root: Account) -> None:
    bob = kit.person("bob").account
    with transaction.atomic():
        record(root, Verb.ACCOUNT_BAN, bob)
        transaction.set_rollback(True)
    assert events(bob) == []


@pytest.mark.once
def test_facts_are_plain_values_and_never_a_secret(root: Account) -> None:
    with asked_from("203.0.113.9"):
        event = record(
            root, Verb.ACCOUNT_GRANT, root, reason=" a\0b ", amount=5, note="x" * 900,
            until=datetime(2026, 1, 2, tzinfo=UTC), bucket={"image": 3},
        )  # fmt: skip
    event.refresh_from_db()
    assert event.facts["amount"] == 5
    assert event.facts["until"] == "2026-01-02T00:00:00+00:00"
    assert event.facts["bucket"] == {"image": 3}
    assert len(event.facts["note"]) == 500
    assert (event.reason, event.address) == ("ab", "203.0.113.9")
    assert record(None, Verb.DONATION_CHANGE, "key …1234").address == ""
    for wrong in ({"password": "x"}, {"api_secret": "x"}, {"a": {"token": "x"}}, {"sealed": 1}):
        with pytest.raises(ValueError, match="no fact"):
            record(root, Verb.CHANGE, root, **wrong)
    with pytest.raises(ValueError, match=r"account\.praise"):
        record(root, "account.praise", root)
    with pytest.raises(TypeError):
        plain(object())
    assert plain("\ud800") == "?"


@pytest.mark.once
def test_forms_of_the_admin_keep_what_has_changed(root: Account, client: Client) -> None:
    name, right = kit.unique("helpers"), Permission.objects.get(codename="view_ban")
    assert client.post("/admin/auth/group/add/", {"name": name}).status_code == 302
    group = Group.objects.get(name=name)
    place = f"/admin/auth/group/{group.pk}/"
    client.post(f"{place}change/", {"name": f"{name}2", "permissions": [right.pk]})
    client.post(f"{place}delete/", {"post": "yes"})
    added, changed, deleted = events(group)
    assert [one.verb for one in (added, changed, deleted)] == ["add", "change", "delete"]
    assert {one.actor_id for one in (added, changed, deleted)} == {root.pk}
    assert changed.facts["changed"] == {
        "name": [name, f"{name}2"],
        "permissions": [[], [str(right)]],
    }
    assert added.address == "127.0.0.1"


@pytest.mark.once
def test_the_log_is_searched_and_read_and_nothing_else(root: Account, client: Client) -> None:
    target = named("<script>alert(1)</script>")
    event = record(root, Verb.ACCOUNT_BAN, target, reason="<img src=x>", until=None)
    carol = kit.person("carol").account.username
    record(root, Verb.ACCOUNT_UNBAN, Account.objects.get(username=carol))
    page = client.get(
        f"{LIST}?who={root.username}&verb=account.ban&target=%3Cscript"
    ).content.decode()
    assert target.username.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "&lt;img src=x&gt;" in page
    assert "<script>alert" not in page
    assert carol not in page
    assert "No rows" not in page
    today = f"{event.at:%Y-%m-%d}"
    narrow = f"{LIST}?since={today}&until={today}&who={root.username}"
    assert carol in client.get(narrow).content.decode()
    assert "Nothing here" in client.get(f"{LIST}?since=2099-01-01").content.decode()
    detail = client.get(f"{LIST}{event.pk}/change/").content.decode()
    assert "&quot;until&quot;: null" in detail
    assert f"/admin/accounts/account/{target.pk}/change/" in detail
    for wrong in ("add/", f"{event.pk}/delete/"):
        assert client.post(f"{LIST}{wrong}", {"post": "yes"}).status_code == 403
    assert client.post(f"{LIST}{event.pk}/change/", {"reason": "x"}).status_code == 403


@pytest.mark.once
def test_the_log_as_csv_computes_nothing_and_is_itself_an_act(
    root: Account, client: Client
) -> None:
    target = named("@SUM(1)")
    record(root, Verb.ACCOUNT_BAN, target, reason='=HYPERLINK("http://evil.example")', note="+1")
    page = client.get(f"{LIST}csv/?who={root.username}")
    head, *rows = csv.reader(io.StringIO(page.getvalue().decode()))
    found = next(row for row in rows if row[head.index("target_id")] == str(target.pk))
    assert found[head.index("target_text")] == f"'{target.username}"
    assert found[head.index("reason")].startswith("'=HYPERLINK")
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    last = AuditEvent.objects.filter(actor=root).latest("id")
    assert (last.verb, last.facts) == ("audit.export", {"filters": {"who": root.username}})


@pytest.mark.once
def test_only_who_may_view_it_sees_the_log() -> None:
    account = kit.person("staff").account
    account.is_staff = True
    account.save()
    client = kit.staff_client(account)
    assert client.get(LIST).status_code == client.get(f"{LIST}csv/").status_code == 403
    account.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))
    assert client.get(LIST).status_code == client.get(f"{LIST}csv/").status_code == 200


@pytest.mark.once
def test_the_model_and_its_migration_agree() -> None:
    call_command("makemigrations", "accounts", check=True, dry_run=True, verbosity=0)
