"""`GET /balance/` and its older name: what is shown is what is enforced, to whom a key says."""

import json
from datetime import timedelta
from typing import Any

import pytest

from accounts.keys.models import ApiKey
from bsod.lib import clock
from bsod.lib.terms import Bucket
from quotas.meter import grant
from quotas.models import Balance
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import Raw, chat_once, once
from tests.upstream import FaultServer, Gate, chat, chat_stream

DAILY = {"text.base": 500_000, "text.pro": 100_000, "image": 10, "audio": 25,
         "video.sora2pro": 1, "video.sora2": 3, "video.other": 5, "file": 5}  # fmt: skip
PATHS = pytest.mark.parametrize("path", ["/balance/", "/balance", "/key-info/", "/key-info"])


def balance(site: Site, who: Person, path: str = "/balance/") -> Any:
    reply = once(site, "GET", path, [*who.auth.items()])
    assert reply.status == 200, reply
    assert reply.header("content-type") == "application/json"
    return json.loads(reply.body)


@PATHS
def test_an_untouched_account_is_shown_its_day_and_nothing_is_written(
    site: Site, alice: Person, path: str
) -> None:
    shown = balance(site, alice, path)

    tomorrow = (clock.now() + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    assert shown == {
        "object": "balance",
        "account": {"id": alice.account.pk, "username": alice.account.username, "plan": "free",
                    "plan_active": False},
        "key": {"id": alice.key.pk, "name": "alice",
                "permissions": sorted(alice.key.permissions)},
        "day": clock.now().strftime("%Y-%m-%d"),
        "resets_at": tomorrow,
        "daily_limits": DAILY,
        "daily_used": dict.fromkeys(DAILY, 0),
        "daily_reserved": dict.fromkeys(DAILY, 0),
        "daily_remaining": DAILY,
        "promo_credits": dict.fromkeys(DAILY, 0),
        "effective_remaining": DAILY,
        "credits": 0,
        "fast_mode": {"multiplier": 2.5},
    }  # fmt: skip
    assert not Balance.objects.filter(account=alice.account).exists()


def test_what_is_open_is_reserved_and_what_is_closed_is_used(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    grant(alice.account, Bucket.TEXT_BASE, 700)
    gate = Gate()
    up.script(chat_stream(prompt_tokens=5, completion_tokens=4).but(delay_headers=gate))
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        gate.wait_for(1)
        during = balance(site, alice)
        gate.open()
        raw.reply()
    after = balance(site, alice)

    reserved = alice.closed()[0].estimate
    assert during["daily_reserved"]["text.base"] == reserved
    assert during["daily_used"]["text.base"] == 0
    assert during["daily_remaining"]["text.base"] == 500_000 - reserved
    assert during["effective_remaining"]["text.base"] == 500_700 - reserved
    assert (after["daily_reserved"]["text.base"], after["daily_used"]["text.base"]) == (0, 9)
    assert after["promo_credits"]["text.base"] == 700


def test_a_reservation_of_exactly_what_is_shown_as_left_is_granted(
    site: Site, up: FaultServer
) -> None:
    supplied, who = kit.supply(up), kit.person("exact", caps={"text.base": 900})
    up.default = chat(prompt_tokens=30, completion_tokens=30)
    assert site.chat(who, supplied).status_code == 200
    prompt = who.closed()[0].estimate - 50

    left = balance(site, who)["effective_remaining"]["text.base"]

    assert left == 840
    over = chat_once(site, who, kit.ask(supplied, max_tokens=left - prompt + 1))
    assert over.error["quota"]["left"] == left
    exact = chat_once(site, who, kit.ask(supplied, max_tokens=left - prompt, stream=True))
    assert exact.status == 200
    assert exact.header("x-quota-remaining") == "0"


def test_a_keys_own_cap_is_shown_where_it_is_the_narrower(site: Site) -> None:
    who = kit.person("capped", caps={"text.base": 70, "image": 10_000})

    shown = balance(site, who)

    assert shown["daily_limits"]["text.base"] == 70
    assert shown["daily_limits"]["image"] == 10
    assert shown["effective_remaining"]["text.base"] == 70


def test_an_unlimited_key_is_shown_null(site: Site) -> None:
    shown = balance(site, kit.person("boss", unlimited=True))

    assert set(shown["daily_limits"].values()) == {None}
    assert set(shown["effective_remaining"].values()) == {None}
    assert set(shown["daily_used"].values()) == {0}


def test_a_credit_plan_is_shown_its_credits(site: Site, up: FaultServer) -> None:
    who = kit.person("payer", plan="pro")
    supplied = kit.supply(up, credits_per_1k_input=1_000, credits_per_1k_output=1_000)
    before = balance(site, who)
    reply = site.chat(who, supplied)

    assert before["credits"] == 15_000_000
    assert before["account"]["plan_active"] is True
    after = balance(site, who)
    assert after["credits"] == reply.json()["yout"]["balance"] == 15_000_000 - 12


@PATHS
def test_the_permission_can_be_off(site: Site, path: str) -> None:
    who = kit.person("mute", permissions=["images"])

    reply = once(site, "GET", path, [*who.auth.items()])

    assert (reply.status, reply.error["code"]) == (403, "permission_denied")
    assert reply.error["permission"] == "balance"


@PATHS
@pytest.mark.parametrize(
    "asked", [("Accept", "text/html"), ("Accept", "image/png"), ("Accept", ""), ("Accept", "*/*")]
)
def test_whatever_a_client_accepts_the_answer_is_json(
    site: Site, alice: Person, path: str, asked: tuple[str, str]
) -> None:
    for target in (path, f"{path}?format=xml", f"{path}?format=api", f"{path}?format=json"):
        good = once(site, "GET", target, [*alice.auth.items(), asked])
        assert (good.status, good.header("content-type")) == (200, "application/json"), target
        bad = once(site, "GET", target, [asked])
        assert (bad.status, bad.error["code"]) == (401, "invalid_api_key"), target


def test_a_session_is_no_key_and_the_answer_is_nobodys_cache(site: Site, alice: Person) -> None:
    reply = once(site, "GET", "/balance/", [("Cookie", "session=x; csrf=y")])
    assert reply.status == 401
    good = once(site, "GET", "/balance/", [*alice.auth.items()])
    assert good.header("set-cookie") is None
    assert good.header("access-control-allow-origin") == "*"
    assert good.values("x-request-id") != once(
        site, "GET", "/balance/", [*alice.auth.items()]
    ).values("x-request-id")


def test_a_row_nobody_can_read_is_a_500_in_the_same_shape(site: Site) -> None:
    """A caps column spoilt by hand: the fault is ours, and says nothing of its cause."""
    who = kit.person("spoilt")
    ApiKey.objects.filter(pk=who.key.pk).update(caps=["text.base"])

    reply = once(site, "GET", "/balance/", [*who.auth.items()])

    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    assert b"caps" not in reply.body
    assert b"Traceback" not in reply.body
