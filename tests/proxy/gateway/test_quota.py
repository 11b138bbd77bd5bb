"""Refusals of the quota on the wire, and what a bucket user is reserved, forwarded and charged."""

import json
from datetime import timedelta
from typing import Any

import pytest

from accounts.keys.models import ApiKey
from accounts.models import Plan
from bsod.lib import clock
from bsod.lib.terms import Bucket, Tier
from quotas.meter import grant
from quotas.models import Balance
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import Raw, Reply, chat_once, events
from tests.upstream import FaultServer, Gate, chat, chat_stream, sse, sse_frame


def refused(reply: Reply, status: int, code: str) -> bool:
    assert (reply.status, reply.error["code"]) == (status, code), reply
    return True


def to_midnight() -> int:
    now = clock.now()
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((midnight - now).total_seconds())


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_bucket_is_429_that_no_client_should_retry(
    site: Site, up: FaultServer, stream: bool
) -> None:
    supplied, who = kit.supply(up), kit.person("spent", caps={"text.base": 100})
    before = to_midnight()

    reply = chat_once(site, who, kit.ask(supplied, max_tokens=100, stream=stream))

    assert refused(reply, 429, "quota_exceeded")
    assert reply.error["type"] == "insufficient_quota"
    assert reply.header("x-should-retry") == "false"
    assert before - 3 <= int(reply.header("retry-after") or 0) <= before + 2
    quota = reply.error["quota"]
    assert quota["resets_at"] == (
        clock.now() + timedelta(seconds=to_midnight() + 1)
    ).strftime("%Y-%m-%dT00:00:00Z")  # fmt: skip
    assert (quota["bucket"], quota["limit"], quota["left"]) == ("text.base", "key", 100)
    assert 100 < quota["needed"] < 130
    assert (up.connections, who.entries(), who.reserved()) == (0, [], 0)


def test_exactly_what_is_left_is_enough_and_one_less_is_not(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("exact")
    up.default = chat(usage="zero")
    keys = ApiKey.objects.filter(pk=who.key.pk)
    assert chat_once(site, who, kit.ask(supplied)).status == 200
    needed = who.closed()[0].estimate

    keys.update(caps={"text.base": needed - 1})
    refusal = chat_once(site, who, kit.ask(supplied))
    assert refused(refusal, 429, "quota_exceeded")
    assert refusal.error["quota"] | {"resets_at": ""} == {
        "bucket": "text.base", "limit": "key", "needed": needed, "left": needed - 1,
        "resets_at": "",
    }  # fmt: skip
    keys.update(caps={"text.base": needed})
    for _ in range(3):
        assert chat_once(site, who, kit.ask(supplied)).status == 200, "zero was charged"
    keys.update(caps={"text.base": 0})
    assert refused(chat_once(site, who, kit.ask(supplied)), 429, "quota_exceeded")
    assert up.count() == 4


def daily(who: Person, cap: int) -> None:
    """Give the account a plan of its own with a small day."""
    plan = Plan.objects.get(slug="free")
    plan.pk = plan.slug = kit.unique("small")
    plan.caps = {"text.base": cap}
    plan.save(force_insert=True)
    who.account.plan = plan
    who.account.save()


def test_the_days_cap_is_drawn_first_then_grants_and_one_charge_may_split(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    daily(alice, 100)
    up.default = chat(prompt_tokens=30, completion_tokens=50)
    assert chat_once(site, alice, kit.ask(supplied)).status == 200
    later = grant(alice.account, Bucket.TEXT_BASE, 500)
    sooner = grant(alice.account, Bucket.TEXT_BASE, 30, expires_at=clock.now() + timedelta(hours=1))

    assert chat_once(site, alice, kit.ask(supplied)).status == 200

    day = Balance.objects.get(account=alice.account, bucket="text.base", period__isnull=False)
    later.refresh_from_db()
    sooner.refresh_from_db()
    assert (day.used, sooner.used, later.used) == (100, 30, 30)
    assert sum(amount for _, amount in json.loads(alice.closed(2)[1].legs)) == 80
    refusal = chat_once(site, alice, kit.ask(supplied, max_tokens=800))
    assert refused(refusal, 429, "quota_exceeded")
    assert (refusal.error["quota"]["limit"], refusal.error["quota"]["left"]) == ("promo", 470)
    assert kit.ledger_adds_up(alice)


def test_the_refusal_names_the_day_when_there_is_nothing_else(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    daily(alice, 20)

    reply = chat_once(site, alice, kit.ask(supplied))

    assert refused(reply, 429, "quota_exceeded")
    assert (reply.error["quota"]["limit"], reply.error["quota"]["left"]) == ("daily", 20)


def test_a_grant_counts_towards_the_keys_cap(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("capped", caps={"text.base": 150})
    daily(who, 100)
    grant(who.account, Bucket.TEXT_BASE, 10_000)
    up.default = chat(prompt_tokens=40, completion_tokens=80)

    assert chat_once(site, who, kit.ask(supplied)).status == 200

    reply = chat_once(site, who, kit.ask(supplied))
    assert refused(reply, 429, "quota_exceeded")
    assert (reply.error["quota"]["limit"], reply.error["quota"]["left"]) == ("key", 30)


def test_too_many_requests_a_minute_is_a_small_wait(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("quick", requests_per_minute=2)

    replies = [chat_once(site, who, kit.ask(supplied)) for _ in range(5)]

    assert [reply.status for reply in replies] == [200, 200, 429, 429, 429]
    assert refused(replies[2], 429, "rate_limit_exceeded")
    assert replies[2].error["type"] == "rate_limit_error"
    assert 1 <= int(replies[2].header("retry-after") or 0) <= 60
    assert replies[2].header("x-should-retry") != "false"
    assert (up.count(), len(who.entries())) == (2, 2)
    assert refused(chat_once(site, who, b"{"), 400, "invalid_json"), "a bad body comes first"


def test_too_many_open_calls_is_a_small_wait_and_counts_what_is_open_now(
    site: Site, up: FaultServer
) -> None:
    supplied, who = kit.supply(up), kit.person("busy", open_calls=2)
    gate = Gate()
    up.default = chat_stream().but(delay_headers=gate)
    open_calls = [Raw(site) for _ in range(2)]
    for raw in open_calls:
        raw.chat(who, kit.ask(supplied, stream=True))
    gate.wait_for(2)

    for _ in range(3):
        reply = chat_once(site, who, kit.ask(supplied))
        assert refused(reply, 429, "concurrency")
        assert reply.header("retry-after") == "1"
    gate.open()
    for raw in open_calls:
        assert raw.reply().body.endswith(sse_frame("[DONE]"))
        raw.leave()

    assert chat_once(site, who, kit.ask(supplied, stream=True)).status == 200
    assert len(who.closed(3)) == 3
    assert kit.ledger_adds_up(who)


def test_a_pro_model_needs_its_permission(site: Site, up: FaultServer) -> None:
    pro, base = kit.supply(up, tier=Tier.PRO), kit.supply(up)
    who = kit.person("plain", permissions=["images", "balance"])

    reply = chat_once(site, who, kit.ask(pro))

    assert refused(reply, 403, "permission_denied")
    assert (reply.error["type"], reply.error["permission"]) == ("permission_error", "pro_models")
    assert (up.connections, who.entries()) == (0, [])
    assert chat_once(site, who, kit.ask(base)).status == 200


@pytest.mark.parametrize(
    ("left", "most", "choices", "forwarded", "reserved"),
    [
        (10_000, 16_384, 1, "left", 1_024),
        (10_000, 16_384, 2, "half", 2_048),
        (500_000, 16_384, 1, None, 1_024),
        (500_000, None, 1, "left", 1_024),
        (200, 16_384, 1, "left", "left"),
        (10_000, 512, 1, None, 1_024),
    ],
)
def test_without_a_limit_what_is_left_bounds_the_output(
    site: Site, up: FaultServer, left: int, most: int | None, choices: int,
    forwarded: str | None, reserved: int | str,
) -> None:  # fmt: skip
    supplied, who = kit.supply(up, max_output=most), kit.person("open", caps={"text.base": left})
    body = kit.ask(supplied, n=choices)
    del body["max_tokens"]
    up.default = chat(n=choices)

    assert chat_once(site, who, body).status == 200

    entry = who.closed()[0]
    prompt = entry.estimate - (reserved if isinstance(reserved, int) else left)
    if isinstance(reserved, int):
        assert 0 < prompt < 30
        output = left - prompt
    else:
        assert entry.estimate == left
        output = up.seen[0].json["max_tokens"]
        assert left - 30 < output < left
    expected = {"left": output, "half": output // 2, None: None}[forwarded]
    assert up.seen[0].json.get("max_tokens") == expected


def test_an_unlimited_key_is_bound_by_nothing_and_metered_all_the_same(
    site: Site, up: FaultServer
) -> None:
    supplied = kit.supply(up)
    who = kit.person("free", unlimited=True, caps={"text.base": 1}, requests_per_minute=1,
                     open_calls=0)  # fmt: skip
    daily(who, 0)
    up.default = chat(prompt_tokens=10**9, completion_tokens=1)

    for _ in range(3):
        assert chat_once(site, who, kit.ask(supplied, max_tokens=10**7)).status == 200

    assert {(e.amount, e.shortfall) for e in who.closed(3)} == {(10**9 + 1, 0)}
    rows = Balance.objects.filter(account=who.account)
    assert [(row.owner, row.used) for row in rows] == [(f"key:{who.key.pk}", 3 * (10**9 + 1))]
    assert kit.ledger_adds_up(who)


SPELLINGS = [{"priority": "fast"}, {"service_tier": "priority"}, {"service_tier": "fast"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", SPELLINGS)
def test_fast_mode_costs_two_and_a_half_times_in_each_of_its_spellings(
    site: Site, up: FaultServer, alice: Person, asked: dict[str, str], stream: bool
) -> None:
    supplied = kit.supply(up)
    answers: list[tuple[Any, int]] = [("priority", 38), ("fast", 38), (None, 38), ("default", 15),
                                      ("flex", 15)]  # fmt: skip
    for tier, _ in answers:
        made = chat_stream if stream else chat
        up.script(made(prompt_tokens=10, completion_tokens=5, extra={"service_tier": tier}))
        assert chat_once(site, alice, kit.ask(supplied, stream=stream, **asked)).status == 200
    up.default = chat_stream() if stream else chat()
    assert chat_once(site, alice, kit.ask(supplied, stream=stream)).status == 200

    calls = alice.closed(6)
    assert [entry.amount for entry in calls[:5]] == [amount for _, amount in answers]
    slow = calls[5].estimate
    assert {entry.estimate for entry in calls[:5]} == {-(-slow * 5 // 2)}
    for seen in up.seen[:5]:
        assert seen.json["service_tier"] == "priority"
        assert "priority" not in seen.json
    assert kit.ledger_adds_up(alice)


def test_other_tiers_and_priorities_are_the_providers_business(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for more in ({"service_tier": "flex"}, {"service_tier": "auto"}, {"priority": "low"},
                 {"priority": 5}, {"service_tier": None}):  # fmt: skip
        assert site.chat(alice, supplied, **more).status_code == 200
        assert {name: up.seen[-1].json[name] for name in more} == more
    assert {entry.amount for entry in alice.closed(5)} == {12}


def test_a_fast_stream_that_breaks_off_before_it_named_its_tier_is_charged_fast(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(sse(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n', done=False).cut())

    reply = chat_once(site, alice, kit.ask(supplied, stream=True, priority="fast"))

    assert b"upstream_truncated" in events(reply.body)[-1]
    entry = alice.closed()[0]
    tokens = (entry.prompt_tokens or 0) + (entry.completion_tokens or 0)
    assert entry.amount == -(-tokens * 5 // 2)


def test_bucket_users_bodies_are_the_providers_bytes(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    odd = (b'{ "id":"x",  "choices":[{"index":0,"message":{"content":"\\u0041"},'
           b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1},'
           b'"citations":["https://a.example"]}')  # fmt: skip
    up.script(chat().but(body=odd))

    reply = chat_once(site, alice, kit.ask(supplied))

    assert reply.body == odd
    assert reply.header("x-credits-charged") is None
