"""The admin in a real browser: nothing the content policy forbids, nothing from another host."""

import pytest

from accounts.audit import Verb, record
from accounts.service import create_account
from tests import kit
from tests.bsod.chromium import browser
from tests.kit import Site

pytestmark = pytest.mark.once  # about pages, not about the database


def test_its_pages_keep_to_our_policy_and_to_our_host(site: Site) -> None:
    boss = create_account(kit.unique("boss"), admin=True)
    event = record(boss, Verb.ACCOUNT_BAN, boss, reason="spam")
    kit.arm(boss)
    with browser() as chromium:
        page = chromium.page()
        page.shape(1280, 900)
        cookie = kit.session_of(boss, factor=True)
        page.do("Network.setCookie", name="session", value=cookie, url=site.url)
        for path in ("", "accounts/auditevent/", f"accounts/auditevent/{event.pk}/change/",
                     "auth/group/add/"):  # fmt: skip
            page.open(f"{site.url}/admin/{path}")
            page.js("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
            assert page.problems == [], path
            wide = page.js("document.documentElement.scrollWidth")
            assert wide <= 1280, path
        page.shape(390, 844, "dark")
        assert page.js("document.documentElement.scrollWidth") == 390
        assert page.js("getComputedStyle(document.body).getPropertyValue('--color-primary-600')")
        own = (f"{site.url}/", "data:")
        assert [url for url in page.asked if not url.startswith(own)] == []
