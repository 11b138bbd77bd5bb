"""The admin's first page: its numbers are the readers', it is red when it should be, and nobody
sees a panel of what he may not view."""

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import F
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, AuditEvent
from bsod import __version__
from bsod.backstage import charts, front
from bsod.backstage.panels import Audit, Flight, Shortfall, Span
from bsod.drawing import number, percent
from bsod.lib import clock, ids
from bsod.management.commands import worker
from proxy import figures, stats
from proxy.donations.models import Donation
from proxy.figures import FAILED, WINDOWS, Tally
from proxy.models import Provider, Rest, Stat
from proxy.pool import bump
from proxy.stats import Key
from quotas import audit, heartbeat
from quotas.models import AuditRun, Balance, Entry, Process, UsageDay, Worker
from tests import kit
from tests.kit import Person
from tests.quotas import books
from tests.upstream import FaultServer

pytestmark = pytest.mark.once  # about a page; what it reads is tested on both
NOW = "/admin/audit-ledger/"


@pytest.fixture(scope="module")
def root(database: None) -> Account:
    return kit.person("root", admin=True).account


@pytest.fixture(scope="module")
def pages(root: Account) -> Client:
    return kit.staff_client(root)


def staff(*codenames: str) -> Account:
    account = kit.person("staff").account
    account.is_staff = True
    account.save()
    account.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return account


def board(account: Account, query: str = "") -> dict[str, Any]:
    asked = RequestFactory().get(f"/admin/{query}")
    asked.user = account
    return front.board(asked)


def worked() -> None:
    """The worker's main chore of this page: it has just done all others."""
    last = worker.chores()[-1]
    assert last.name == "beat"
    last.do(clock.now())


# ---- numbers


def test_traffic_is_what_the_status_page_counts(root: Account) -> None:
    now, cell = clock.now(), [0] * stats.WIDTH
    cell[0] = cell[stats.LATENCY + 3] = 7
    place = (now.replace(second=0, microsecond=0), "POST /v1/chat/completions", "p", "m")
    stats.add({(place[0], Key(*place[1:], status)): cell for status in ("2xx", "5xx", "gone")})

    def agree() -> bool:
        rows = figures.calls(figures.of_window(WINDOWS["24h"], clock.now()))
        told, (day, week) = figures.tally(rows), board(root)["panels"]["traffic"]
        assert week.chart.columns[-1].parts, "today"
        said = (number(told.requests), number(told.of(FAILED)), percent(told.success))
        return said == (day.requests, day.failed, day.answered)

    assert kit.eventually(agree)  # whatever else runs may count in between
    last = board(root)["panels"]["traffic"][0].chart.columns[-1]
    assert [part.look for part in last.parts] == ["ok", "refused", "bad"]


def test_a_column_is_as_high_as_its_calls_and_shows_every_failure() -> None:
    def tally(**by_status: int) -> Tally:
        made = Tally()
        made.by_status.update({name.removeprefix("s"): n for name, n in by_status.items()})
        return made

    drawn = charts.columns(
        [("a", tally(s2xx=500, s5xx=1)), ("b", tally()), ("c", tally(s4xx=1000))], 1
    )
    assert [[part.look for part in one.parts] for one in drawn.columns] == [
        ["ok", "bad"], [], ["refused"]
    ]  # fmt: skip
    good, failed = drawn.columns[0].parts
    assert float(good.height) == charts.HIGH / 2
    assert float(failed.height) >= 2
    assert drawn.columns[1].words == "b: no calls"
    assert [words for _, words in drawn.grid] == ["0", number(500), number(1000)]


def test_what_is_in_flight_is_counted_by_bucket(root: Account, alice: Person) -> None:
    def flight(name: str = "image") -> tuple[int, int, int]:
        rows = board(root)["panels"]["flight"].rows
        found = [row for row, *_ in rows if row.bucket == name]
        return (found[0].calls, found[0].jobs, found[0].units) if found else (0, 0, 0)

    before, cap = flight(), books.day_row(alice)
    call, job = books.hold(alice, cap, 3), books.hold(alice, cap, 4)
    here = Process.objects.create(id=ids.ulid())  # or the gateways beside would bury the call
    Entry.objects.filter(pk=call.pk).update(process=here.pk)
    Entry.objects.filter(pk=job.pk).update(expires_at=clock.now() + timedelta(hours=1))
    after = flight()
    books.let_go(call, cap)
    books.let_go(job, cap)
    here.delete()
    assert [a - b for a, b in zip(after, before, strict=True)] == [1, 1, 7]
    assert flight() == before


def test_a_shortfall_of_this_week_is_shown(root: Account, alice: Person) -> None:
    def short() -> int:
        rows = board(root)["panels"]["shortfall"].rows
        return sum(row.units for row, _ in rows if row.bucket == "image")

    before = short()
    books.entry(alice, [], shortfall=5)
    books.entry(alice, [], shortfall=9, day=clock.day_of(clock.now() - timedelta(days=8)))
    assert short() == before + 5


@pytest.fixture
def busy(alice: Person) -> Iterator[str]:
    """Alice and a model, busiest of all three days ago; its name."""
    name, then = kit.unique("<model>"), clock.now() - timedelta(days=3)
    day = UsageDay.objects.create(
        account=alice.account, api_key=alice.key, model=name, bucket="text.base",
        day=clock.day_of(then), calls=10**9, prompt_tokens=2, completion_tokens=3,
    )  # fmt: skip
    stats.add({(then, Key("POST /v1/chat/completions", "p", name, "2xx")): [10**9, 0, 4, 5]
               + [0] * (stats.WIDTH - 4)})  # fmt: skip
    yield name
    day.delete()
    Stat.objects.filter(model=name).delete()


def test_the_busiest_stand_first_and_link_to_what_they_are(
    root: Account, pages: Client, alice: Person, busy: str
) -> None:
    week, today = board(root, "?span=7d")["panels"], board(root)["panels"]
    user, model = week["busiest_users"][0], week["busiest_models"][0]
    assert (user.name, user.calls, user.tokens) == (alice.account.username, 10**9, 5)
    assert (model.name, model.calls, model.tokens) == (busy, 10**9, 9)
    for shown, first in (("busiest_users", user), ("busiest_models", model)):
        assert first.name not in [one.name for one in today[shown]]
    page = pages.get("/admin/?span=7d").content.decode()
    assert f"/admin/accounts/account/{alice.account.pk}/change/" in page
    assert "&lt;model&gt;" in page
    assert "<model>" not in page


def test_a_provider_without_a_key_that_serves_says_why(root: Account, up: FaultServer) -> None:
    def health(slug: str) -> Any:
        return next(one for one in board(root)["panels"]["pool"] if one.slug == slug)

    supplied = kit.supply(up, keys=2)
    slug, key = supplied.provider.slug, supplied.key_row()
    assert (health(slug).up, health(slug).keys) == (True, [("live", 2)])
    soon = clock.now() + timedelta(minutes=5)
    Rest.objects.create(provider=supplied.provider, key=key, reason="auth", probe_at=soon)
    bump()
    assert (health(slug).up, health(slug).why, health(slug).back) == (
        True,
        "1 auth",
        "in 5\u2009min",
    )
    assert dict(health(slug).keys) == {"live": 1, "disabled": 1}
    Rest.objects.create(provider=supplied.provider, key=supplied.key_row(1), reason="auth")
    bump()
    words = [alert.words for alert in board(root)["alerts"]]
    assert f"{slug} does not answer: all api keys died · 2 auth." in words
    Provider.objects.filter(pk=supplied.provider.pk).update(lock_text="on holiday")
    bump()
    assert not [said for said in board(root)["alerts"] if slug in said.words], "no news to admins"
    assert health(slug).why.startswith("on holiday")


def test_a_donation_waits_until_it_is_decided(
    root: Account, alice: Person, up: FaultServer
) -> None:
    before, now = board(root)["panels"]["donations"].count, clock.now()
    made = Donation.objects.create(
        donor=alice.account, provider=kit.supply(up).provider, fingerprint=kit.unique("f"),
        last4="abcd", consent_version="1", consent_at=now, probe="", probed_at=now,
        created_at=now - timedelta(days=400),
    )  # fmt: skip
    shown = board(root)
    waiting = shown["panels"]["donations"]
    assert (waiting.count, waiting.oldest) == (before + 1, "400\u2009days".replace("\u2009", " "))
    assert any("donated key" in alert.words for alert in shown["alerts"])
    Donation.objects.filter(pk=made.pk).update(state="withdrawn", ended_at=now)
    assert board(root)["panels"]["donations"].count == before


# ---- the ledger's audit, and the worker


def test_a_drift_is_red_until_it_is_gone(root: Account, pages: Client, alice: Person) -> None:
    cap = books.day_row(alice)
    row = Balance.objects.filter(pk=cap.pk)
    row.update(used=F("used") + 1)
    try:
        audit.audit()
        shown = board(root)
        found = {"balance": cap.pk, "field": "used", "stored": 1, "entries": 0}
        assert shown["panels"]["audit"].red
        assert found in [drift for drift, _ in shown["panels"]["audit"].drift]
        assert shown["alerts"][0].words.startswith("The ledger does not add up")
        page = pages.get("/admin/").content.decode()
        assert "drifted" in page
        assert "The ledger adds up" not in page
    finally:
        row.update(used=F("used") - 1)
    audit.audit()
    assert not board(root)["panels"]["audit"].red
    assert "The ledger adds up" in pages.get("/admin/").content.decode()


def test_the_worker_audits_when_asked_and_every_hour(root: Account, pages: Client) -> None:
    (chore,) = worker.audit_chores()
    audit.audit()
    assert not chore.do(clock.now())
    assert chore.do(clock.now() + timedelta(hours=1, seconds=1))
    assert not board(root)["panels"]["audit"].asked
    before = AuditEvent.objects.filter(verb="ledger.audit", actor=root).count()
    assert pages.post(NOW).headers["Location"] == "/admin/"
    assert board(root)["panels"]["audit"].asked
    assert "disabled" in pages.get("/admin/").content.decode()
    assert AuditEvent.objects.filter(verb="ledger.audit", actor=root).count() == before + 1
    assert chore.do(clock.now())
    assert not board(root)["panels"]["audit"].asked


def test_who_may_not_run_an_audit_is_told_so(root: Account) -> None:
    viewer = kit.staff_client(staff("view_auditrun"))
    asked = Worker.objects.values_list("audit_asked_at", flat=True).get()
    assert "Run now" not in viewer.get("/admin/").content.decode()
    refused = viewer.post(NOW, headers={"accept": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert Worker.objects.values_list("audit_asked_at", flat=True).get() == asked


def test_of_all_audits_the_last_are_kept() -> None:
    old = clock.now() - timedelta(days=900)
    AuditRun.objects.bulk_create(AuditRun(at=old, balances=0) for _ in range(audit.KEPT + 3))
    audit.audit()
    assert AuditRun.objects.count() == audit.KEPT
    assert AuditRun.objects.filter(at__gt=clock.now() - timedelta(minutes=1)).exists()


def test_a_worker_that_is_silent_for_two_minutes_is_red(root: Account, pages: Client) -> None:
    for ago, late in ((130, True), (None, True), (100, False)):
        seen = None if ago is None else clock.now() - timedelta(seconds=ago)
        Worker.objects.filter(id=1).update(beat_at=seen)
        shown = board(root)
        assert shown["panels"]["running"].late is late
        assert any("The worker" in alert.words for alert in shown["alerts"]) is late
    assert "alive" in pages.get("/admin/").content.decode()
    worked()
    assert board(root)["panels"]["running"].seen == "0 s"
    assert heartbeat.LATE.total_seconds() > 2 * heartbeat.EVERY


# ---- who sees what


def test_a_panel_is_for_who_may_view_what_it_shows() -> None:
    somebody = staff()
    for panel in front.PANELS:
        for lacking in ("", *panel.needs):
            names = [name.partition(".")[2] for name in panel.needs if name != lacking]
            held = Permission.objects.filter(codename__in=names)
            assert len(held) == len(names), panel.needs
            somebody.user_permissions.set(held)
            shown = board(Account.objects.get(pk=somebody.pk))["panels"]
            assert (panel.name in shown) is (not lacking), panel.name


def test_a_page_holds_the_panels_somebody_may_see_and_no_other() -> None:
    page = kit.staff_client(staff("view_entry")).get("/admin/").content.decode()
    assert "Reservations in flight" in page
    for title in ("Provider keys", "Ledger audit", "Traffic", "Busiest", "Donations", "Bans"):
        assert title not in page, title
    nothing = kit.staff_client(staff()).get("/admin/")
    assert nothing.status_code == 200
    assert "You may view none" in nothing.content.decode()


def test_every_link_leads_somewhere(pages: Client, busy: str, up: FaultServer) -> None:
    supplied = kit.supply(up)
    Rest.objects.create(provider=supplied.provider, key=supplied.key_row(), reason="auth")
    bump()
    page = pages.get("/admin/?span=7d").content.decode()
    own = page.partition('<div class="front">')[2]
    links = {link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"]*)"', own)}
    kinds = {re.sub(r"\d+|=[^&]*", "", link): link for link in links}
    assert len(kinds) >= 10
    for link in kinds.values():
        assert pages.get(link).status_code == 200, link


# ---- its price, its empty state


def test_it_asks_a_dozen_questions_at_most(root: Account) -> None:
    board(root)
    with CaptureQueriesContext(connection) as asked:
        board(root, "?span=7d")
    assert len(asked) <= 12, [one["sql"][:90] for one in asked]
    with connection.cursor() as cursor:
        for statement in {one["sql"] for one in asked if "quotas_entry" in one["sql"]}:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            plan = [row[3] for row in cursor.fetchall()]
            assert not [step for step in plan if re.fullmatch(r"SCAN quotas_entry", step)], plan


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("pool", {"pool": []}, "There is no provider yet."),
        ("flight", {"flight": Flight([], 0, 0), "shortfall": Shortfall([])}, "Nothing is open"),
        ("audit", {"audit": Audit(None, "", False, True, [])}, "It was never run."),
        ("busiest", {"rows": []}, "Nobody has called"),
        ("traffic", {"span": Span("24h", "0", "–", "0", "–", "–", False, None, "/status/", "")},
         "Nothing was called"),
    ],
)  # fmt: skip
def test_an_empty_panel_has_a_sentence(part: str, values: dict[str, Any], said: str) -> None:
    assert said in render_to_string(f"admin/front/{part}.html", values)


def test_the_version_shown_is_the_projects() -> None:
    project = tomllib.loads((kit.ROOT / "pyproject.toml").read_text())["project"]
    assert __version__ == project["version"]
