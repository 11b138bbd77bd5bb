"""The whole way of a newcomer in a real browser: from the register form to a revoked key.

Once on a desktop, in English by day, and once on a phone, in Russian by night. What it looked like
stays in pytest's folder: `--basetemp=FOLDER` keeps it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from django.conf import settings

from accounts.models import Account
from tests import kit
from tests.accounts.door import link, path_of
from tests.bsod.chromium import Chromium, Page, browser
from tests.bsod.console.playing import ask, click, frame, sit, until
from tests.kit import Site, Supply
from tests.upstream import FaultServer, chat, chat_stream, sse

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]  # Chromium may have to be installed
SECRET = "a horse of another colour"
WAYS = {
    "desktop": (1440, 900, "light", "en"),
    "phone": (390, 844, "dark", "ru"),
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as running:
        yield running


@pytest.fixture(params=WAYS)
def page(request: pytest.FixtureRequest, chromium: Chromium, site: Site) -> Page:
    width, height, scheme, language = WAYS[request.param]
    found = chromium.page()
    found.shape(width, height, scheme)
    found.do("Network.clearBrowserCookies")
    found.do("Network.setCookie", name=settings.LANGUAGE_COOKIE_NAME, value=language, url=site.url)
    return found


def fill(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.js(f"document.querySelector('main [name={name}]').focus()")
        page.type(text)


def send(page: Page, button: str) -> None:
    """Press a button, and wait for the page that comes."""
    page.loaded = False
    page.js(f"document.querySelector({json.dumps(button)}).click()")
    page.chromium.until(lambda: page.loaded)


def answered(page: Page, count: int) -> None:
    """So many answers have their receipts, in whatever language."""
    until(page, f"document.querySelectorAll('.answer-acts').length === {count}")
    until(page, "/\\d/.test([...document.querySelectorAll('.receipt')].pop().innerText)")


def call(site: Site, supplied: Supply, key: str) -> requests.Response:
    said = {"Authorization": f"Bearer {key}"}
    url = f"{site.url}/v1/chat/completions"
    return requests.post(url, json=kit.ask(supplied), headers=said, timeout=30)


def test_a_newcomer_registers_calls_plays_sees_what_it_cost_and_revokes(
    page: Page, site: Site, up: FaultServer, tmp_path: Path
) -> None:
    supplied = kit.supply(up)
    name = kit.unique("nina")
    address = f"{name}@mail.example"

    page.open(f"{site.url}/register/")
    page.picture(tmp_path / "1-register.png")
    fill(page, username=name, email=address, password1=SECRET)
    send(page, "main form button[type=submit]")
    page.open(site.url + path_of(link(address)))
    send(page, "main form button.filled")

    page.open(f"{site.url}/access/new/")
    fill(page, name="laptop")
    send(page, "main form button.filled")
    key = str(page.js("document.getElementById('once-key').textContent"))
    page.picture(tmp_path / "2-key.png")
    up.script(chat("Hello.", prompt_tokens=9, completion_tokens=3))
    assert call(site, supplied, key).json()["choices"][0]["message"]["content"] == "Hello."

    sit(page, site, supplied)
    up.script(chat_stream(("Good ", "day.")))
    ask(page, "Hi")
    answered(page, 1)
    assert "Good day." in str(page.js("document.querySelector('main').innerText"))
    up.script(sse(frame("a" * 300), done=False).hang())
    ask(page, "Go on")
    until(page, "document.querySelector('main').innerText.includes('aaaa')")
    page.press("Escape")
    answered(page, 2)
    page.picture(tmp_path / "3-played.png")

    nina = Account.objects.get(username=name)
    page.open(f"{site.url}/usage/")
    assert supplied.model in str(page.js("document.querySelector('main').textContent"))
    page.picture(tmp_path / "4-usage.png")
    row = nina.api_keys.get(name="laptop")
    page.open(f"{site.url}/access/?key={row.pk}")
    click(page, f"[popovertarget=revoke-{row.pk}]")
    send(page, f"#revoke-{row.pk} [value=revoke]")
    assert call(site, supplied, key).status_code == 401
    calls = kit.Person(nina, row, key).closed(3)
    assert [entry.end_reason for entry in calls] == ["completed", "completed", "client_gone"]
    assert kit.ledger_adds_up(kit.Person(nina, row, key))

    assert page.problems == []
    assert [url for url in page.asked if not url.startswith((site.url, "data:", "blob:"))] == []
