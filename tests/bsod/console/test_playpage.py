"""The Playground tab without its script: the page, what it is told, the form that needs none."""

import html
import json
import re
from typing import Any

import pytest
import requests
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bsod.console import playpage
from bsod.console.catalogue import Listed
from bsod.console.playwords import words
from bsod.lib.terms import Modality, Tier
from tests import kit
from tests.bsod.browser import TOKEN
from tests.bsod.console.seat import Seat
from tests.bsod.console.visit import visitor
from tests.kit import Person, Site
from tests.proxy.gateway.studio import studio
from tests.upstream import FaultServer, chat, error

pytestmark = pytest.mark.once  # about the page, not about the database
PAGE, SUBMIT = "/playground/", "/playground/submit/"
HTML = {"Accept": "text/html"}


@pytest.fixture
def seat(site: Site, alice: Person) -> Seat:
    return Seat(site, alice)


def setup_of(text: str) -> Any:
    found = re.search(r'<script id="play-setup" type="application/json">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


def submit(seat: Seat, **fields: str) -> requests.Response:
    """The form as a browser sends it that runs no script."""
    token = TOKEN.search(seat.get(PAGE, headers=HTML).text)
    assert token
    return seat.session.post(
        seat.site.url + SUBMIT, data={"csrfmiddlewaretoken": token[1], **fields}, headers=HTML,
        timeout=30, allow_redirects=False,
    )  # fmt: skip


# ---- the page


def test_a_stranger_is_invited_and_comes_back_to_what_was_asked_for(site: Site) -> None:
    page = requests.get(f"{site.url}{PAGE}?model=a%26b", headers=HTML, timeout=20)
    assert page.status_code == 200
    assert "/login/?next=%2Fplayground%2F%3Fmodel%3Da%2526b" in page.text
    assert "play-setup" not in page.text


def test_the_page_tells_its_script_words_numbers_and_the_model_that_was_linked(seat: Seat) -> None:
    linked = "</script><b>"
    page = seat.get(PAGE, params={"model": linked}, headers=HTML)
    assert page.headers["Cache-Control"] == "no-store"
    assert "<b>" not in page.text.partition("play-setup")[2].partition("</script>")[0]
    told = setup_of(page.text)
    assert (told["model"], told["chosen"], told["base"]) == (linked, True, seat.site.url)
    assert told["words"] == words()
    assert told["quota"]["buckets"]["text.base"]["left"] == 500_000
    assert not re.search(r"\sstyle=|\son\w+=|<script(?! src| id| type=\"module\" src)", page.text)


def test_the_page_opens_with_its_model_and_the_first_of_each_kind(
    seat: Seat, up: FaultServer
) -> None:
    linked = kit.supply(up, tier=Tier.PRO)
    studio(up, Modality.IMAGE, "picture")
    told = setup_of(seat.get(PAGE, params={"model": linked.model}, headers=HTML).text)["models"]
    shelves = seat.get("/playground/catalog/").json()["providers"]
    known = [model for shelf in shelves for model in shelf["models"]]
    assert told[0]["id"] == linked.model
    assert all(model in known for model in told)
    for kind in ("text", "image"):
        up_now = [each for each in known if each["modality"] == kind and each["available"]]
        cheapest = min(
            up_now,
            key=lambda each: (
                each["tier"], each["price"]["output"], each["price"]["call"], each["id"]
            ),
        )  # fmt: skip
        assert cheapest in told
    unknown = setup_of(seat.get(PAGE, params={"model": "nobody's"}, headers=HTML).text)
    assert unknown["models"] == [each for each in told if each in unknown["models"]] != []


def test_the_page_asks_little_of_the_database_however_many_models_there_are(
    up: FaultServer, alice: Person
) -> None:
    asks = visitor(alice)
    counts = []
    for _ in range(2):
        for _ in range(4):
            kit.supply(up)
        asks.get(PAGE)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert asks.get(PAGE).status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 14


# ---- what the script asks for


def test_the_catalogue_says_where_a_model_is_asked_and_what_it_draws_on(
    seat: Seat, up: FaultServer
) -> None:
    supplied = kit.supply(up, tier=Tier.PRO, context_window=8_000)
    film = studio(up, Modality.VIDEO, "sora-2-pro")
    said = seat.get("/playground/catalog/").json()["providers"]
    found = {model["id"]: model for shelf in said for model in shelf["models"]}
    text = found[supplied.model]
    assert (text["tier"], text["bucket"], text["context"]) == ("pro", "text.pro", 8_000)
    assert {"chat/completions", "responses"} <= set(text["endpoints"])
    assert (text["available"], text["reason"]) == (True, "")
    assert found[film.model]["bucket"] == "video.sora2pro"
    assert found[film.model]["endpoints"][0] == "videos"
    shelf = next(each for each in said if each["id"] == supplied.provider.slug)
    assert shelf["available"] is True


@pytest.mark.parametrize(
    ("modality", "name", "path", "asked"),
    [
        (Modality.IMAGE, "picture", "images/generations", {"prompt": "rain"}),
        (Modality.AUDIO, "voice", "audio/speech", {"input": "rain", "voice": "alloy"}),
        (Modality.VIDEO, "sora-2", "videos", {"prompt": "rain"}),
        (Modality.VIDEO, "veo-3", "videos", {"prompt": "rain"}),
    ],
)
def test_the_bucket_that_is_named_is_the_one_that_is_drawn_on(
    seat: Seat, up: FaultServer, alice: Person, modality: Modality, name: str, path: str,
    asked: dict[str, str],
) -> None:  # fmt: skip
    supplied = studio(up, modality, name)
    body = {"model": supplied.model, **asked}
    assert seat.post(f"/playground/run/?endpoint={path}", body).status_code == 200
    row = Listed(supplied.model, "", modality, "base", None, 0, 0, 0, "", None)
    assert playpage.bucket_of(row) == alice.entries()[0].bucket
    assert path in playpage.endpoints("compatible", modality)


def test_the_quota_that_is_shown_is_the_one_of_the_api(
    site: Site, seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat("Hi", prompt_tokens=9, completion_tokens=3))
    seat.post("/playground/run/?endpoint=chat/completions", kit.ask(supplied))
    alice.closed()
    card = seat.get("/playground/quota/").json()["buckets"]["text.base"]
    balance = site.get(alice, "/balance/").json()
    assert card["used"] == balance["daily_used"]["text.base"] == 12
    assert card["left"] == balance["daily_remaining"]["text.base"]


def test_a_receipt_is_its_owners_alone(
    site: Site, seat: Seat, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat("Hi", prompt_tokens=9, completion_tokens=3))
    answer = seat.post("/playground/run/?endpoint=chat/completions", kit.ask(supplied))
    path = f"/playground/receipt/?id={answer.headers['X-Request-Id']}"
    receipt = seat.get(path)
    assert (receipt.json()["amount"], receipt.json()["bucket"]) == (12, "text.base")
    assert receipt.headers["Cache-Control"] == "no-store"
    assert Seat(site, bob).get(path).status_code == 404
    assert seat.get("/playground/receipt/?id=x%00").status_code == 404


@pytest.mark.parametrize("path", ["/playground/quota/", "/playground/receipt/?id=x"])
def test_strangers_are_told_to_sign_in(site: Site, path: str) -> None:
    answer = requests.get(site.url + path, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")


# ---- one question without scripts


def test_a_question_is_answered_on_the_page_with_its_receipt(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    evil = "<img src=x onerror=alert(1)>"
    up.script(chat(evil, prompt_tokens=1_200, completion_tokens=3))
    page = submit(seat, model=supplied.model, system="Be brief.", prompt="Why?", max_tokens="50")
    assert page.status_code == 200
    assert html.escape(evil) in page.text
    assert evil not in page.text
    assert "1\u2009203 from text.base" in page.text
    sent = up.seen[-1].json
    assert [each["content"] for each in sent["messages"]] == ["Be brief.", "Why?"]
    assert sent["max_tokens"] == 50
    assert "Be brief." in page.text, "what was typed stays"
    assert alice.used() == 1_203
    assert kit.ledger_adds_up(alice)


def test_a_refusal_is_told_on_the_page_and_keeps_what_was_typed(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(error(400, "no <b>such</b> thing"))
    page = submit(seat, model=supplied.model, prompt="A long question")
    assert page.status_code == 400
    assert "Nothing was charged." in page.text
    assert "<b>such" not in page.text
    assert page.text.count("A long question") == 2, "beside the refusal and in the field"
    assert alice.entries()[0].id in page.text
    limit = submit(seat, model=supplied.model, prompt="Hi", max_tokens="many")
    assert (limit.status_code, "max_tokens" in limit.text) == (400, True)
    assert [entry.amount for entry in alice.closed()] == [0]


def test_an_empty_question_asks_nobody(seat: Seat, up: FaultServer, alice: Person) -> None:
    before = up.count()
    page = submit(seat, model="m", prompt="  \n")
    assert (page.status_code, "Write something first." in page.text) == (400, True)
    assert (up.count(), alice.entries()) == (before, [])


def test_the_form_wants_a_session_and_a_token(site: Site, seat: Seat, up: FaultServer) -> None:
    supplied = kit.supply(up)
    before = up.count()
    fields = {"model": supplied.model, "prompt": "Hi"}
    forged = seat.session.post(site.url + SUBMIT, data=fields, headers=HTML, timeout=20)
    assert forged.status_code == 403
    fresh = TOKEN.search(seat.get(PAGE, headers=HTML).text)
    assert fresh
    seat.store.delete()
    stranger = seat.session.post(
        site.url + SUBMIT, data=fields | {"csrfmiddlewaretoken": fresh[1]}, headers=HTML,
        timeout=20, allow_redirects=False,
    )  # fmt: skip
    assert (stranger.status_code, stranger.headers["Location"]) == (
        302, "/login/?next=%2Fplayground%2F",
    )  # fmt: skip
    assert up.count() == before
