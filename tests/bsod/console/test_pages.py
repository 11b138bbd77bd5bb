"""The console's pages: who sees what, in how many statements, and in what a browser may trust."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from accounts.keys.models import ApiKey
from bsod.console import tabs
from bsod.lib import clock, ids
from proxy.models import Model, Offer, Provider, Rest
from proxy.pool import bump
from proxy.showing import LIMITED
from quotas.models import Balance, Entry, UsageDay
from tests import kit
from tests.bsod.console.seat import Seat
from tests.bsod.console.visit import Visitor, visitor
from tests.kit import Person, Site
from tests.upstream import FaultServer

ALL = [tab.path for tab in tabs.TABS]
TABS = ("/", "/access/", "/models/", "/usage/", "/docs/", "/support/")
MANY = 10_000


def page_of(site: Site, path: str, **headers: str) -> requests.Response:
    asked = {"Accept": "text/html", **headers}
    return requests.get(site.url + path, headers=asked, timeout=20, allow_redirects=False)


@pytest.mark.parametrize("path", ALL)
def test_every_tab_knows_whose_session_it_is(site: Site, alice: Person, path: str) -> None:
    text = Seat(site, alice).get(path, headers={"Accept": "text/html"}).text
    assert alice.account.username in text
    assert 'href="/login/' not in text


@pytest.mark.parametrize("path", TABS)
def test_a_page_trusts_nothing_inline_and_nobody_else(site: Site, alice: Person, path: str) -> None:
    answer = Seat(site, alice).get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert not re.search(r"<style|\sstyle=|\son\w+=\"", answer.text)
    scripts = re.findall(r"<script(?![^>]*application/json)[^>]*>", answer.text)
    assert scripts
    assert all(re.search(r' src="/static/[^"]+"', script) for script in scripts)
    sources = re.findall(r'<(?:script|img|link|source)[^>]+(?:src|href)="([^"]+)"', answer.text)
    assert all(source.startswith("/") and not source.startswith("//") for source in sources)


def test_a_guest_is_told_what_this_is_and_where_to_sign_in(site: Site) -> None:
    answer = page_of(site, "/")
    assert answer.status_code == 200
    assert f"{site.url}/v1" in answer.text
    assert 'href="/register/"' in answer.text
    for path in ("/access/", "/usage/", "/access/new/"):
        answer = page_of(site, path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/login/?next=%2F")


def test_a_page_is_in_the_language_and_theme_that_were_chosen(site: Site) -> None:
    russian = page_of(site, "/", Cookie="django_language=ru; theme=dark")
    assert '<html lang="ru">' in russian.text
    assert "Синий экран, который отвечает." in russian.text
    assert '<body class="dark"' in russian.text
    system = page_of(site, "/", Cookie='theme="><script>')
    assert '<body class=""' in system.text


def test_a_name_that_looks_like_a_tag_stays_text(site: Site, alice: Person) -> None:
    nasty = '"><script>alert(1)</script>'
    ApiKey.objects.filter(pk=alice.key.pk).update(name=nasty)
    seat = Seat(site, alice)
    for path in (f"/access/?key={alice.key.pk}", f"/access/{alice.key.pk}/", "/usage/",
                 f"/models/?q={nasty}", f"/docs/?q={nasty}"):  # fmt: skip
        answer = seat.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text


@pytest.fixture
def written(alice: Person) -> Iterator[None]:
    """Balances written by hand, of which no entry knows: they must not stay for the audit."""
    yield
    Balance.objects.filter(account=alice.account).delete()


@pytest.mark.usefixtures("written")
def test_what_is_left_is_shown_as_it_is_enforced(site: Site, alice: Person) -> None:
    day = clock.day_of(clock.now())
    Balance.objects.create(
        account=alice.account, bucket="text.base", period=day, granted=500_000, used=181_240,
        reserved=12_288, expires_at=clock.end_of_day(day),
    )  # fmt: skip
    Balance.objects.create(account=alice.account, bucket="image", granted=7)
    told = site.get(alice, "/balance/").json()
    page = Seat(site, alice).get("/").text
    left = f"{told['daily_remaining']['text.base']:,}".replace(",", "\u2009")
    assert left in page
    assert "12\u2009288 reserved" in page
    assert "+7 promo" in page


@pytest.mark.usefixtures("written")
def test_a_key_near_its_cap_is_warned_of_and_another_is_not(site: Site, alice: Person) -> None:
    day = clock.day_of(clock.now())
    ApiKey.objects.filter(pk=alice.key.pk).update(name="ci-nightly", caps={"text.base": 1000})
    row = Balance.objects.create(
        account=alice.account, owner=f"key:{alice.key.pk}", bucket="text.base", period=day,
        granted=1000, used=899, expires_at=clock.end_of_day(day),
    )  # fmt: skip
    seat = Seat(site, alice)
    assert "of its own daily cap" not in seat.get("/").text
    Balance.objects.filter(pk=row.pk).update(used=960)
    assert "<code>ci-nightly</code> has used 96 % of its own daily cap" in seat.get("/").text
    ApiKey.objects.filter(pk=alice.key.pk).update(revoked_at=clock.now())
    assert "of its own daily cap" not in seat.get("/").text


# ---- models


def test_a_model_that_does_not_answer_says_why(site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up)
    shelf = f"/models/?provider={supplied.provider.slug}"

    def says(words: str) -> bool:
        return bool(kit.eventually(lambda: words in page_of(site, shelf).text, 8))

    assert says(f'href="/playground/?model={supplied.model}"')
    key = supplied.key_row()
    rest = Rest.objects.create(provider=supplied.provider, key=key, reason="auth")
    bump()
    assert says("all api keys died")
    Rest.objects.filter(pk=rest.pk).update(
        reason="rate_limit", until=clock.now() + timedelta(minutes=9)
    )
    bump()
    assert says(escape(LIMITED))
    assert all(secret not in page_of(site, shelf).text for secret in supplied.keys)


def test_models_are_found_by_near_spellings_and_filters(site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up, model=kit.unique("Claude-sonnet-4.6"), tier="pro")
    word = supplied.model.rpartition("-")[2]
    near = f"claude sonnet46 {word}"
    assert supplied.model in page_of(site, f"/models/?q={near}").text
    assert supplied.model in page_of(site, f"/models/?q={word}&tier=pro&kind=text&available=1").text
    assert supplied.model not in page_of(site, f"/models/?q={word}&kind=image").text
    alone = f"/models/?provider={supplied.provider.slug}"
    kept = f'<input type="hidden" name="provider" value="{supplied.provider.slug}">'
    assert kept in page_of(site, alone).text
    beyond = page_of(site, f"{alone}&tier=pro&page=9")
    assert beyond.headers["Location"] == f"?provider={supplied.provider.slug}&tier=pro"
    nothing = page_of(site, f"/models/?q={word}nowhere")
    assert "Clear the filters or check the spelling." in nothing.text


# ---- usage


def test_the_usage_is_ones_own_as_a_page_and_as_a_table(
    site: Site, alice: Person, bob: Person
) -> None:
    day = clock.day_of(clock.now())
    for person, model, amount in ((alice, "=cmd|1", 1038), (bob, "secret-model", 7)):
        UsageDay.objects.create(
            account=person.account, api_key=person.key, model=model, bucket="text.base", day=day,
            calls=1, amount=amount,
        )  # fmt: skip
    seat = Seat(site, alice)
    page = seat.get("/usage/", headers={"Accept": "text/html"})
    assert "1\u2009038" in page.text
    assert "secret-model" not in page.text
    theirs = seat.get(f"/usage/?key={bob.key.pk}", headers={"Accept": "text/html"})
    assert "secret-model" not in theirs.text
    table = seat.get("/usage/?format=csv&by=model", headers={"Accept": "text/html"})
    assert table.headers["Content-Type"].startswith("text/csv")
    assert "'=cmd|1" in table.text
    other = seat.get(f"/usage/?format=csv&key={bob.key.pk}", headers={"Accept": "text/html"})
    assert other.status_code == 404


def test_a_program_gets_json_from_the_same_address(site: Site, alice: Person) -> None:
    told = site.get(alice, "/usage/")
    assert told.json()["object"] == "usage"
    browser_with_key = site.get(alice, "/usage/", headers={"Accept": "text/html"})
    assert browser_with_key.json()["object"] == "usage"
    refused = requests.get(f"{site.url}/usage/", timeout=20)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"


# ---- docs


def test_every_group_of_routes_has_its_article_in_both_languages(site: Site) -> None:
    from proxy import docs
    from proxy.routes import ROUTES

    for slug, rows in docs.grouped(ROUTES).items():
        page = page_of(site, f"/docs/{slug}/")
        assert page.status_code == 200
        assert all(f'id="{docs.name(route)}"' in page.text for route in rows), slug
    for slug in ("connect", "streaming", "errors", "limits"):
        assert page_of(site, f"/docs/{slug}/", Cookie="django_language=ru").status_code == 200
    assert page_of(site, "/docs/nothing/").status_code == 404
    told = page_of(site, "/llms.txt").text
    assert all(f"/#{docs.name(route)})" in told for route in ROUTES)


# ---- many rows


def copies(row: models.Model, **other: str) -> None:
    """The row ten thousand times more; `other` are columns and how SQL makes them of `n.i`."""
    fields = [f for f in row._meta.concrete_fields if not isinstance(f, models.BigAutoField)]
    names = ", ".join(field.column for field in fields)
    values = ", ".join(other.get(field.column, f"t.{field.column}") for field in fields)
    table, key = row._meta.db_table, row._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) "
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} t, n WHERE t.{key} = %s",
            [row.pk],
        )


@pytest.fixture(scope="module")
def crowd(database: None) -> Person:
    """Somebody with ten thousand keys, calls and models he has called."""
    who = kit.person("crowd")
    now, day = clock.now(), clock.day_of(clock.now())
    mine: dict[str, Any] = {"account": who.account, "api_key": who.key, "bucket": "image"}
    entry = Entry.objects.create(
        id=ids.ulid()[:-5] + "00000", day=day, state="settled", amount=1, status=200,
        closed_at=now, model="m", **mine,
    )  # fmt: skip
    used = UsageDay.objects.create(day=day, calls=1, amount=1, model="model", **mine)
    five = "substr(CAST(100000 + n.i AS TEXT), 2)"
    copies(who.key, public_id=f"substr(t.public_id, 1, 7) || {five}", name="'key ' || n.i")
    copies(entry, id=f"substr(t.id, 1, 21) || {five}")
    copies(used, model=f"'model-' || {five}", amount="n.i")
    return who


@pytest.fixture(scope="module")
def shelf(database: None) -> Iterator[kit.Supply]:
    """A provider with ten thousand models, gone after these tests."""
    with FaultServer() as up:
        supplied = kit.supply(up)
        model = Model.objects.get(name=supplied.model)
        copies(model, name="t.name || '-' || n.i")
        offer, made = Offer._meta.db_table, Model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {offer} (model_id, provider_id, upstream_id, listed) "
                f"SELECT id, %s, name, '{{}}' FROM {made} WHERE name LIKE %s",
                [supplied.provider.pk, f"{supplied.model}-%"],
            )
            bump()
            yield supplied
            cursor.execute(f"DELETE FROM {offer} WHERE provider_id = %s", [supplied.provider.pk])
            cursor.execute(f"DELETE FROM {made} WHERE name LIKE %s", [f"{supplied.model}-%"])
        Provider.objects.filter(pk=supplied.provider.pk).update(deleted_at=clock.now())
        bump()


@pytest.mark.once
@pytest.mark.parametrize(
    ("path", "most"),
    [("/", 20), ("/access/", 16), ("/access/?page=150", 16), ("/usage/", 16),
     ("/usage/?by=key", 16), ("/models/", 10), ("/docs/", 8), ("/docs/api/", 4),
     ("/status/", 14), ("/playground/", 12), ("/playground/catalog/", 8), ("/support/", 12),
     ("/account/", 11)],
)  # fmt: skip
def test_a_page_asks_no_more_of_the_database_for_ten_thousand_rows(
    crowd: Person, shelf: kit.Supply, path: str, most: int
) -> None:
    visit = visitor(crowd)
    few = visitor(kit.person("few"))
    assert few.get(path).status_code == 200
    visit.get(path)
    with CaptureQueriesContext(connection) as seen:
        began = time.process_time()
        answer = visit.get(path)
        took = time.process_time() - began
    assert answer.status_code == 200
    assert len(seen) <= most, [query["sql"][:120] for query in seen]
    assert len(answer.content) < 400_000 or path in ("/status/", "/playground/catalog/")
    assert took < 1.5, "a bound against walking all rows, not a measurement"


def test_the_crowd_can_be_leafed_through(crowd: Person, shelf: kit.Supply) -> None:
    visit: Visitor = visitor(crowd)
    first, second = visit.text("/access/"), visit.text("/access/?page=2")
    assert "key 10000<" in first.replace("</strong>", "<")
    assert "key 10000<" not in second
    assert "?page=3" in second
    listed = visit.text(f"/models/?provider={shelf.provider.slug}&page=100")
    assert "page=101" in listed
    assert visit.get("/access/?page=99999999999").status_code == 200
