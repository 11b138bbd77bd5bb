"""The reference page: every route is on it; a real browser shows it, on a phone and a desk."""

import html
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bsod.console.samples import BODIES, FORMS, curl
from proxy import docs, fields
from proxy.errors import ERRORS
from proxy.route import BodyKind
from proxy.routes import ROUTES
from tests.bsod.chromium import Chromium, Page, browser
from tests.kit import Site

pytestmark = pytest.mark.once
PHONE, DESK = (360, 800), (1440, 900)
SEEN = "[...document.querySelectorAll('article')].filter(a => a.checkVisibility())"
# Everything that can be pressed and is in sight, but for links inside a sentence.
SMALL = """[...document.querySelectorAll('a, button, input, summary')]
  .filter(e => e.checkVisibility() && !e.closest('.skip'))
  .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([, box]) => box.height < 43.5 || box.width < 43.5).map(([text]) => text)"""
LIGHT = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"


@pytest.fixture(scope="module")
def text(site: Site) -> str:
    answer = requests.get(f"{site.url}/docs/api/", timeout=20)
    assert answer.status_code == 200
    return answer.text


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Chromium) -> Page:
    return chromium.page()


# ---- what it says


def test_every_route_has_its_card(text: str, site: Site) -> None:
    missing = []
    for route in ROUTES:
        begin = text.partition(f'<article id="{docs.name(route)}"')[2]
        card = re.sub(
            r"</?(?:code|span)\b[^>]*>", "", html.unescape(begin.partition("</article>")[0])
        )
        said = (route.method, docs.shown_path(route), route.summary.replace("`", ""),
                *docs.draws(route), docs.chosen_by(route), docs.permitted(route),
                docs.takes(route), docs.answers(route), docs.served_by(route),
                docs.object_rule(route), curl(route, site.url),
                *(word for field in fields.of(route)
                  for word in (field.name, field.kind, str(field.meaning).replace("`", ""),
                               field.bounds)))  # fmt: skip
        missing += [(docs.name(route), words) for words in said if words not in card]
    assert missing == []


def test_every_error_is_explained(text: str) -> None:
    for code, kind in ERRORS.items():
        row = text.partition(f'<tr id="error-{code}">')[2].partition("</tr>")[0]
        assert f"<td>{kind.status}</td>" in row, code
        assert kind.meaning.replace("`", "") in re.sub(r"</?code>", "", html.unescape(row)), code


def test_the_samples_ask_the_host_the_visitor_came_to(site: Site, text: str) -> None:
    port = site.url.rpartition(":")[2]
    other = requests.get(f"{site.url}/docs/api/", headers={"Host": f"localhost:{port}"}, timeout=20)
    assert f"http://localhost:{port}/v1/models" in other.text
    assert site.url not in other.text
    assert f"{site.url}/v1/models" in text


def test_nobody_elses_host_gets_into_the_page(site: Site) -> None:
    asked = requests.get(f"{site.url}/docs/api/", headers={"Host": "evil.example"}, timeout=20)
    assert asked.status_code == 400
    assert "evil.example" not in asked.text


def test_a_visitor_whose_language_it_lacks_gets_one_language(site: Site, text: str) -> None:
    theirs = {"Accept-Language": "ru"}
    answer = requests.get(f"{site.url}/docs/api/", headers=theirs, timeout=20)
    assert answer.headers["Content-Language"] == "en"
    assert answer.text == text


def test_a_search_that_looks_like_a_tag_stays_text(site: Site) -> None:
    query = {"q": '"><script>alert(1)</script>'}
    answer = requests.get(f"{site.url}/docs/api/", params=query, timeout=20)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text


def test_it_is_the_same_page_packed_and_not(site: Site, text: str) -> None:
    plain = requests.get(f"{site.url}/docs/api/", headers={"Accept-Encoding": "br"}, timeout=20)
    packed = requests.get(f"{site.url}/docs/api/", headers={"Accept-Encoding": "gzip"}, timeout=20)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert packed.text == plain.text == text


def test_its_policy_allows_nothing_inline_and_nobody_elses(site: Site, text: str) -> None:
    policy = requests.head(f"{site.url}/docs/api/", timeout=20).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/static/)", text)


# ---- its samples


def test_every_sample_is_a_shell_command_that_asks_its_route() -> None:
    """A `curl` of ours shows what words the shell makes of the samples."""
    names = {name for route in ROUTES for name in route.variables}
    env = {name.upper(): f"my-{name}" for name in names} | {"BSOD_KEY": "sk-me"}
    script = ["curl() { printf '%s\\0' \"$@\" end; }", *(curl(r, "http://h") for r in ROUTES)]
    said = subprocess.run(
        ["sh", "-euc", "\n".join(script)], env=env, capture_output=True, text=True, check=True
    ).stdout
    calls = [words.split("\0") for words in said.removesuffix("end\0").split("\0end\0")]
    for route, words in zip(ROUTES, calls, strict=True):
        path = re.sub(r"{(\w+)}", r"my-\1", docs.shown_path(route))
        query = "?id=my-file_id" if route.local == "needs_id" else ""
        assert f"http://h{path}{query}" in words
        assert ("Authorization: Bearer sk-me" in words) is route.needs_key
        implied = "POST" if {"-d", "-F"} & set(words) else "GET"
        assert route.method == (words[words.index("-X") + 1] if "-X" in words else implied)
        assert ("-d" in words) is (route.body in (BodyKind.JSON, BodyKind.EITHER))
        assert ("-F" in words) is (route.body is BodyKind.FORM)
        if "-d" in words:
            assert isinstance(json.loads(words[words.index("-d") + 1]), dict)


def test_every_sample_sends_what_its_route_needs() -> None:
    for route in ROUTES:
        if route.body is BodyKind.FORM:
            assert FORMS.get(route.path), f"{route.path} needs the fields of its form"
        elif route.modality and not (route.nameless or route.default_model):
            # A run may leave the model to its assistant, a batch leaves it to its lines.
            named = {"model", "assistant_id", "input_file_id"} & BODIES[route.path].keys()
            assert named, f"the sample of {route.path} names no model"


# ---- in a browser


@pytest.mark.timeout(600)  # Chromium may have to be installed first
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_fits_the_window_the_finger_and_the_night(
    site: Site, page: Page, size: tuple[int, int], tmp_path: Path
) -> None:
    """What it looked like stays in pytest's folder: `--basetemp=FOLDER` keeps it."""
    page.shape(*size, "light")
    page.open(f"{site.url}/docs/api/")
    assert page.js(f"{SEEN}.length") == len(ROUTES)
    # Only what is near the window has been laid out; here all of it is measured.
    everything = "document.querySelectorAll('article, #errors')"
    page.js(f"{everything}.forEach(e => e.style.contentVisibility = 'visible')")
    assert page.js("document.documentElement.scrollWidth") <= size[0]
    assert page.js(f"{SEEN}.filter(a => a.scrollWidth > a.clientWidth).map(a => a.id)") == []
    assert page.js(SMALL) == []
    assert page.js(LIGHT) > 3 * 128
    page.picture(tmp_path / "light.png")
    page.shape(*size, "dark")
    assert page.js(LIGHT) < 3 * 128
    page.picture(tmp_path / "dark.png")
    assert [url for url in page.asked if not url.startswith(site.url)] == []
    assert page.problems == []


@pytest.mark.timeout(600)
def test_the_search_finds_a_route_as_one_types(site: Site, page: Page) -> None:
    page.shape(*DESK)
    page.open(f"{site.url}/docs/api/")
    page.press("/")
    assert page.js("document.activeElement.id") == "q"
    page.type("cancel BATCH")
    found = page.js(f"{SEEN}.map(a => a.id)")
    expected = {docs.name(r) for r in ROUTES if "cancel" in r.path and "batch" in r.path}
    assert set(found) == expected
    assert (
        page.js("document.getElementById('found').textContent")
        == f"Routes found: {len(found)} / {len(ROUTES)}"
    )
    page.type(" zzz")
    assert page.js(f"{SEEN}.length") == 0
    assert "No route matches" in page.js("document.getElementById('found').textContent")
    page.js("location.hash = 'get_models'")
    page.js("new Promise(done => setTimeout(done, 50))")
    assert page.js("document.getElementById('get_models').checkVisibility()")
    assert page.problems == []


@pytest.mark.timeout(600)
def test_the_search_works_without_scripts(site: Site, page: Page) -> None:
    page.scripts(False)
    page.shape(*DESK)
    page.open(f"{site.url}/docs/api/")
    assert page.js(f"{SEEN}.length") == len(ROUTES)
    page.js("document.getElementById('q').focus()")
    page.type("Delete ASSISTANT")
    page.submit()
    assert page.js("location.search") == "?q=Delete+ASSISTANT"
    assert page.js(f"{SEEN}.map(a => a.id)") == ["delete_assistants_assistant_id"]
    sections = "[...document.querySelectorAll('main section')].filter(s => s.checkVisibility())"
    assert page.js(f"{sections}.map(s => s.id)") == ["group-assistants", "errors"]
    assert page.problems == []


@pytest.mark.timeout(600)
def test_the_first_tab_shows_the_way_past_the_head(site: Site, page: Page) -> None:
    page.shape(*DESK)
    page.open(f"{site.url}/docs/api/")
    page.press("Tab")
    place = "document.activeElement.getBoundingClientRect().top"
    assert page.js("document.activeElement.className") == "skip"
    page.js("new Promise(done => setTimeout(done, 50))")
    assert page.js(place) >= 0
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.js("location.hash") == "#main"
