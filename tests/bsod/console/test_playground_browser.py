"""The Playground in a real browser: it streams, stops, tells what was paid, and runs nothing.

What it looked like stays in pytest's folder: `--basetemp=FOLDER` keeps it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings

from bsod.lib.terms import Modality
from tests import kit
from tests.bsod.chromium import Chromium, Page, browser
from tests.bsod.console.playing import (
    EVIL,
    PIXEL,
    SAFE,
    SMALL,
    ask,
    click,
    drop,
    frame,
    named,
    press,
    sent,
    settled,
    sit,
    until,
)  # fmt: skip
from tests.bsod.console.seat import Seat
from tests.kit import Person, Site
from tests.proxy.gateway.studio import studio
from tests.upstream import FaultServer, chat_stream, error, json_reply, sse

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]  # Chromium may have to be installed
PHONE, DESK = (360, 780), (1440, 900)
MOST = 120_000  # bytes of a first visit, as they travel


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Chromium, site: Site, alice: Person) -> Page:
    """Alice's own tab."""
    found = chromium.page()
    found.shape(*DESK)
    key = str(Seat(site, alice).store.session_key)
    found.do("Network.clearBrowserCookies")
    found.do("Network.setCookie", name=settings.SESSION_COOKIE_NAME, value=key, url=site.url)
    return found


# ---- a talk


def test_an_answer_streams_is_drawn_and_has_a_receipt(
    page: Page, site: Site, up: FaultServer, alice: Person, tmp_path: Path
) -> None:
    supplied = kit.supply(up)
    sit(page, site, supplied)
    page.js("document.getElementById('system').value = 'Be brief.'")
    text = "Use **this** `lock`:\n\n```sql\nSELECT 1;\n```\n"
    up.script(chat_stream(re.findall(r"\S+\s*", text), prompt_tokens=560, completion_tokens=52))
    ask(page, "Why twice?")
    assert settled(page).startswith("612 tokens from text.base")
    assert "first token" in page.js("document.querySelector('.receipt').innerText")
    assert page.js("document.querySelector('.prose strong').textContent") == "this"
    until(page, "document.querySelector('.prose .hljs-keyword')?.textContent === 'SELECT'")
    body = sent(up)
    assert [each["content"] for each in body["messages"]] == ["Be brief.", "Why twice?"]
    assert "temperature" not in body, "what stands at its default is not sent"
    spoken = page.js("document.getElementById('spoken').textContent")
    assert "Use this lock" in spoken, "those who listen hear it"
    until(page, "document.getElementById('quota').innerText.includes('499\u2009388')")
    assert page.js("document.activeElement.id") == "prompt"
    assert alice.used() == 612
    page.picture(tmp_path / "light.png")
    assert page.problems == []


def test_escape_stops_the_provider_and_tells_what_was_charged(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    sit(page, site, supplied)
    up.script(sse(frame("A long word. " * 9), done=False).hang())
    ask(page, "Go on for ever")
    until(page, "document.querySelector('.prose')?.textContent.includes('A long word.')")
    until(page, "/reserved now/.test(document.getElementById('quota').innerText)")
    page.js("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))")
    said = settled(page)
    up.wait_for(1, 5, where=lambda seen: seen.client_gone_at)
    (entry,) = alice.closed()
    back = f"{entry.estimate - entry.amount:,}".replace(",", "\u2009")
    assert said == f"Stopped. {entry.amount} tokens charged, {back} given back."
    assert (entry.end_reason, entry.amount > 0) == ("client_gone", True)
    up.script(chat_stream(["and the end."]))
    press(page, "Continue")
    until(page, "/and the end/.test(document.querySelector('.prose').textContent)")
    roles = [each["role"] for each in sent(up)["messages"]]
    assert roles == ["user", "assistant", "user"], "it goes on from what it has said"
    assert "A long word." in page.js("document.querySelector('.prose').textContent")
    assert len(alice.closed(2)) == 2
    assert kit.ledger_adds_up(alice)


def test_answers_are_made_again_edited_and_compared(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied, other = kit.supply(up), kit.supply(up)
    sit(page, site, supplied)
    up.script(chat_stream(["first"]), chat_stream(["second"]), chat_stream(["third"]))
    ask(page, "One")
    settled(page)
    press(page, "Answer again")
    until(page, "document.querySelector('.prose')?.textContent.trim() === 'second'")
    settled(page)
    press(page, "Edit and send again")
    assert page.js("document.activeElement.value") == "One"
    page.type(" and a half")
    page.press("Enter")
    until(page, "document.querySelector('.prose')?.textContent.trim() === 'third'")
    settled(page)
    assert [each["content"] for each in sent(up)["messages"]] == ["One and a half"]
    click(page, "#compare")
    page.js("document.getElementById('picker-search').focus()")
    page.type(other.model)
    until(page, "document.querySelectorAll('[role=option]').length === 1")
    page.press("Enter")
    assert page.js("document.querySelector('#model-b .model-id').textContent") == other.model
    up.script(chat_stream(["left"]), chat_stream(["right"]))
    ask(page, "Two")
    settled(page, 3)
    asked = [seen.json for seen in up.seen[-2:]]
    assert {each["model"] for each in asked} == {supplied.model, other.model}
    assert [len(each["messages"]) for each in asked] == [3, 3], "both have heard the talk"
    assert page.js("document.querySelectorAll('.two-up .answer').length") == 2
    assert len(alice.closed(5)) == 5
    assert page.problems == []


def test_the_other_routes_parameters_and_files_are_sent_as_the_api_takes_them(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    sit(page, site, supplied)
    page.js("""(() => {
      for (const [id, value] of [['temperature', '0.3'], ['max-tokens', '77'],
          ['format', 'json_object'], ['endpoint', 'responses']]) {
        document.getElementById(id).value = value;
        document.getElementById(id).dispatchEvent(new Event('input', {bubbles: true}));
      }
      document.getElementById('fast').click();
    })()""")
    evil = "[new Uint8Array([1, 2])], '<img src=x onerror=hacked=1>.png', {type: 'image/png'}"
    drop(page, evil, "['a,b'], 'table.csv', {type: 'text/csv'}")
    created: dict[str, Any] = {"type": "response.created", "response": {"id": kit.unique("resp")}}
    delta = {"type": "response.output_text.delta", "delta": "Hello", "output_index": 0}
    usage = {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}
    ended = {"type": "response.completed",
             "response": created["response"] | {"status": "completed", "usage": usage}}  # fmt: skip
    up.script(sse(*(named(each) for each in (created, delta, ended)), done=False))
    click(page, "#view-code")
    code = page.js("document.getElementById('code-text').textContent")
    assert f"{site.url}/v1/responses" in code
    page.js("document.getElementById('code').close()")
    ask(page, "What is in it?")
    until(page, "document.querySelector('.prose')?.textContent.includes('Hello')")
    assert settled(page).startswith("55 tokens from text.base"), "fast costs 2.5 times as much"
    body = sent(up)
    assert (body["temperature"], body["max_output_tokens"]) == (0.3, 77)
    assert body["service_tier"] == "priority"
    assert body["text"] == {"format": {"type": "json_object"}}
    parts = body["input"][0]["content"]
    assert [each["type"] for each in parts] == ["input_text", "input_image", "input_text"]
    assert parts[1]["image_url"] == "data:image/png;base64,AQI="
    assert "a,b" in parts[2]["text"]
    assert page.js("typeof window.hacked") == "undefined"


def test_a_talk_is_cut_dropped_and_signed_in_again_without_losing_anything(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    sit(page, site, supplied)
    drop(page, "['a```b'], 'table.csv', {type: 'text/csv'}")
    up.script(chat_stream(["\\(a_1 * b_2\\) and **c**\n\nمرحبا"]), chat_stream(["two"]))
    click(page, "#send")
    settled(page)
    (part,) = sent(up)["messages"][0]["content"]  # a file alone is a message
    assert part["text"] == "table.csv:\n````\na```b\n````"
    assert page.js("document.querySelector('.prose code').textContent") == "\\(a_1 * b_2\\)"
    until(page, "getComputedStyle(document.querySelectorAll('.prose > p')[1]).direction === 'rtl'")
    # Signed in again in another tab: another token is in the cookie than on the page.
    page.do("Network.setCookie", name=settings.CSRF_COOKIE_NAME, value="n" * 32, url=site.url)
    ask(page, "Again?")
    settled(page, 2)
    up.script(sse(frame("on"), done=False).hang())
    press(page, "Edit and send again")
    ask(page, "Third")
    until(page, "[...document.querySelectorAll('.prose')].pop().textContent.trim() === 'on'")
    page.js("document.querySelector('.said textarea').focus()")
    page.press("Enter")
    page.press("Escape")
    assert page.js("document.querySelectorAll('.turn').length") == 3, "nothing is cut meanwhile"
    assert page.js("!document.getElementById('stop').hidden"), "that Escape was the field's"
    page.press("Escape")
    settled(page, 3)
    paid = page.js("document.querySelector('#quota .legend span').innerText")
    page.js("document.querySelector('[aria-label=\"Edit and send again\"]').click()")
    press(page, "Delete")
    assert page.js("[...document.querySelectorAll('.said')].length") == 2
    assert page.js("document.querySelector('#quota .legend span').innerText") == paid


# ---- faults


def test_a_refusal_says_whose_fault_it_is_and_what_it_cost(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    sit(page, site, supplied)
    up.script(error(400, "<img src=x onerror=window.hacked=1>no such thing"))
    ask(page, "Hello")
    until(page, "document.querySelector('.fault-card')?.innerText.includes('charged')")
    card = page.js("document.querySelector('.fault-card').innerText")
    assert "The provider refused the request." in card
    assert "Request id" in card
    assert "Nothing was charged." in card
    assert alice.closed()[0].id in card
    page.js("document.getElementById('max-tokens').value = '490000'")
    page.js("document.getElementById('max-tokens').dispatchEvent(new Event('input'))")
    asked = up.count()
    ask(page, "x" * 60_000)
    until(page, "document.querySelectorAll('.fault-card').length === 2")
    card = page.js("[...document.querySelectorAll('.fault-card')].pop().innerText")
    assert "Base text is used up for today." in card
    assert "500\u2009000 left" in card
    assert "Choose another model" in card
    assert up.count() == asked
    assert page.js("typeof window.hacked") == "undefined"
    assert [entry.amount for entry in alice.entries()] == [0]


def test_nothing_a_model_says_runs_loads_or_navigates(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    sit(page, site, supplied)
    # In small pieces, so that every half of a tag is drawn once.
    pieces = [EVIL[at : at + 7] for at in range(0, len(EVIL), 7)]
    up.script(chat_stream(pieces, delay_between=0.003))
    ask(page, EVIL)
    settled(page)
    here = page.js("location.href")
    page.js("""(() => { for (const each of document.querySelectorAll('.talk *')) {
      for (const name of ['mouseover', 'pointerenter', 'focus', 'error', 'load'])
        each.dispatchEvent(new Event(name, {bubbles: true}));
    } })()""")
    page.js("new Promise(done => setTimeout(done, 100))")
    assert page.js("typeof window.hacked") == "undefined"
    assert page.js("location.href") == here
    assert [url for url in page.asked if not url.startswith((site.url, "data:"))] == []
    assert page.problems == [], "the policy had nothing to forbid"
    tags = page.js("[...new Set([...document.querySelectorAll('.prose *')].map(e => e.tagName))]")
    assert set(tags) <= SAFE
    names = page.js("[...new Set([...document.querySelectorAll('.prose *')]"
                    ".flatMap(e => e.getAttributeNames()))]")  # fmt: skip
    assert not [each for each in names if each.startswith("on") or each in ("style", "src", "id")]
    links = page.js(
        "[...document.querySelectorAll('.prose a')].map(a => [a.href, a.target, a.rel])"
    )
    assert {link[0] for link in links} == {
        "https://elsewhere.example/?q=1", "https://evil.example/pixel.png", "https://auto.example/",
    }  # fmt: skip
    assert {tuple(link[1:]) for link in links} == {("_blank", "noopener noreferrer nofollow")}
    assert page.js("document.querySelectorAll('#play').length") == 1


# ---- pictures, sound, films


def test_pictures_speech_and_transcripts_are_made_and_paid(
    page: Page, site: Site, up: FaultServer, alice: Person, tmp_path: Path
) -> None:
    painter = studio(up, Modality.IMAGE)
    up.on(json_reply({"created": 1, "data": [{"b64_json": PIXEL}]}), path_suffix="/generations")
    sit(page, site, painter)
    assert page.js("document.getElementById('tab-image').ariaSelected") == "true"
    page.js("document.getElementById('image-prompt').value = 'A hat'")
    press(page, "Make pictures")
    until(page, "document.querySelector('.work img')?.naturalWidth === 1")
    until(page, "/1 from image/.test(document.querySelector('.work').innerText)")
    page.picture(tmp_path / "image.png")
    speaker = studio(up, Modality.AUDIO)
    sit(page, site, speaker)
    page.js("document.getElementById('speech-text').value = 'Hello'")
    press(page, "Speak")
    until(page, "document.querySelector('.work audio')?.src.startsWith('blob:')")
    click(page, "[value=transcript]")
    page.js("""(() => { const given = new DataTransfer();
      given.items.add(new File([new Uint8Array(64)], 'talk.mp3', {type: 'audio/mpeg'}));
      document.getElementById('transcript-file').files = given.files; })()""")
    up.on(json_reply({"text": "<b>Hello</b> there"}), path_suffix="/transcriptions")
    press(page, "Write it down")
    until(page, "document.querySelector('.work .plain')?.textContent === '<b>Hello</b> there'")
    buckets = [entry.bucket for entry in alice.closed(3)]
    assert buckets == ["image", "audio", "audio"]
    assert page.problems == []


def test_films_are_still_listed_after_a_reload(
    page: Page, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = studio(up, Modality.VIDEO, "sora-2")
    sit(page, site, supplied)
    page.js("document.getElementById('video-prompt').value = 'Rain'")
    press(page, "Make a film")
    until(page, "document.querySelectorAll('#video-works .work').length === 1")
    assert "Rain" in page.js("document.querySelector('#video-works .work').innerText")
    id_ = page.js("document.querySelector('#video-works .work code').textContent")
    page.open(f"{site.url}/playground/#image")
    page.open(f"{site.url}/playground/?again#video")
    until(page, "document.querySelectorAll('#video-works .work').length === 1")
    assert page.js("document.querySelector('#video-works .work code').textContent") == id_


# ---- how it fits


@pytest.mark.parametrize("language", ["en", "ru"])
def test_it_fits_a_small_phone_and_a_finger(
    page: Page, site: Site, up: FaultServer, language: str, tmp_path: Path
) -> None:
    supplied = kit.supply(up)
    page.do("Network.setCookie", name="django_language", value=language, url=site.url)
    page.shape(*PHONE, "dark")
    sit(page, site, supplied)
    up.script(chat_stream(["| a | b |\n|---|---|\n| ", "word " * 60, "| c |\n\n", "x" * 300]))
    ask(page, "Long? " * 30)
    until(page, "document.querySelectorAll('.answer-acts').length === 1")
    assert page.js("document.documentElement.scrollWidth") <= PHONE[0]
    assert page.js(SMALL) == []
    page.picture(tmp_path / "phone.png")
    click(page, ".play-tools .play-tune")
    assert page.js("document.getElementById('temperature').checkVisibility()")
    page.js("document.getElementById('play-panel').hidePopover()")
    click(page, "#model-a")
    until(page, "!!document.querySelector('#picker-list [role=option]')")
    assert page.js(SMALL) == []
    page.picture(tmp_path / "picker.png")
    page.js("history.replaceState(null, '', '/playground/')")
    click(page, "#picker-list [role=option]")
    taken = "new URLSearchParams(location.search).get('model')"
    assert page.js(f"document.querySelector('#model-a .model-id').innerText === {taken}")
    assert page.problems == []


def test_a_first_visit_asks_nobody_else_and_little_of_us(page: Page, site: Site) -> None:
    page.do("Network.setCacheDisabled", cacheDisabled=True)
    page.open(f"{site.url}/playground/")
    until(page, "!document.getElementById('quota').matches(':empty')")
    page.js("document.fonts.ready.then(() => 1)")
    assert page.problems == []
    asked = {url for url in page.asked if not url.startswith("data:")}
    assert all(url.startswith(site.url) for url in asked)
    assert not [url for url in asked if re.search("marked|purify|highlight|catalog", url)], (
        "none until asked"
    )
    sizes = {}
    for url in asked:
        if "/static/" in url:
            packed = requests.get(url, headers={"Accept-Encoding": "br"}, timeout=20, stream=True)
            sizes[url] = len(packed.raw.read())
    assert sum(sizes.values()) < MOST, sorted(sizes.items(), key=lambda each: -each[1])[:9]


def test_without_scripts_the_form_still_answers(page: Page, site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up)
    page.scripts(False)
    page.open(f"{site.url}/playground/?model={supplied.model}")
    shown = "[...document.querySelectorAll('.script-only')].filter(e => e.checkVisibility()).length"
    assert page.js(shown) == 0
    page.js("document.getElementById('prompt').focus()")
    page.type("Why?")
    page.js("document.getElementById('model-name').focus()")
    page.submit()
    assert page.js("location.pathname") == "/playground/submit/"
    assert page.js("document.querySelector('.answer .plain').textContent") != ""
    assert "from text.base" in page.js("document.querySelector('.receipt').innerText")
    assert page.problems == []
