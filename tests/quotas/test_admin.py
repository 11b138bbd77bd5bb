"""The ledger in the admin: read by leaves, filtered, taken as a table, corrected with a reason."""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.test import Client

from accounts.leafing import look
from accounts.models import Account, AuditEvent
from bsod.lib import clock, ids
from quotas.meter import grant
from quotas.models import Balance, Entry
from tests import kit
from tests.kit import Person, Site, staff_client

pytestmark = pytest.mark.once  # about pages; what each database does is in test_admin_sql.py

LIST, BALANCES = "/admin/quotas/entry/", "/admin/quotas/balance/"
CALLS = 70


def staff(*permissions: str, superuser: bool = False) -> Client:
    account = kit.person("staff").account
    account.is_staff, account.is_superuser = True, superuser
    account.save()
    account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return staff_client(account)


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return staff(superuser=True)


def entry(who: Person, at: datetime, **traits: Any) -> Entry:
    traits = {"kind": "call", "state": "settled", "bucket": "text.base", "amount": 3,
              "end_reason": "completed", "api_key": who.key, "model": "m", **traits}  # fmt: skip
    pk = ids.first(at)[:12] + ids.ulid()[12:]
    return Entry(id=pk, account=who.account, day=clock.day_of(at), created_at=at, **traits)


@pytest.fixture(scope="module")
def dora(database: None) -> Iterator[Person]:
    """Somebody with many calls, a day and more of them, some of which are odd."""
    who, now = kit.person("dora"), clock.now()
    rows = [entry(who, now - timedelta(minutes=30 * n)) for n in range(CALLS)]
    odd = [
        entry(who, now, state="open", amount=0, end_reason="", expires_at=now + timedelta(days=9)),
        entry(who, now, kind="correction", api_key=None, model=""),
        entry(who, now, shortfall=7, bucket="image", model="=cmd|' /C calc'!A0"),
        entry(who, now, end_reason="crashed", route="/v1/odd", state="released"),
        entry(who, now - timedelta(days=40), model="old"),
    ]
    Entry.objects.bulk_create([*rows, *odd])
    yield who
    Entry.objects.filter(account=who.account).delete()


def shown(page: Any) -> list[str]:
    assert page.status_code == 200, page
    return [row.pk for row in page.context["cl"].result_list]


def found(client: Client, asked: dict[str, Any]) -> list[str]:
    """The ids of a whole filtered list: its table is read faster than its pages."""
    answer = client.get(f"{LIST}csv/", asked)
    return [line["id"] for line in csv.DictReader(answer.getvalue().decode().splitlines())]


def of(who: Person, **more: Any) -> dict[str, Any]:
    return {"account": who.account.username, **more}


def test_leaves_lead_from_the_newest_to_the_last_and_back(root: Client, dora: Person) -> None:
    every = [row.pk for row in Entry.objects.filter(account=dora.account).order_by("-id")]
    seen, page = [], root.get(LIST, of(dora))
    assert f"{len(every)} entries" in page.content.decode()
    while True:
        seen.append(shown(page))
        older = page.context["cl"].older
        if not older:
            break
        page = root.get(LIST + older)
    assert [pk for leaf in seen for pk in leaf] == every
    assert [len(leaf) for leaf in seen] == [50, len(every) - 50]
    for leaf in seen[-2::-1]:
        page = root.get(LIST + page.context["cl"].newer)
        assert shown(page) == leaf
    assert not page.context["cl"].newer
    assert shown(root.get(LIST + page.context["cl"].newest)) == seen[0]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"state__exact": "open"}, lambda row: row.state == "open"),
        ({"state__exact": "released"}, lambda row: row.state == "released"),
        ({"kind__exact": "correction"}, lambda row: row.kind == "correction"),
        ({"shortfall__gt": "0"}, lambda row: row.shortfall),
        ({"bucket": "image"}, lambda row: row.bucket == "image"),
        ({"model": "ol"}, lambda row: row.model == "old"),
        ({"model": "%"}, lambda row: False),
        ({"route": "/v1/odd"}, lambda row: row.route),
        ({"end_reason__exact": "crashed"}, lambda row: row.end_reason == "crashed"),
        ({"day__lte": clock.day_of(clock.now() - timedelta(days=9))}, lambda r: r.model == "old"),
        ({"day__gte": "soon"}, lambda row: False),
        ({"kind__exact": "nonsense", "bucket": "image"}, lambda row: row.bucket == "image"),
        ({"model": "\0"}, None),
    ],
)  # fmt: skip
def test_a_filter_lets_through_what_it_says(
    root: Client, dora: Person, asked: dict[str, str], expected: Any
) -> None:
    rows = Entry.objects.filter(account=dora.account).order_by("-id")
    due = [row.pk for row in rows if expected is None or expected(row)]
    assert found(root, of(dora, **asked)) == due


def test_a_key_is_found_by_its_beginning_and_never_written_out(root: Client, dora: Person) -> None:
    page = root.get(LIST, {"key": dora.secret}, follow=True)
    assert dora.secret[18:-4] not in page.redirect_chain[0][0]
    assert len(shown(page)) == 50
    assert dora.secret[18:-4] not in page.content.decode()
    assert shown(root.get(LIST, {"key": dora.key.public_id[:3]})) == []


def test_a_day_is_whole(root: Client, dora: Person) -> None:
    day = clock.day_of(clock.now() - timedelta(days=1))
    rows = Entry.objects.filter(account=dora.account, day=day).order_by("-id")
    wanted = [row.pk for row in rows]
    assert wanted
    assert found(root, of(dora, day__gte=day, day__lte=day)) == wanted


def test_a_request_is_found_by_its_id_or_the_beginning_of_it(root: Client, dora: Person) -> None:
    (old,) = Entry.objects.filter(account=dora.account, model="old")
    for text in (old.pk, old.pk.lower(), old.pk[:20]):
        assert shown(root.get(LIST, {"q": text})) == [old.pk]
    for text in ("_" * 26, old.pk[:5], "' OR 1=1 --"):
        assert shown(root.get(LIST, {"q": text})) == []


def test_what_no_index_serves_is_looked_for_a_window_at_a_time(dora: Person) -> None:
    base = Entry.objects.filter(account=dora.account)
    wanted = base.filter(model="old")
    before, looks, models = None, 0, []
    while True:
        leaf = look(wanted, base, 50, before=before, window=40)
        models += [row.model for row in leaf.rows]
        looks += 1
        if leaf.more is None:
            break
        assert leaf.short
        before = leaf.more
    assert models == ["old"]
    assert looks == 1 + (CALLS + 4) // 40


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"latency_ms__gt": "1"}, 400), ({"account__password__startswith": "a"}, 400),
     ({"before": "x" * 99}, 302), ({"after": "\0"}, 302), ({"o": "5.-3"}, 200)],
)  # fmt: skip
def test_what_was_not_offered_is_refused(root: Client, asked: dict[str, str], status: int) -> None:
    assert root.get(LIST, asked).status_code == status


def test_a_table_is_filtered_guarded_capped_and_recorded(root: Client, dora: Person) -> None:
    answer = root.get(f"{LIST}csv/", of(dora, shortfall__gt="0"))
    assert "no-store" in answer["Cache-Control"]
    head, line = csv.reader(answer.getvalue().decode().splitlines())
    told = dict(zip(head, line, strict=True))
    assert told["model"] == "'=cmd|' /C calc'!A0"
    assert (told["shortfall"], told["account__username"]) == ("7", dora.account.username)
    kept = AuditEvent.objects.filter(verb="ledger.export").latest("id")
    assert kept.facts["filters"] == of(dora, shortfall__gt="0")
    page: Any = admin.site.get_model_admin(Entry)
    whole = list(csv.reader(root.get(f"{LIST}csv/", of(dora)).getvalue().decode().splitlines()))
    assert len(whole) == 1 + CALLS + 5
    page.csv_most = 60
    try:
        cut = root.get(f"{LIST}csv/", of(dora)).getvalue().decode().splitlines()
    finally:
        del page.csv_most
    assert cut[:61] == [",".join(row) for row in whole[:61]] or len(cut) == 62
    assert "Stopped after 60 rows" in cut[61]


def test_a_table_comes_through_the_gateway_too(site: Site, dora: Person) -> None:
    """Where it is read in threads, a piece at a time."""
    account = kit.person("root").account
    account.is_staff = account.is_superuser = True
    account.save()
    kit.arm(account)
    cookies = {settings.SESSION_COOKIE_NAME: kit.session_of(account, factor=True)}
    answer = requests.get(
        f"{site.url}{LIST}csv/", of(dora, model="old"), cookies=cookies, timeout=20
    )
    (line,) = csv.DictReader(answer.text.splitlines())
    assert (answer.status_code, line["model"]) == (200, "old")
    assert answer.headers["Content-Type"].startswith("text/csv")


def test_an_entry_says_what_it_drew_from(root: Client, alice: Person) -> None:
    balance = grant(alice.account, "image", 5)  # type: ignore[arg-type]  # a bucket
    given = Entry.objects.get(account=alice.account, kind="grant")
    text = root.get(f"{LIST}{given.pk}/change/").content.decode()
    assert f"image, grant {balance.pk}" in text
    assert alice.account.username in root.get("/admin/quotas/grant/", of(alice)).content.decode()


# ---- corrections


def correct(client: Client, row: Balance, **said: str) -> list[str]:
    act = {"action": "correct", "_selected_action": [str(row.pk)], **said}
    page = client.post(BALANCES, act)
    row.refresh_from_db()
    # Those of before have been read by nobody.
    return [str(message) for message in get_messages(page.wsgi_request)][-1:]


def test_a_correction_is_an_entry_of_its_own_with_its_reason(root: Client, alice: Person) -> None:
    row = grant(alice.account, "image", 10)  # type: ignore[arg-type]  # a bucket
    (said,) = correct(root, row, units="4", reason="charged elsewhere")
    made = Entry.objects.get(account=alice.account, kind="correction")
    assert (row.used, made.amount) == (4, 4)
    assert made.pk in said
    assert correct(root, row, units="-4", reason="given back")[0].startswith("4 image given back")
    assert row.used == 0
    kept = AuditEvent.objects.filter(verb="account.correct", target_id=alice.account.pk)
    assert set(kept.values_list("reason", "facts__units")) == {
        ("charged elsewhere", 4), ("given back", -4)
    }  # fmt: skip
    assert kit.ledger_adds_up()


@pytest.mark.parametrize(
    ("units", "reason"),
    [("4", ""), ("", "why"), ("1.5", "why"), ("0", "why"), ("11", "why"), ("-1", "why"),
     ("9" * 30, "why"), ("٣", "why")],
)  # fmt: skip
def test_a_correction_that_cannot_be_is_none(
    root: Client, alice: Person, units: str, reason: str
) -> None:
    row = grant(alice.account, "image", 10)  # type: ignore[arg-type]  # a bucket
    assert "Nothing was done." in correct(root, row, units=units, reason=reason)[0]
    assert row.used == 0
    assert not Entry.objects.filter(account=alice.account, kind="correction").exists()


def test_one_balance_is_corrected_at_a_time(root: Client, alice: Person) -> None:
    rows = [grant(alice.account, "image", 10) for _ in range(2)]  # type: ignore[arg-type]  # a bucket
    act = {"action": "correct", "units": "1", "reason": "why",
           "_selected_action": [str(row.pk) for row in rows]}  # fmt: skip
    root.post(BALANCES, act)
    assert not Balance.objects.filter(account=alice.account, used__gt=0).exists()


def test_who_may_only_look_corrects_nothing_and_takes_what_he_sees(alice: Person) -> None:
    row = grant(alice.account, "image", 10)  # type: ignore[arg-type]  # a bucket
    viewer, other = staff("view_balance"), staff("view_plan")
    assert viewer.get(BALANCES).status_code == viewer.get(f"{BALANCES}csv/").status_code == 200
    correct(viewer, row, units="1", reason="mine")
    assert row.used == 0
    for place in (LIST, f"{LIST}csv/", f"{BALANCES}csv/"):
        assert other.get(place).status_code == 403
        assert Client(HTTP_HOST="127.0.0.1").get(place).status_code == 302
    assert Account.objects.filter(pk=alice.account.pk).exists()


@pytest.mark.parametrize(
    "name", ["entry", "reservation", "balance", "grant", "usageday", "process", "auditrun"]
)
def test_every_list_of_the_ledger_opens(root: Client, dora: Person, name: str) -> None:
    assert root.get(f"/admin/quotas/{name}/").status_code == 200


def test_what_is_open_says_who_holds_it(root: Client, dora: Person) -> None:
    page = root.get("/admin/quotas/reservation/", of(dora))
    assert len(shown(page)) == 1
    assert "a job until" in page.content.decode()
