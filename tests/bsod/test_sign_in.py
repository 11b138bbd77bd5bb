"""Signing in to the admin: who gets in, what a session is, and how guessing is made slow."""

import pytest
import requests

from accounts.service import create_account
from tests import kit
from tests.bsod.browser import PASSWORD, Browser, addresses
from tests.kit import Person, Site


@pytest.fixture
def visitor(site: Site) -> Browser:
    return Browser(site, next(addresses))


def test_nobody_gets_in_without_signing_in(site: Site, visitor: Browser, alice: Person) -> None:
    for path in ("/admin/", "/admin/quotas/entry/"):
        answer = visitor.get(path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/")
    with_key = site.get(alice, "/admin/quotas/entry/", allow_redirects=False)
    assert with_key.status_code == 302, "an API key is no session"


def test_a_sign_in_gets_a_new_session_in_a_safe_cookie(visitor: Browser) -> None:
    name = kit.unique("root")
    create_account(name, password=PASSWORD, admin=True)
    visitor.session.cookies.set("session", "x" * 32, domain="127.0.0.1")
    answer = visitor.sign_in(name)
    cookie = answer.headers["Set-Cookie"]
    assert "session=" in cookie
    assert "session=xxxx" not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    page = visitor.get("/admin/")
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    assert page.headers["X-Frame-Options"] == "DENY"
    copied = requests.cookies.cookiejar_from_dict(visitor.session.cookies.get_dict())
    assert visitor.post("/admin/logout/", found_on="/admin/").status_code == 200
    visitor.session.cookies = copied
    assert visitor.get("/admin/").status_code == 302, "the session has ended for everybody"


def test_somebody_who_is_no_staff_does_not_get_in(visitor: Browser) -> None:
    name = kit.unique("carol")
    create_account(name, password=PASSWORD)
    assert "staff account" in visitor.sign_in(name).text
    assert visitor.get("/admin/").status_code == 302


def test_a_sixth_try_at_one_name_is_refused_however_it_is_spelt(visitor: Browser) -> None:
    name = kit.unique("root")
    create_account(name, password=PASSWORD, admin=True)
    wide = name.replace("r", "ｒ")  # the form reads a fullwidth letter as the plain one
    for spelling in (name, f"  {name}", f"{name}\t", wide, name.upper()):
        assert visitor.sign_in(spelling, "").status_code == 200
    refused = visitor.sign_in(name)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "60"
    assert "session" not in visitor.session.cookies


def test_many_names_from_one_address_are_refused_too(site: Site, visitor: Browser) -> None:
    statuses = [visitor.sign_in(kit.unique("guess"), "").status_code for _ in range(22)]
    # The minute may turn once while we count.
    assert 429 in statuses or statuses.count(200) > 20
    assert statuses[:5] == [200] * 5
    other = Browser(site, next(addresses))
    assert other.sign_in(kit.unique("guess"), "").status_code == 200


def test_a_forwarded_address_counts_for_nothing_without_a_trusted_proxy(visitor: Browser) -> None:
    statuses = []
    for number in range(23):
        visitor.session.headers["X-Forwarded-For"] = f"10.0.0.{number}"
        statuses.append(visitor.sign_in(kit.unique("guess"), "").status_code)
    assert 429 in statuses
