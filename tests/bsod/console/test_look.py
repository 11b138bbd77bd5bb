"""What the console is drawn with: vendored files, words in two languages, and a real browser."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from django.conf import settings

from accounts.keys.service import create_key
from bsod.console.tabs import TABS
from tests import kit, messages
from tests.bsod.chromium import Chromium, Page, browser
from tests.bsod.console.seat import Seat
from tests.kit import Person, Site
from tests.upstream import FaultServer, error

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parents[3]
VENDOR = ROOT / "static" / "vendor"
MOST = 120_000  # bytes of a first visit, as they travel
PHONE, DESK = (360, 780), (1440, 900)
MINE = ("/", "/access/", "/models/", "/usage/", "/docs/", "/docs/chat/", "/support/")
# Something that reaches beyond the window, but for what is meant to scroll by itself.
WIDE = """[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&
  e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .filters, thead'))
  .map(e => e.outerHTML.slice(0, 80))"""


def test_vendored_files_are_those_that_were_made() -> None:
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    known = dict(reversed(line.split("  ", 1)) for line in lines)
    files = [path for path in VENDOR.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    found = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert found == known
    assert all((folder / "LICENSE").exists() for folder in VENDOR.iterdir() if folder.is_dir())


def test_no_style_of_ours_names_another_host() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in (ROOT / "static").rglob("*")
        if path.suffix == ".css" or (path.suffix == ".js" and VENDOR not in path.parents)
        for match in re.findall(r"https?://[\w.]+", path.read_text(encoding="utf-8"))
        if match != "http://www.w3.org"  # names of namespaces: nobody is asked
    ]
    assert named == []


def test_a_static_file_is_packed_and_kept_for_good_at_its_own_address(site: Site) -> None:
    page = requests.get(site.url, headers={"Accept": "text/html"}, timeout=20).text
    address = re.search(r'"(/static/look/base\.css\?v=\w+)"', page)
    assert address
    plain = requests.get(site.url + address[1], headers={"Accept-Encoding": "identity"}, timeout=20)
    packed = requests.get(site.url + address[1], headers={"Accept-Encoding": "gzip"}, timeout=20)
    assert packed.content == plain.content
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 3
    assert "immutable" in packed.headers["Cache-Control"]
    other = requests.get(site.url + "/static/look/base.css?v=1", timeout=20)
    assert "immutable" not in other.headers["Cache-Control"]


def test_it_can_be_put_on_a_home_screen(site: Site) -> None:
    answer = requests.get(f"{site.url}/manifest.webmanifest", timeout=20)
    assert answer.headers["Content-Type"] == "application/manifest+json"
    for picture in answer.json()["icons"]:
        assert requests.get(site.url + picture["src"], timeout=20).status_code == 200


def test_what_nobody_linked_to_is_there_too(site: Site) -> None:
    picture = requests.get(f"{site.url}/favicon.ico", timeout=20)
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png")
    told = requests.get(f"{site.url}/robots.txt", timeout=20)
    assert told.headers["Content-Type"].startswith("text/plain")
    assert "Disallow: /account/\n" in told.text
    assert "docs" not in told.text


# ---- words


def test_everything_is_said_in_russian_too() -> None:
    assert messages.missing(messages.read()) == []


def test_what_is_filled_in_is_filled_in_in_russian_too() -> None:
    wrong = []
    for entry in messages.read()[1:]:
        _context, text, plural = entry.key
        names = set(re.findall(r"%\(\w+\)s|\{\w+\}", text + plural))
        wrong += [text for said in entry.said if not names >= set(
            re.findall(r"%\(\w+\)s|\{\w+\}", said)) or (not plural and any(
                name not in said for name in names))]  # fmt: skip
    assert wrong == []


def test_the_compiled_words_are_those_of_the_catalogue() -> None:
    made = messages.CATALOGUE.with_suffix(".mo").read_bytes()
    assert made == messages.compiled(messages.read())


def test_the_labels_of_the_tabs_fit_their_place() -> None:
    from django.utils.translation import override

    for language in ("en", "ru"):
        with override(language):
            assert all(len(str(tab.label)) <= 12 for tab in TABS)


# ---- faults


def test_a_page_that_is_not_there_says_so_in_blue_and_to_a_script_in_json(site: Site) -> None:
    page = requests.get(f"{site.url}/nope/", headers={"Accept": "text/html"}, timeout=20)
    assert page.status_code == 404
    assert "There is no such page." in page.text
    assert page.headers["X-Request-ID"] in page.text
    told = requests.get(f"{site.url}/nope/", headers={"Accept": "application/json"}, timeout=20)
    assert told.json()["error"]["code"] == "not_found"
    api = requests.get(f"{site.url}/v1/nope", headers={"Accept": "text/html"}, timeout=20)
    assert api.json()["error"]["code"] == "not_found"


# ---- a real browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Chromium, site: Site, alice: Person) -> Page:
    """Alice's own tab."""
    found = chromium.page()
    key = str(Seat(site, alice).store.session_key)
    found.do("Network.clearBrowserCookies")
    found.do("Network.setCookie", name=settings.SESSION_COOKIE_NAME, value=key, url=site.url)
    return found


@pytest.mark.parametrize("path", MINE)
def test_a_first_visit_asks_nobody_else_and_little_of_us(page: Page, site: Site, path: str) -> None:
    page.do("Network.setCookie", name="django_language", value="ru", url=site.url)
    page.do("Network.setCacheDisabled", cacheDisabled=True)
    page.shape(*DESK)
    page.open(site.url + path)
    page.js("document.fonts.ready.then(() => 1)")
    assert page.problems == []
    asked = set(page.asked)
    assert all(url.startswith((site.url, "data:")) for url in asked)
    cookie = {"Cookie": "django_language=ru", "Accept": "text/html", "Accept-Encoding": "br, gzip"}
    sizes = {}
    for url in asked:
        if url.startswith("http"):
            with requests.get(url, headers=cookie, stream=True, timeout=20) as answer:
                sizes[url] = len(answer.raw.read(decode_content=False))
    assert sum(sizes.values()) <= MOST, sizes


@pytest.mark.parametrize("path", [*MINE, "/access/new/", "/docs/?q=batch", "/nope/"])
def test_nothing_reaches_beyond_a_small_phone(page: Page, site: Site, path: str) -> None:
    page.do("Network.setCookie", name="django_language", value="ru", url=site.url)
    page.shape(*PHONE)
    page.open(site.url + path)
    assert page.js("document.documentElement.scrollWidth") == PHONE[0]
    assert page.js(WIDE) == []


@pytest.mark.parametrize("path", [*MINE, "/playground/", "/status/", "/account/security/"])
def test_nothing_is_cut_or_lost_at_twice_the_size(page: Page, site: Site, path: str) -> None:
    """As 200 % makes a window of 1280: half as wide, two dots to each of its own."""
    page.do("Network.setCookie", name="django_language", value="ru", url=site.url)
    page.do("Emulation.setDeviceMetricsOverride", width=640, height=450, deviceScaleFactor=2,
            mobile=False)  # fmt: skip
    page.open(site.url + path)
    assert page.js("document.documentElement.scrollWidth") == 640
    assert page.js(WIDE) == []


def test_a_secret_that_is_shown_once_is_not_lost_by_a_slip(page: Page, site: Site) -> None:
    page.shape(*DESK)
    page.open(site.url + "/access/")
    page.js("document.querySelector('[data-opens]').click()")
    assert page.js("document.activeElement.name") == "name"
    page.type("notes-bot")
    page.submit()
    assert page.js("document.querySelector('#once').open")
    page.do("Input.dispatchKeyEvent", type="keyDown", key="Escape", windowsVirtualKeyCode=27)
    page.do("Input.dispatchKeyEvent", type="keyUp", key="Escape", windowsVirtualKeyCode=27)
    assert page.js("document.querySelector('#once').open")
    assert page.js("document.querySelector('#once-done').disabled")
    page.js("document.querySelector('#once-saved').click()")
    assert not page.js("document.querySelector('#once-done').disabled")
    assert re.fullmatch(
        r"bsod-\w{12}[\w-]{47}", page.js("document.querySelector('#once-key').textContent")
    )
    assert page.problems == []


def test_a_key_is_checked_without_leaving_the_page(page: Page, site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up)
    page.shape(*DESK)
    page.open(f"{site.url}/support/?provider={supplied.provider.slug}")
    page.js("document.querySelector('#donated-key').focus()")
    page.type("sk-one-that-works")
    page.js("document.querySelector('[value=check]').click()")
    says = "document.querySelector('#checked .banner')?.textContent"
    assert "This key works" in kit.eventually(lambda: page.js(says), 10)
    assert page.js("document.querySelector('#donated-key').value") == "sk-one-that-works"
    up.on(error(401), key="sk-one-that-works")
    page.js("document.querySelector('[value=check]').click()")
    assert kit.eventually(lambda: "does not know this key" in page.js(says), 10)
    assert page.problems == []


def test_the_samples_become_tabs(page: Page, site: Site) -> None:
    page.shape(*DESK)
    page.open(site.url + "/docs/")
    panels = "[...document.querySelectorAll('.begin .tab-panel')]"
    seen = f"{panels}.filter(e => e.checkVisibility()).map(e => e.id)"
    assert page.js(seen) == ["quick-curl"]
    page.js("document.querySelector('#quick-tab-python').click()")
    assert page.js(seen) == ["quick-python"]


def test_a_long_name_pushes_no_button_out_of_its_box(page: Page, site: Site, alice: Person) -> None:
    key, _text = create_key(alice.account, "W" * 80)
    page.shape(*PHONE)
    page.open(f"{site.url}/access/?key={key.pk}")
    for box, act in ((f"rotate-{key.pk}", "rotate"), (f"revoke-{key.pk}", "revoke")):
        page.js(f"document.querySelector('[popovertarget={box}]').click()")
        where = f"document.querySelector('#{box} [value={act}]').getBoundingClientRect().right"
        assert 0 < page.js(where) < PHONE[0]
        page.press("Escape")
