"""`POST /redeem-code/`: who may, how it is said to a page and to a program, how guessing is
made slow."""

import itertools
import json
import threading
from typing import Any

import pytest
import requests
from django.conf import settings
from django.contrib.messages import get_messages
from django.test import Client, RequestFactory

from accounts.service import ban
from bsod.lib import clock
from promos.models import Redemption
from promos.views import code_of, next_place, too_often
from tests import kit
from tests.kit import Person, Site
from tests.promos.offers import code, grants

pytestmark = pytest.mark.once  # about pages; races and service run on both, not about the database

PATH = "/redeem-code/"
BACKEND = settings.AUTHENTICATION_BACKENDS[0]
JSON, FORM = {"accept": "application/json"}, "application/x-www-form-urlencoded"
WRONG = "7777-7777-7777-7777"
_addresses = (f"10.20.{a}.{b}" for a in itertools.count(1) for b in range(1, 255))


def visitor(who: Person | None = None, **traits: Any) -> Client:
    """A browser at an address of its own: tries are counted by address."""
    client = Client(**{"REMOTE_ADDR": next(_addresses), "HTTP_HOST": "127.0.0.1", **traits})
    if who:
        client.force_login(who.account, BACKEND)
    return client


def ask(client: Client, text: Any) -> Any:
    return client.post(
        PATH, json.dumps({"code": text}), content_type="application/json",
        headers=JSON,
    )  # fmt: skip


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_program_is_answered_in_json(alice: Person) -> None:
    client, text = visitor(alice), code(grants={"text.base": 7, "credits": 9}, grant_days=1)
    done = ask(client, text.lower())
    assert done.status_code == 200
    assert done["Cache-Control"] == "no-store"
    body = done.json()
    assert (body["object"], body["granted"]) == ("redemption", {"credits": 9, "text.base": 7})
    assert body["expires_at"].endswith("Z")
    again = ask(client, text)
    assert told(again) == (409, "promo_redeemed")
    assert set(again.json()["error"]) == {"message", "type", "param", "code"}
    assert grants(alice) == {"text.base": 7, "credits": 9}


def test_a_page_goes_back_with_a_message_that_does_not_say_the_code(alice: Person) -> None:
    client, text = visitor(alice), code(grants={"image": 7})
    html = {"accept": "text/html,*/*;q=0.8"}
    done = client.post(PATH, {"code": text, "next": "/somewhere/?a=1"}, headers=html)
    assert (done.status_code, done["Location"]) == (303, "/somewhere/?a=1")
    again = client.post(PATH, {"code": text}, headers=html)
    assert (again.status_code, again["Location"]) == (303, "/")
    said = [(note.level_tag, str(note)) for note in get_messages(again.wsgi_request)]
    assert said[0] == ("success", "Redeemed: +7 image.")
    assert said[1][0] == "error"
    assert "already" in said[1][1]
    assert text not in str(said) + str(again.headers) + str(client.cookies)
    assert grants(alice) == {"image": 7}


@pytest.mark.parametrize(
    "place", ["//evil.example", "https:evil.example", "https://evil.example/", "\\evil", "/\\evil",
              "javascript:alert(1)", "evil", ""],
)  # fmt: skip
def test_it_goes_nowhere_but_here(place: str) -> None:
    assert next_place(RequestFactory().post(PATH, {"code": WRONG, "next": place})) == "/"


def test_wrong_and_worn_out_codes_are_answered_alike(alice: Person, bob: Person) -> None:
    worn_out = code()
    assert ask(visitor(bob), worn_out).status_code == 200
    client = visitor(alice)
    past = code(valid_from=clock.now().replace(year=2001), valid_until=clock.now())
    answers = [ask(client, text) for text in (WRONG, worn_out, past, "?" * 20, "x" * 5000)]
    assert {told(answer) for answer in answers} == {(410, "promo_invalid")}
    assert len({answer.content for answer in answers}) == 1
    assert grants(alice) == {}


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"x"', '{"code": 5}', '{"code": null}', '{"code": " "}', "{}",
             '{"code": ["ABCDEFGH"]}', '{"code": "\\ud800"}'],
)  # fmt: skip
def test_what_is_no_code_at_all_is_seen_to_be_none(body: str) -> None:
    sent = RequestFactory().post(PATH, body, content_type="application/json")
    assert code_of(sent) is None


def test_who_sends_no_code_is_told_what_to_send(alice: Person) -> None:
    client = visitor(alice)
    for body, kind in (('{"cod": "x"}', "application/json"), ("code=++", FORM), ("x=1", FORM)):
        answer = client.post(PATH, body, content_type=kind, headers=JSON)
        assert told(answer) == (400, "invalid_value")
        assert "'code'" in answer.json()["error"]["message"]


def test_only_who_is_signed_in_redeems(alice: Person) -> None:
    text = code()
    assert told(ask(visitor(), text)) == (401, "not_signed_in")
    page = visitor().post(PATH, {"code": text})
    assert page.status_code == 302
    assert page["Location"].startswith("/login/?next=")
    bearer = visitor().post(PATH, {"code": text}, headers=alice.auth)
    assert bearer.status_code == 302, "an API key is no session"
    assert ask(visitor(alice), text).status_code == 200


def test_a_form_from_elsewhere_is_refused_and_a_link_does_nothing(alice: Person) -> None:
    text = code()
    strict = visitor(alice, enforce_csrf_checks=True)
    assert strict.post(PATH, {"code": text}).status_code == 403
    assert ask(strict, text).status_code == 403
    assert strict.get(f"{PATH}?code={text}").status_code == 405
    assert grants(alice) == {}


def test_a_banned_user_is_told_of_his_ban(alice: Person) -> None:
    client, text = visitor(alice), code()
    ban(alice.account, "spam")
    refused = ask(client, text)
    assert told(refused) == (403, "account_banned")
    assert refused.json()["error"]["ban"] == {"reason": "spam", "until": None}
    assert grants(alice) == {}


def tries(who: Person, address: str, count: int) -> None:
    """So many tries, as the page counts them."""
    for _ in range(count):
        request = RequestFactory(REMOTE_ADDR=address).post(PATH)
        request.user = who.account
        too_often(request)


def test_guessing_is_slow_for_an_account_and_for_an_address(alice: Person, bob: Person) -> None:
    text, near = code(), next(_addresses)
    assert ask(visitor(alice), WRONG).status_code == 410
    for slow, count, client in (
        (alice, 10, visitor(alice)), (kit.person(), 30, visitor(bob, REMOTE_ADDR=near)),
    ):  # fmt: skip
        for _ in range(2):  # the minute may turn once while we count
            tries(slow, near, count)
            refused = ask(client, text)
            if refused.status_code == 429:
                break
        assert told(refused) == (429, "rate_limit_exceeded")
        assert refused["Retry-After"] == "60"
    assert grants(alice) == grants(bob) == {}
    assert ask(visitor(bob), text).status_code == 200, "elsewhere he may"


def test_a_double_click_on_two_workers_gives_once(site: Site, alice: Person) -> None:
    text, token = code(), "a" * 32
    cookies = {"session": visitor(alice).cookies["session"].value, "csrf": token}
    statuses: list[int] = []

    def click() -> None:
        answer = requests.post(
            site.url + PATH, data={"code": text}, cookies=cookies, timeout=20,
            headers={"X-CSRFToken": token, "Accept": "application/json"},
        )  # fmt: skip
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=click) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 5
    assert grants(alice) == {"image": 10}
    assert Redemption.objects.get(account=alice.account).via == "page"
    assert text not in site.log.read_text()
    assert kit.ledger_adds_up(alice)
