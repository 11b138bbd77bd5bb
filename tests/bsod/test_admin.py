"""Django's admin over HTTP, as an operator's browser has it: what it shows, changes, refuses."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import RequestFactory

from accounts.models import Account, Ban, Plan
from accounts.service import create_account
from proxy.models import Model, Provider, ProviderKey
from quotas.audit import audit
from tests import kit
from tests.bsod.browser import PASSWORD, Browser, addresses, errors
from tests.kit import Person, Site
from tests.upstream import FaultServer, chat


@pytest.fixture
def visitor(site: Site) -> Browser:
    return Browser(site, next(addresses))


@pytest.fixture(scope="module")
def root(site: Site) -> Iterator[Browser]:
    """A superuser's browser, signed in."""
    browser = Browser(site, next(addresses))
    yield browser.backstage(create_account(kit.unique("root"), admin=True))
    browser.session.close()


def staff(*permissions: str) -> Account:
    """Somebody who may sign in and has just these rights."""
    account = create_account(kit.unique("staff"), password=PASSWORD)
    account.is_staff = True
    account.save()
    account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return account


def test_a_form_from_elsewhere_is_refused(site: Site, root: Browser) -> None:
    cookies = root.session.cookies.get_dict()
    answer = requests.post(
        f"{site.url}/admin/accounts/ban/add/", data={"reason": "x"}, cookies=cookies, timeout=20
    )
    assert answer.status_code == 403


# ---- what it shows


def rows() -> dict[str, Any]:
    """One row of every model that the admin shows."""
    found, request = {}, RequestFactory().get("/")
    for model, page in admin.site._registry.items():
        row = page.get_queryset(request).order_by("-pk").first()
        if row is not None:
            found[model._meta.label_lower.replace(".", "/")] = row
    return found


@pytest.mark.postgresql  # backstage/test_matrix.py opens them all
def test_every_page_opens_and_none_shows_a_secret(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat()
    site.chat(alice, supplied)
    Ban.objects.create(account=kit.person("carol").account, reason="spam")
    audit()
    shown = rows()
    expected = {"accounts/account", "accounts/plan", "accounts/ban", "keys/apikey", "quotas/entry",
                "quotas/balance", "quotas/process", "quotas/auditrun", "proxy/provider",
                "proxy/providerkey", "proxy/model"}  # fmt: skip
    assert expected <= set(shown)
    key = supplied.key_row()
    secrets = [alice.secret[17:-4], alice.key.digest, supplied.keys[0], key.sealed, key.fingerprint]
    for place in ("", *(f"{name}/" for name in shown), *(
        f"{name}/{row.pk}/change/" for name, row in shown.items()
    )):  # fmt: skip
        page = root.get(f"/admin/{place}")
        assert page.status_code == 200, place
        assert not [secret for secret in secrets if secret in page.text], place


def test_its_style_sheet_is_served(site: Site, visitor: Browser) -> None:
    visitor.session.headers["Accept-Encoding"] = "identity"
    sheet = visitor.get("/static/admin/css/base.css")
    assert sheet.status_code == 200
    assert sheet.headers["Content-Type"].startswith("text/css")
    assert len(sheet.content) == int(sheet.headers["Content-Length"])
    packed = visitor.session.head(visitor.url + "/static/admin/css/base.css", timeout=20)
    assert (packed.status_code, packed.content) == (200, b"")
    part = visitor.session.get(sheet.url, headers={"Range": "bytes=0-9"}, timeout=20)
    assert (part.status_code, part.content) == (206, sheet.content[:10])
    again = {"If-Modified-Since": sheet.headers["Last-Modified"]}
    assert visitor.session.get(sheet.url, headers=again, timeout=20).status_code == 304
    assert "Warning" not in site.log.read_text()


@pytest.mark.parametrize(
    "place",
    ["quotas/entry", "quotas/balance", "quotas/process", "quotas/auditrun"],
)
def test_the_ledger_is_for_reading(
    site: Site, root: Browser, up: FaultServer, alice: Person, place: str
) -> None:
    supplied = kit.supply(up)
    up.default = chat()
    site.chat(alice, supplied)
    audit()
    row = rows()[place]
    before = {field.name: field.value_from_object(row) for field in row._meta.fields}
    assert root.get(f"/admin/{place}/add/").status_code == 403
    assert root.get(f"/admin/{place}/{row.pk}/delete/").status_code == 403
    changed = root.post(f"/admin/{place}/{row.pk}/change/", name="x", used="0", amount="0")
    assert changed.status_code == 403
    if place != "quotas/process":  # whose beat goes on
        row.refresh_from_db()
        assert {f.name: f.value_from_object(row) for f in row._meta.fields} == before


# ---- what it changes


def test_a_key_revoked_there_is_refused_at_once(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat()
    assert site.chat(alice, supplied).status_code == 200
    assert root.act("/admin/keys/apikey/", "revoke_keys", alice.key).status_code == 302
    assert {site.chat(alice, supplied).status_code for _ in range(4)} == {401}


def test_a_ban_stops_and_its_lifting_lets_go(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat()
    made = root.post(
        "/admin/accounts/ban/add/",
        account=alice.account.pk,
        reason=" spam ",
        until_0="",
        until_1="",
    )
    assert made.status_code == 302, errors(made)
    ban = Ban.objects.get(account=alice.account)
    assert (ban.reason, ban.created_by is not None) == ("spam", True)
    refused = site.chat(alice, supplied)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "account_banned")
    assert root.act("/admin/accounts/ban/", "lift", ban).status_code == 302
    assert site.chat(alice, supplied).status_code == 200


def test_a_provider_moved_there_is_called_at_its_new_address(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    place = f"/admin/proxy/provider/{supplied.provider.pk}/change/"
    up.default = chat("old")
    assert site.chat(alice, supplied).status_code == 200
    with FaultServer() as moved:
        moved.default = chat("new")
        untold = root.post(place, base_url=moved.base_url, proxy_url="")
        assert "private network" in errors(untold)
        told = root.post(place, base_url=moved.base_url, proxy_url="", private_network="on")
        assert told.status_code == 302, errors(told)
        answers = {site.chat(alice, supplied).json()["choices"][0]["message"]["content"]
                   for _ in range(4)}  # fmt: skip
    assert answers == {"new"}


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/v1", "http://[::ffff:169.254.169.254]/v1", "http://[fe80::1]/v1",
     "http://0.0.0.0:80/v1", "http://2852039166/v1", "http://[fd00:ec2::254]/v1",
     "ftp://127.0.0.1/", "http://no-such-host.invalid/v1", "http://224.0.0.1/v1"],
)  # fmt: skip
def test_no_provider_is_ever_put_where_clouds_keep_their_metadata(
    root: Browser, up: FaultServer, url: str
) -> None:
    provider = kit.supply(up).provider
    answer = root.post(
        f"/admin/proxy/provider/{provider.pk}/change/", base_url=url, private_network="on"
    )
    assert answer.status_code == 200
    assert errors(answer)
    provider.refresh_from_db()
    assert provider.base_url == up.base_url


def test_a_provider_key_shows_its_state_and_is_taken_out_softly(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat()
    row = supplied.key_row()
    page = root.get(f"/admin/proxy/providerkey/{row.pk}/change/").text
    assert row.last4 in page
    assert "live" in page
    asked = root.get(f"/admin/proxy/providerkey/{row.pk}/delete/")
    assert asked.status_code == 200
    place = f"/admin/proxy/providerkey/{row.pk}/delete/"
    assert root.post(place, post="yes", reason="leaked").status_code == 302
    row = ProviderKey.objects.get(pk=row.pk)
    assert row.deleted_at is not None
    assert row.sealed == "", "the secret is gone"
    assert site.chat(alice, supplied).status_code == 503
    assert up.seen == []


def test_a_provider_is_taken_out_softly(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat()
    assert site.chat(alice, supplied).status_code == 200
    place = f"/admin/proxy/provider/{supplied.provider.pk}/delete/"
    gone = root.post(place, post="yes", reason="closed")
    assert gone.status_code == 302
    assert Provider.objects.get(pk=supplied.provider.pk).deleted_at is not None
    assert root.get(f"/admin/proxy/provider/{supplied.provider.pk}/change/").status_code == 302
    assert site.chat(alice, supplied).status_code == 404


def test_a_model_changed_there_is_another_at_once(
    site: Site, root: Browser, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    row = Model.objects.get(name=supplied.model)
    changed = root.post(
        f"/admin/proxy/model/{row.pk}/change/", modality="text", tier="pro", context_window="4096",
        max_output="100", credits_per_1k_input="1", credits_per_1k_output="2",
        credits_per_call="0",
    )  # fmt: skip
    assert changed.status_code == 302, errors(changed)
    row.refresh_from_db()
    assert row.overridden
    # Any batch of the ledger reads the pool again; a call is one.
    up.default = chat()
    site.chat(alice, supplied)
    assert alice.closed()[0].bucket == "text.pro"


CAPS = {"name": "P", "kind": "buckets", "requests_per_minute": "9", "open_calls": "9",
        "credits_per_period": "0", "period_days": "30"}  # fmt: skip


def test_a_plan_changed_there_holds_for_the_next_call(
    site: Site, root: Browser, up: FaultServer
) -> None:
    slug = kit.unique("plan")
    made = root.post("/admin/accounts/plan/add/", slug=slug, **CAPS, **{"cap_text.base": "1000"})
    assert made.status_code == 302, errors(made)
    carol = kit.person("carol", plan=slug)
    supplied = kit.supply(up)
    up.default = chat(prompt_tokens=1, completion_tokens=1)
    assert site.chat(carol, supplied).status_code == 200
    root.post(f"/admin/accounts/plan/{slug}/change/", **CAPS, **{"cap_text.base": "3"})
    refused = site.chat(carol, supplied)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")


def test_the_free_plan_stays(root: Browser) -> None:
    assert root.get("/admin/accounts/plan/free/delete/").status_code == 403
    root.act("/admin/accounts/plan/", "delete_selected", Plan.objects.get(slug="free"))
    answer = root.post("/admin/accounts/plan/free/change/", **{**CAPS, "kind": "credits"})
    assert "must have buckets" in errors(answer)
    assert Plan.objects.get(slug="free").kind == "buckets"


def test_an_account_made_there_can_sign_in_and_none_is_deleted(
    root: Browser, visitor: Browser
) -> None:
    name = kit.unique("dave")
    made = root.post(
        "/admin/accounts/account/add/", username=name, password1=PASSWORD, password2=PASSWORD,
        usable_password="true",
    )  # fmt: skip
    assert made.status_code == 302, errors(made)
    dave = Account.objects.get(username=name)
    assert dave.plan_id == "free"
    assert not dave.is_staff
    assert root.get(f"/admin/accounts/account/{dave.pk}/delete/").status_code == 403
    assert dave.check_password(PASSWORD)
    assert visitor.backstage(dave).get("/admin/").status_code == 302, "he is no staff"


def test_nobody_gives_himself_more_than_he_has(root: Browser, visitor: Browser) -> None:
    helper = staff("change_account", "view_account")
    boss = create_account(kit.unique("boss"), password=PASSWORD, admin=True)
    visitor.backstage(helper)
    place = f"/admin/accounts/account/{helper.pk}/change/"
    saved = visitor.post(
        place, username=helper.username, email="", plan="free", plan_started_at_0="2026-01-01",
        plan_started_at_1="00:00:00", is_active="on", is_staff="on", is_superuser="on",
        user_permissions=[str(p.pk) for p in Permission.objects.all()[:5]],
    )  # fmt: skip
    assert saved.status_code == 302, errors(saved)
    helper.refresh_from_db()
    assert not helper.is_superuser
    assert helper.user_permissions.count() == 2
    stolen = visitor.post(
        f"/admin/accounts/account/{boss.pk}/password/", password1="another phrase of mine",
        password2="another phrase of mine", usable_password="true",
    )  # fmt: skip
    assert stolen.status_code == 403
    boss.refresh_from_db()
    assert boss.check_password(PASSWORD)
