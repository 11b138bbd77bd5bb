"""Accounts that pay in credits: the price, its minimum, what replies say of it, and 402."""

import json
from datetime import timedelta
from typing import Any

import pytest

from accounts.models import Account
from bsod.lib import clock
from bsod.lib.terms import Bucket
from quotas.meter import grant
from quotas.models import Balance
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import chat_once, events
from tests.upstream import FaultServer, chat, chat_stream, error, sse

BOTH = pytest.mark.parametrize("stream", [False, True])
PLAN = 15_000_000


@pytest.fixture
def payer(database: None) -> Person:
    return kit.person("payer", plan="pro")


def priced(up: FaultServer, price_in: int = 1_000, price_out: int = 4_000) -> kit.Supply:
    return kit.supply(up, credits_per_1k_input=price_in, credits_per_1k_output=price_out)


def used(who: Person) -> int:
    return who.used("credits")


def yout(body: bytes, stream: bool) -> Any:
    if not stream:
        return json.loads(body).get("yout")
    found = [json.loads(event) for event in events(body)[:-1]]
    told = [item["yout"] for item in found if "yout" in item]
    assert len(told) <= 1
    if told:
        assert found[-1]["yout"] == told[0], "in the usage chunk, which is the last"
        assert found[-1]["choices"] == []
        assert found[-1]["usage"]["total_tokens"] >= 0
    return told[0] if told else None


@BOTH
@pytest.mark.parametrize(
    ("price", "tokens", "fast", "cost"),
    [
        ((1_000, 4_000), (100, 50), False, 300),
        ((1_000, 4_000), (100, 50), True, 750),
        ((42, 334), (100, 50), False, 21),
        ((42, 334), (1_000, 333), True, 384),
        ((1, 1), (100, 50), False, 10),
        ((1, 1), (0, 0), False, 10),
        ((0, 0), (100, 50), False, 10),
        ((1, 1), (10_001, 0), False, 11),
        ((1, 1), (4_001, 0), True, 11),
    ],
)
def test_a_call_costs_its_price_rounded_up_once_and_never_less_than_ten(
    site: Site, up: FaultServer, payer: Person, price: tuple[int, int], tokens: tuple[int, int],
    fast: bool, cost: int, stream: bool,
) -> None:  # fmt: skip
    supplied = priced(up, *price)
    tier = {"service_tier": "priority" if fast else "default"}
    made = chat_stream if stream else chat
    up.script(made(prompt_tokens=tokens[0], completion_tokens=tokens[1], extra=tier))
    more: dict[str, Any] = {"priority": "fast"} if fast else {}

    reply = chat_once(site, payer, kit.ask(supplied, stream=stream, **more))

    assert reply.status == 200
    assert yout(reply.body, stream) == {"credits_charged": cost, "balance": PLAN - cost}
    shown = None if stream else str(cost)
    assert reply.header("x-credits-charged") == shown
    assert reply.header("x-credits-balance") == (None if stream else str(PLAN - cost))
    assert reply.header("x-quota-bucket") == "credits"
    entry = payer.closed()[0]
    assert (entry.bucket, entry.amount, entry.shortfall) == ("credits", cost, 0)
    assert (used(payer), payer.used("text.base")) == (cost, 0)
    assert kit.ledger_adds_up(payer)


@pytest.mark.parametrize("usage", ["asked", "never", "zero"])
@pytest.mark.parametrize("wanted", [None, {"include_usage": True}])
def test_the_usage_chunk_is_always_sent_once_to_who_pays_credits(
    site: Site, up: FaultServer, payer: Person, usage: Any, wanted: Any
) -> None:
    supplied = priced(up)
    up.script(chat_stream(usage=usage))

    reply = chat_once(site, payer, kit.ask(supplied, stream=True, stream_options=wanted))

    found = [json.loads(event) for event in events(reply.body)[:-1]]
    assert sum(bool(item.get("usage")) for item in found) == 1
    entry = payer.closed()[0]
    told = found[-1]["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"]) == (
        entry.prompt_tokens, entry.completion_tokens,
    )  # fmt: skip
    if usage == "asked":
        assert "prompt_tokens_details" in told, "the provider's own words"
    assert found[-1]["yout"]["credits_charged"] == entry.amount
    assert reply.body.count(b"[DONE]") == 1


@BOTH
def test_too_few_credits_is_402_and_nothing_is_called(
    site: Site, up: FaultServer, payer: Person, stream: bool
) -> None:
    supplied = priced(up)
    up.script(chat(prompt_tokens=0, completion_tokens=0))
    assert chat_once(site, payer, kit.ask(supplied)).status == 200
    Balance.objects.filter(account=payer.account, bucket="credits").update(granted=10 + 205)

    reply = chat_once(site, payer, kit.ask(supplied, stream=stream, max_tokens=50))

    assert (reply.status, reply.error["code"]) == (402, "insufficient_credits")
    assert reply.error["type"] == "insufficient_quota"
    quota = reply.error["quota"]
    assert (quota["bucket"], quota["left"]) == ("credits", 205)
    assert 205 < quota["needed"] < 230
    assert set(quota) == {"bucket", "limit", "needed", "left", "resets_at"}
    assert reply.header("x-should-retry") == "false"
    assert (up.count(), len(payer.entries())) == (1, 1)
    grant(payer.account, Bucket.CREDITS, 1_000)
    up.default = chat_stream() if stream else chat()
    assert chat_once(site, payer, kit.ask(supplied, stream=stream, max_tokens=50)).status == 200
    assert kit.ledger_adds_up(payer)


@BOTH
def test_a_failed_call_costs_no_credits_and_says_nothing_of_them(
    site: Site, up: FaultServer, payer: Person, stream: bool
) -> None:
    supplied = priced(up)
    for answer in (error(500), error(400), sse(done=False)):
        up.script(answer)
        reply = chat_once(site, payer, kit.ask(supplied, stream=stream))
        assert reply.status in (400, 502)
        assert b"yout" not in reply.body
        assert reply.header("x-credits-charged") is None
    assert used(payer) == 0
    assert {entry.state for entry in payer.closed(3)} == {"released"}


def test_a_stream_cut_short_pays_at_least_the_minimum_when_something_came(
    site: Site, up: FaultServer, payer: Person
) -> None:
    supplied = priced(up, 1, 1)
    up.script(sse(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n', done=False).cut())

    reply = chat_once(site, payer, kit.ask(supplied, stream=True))

    assert b"upstream_truncated" in reply.body
    assert (payer.closed()[0].amount, used(payer)) == (10, 10)


@BOTH
def test_an_overrun_takes_the_last_credit_and_never_more(
    site: Site, up: FaultServer, payer: Person, stream: bool
) -> None:
    supplied = priced(up)
    made = chat_stream if stream else chat
    up.script(made(prompt_tokens=10, completion_tokens=10**7))

    reply = chat_once(site, payer, kit.ask(supplied, stream=stream))

    assert yout(reply.body, stream) == {"credits_charged": PLAN, "balance": 0}
    entry = payer.closed()[0]
    assert (entry.amount, entry.shortfall) == (PLAN, 4 * 10**7 + 10 - PLAN)
    assert chat_once(site, payer, kit.ask(supplied)).status == 402
    assert up.count() == 1
    assert kit.ledger_adds_up(payer)


def test_when_the_plan_ends_the_credits_stay_shown_and_unspendable(
    site: Site, up: FaultServer, payer: Person
) -> None:
    supplied = priced(up)
    assert chat_once(site, payer, kit.ask(supplied)).status == 200
    spent = used(payer)
    Account.objects.filter(pk=payer.account.pk).update(
        plan_expires_at=clock.now() - timedelta(seconds=1)
    )

    reply = chat_once(site, payer, kit.ask(supplied))

    assert reply.status == 200
    assert yout(reply.body, False) is None
    assert reply.header("x-quota-bucket") == "text.base"
    assert (used(payer), payer.used("text.base")) == (spent, 12)
    assert kit.ledger_adds_up(payer)


def test_an_unlimited_key_of_a_credit_plan_is_metered_in_tokens(
    site: Site, up: FaultServer
) -> None:
    supplied, who = priced(up), kit.person("boss", plan="pro", unlimited=True)

    reply = chat_once(site, who, kit.ask(supplied))

    assert (reply.status, yout(reply.body, False)) == (200, None)
    assert who.closed()[0].bucket == "text.base"
    assert used(who) == 0
