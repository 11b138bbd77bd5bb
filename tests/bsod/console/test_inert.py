"""Names that a provider, a key or a file may bear are read in the console and do nothing there.

What people write of themselves is in `tests/bsod/backstage/test_walk.py`, what a model says in
`test_playground_browser.py`.
"""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.conf import settings

from accounts.keys.models import ApiKey
from tests import kit
from tests.bsod.backstage.test_walk import XSS, inert
from tests.bsod.chromium import Page, browser
from tests.bsod.console.playing import ask, click, until
from tests.kit import Person, Site
from tests.upstream import FaultServer

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]  # Chromium may have to be installed
PAGE = {"Accept": "text/html"}
FILES = """(() => {
  const given = new DataTransfer(), bad = '<img src=x onerror=hacked=31>';
  const page = `<script>hacked=32</script></textarea>${bad}`;
  given.items.add(new File([page], `${bad}.html`, {type: 'text/html'}));
  given.items.add(new File([`<svg onload="hacked=33">${page}</svg>`], `"'>${bad}.svg`,
    {type: 'image/svg+xml'}));
  given.items.add(new File(['x'], `${bad}.exe`, {type: 'application/x-bad'}));
  document.getElementById('composer').dispatchEvent(
    new DragEvent('drop', {dataTransfer: given, bubbles: true, cancelable: true}));
})()"""


@pytest.fixture
def page(site: Site, alice: Person) -> Iterator[Page]:
    with browser() as running:
        tab = running.page()
        tab.shape(1280, 900)
        tab.do("Network.setCookie", name=settings.SESSION_COOKIE_NAME, url=site.url,
               value=kit.session_of(alice.account))  # fmt: skip
        yield tab


def test_names_of_models_keys_and_files_are_read_and_do_nothing(
    site: Site, page: Page, up: FaultServer, alice: Person
) -> None:
    model = f"{XSS[0]}{kit.unique('x')}"  # a provider may list it, and nobody can call it
    listed, plain = kit.supply(up, model=model), kit.supply(up)
    ApiKey.objects.filter(pk=alice.key.pk).update(name=XSS[1])
    assert site.chat(alice, plain).status_code == 200
    assert site.chat(alice, listed).json()["error"]["code"] == "model_not_found"
    alice.closed()
    named, shelf = quote(model, safe=""), f"/models/?provider={listed.provider.slug}"
    assert kit.eventually(lambda: "hacked=2" in site.get(None, shelf, headers=PAGE).text, 8)
    inert(page, site, {
        shelf: model,
        f"/models/?q={named}": "",
        f"/docs/?q={named}": "",
        "/": plain.model,
        "/usage/?by=key": "onload=hacked=3",
        "/status/": "",  # of very many providers it shows some
        f"/playground/?model={named}": "",
    })  # fmt: skip
    until(page, "!document.querySelector('#model-a .chip').hidden")
    page.js(FILES)
    until(page, "document.querySelectorAll('#attached li').length > 0")
    click(page, "#view-code")
    assert model in str(page.js("document.getElementById('code-text').textContent"))
    page.js("document.getElementById('code').close()")
    asked = up.count()
    ask(page, f"What is in it? {XSS[3]}")
    until(page, "document.querySelector('.fault-card')?.innerText.includes('hacked=2')")
    assert "onerror=hacked=31" in str(page.js("document.querySelector('main').innerText"))
    assert page.js("typeof hacked") == "undefined"
    assert [each for each in page.problems if "404" not in each] == []
    assert [url for url in page.asked if not url.startswith((site.url, "data:", "blob:"))] == []
    assert up.count() == asked
    assert kit.ledger_adds_up(alice)
