"""Users in the admin: found, seen, acted on with a reason, and by whom not."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, AuditEvent, Ban
from accounts.service import ban
from bsod.lib import clock
from quotas.models import Balance, Entry, UsageDay
from tests import kit
from tests.kit import Person, staff_client

pytestmark = pytest.mark.once  # about pages and routes, not about the database

LIST = "/admin/accounts/account/"
USERS = "/admin/users/"


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return staff_client(superuser())


@pytest.fixture(scope="module")
def helper(database: None) -> Client:
    """Staff with every permission there is, and no superuser."""
    return staff_client(staff(*Permission.objects.values_list("codename", flat=True)))


def superuser() -> Account:
    account = kit.person("root").account
    account.is_staff = account.is_superuser = True
    account.save()
    return account


def staff(*codenames: str) -> Account:
    account = kit.person("staff").account
    account.is_staff = True
    account.save()
    account.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return account


def who(client: Client) -> Account:
    return Account.objects.get(pk=client.session["_auth_user_id"])


def told(client: Client, path: str = USERS, **said: Any) -> Any:
    return client.post(path, said, content_type="application/json")


def events(account: Account, verb: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(
        target_kind="accounts.account", target_id=str(account.pk), verb=verb))  # fmt: skip


def names(page: Any) -> list[str]:
    assert page.status_code == 200, page
    return [row.username for row in page.context["cl"].result_list]


# ---- found


def test_a_user_is_found_by_name_beginning_mail_and_key(root: Client) -> None:
    person = kit.person("findme")
    name = person.account.username
    EmailAddress.objects.create(user=person.account, email=f"{name}@example.org", primary=True)
    shown = f"bsod-{person.key.public_id}…{person.key.last4}"
    for term in (name, name[:-2], f"{name}@Example.org", person.key.public_id,
                 shown, shown[:17]):  # fmt: skip
        assert name in names(root.get(LIST, {"q": term})), term


@pytest.mark.parametrize("term", ["%", "_", "%%%%", "___", "a%a", "zz", "@", "x" * 500])
def test_what_is_typed_is_no_pattern_and_no_middle_of_a_name(root: Client, term: str) -> None:
    assert names(root.get(LIST, {"q": term})) == []


def test_a_page_costs_the_same_statements_for_one_user_and_for_many(root: Client) -> None:
    stem = kit.unique("crowd")
    people = [kit.person(stem) for _ in range(12)]
    for each in people:
        UsageDay.objects.create(
            account=each.account, api_key=each.key, model="m", bucket="text.base", calls=3,
            day=clock.day_of(clock.now()), amount=70,
        )  # fmt: skip
        ban(each.account, "spam")
    counts = {}
    for term in (people[0].account.username, stem):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            page = root.get(LIST, {"q": term})
        counts[len(names(page))] = len(asked)
    assert set(counts) == {1, 12}
    assert counts[12] == counts[1] <= 16, counts
    text = page.content.decode()
    assert "70 text.base" in text
    assert text.count("banned") >= 12


def test_the_banned_and_the_staff_are_a_list_of_their_own(root: Client) -> None:
    person, other = kit.person("spammer"), kit.person("other")
    ban(person.account, "spam")
    ban(other.account, "over", clock.now() - timedelta(seconds=1))
    shown = names(root.get(LIST, {"ban": "banned"}))
    assert person.account.username in shown
    assert other.account.username not in shown
    assert names(root.get(LIST, {"state": "staff"}))[0:1]
    assert person.account.username not in names(root.get(LIST, {"state": "staff"}))


# ---- seen


def test_the_page_of_a_user_shows_all_and_no_secret(root: Client, alice: Person) -> None:
    Balance.objects.create(account=alice.account, bucket="image", granted=5, used=2)
    ban(alice.account, "<script>alert(1)</script>")
    with CaptureQueriesContext(connection) as asked:
        page = root.get(f"{LIST}{alice.account.pk}/change/")
    assert page.status_code == 200
    assert len(asked) <= 30, asked.captured_queries
    text = page.content.decode()
    assert alice.key.public_id in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not [one for one in (alice.key.digest, alice.secret, "<script>alert") if one in text]
    panels = {panel.title: panel.table["rows"] for panel in page.context["person"].panels}
    assert panels["Grants"][0][:3] == ["image", "5", "2"]
    assert panels["Bans"][0][1] == "stands"
    assert panels["What admins did"][0][2] == "account.ban"
    alice.account.bans.all().delete()
    Balance.objects.filter(account=alice.account, bucket="image").delete()


def test_who_may_view_users_alone_sees_no_keys_sessions_or_acts(alice: Person) -> None:
    page = staff_client(staff("view_account")).get(f"{LIST}{alice.account.pk}/change/")
    assert page.status_code == 200
    assert page.context["person"].panels == []
    assert page.context["acts"] == []
    assert alice.key.public_id not in page.content.decode()


# ---- acts


def test_a_ban_has_a_reason_and_an_end_and_is_lifted(root: Client) -> None:
    people = [kit.person("bob"), kit.person("bob")]
    until = (clock.now() + timedelta(days=1)).replace(microsecond=0)
    said = told(root, action="ban", users=[people[0].account.pk, people[1].account.username],
                reason=" spam ", until=until.isoformat())  # fmt: skip
    assert said.status_code == 200, said.content
    assert {one["id"] for one in said.json()["users"]} == {each.account.pk for each in people}
    for each in people:
        row = each.account.bans.get()
        assert (row.reason, row.until, row.created_by) == ("spam", until, who(root))
        (event,) = events(each.account, "account.ban")
        assert (event.actor, event.reason) == (who(root), "spam")
    first, second = people
    assert told(root, "/admin/ban-unlock/", ban=first.account.bans.get().pk, reason="appeal"
                ).status_code == 200  # fmt: skip
    assert told(root, "/admin/ban-unlock/", user=second.account.username, reason="appeal"
                ).status_code == 200  # fmt: skip
    assert not Ban.objects.filter(account__in=[first.account, second.account],
                                  lifted_at=None).exists()  # fmt: skip
    assert events(second.account, "account.unban")[0].reason == "appeal"


def test_a_grant_is_entered_and_drawn_from(root: Client) -> None:
    carol = kit.person("carol")
    end = clock.now() + timedelta(days=3)
    said = told(root, action="grant", user=carol.account.pk, bucket="image", amount=7,
                expires_at=end.isoformat(), reason="sorry")  # fmt: skip
    assert said.status_code == 200, said.content
    row = Balance.objects.get(account=carol.account, bucket="image", period=None)
    assert (row.granted, row.expires_at) == (7, end)
    assert Entry.objects.get(account=carol.account, kind="grant").amount == 7
    assert events(carol.account, "account.grant")[0].facts["amount"] == 7
    assert kit.ledger_adds_up(carol)


def test_a_plan_begins_anew_only_where_it_is_another(root: Client) -> None:
    person = kit.person("dora")
    account, began = person.account, person.account.plan_started_at
    told(root, action="plan", user=account.pk, plan="pro", reason="paid")
    account.refresh_from_db()
    assert (account.plan_id, account.plan_expires_at) == ("pro", None)
    assert account.plan_started_at > began
    began = account.plan_started_at
    end = clock.now() + timedelta(days=30)
    told(root, action="plan", user=account.pk, plan="pro", expires_at=str(end), reason="more")
    account.refresh_from_db()
    assert account.plan_started_at == began
    assert str(account.plan_expires_at) == str(end)
    facts = events(account, "account.plan")[0].facts
    assert facts["before"] == {"plan": "pro", "expires_at": None}


def test_signed_out_everywhere_leaves_no_session(root: Client) -> None:
    account = kit.person("erin").account
    sessions = [kit.session_of(account) for _ in range(2)]
    assert told(root, action="sign_out", user=account.pk, reason="stolen").status_code == 200
    assert not Session.objects.filter(session_key__in=sessions).exists()
    assert events(account, "account.sign_out")[0].facts == {"sessions": 2}


def test_deleted_leaves_a_row_without_a_name_and_dead_keys(root: Client) -> None:
    person = kit.person("frank")
    place = f"{LIST}{person.account.pk}/change/"
    name = kit.unique("francis")
    fields = {"username": name, "is_active": "on"}
    assert root.post(place, fields).status_code == 302
    assert events(person.account, "change")[0].facts == {"also_changed": ["username"]}
    said = told(root, action="delete", user=name, reason="asked by mail")
    assert said.status_code == 200, said.content
    row = Account.objects.get(pk=person.account.pk)
    assert (row.username, row.email, row.is_active) == (f"deleted-{row.pk}", "", False)
    assert row.api_keys.get().revoked_at is not None
    kept = [
        *AuditEvent.objects.filter(target_id=row.pk),
        *LogEntry.objects.filter(object_id=row.pk),
    ]
    assert name not in str([vars(one) for one in kept])
    assert person.account.username not in str([vars(one) for one in kept])
    refused = told(root, action="grant", user=row.pk, bucket="image", amount=1, reason="x")
    assert refused.status_code == 409
    assert root.post(f"{LIST}{row.pk}/change/", {"username": "back"}).status_code == 403


def test_staff_is_made_and_withdrawn_with_every_right(root: Client) -> None:
    account = kit.person("gina").account
    told(root, action="staff", user=account.pk, level="staff", reason="new moderator")
    account.refresh_from_db()
    assert (account.is_staff, account.is_superuser) == (True, False)
    account.user_permissions.set(Permission.objects.filter(codename="add_ban"))
    told(root, action="staff", user=account.pk, level="user", reason="left")
    account.refresh_from_db()
    assert not account.is_staff
    assert account.user_permissions.count() == 0


# ---- by whom not, and what not


ACTS: dict[str, dict[str, Any]] = {
    "ban": {}, "unban": {}, "grant": {"bucket": "image", "amount": 1}, "plan": {"plan": "pro"},
    "sign_out": {}, "delete": {}, "staff": {"level": "staff"},
}  # fmt: skip


def values(*accounts: Account) -> list[Any]:
    return list(Account.objects.filter(pk__in=[one.pk for one in accounts]).values())


def untouched(account: Account) -> bool:
    gave = Balance.objects.filter(account=account, period=None).exists()
    return not gave and not account.bans.exists()


def test_no_staff_acts_on_staff_on_a_superuser_or_on_himself(helper: Client) -> None:
    """And of a list that has one of them, nobody is acted on."""
    user = kit.person("user").account
    for above in (superuser(), staff(), who(helper)):
        before = values(above, user)
        for act, more in ACTS.items():
            refused = told(helper, action=act, users=[user.pk, above.pk], reason="x", **more)
            assert refused.status_code == 403, refused.content
            assert refused.json()["error"]["code"] == "permission_denied"
        assert values(above, user) == before
        assert untouched(user)
        assert untouched(above)


@pytest.mark.parametrize("act", ACTS)
def test_an_act_needs_its_permission(act: str, alice: Person) -> None:
    needs = {"ban": "add_ban", "unban": "change_ban", "grant": "add_balance",
             "delete": "delete_account", "staff": "-"}  # fmt: skip
    rest = Permission.objects.exclude(codename=needs.get(act, "change_account"))
    client = staff_client(staff(*rest.values_list("codename", flat=True)))
    before = values(alice.account)
    refused = told(client, action=act, user=alice.account.pk, reason="x", **ACTS[act])
    assert (refused.status_code, "permission" in refused.json()["error"]["message"]) == (403, True)
    asked = client.get(f"{LIST}act/{act}/", {"users": alice.account.pk})
    assert asked.status_code == 403
    assert values(alice.account) == before
    assert untouched(alice.account)


def test_nobody_bans_deletes_or_dethrones_himself(root: Client) -> None:
    for act in ("ban", "delete", "staff"):
        refused = told(root, action=act, user=who(root).pk, reason="x", **ACTS[act])
        assert refused.status_code == 403, act
    assert who(root).is_superuser


@pytest.mark.parametrize(
    ("said", "status", "param"),
    [
        ({"action": "promote"}, 400, "action"),
        ({"action": "ban", "reason": ""}, 400, "reason"),
        ({"action": "ban", "reason": "  "}, 400, "reason"),
        ({"action": "ban"}, 400, "reason"),
        ({"action": "ban", "reason": ["x"]}, 400, "reason"),
        ({"action": "ban", "reason": "x", "until": "2020-01-01T00:00:00Z"}, 400, "until"),
        ({"action": "ban", "reason": "x", "until": "soon"}, 400, "until"),
        ({"action": "ban", "reason": "x", "is_staff": True}, 400, "is_staff"),
        ({"action": "grant", "reason": "x", "bucket": "gold", "amount": 1}, 400, "bucket"),
        ({"action": "grant", "reason": "x", "bucket": "image", "amount": 0}, 400, "amount"),
        ({"action": "grant", "reason": "x", "bucket": "image", "amount": -5}, 400, "amount"),
        ({"action": "grant", "reason": "x", "bucket": "image", "amount": 1.5}, 400, "amount"),
        ({"action": "grant", "reason": "x", "bucket": "image", "amount": True}, 400, "amount"),
        ({"action": "grant", "reason": "x", "bucket": "image", "amount": 10**16}, 400, "amount"),
        ({"action": "plan", "reason": "x", "plan": "gold"}, 400, "plan"),
        ({"action": "staff", "reason": "x", "level": "king"}, 400, "level"),
        ({"action": "ban", "reason": "x", "users": []}, 400, "users"),
        ({"action": "ban", "reason": "x", "users": ["nobody-of-this-name"]}, 404, "users"),
        ({"action": "ban", "reason": "x", "users": [0]}, 404, "users"),
        ({"action": "ban", "reason": "x", "users": ["\0"]}, 400, "users"),
        ({"action": "ban", "reason": "x", "until": 5}, 400, "until"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_done(
    root: Client, alice: Person, said: dict[str, Any], status: int, param: str
) -> None:
    before = values(alice.account)
    more = said.get("users", [])
    body = {**said, "users": [alice.account.pk, *more] if more or "users" not in said else []}
    refused = told(root, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
    assert values(alice.account) == before
    assert untouched(alice.account)


@pytest.mark.parametrize("number", ["9" * 40, 10**19, "\u00b2", "#1", -1])
def test_there_is_no_ban_of_a_number_no_database_has(root: Client, number: Any) -> None:
    assert told(root, "/admin/ban-unlock/", ban=number, reason="x").status_code in (400, 404)


def test_a_name_that_is_anothers_id_bans_neither(root: Client, alice: Person) -> None:
    sly = kit.person("sly").account
    sly.username = str(alice.account.pk)
    sly.save()
    refused = told(root, action="ban", user=str(alice.account.pk), reason="x")
    assert refused.status_code == 409
    assert untouched(sly)
    assert untouched(alice.account)
    assert told(root, action="ban", user=f"#{alice.account.pk}", reason="x").status_code == 200
    assert untouched(sly)
    alice.account.bans.all().delete()


# ---- by the buttons


def test_chosen_rows_lead_to_a_page_that_asks_why(root: Client) -> None:
    people = [kit.person("hal").account for _ in range(2)]
    ids = [str(one.pk) for one in people]
    asked = root.post(LIST, {"action": "ban", "_selected_action": ids, "index": "0"}, follow=True)
    page = asked.content.decode()
    place = asked.redirect_chain[-1][0]
    assert all(one.username in page for one in people)
    unsaid = root.post(place, {"reason": ""})
    assert (unsaid.status_code, untouched(people[0])) == (400, True)
    done = root.post(place, {"reason": "spam", "until": "2999-01-01T10:00"})
    assert (done.status_code, done["Location"]) == (302, LIST)
    assert {one.bans.get().reason for one in people} == {"spam"}
    one = root.post(f"{LIST}act/unban/?users={ids[0]}", {"reason": "sorry"})
    assert one["Location"] == f"{LIST}{ids[0]}/change/"
    assert people[0].bans.get().lifted_at is not None


def test_the_form_of_a_user_changes_no_plan_no_power_and_no_mail(helper: Client) -> None:
    user = kit.person("ivy").account
    before = values(user)
    fields = {"username": user.username, "email": "x@evil.example", "plan": "pro",
              "plan_expires_at_0": "2999-01-01", "is_staff": "on", "is_superuser": "on",
              "is_active": "", "password": "x", "user_permissions": ["1", "2"]}  # fmt: skip
    assert helper.post(f"{LIST}{user.pk}/change/", fields).status_code == 302
    assert values(user) == before
    assert user.user_permissions.count() == 0
    for above in (superuser(), staff()):
        assert helper.post(f"{LIST}{above.pk}/change/", {"username": "taken"}).status_code == 403
    for one in (user, who(helper)):
        place = f"{LIST}{one.pk}/password/"
        said = {"password1": "a phrase of mine", "password2": "a phrase of mine"}
        assert helper.post(place, said).status_code == 403
