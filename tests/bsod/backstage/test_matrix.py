"""Who may open what: nobody, a user, staff without the permission, staff with it, on every page of
the admin and every act of its routes. Pages are found by themselves, so that a new one is in it.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.template.response import SimpleTemplateResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.audit import record
from accounts.models import Account, Ban
from bsod.incidents.models import Incident
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Bucket, RestReason
from bsod.notices.models import Notice
from promos.models import Promo
from promos.service import make_codes, redeem
from proxy.donations import service
from proxy.models import Rest
from quotas.audit import audit
from quotas.meter import give
from tests import kit
from tests.accounts.door import member
from tests.kit import Person
from tests.upstream import FaultServer

pytestmark = pytest.mark.once  # about pages, not about the database

ROUTES: dict[str, dict[str, str]] = {
    "users": {
        "ban": "accounts.add_ban", "unban": "accounts.change_ban", "grant": "quotas.add_balance",
        "plan": "accounts.change_account", "sign_out": "accounts.change_account",
        "staff": "", "delete": "accounts.delete_account",
    },
    "ban-unlock": {"unban": "accounts.change_ban"},
    "donations": dict.fromkeys(
        ("approve", "reject", "recheck", "trust", "withdraw"), "donations.change_donation"
    ),
    "recheck-keys": {"recheck": "proxy.change_providerkey"},
    "promocodes": {"make": "promos.add_promo", "disable": "promos.change_promo"},
    "audit-ledger": {"run": "quotas.add_auditrun"},
}  # fmt: skip
"""The acts of each route, and the permission of each; "" is for superusers alone."""
NOBODY_IN_PARTICULAR = {"users": "nobody", "keys": [0], "donations": ["0"], "promo": 0}
"""What an act is done to here: to nobody, so that whoever may do it changes nothing."""
FOR_ALL_STAFF = {
    "index", "login", "logout", "password_change", "password_change_done", "jsi18n", "search",
    "view_on_site", "autocomplete", "app_list", None,
}  # fmt: skip
"""Pages that show, of all there is, what the visitor may see; redirects have no name."""


# ---- what there is


def patterns(found: Iterable[Any], before: str = "") -> Iterator[tuple[str, str | None]]:
    for one in found:
        path = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from patterns(one.url_patterns, path)
        elif isinstance(one, URLPattern) and path.startswith("admin/"):
            yield path, one.name


def pages() -> dict[str, list[str]]:
    """The names of the pages of each model of the admin."""
    names = [name for _path, name in patterns(get_resolver().url_patterns)]
    own = {name for name in names if name not in FOR_ALL_STAFF} - {
        name for path, name in patterns(get_resolver().url_patterns)
        if path.removeprefix("admin/").strip("/") in ROUTES
    }  # fmt: skip
    found: dict[str, list[str]] = {}
    for model in admin.site._registry:
        stem = f"{model._meta.app_label}_{model._meta.model_name}_"
        found[model._meta.label_lower] = [name for name in own if str(name).startswith(stem)]
    found["accounts.account"].append("auth_user_password_change")
    assert own == {name for names in found.values() for name in names}
    return found


def place(name: str, row: Any) -> str | None:
    """Where a page is; None: it is of one row, and there is none."""
    if name.endswith(("_changelist", "_add", "_csv")):
        return reverse(f"admin:{name}")
    if name.endswith("_act"):
        return reverse(f"admin:{name}", args=["plan"])
    return reverse(f"admin:{name}", args=[row.pk]) if row else None


@pytest.fixture(scope="module")
def rows(database: None) -> dict[str, Any]:
    """A row of every model that the admin shows, where one can be made by hand."""
    with FaultServer() as up:
        supplied, bob = kit.supply(up), kit.person("bob").account
        provider = supplied.provider
        service.submit(member("dora"), provider.slug, kit.unique("sk-given"), consent=True)
    Rest.objects.create(provider=provider, key=supplied.key_row(), reason=RestReason.FAILURES)
    Ban.objects.create(account=kit.person("carol").account, reason="spam")
    Notice.objects.create(event=kit.unique("event"), topic="ledger_drift", due_at=None)
    Incident.objects.create(title=kit.unique("incident"), state="planned")
    promo = Promo(name=kit.unique("offer"), grants={"image": 1}, uses=1)
    (code,) = make_codes(promo, count=1, chosen="")
    redeem(bob, code, clock.now())
    with exclusive("matrix"):
        give(bob, Bucket.IMAGE, 1, None, clock.now())
        record(bob, "account.grant", bob, reason="for the matrix")
    audit()
    seen = RequestFactory().get("/admin/")
    seen.user = kit.person("boss", admin=True).account
    found = {}
    for model, page in admin.site._registry.items():
        found[model._meta.label_lower] = page.get_queryset(seen).order_by("-pk").first()
    return found


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page looks like is other tests' business, and most of what it costs."""
    monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", "")


# ---- who there is


def staff() -> Account:
    return member("staff", is_staff=True)


def granted(account: Account, *names: str) -> None:
    """The account has these permissions and no other."""
    chosen = [name.partition(".")[2] for name in names]
    apps = [name.partition(".")[0] for name in names]
    rows = Permission.objects.filter(codename__in=chosen, content_type__app_label__in=apps)
    account.user_permissions.set(rows)


def all_but(account: Account, label: str) -> None:
    """The account has every permission but those of a model."""
    app, _, model = label.partition(".")
    mine = Permission.objects.filter(content_type__app_label=app, content_type__model=model)
    account.user_permissions.set(Permission.objects.exclude(pk__in=mine))


def seated(person: Account) -> Client:
    """Somebody who has signed in, and has a second factor."""
    return kit.staff_client(person)


def brief(client: Client) -> Client:
    """The same; refusals are short for who wants them as JSON."""
    client.defaults["HTTP_ACCEPT"] = "application/json"
    return client


def shut(answer: Any) -> bool:
    """Sent away to sign in, or refused."""
    if answer.status_code == 302:
        return bool(answer["Location"].startswith(("/login/", "/admin/login/")))
    return bool(answer.status_code == 403)


# ---- pages


@pytest.mark.usefixtures("unrendered")
def test_every_page_is_for_staff_with_the_permission_alone(rows: dict[str, Any]) -> None:
    nobody, user = brief(Client(HTTP_HOST="127.0.0.1")), brief(seated(member("user")))
    account = staff()
    guard = brief(seated(account))
    missing = {label for label, row in rows.items() if row is None}
    assert missing <= {"quotas.reservation", "quotas.process", "quotas.usageday", "quotas.entry",
                       "auth.group"}  # fmt: skip
    for label, names in pages().items():
        found = {name: where for name in names if (where := place(name, rows[label]))}
        assert len(found) >= 2, label
        for where in found.values():
            assert shut(nobody.get(where)), where
            assert shut(user.get(where)), where
        all_but(account, label)
        for where in found.values():
            assert guard.get(where).status_code == 403, where
        app, _, model = label.partition(".")
        granted(account, *(f"{app}.{verb}_{model}" for verb in ("view", "add", "change", "delete")))
        for name, where in found.items():
            status = guard.get(where).status_code
            # The rows of some models are nobody's to add or to delete, or to give a password.
            fixed = name.endswith(("_add", "_delete", "_password_change"))
            assert status in ((200, 302, 403) if fixed else (200, 302)), (where, status)


@pytest.mark.usefixtures("unrendered")
def test_the_first_page_and_its_helpers_are_for_staff() -> None:
    nobody, user, guard = Client(HTTP_HOST="127.0.0.1"), seated(member("user")), seated(staff())
    for where in ("/admin/", "/admin/jsi18n/", "/admin/accounts/", "/admin/autocomplete/",
                  "/admin/no/such/page/"):  # fmt: skip
        assert shut(nobody.get(where)), where
        assert shut(user.get(where)), where
    assert guard.get("/admin/").status_code == 200
    # Nothing of an app, nor of a list, for whoever may see none of it.
    assert guard.get("/admin/accounts/").status_code in (403, 404)
    listed = "/admin/autocomplete/?app_label=accounts&model_name=ban&field_name=account&term=a"
    assert guard.get(listed).status_code == 403


# ---- routes


def sent(client: Client, route: str, **body: Any) -> Any:
    return client.post(
        f"/admin/{route}/", json.dumps(body), content_type="application/json",
        headers={"Accept": "application/json"},
    )  # fmt: skip


def test_no_route_and_no_act_is_left_out() -> None:
    beside = {
        path.removeprefix("admin/").strip("/")
        for one in get_resolver().url_patterns
        if isinstance(one, URLPattern) and (path := str(one.pattern)).startswith("admin/")
    }
    assert beside == set(ROUTES)
    boss = seated(kit.person("boss", admin=True).account)
    for route, acts in ROUTES.items():
        answer = sent(boss, route, action="?")
        assert answer.status_code == 400
        said = answer.json()["error"]["message"]
        assert said == f"action must be one of: {', '.join(acts)}.", route
        assert boss.get(f"/admin/{route}/").status_code == 405


def test_every_act_is_for_staff_with_its_permission_alone() -> None:
    nobody, user = Client(HTTP_HOST="127.0.0.1"), seated(member("user"))
    account = staff()
    guard = seated(account)
    everything = Permission.objects.all()
    for route, acts in ROUTES.items():
        assert shut(nobody.post(f"/admin/{route}/")), route
        for act, permission in acts.items():
            assert sent(nobody, route, action=act).status_code == 401, (route, act)
            assert sent(user, route, action=act).status_code == 403, (route, act)
            app, _, name = permission.partition(".")
            lacking = everything.exclude(content_type__app_label=app, codename=name)
            account.user_permissions.set(lacking)
            refused = sent(guard, route, action=act)
            assert refused.status_code == 403, (route, act)
            assert permission in refused.json()["error"]["message"]
            if not permission:
                continue
            granted(account, permission)
            status = on_nobody(guard, route, act)
            assert status in (200, 400, 404), (route, act, status)


def on_nobody(client: Client, route: str, act: str) -> int:
    """The act, asked for as far as its route knows the fields."""
    for name, value in NOBODY_IN_PARTICULAR.items():
        answer = sent(client, route, action=act, reason="for the matrix", **{name: value})
        if "is no field" not in answer.content.decode():
            return int(answer.status_code)
    return int(sent(client, route, action=act).status_code)


def test_without_the_forms_token_nothing_is_done() -> None:
    boss = kit.person("boss", admin=True).account
    kit.arm(boss)
    elsewhere = brief(Client(enforce_csrf_checks=True, HTTP_HOST="127.0.0.1"))
    elsewhere.cookies = seated(boss).cookies
    for route, acts in ROUTES.items():
        for act in acts:
            assert sent(elsewhere, route, action=act).status_code == 403, (route, act)
    for where in ("/admin/accounts/ban/add/", "/admin/donations/donation/"):
        assert elsewhere.post(where, {"action": "approve"}).status_code == 403


def test_a_key_never_opens_the_admin(up: FaultServer) -> None:
    boss: Person = kit.person("boss", admin=True)
    client = Client(HTTP_HOST="127.0.0.1", headers=boss.auth)
    assert shut(client.get("/admin/"))
    assert shut(client.get("/admin/accounts/account/"))
    for route, acts in ROUTES.items():
        for act in acts:
            assert sent(client, route, action=act).status_code == 401, (route, act)
