"""Every page as axe-core sees it: nothing that keeps anybody out, by day and by night."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from proxy.donations.models import Donation
from proxy.donations.service import approve, submit
from tests import kit
from tests.bsod.chromium import Chromium, Page, browser
from tests.bsod.console.seat import Seat
from tests.kit import Person, Site, Supply
from tests.sdk.house import HOUSE, install
from tests.upstream import FaultServer, chat

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]  # Chromium may have to be installed
GUEST = ("/", "/login/", "/register/", "/forgot-password/", "/models/", "/docs/", "/docs/chat/",
         "/playground/", "/status/", "/support/", "/no-such-page")  # fmt: skip
MEMBER = ("/", "/access/", "/access/new/", "/models/", "/usage/", "/usage/?by=model", "/docs/",
          "/playground/", "/account/", "/account/email/", "/account/password/",
          "/account/sessions/", "/account/security/", "/account/delete/", "/status/",
          "/support/", "/support/{donation}/", "/support/{donation}/withdraw/")  # fmt: skip
RUN = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations
  .map(rule => [rule.id, rule.nodes.slice(0, 3).map(node => node.html.slice(0, 120))]))"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    install()
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def axe() -> str:
    return (HOUSE / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def called(site: Site, up: FaultServer, alice: Person) -> Supply:
    """Pages have something to show: a model, a call, a key, a donation."""
    supplied = kit.supply(up)
    given = submit(alice.account, supplied.provider.slug, kit.unique("sk-given"), consent=True)
    approve(given, None)
    up.default = chat("Hello.")
    site.chat(alice, supplied)
    return supplied


def violations(page: Page, axe: str, url: str) -> Any:
    page.open(url)
    page.js(axe)
    return page.js(RUN)


@pytest.mark.parametrize(
    ("scheme", "width", "language"), [("light", 1440, "en"), ("dark", 390, "ru")]
)
def test_no_page_keeps_anybody_out(
    site: Site, alice: Person, chromium: Chromium, axe: str, called: Supply,
    scheme: str, width: int, language: str,
) -> None:  # fmt: skip
    page = chromium.page()
    page.shape(width, 900, scheme)
    page.do("Network.clearBrowserCookies")
    page.do("Network.setCookie", name=settings.LANGUAGE_COOKIE_NAME, value=language, url=site.url)
    found = {path: violations(page, axe, site.url + path) for path in GUEST}
    key = str(Seat(site, alice).store.session_key)
    page.do("Network.setCookie", name=settings.SESSION_COOKIE_NAME, value=key, url=site.url)
    uid = Donation.objects.get(donor=alice.account).uid
    mine = [path.format(donation=uid) for path in MEMBER]
    found |= {f"in {path}": violations(page, axe, site.url + path) for path in mine}
    assert {path: rules for path, rules in found.items() if rules} == {}
