"""The limits an answer shows in its headers: on every answer, of what it drew on, as enforced."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.keys.service import create_key
from bsod.lib import clock
from bsod.lib.terms import Bucket, Modality, ObjectKind
from proxy.gateway import limits
from proxy.gateway.limits import BucketLeft, PaceLeft, Quota
from quotas.book import Purse
from quotas.draw import Row
from quotas.meter import grant
from quotas.models import Balance
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.test_quota import daily
from tests.proxy.gateway.world import Honest, alone, held, request, row
from tests.rawclient import Raw, Reply, chat_once, once
from tests.upstream import FaultServer, Gate, chat, chat_stream, error

TIMES = {"openai-processing-ms", "x-gateway-overhead-ms"}
REQUESTS = {f"x-ratelimit-{part}-requests" for part in ("limit", "remaining", "reset")}
TOKENS = {f"x-ratelimit-{part}-tokens" for part in ("limit", "remaining", "reset")}
QUOTA = {"x-quota-bucket", "x-quota-remaining", "x-quota-reset"}
ALL = TIMES | REQUESTS | TOKENS | QUOTA | {"x-attempts"}


def names(reply: Reply) -> set[str]:
    """Which of these headers an answer has; none is there twice or empty."""
    found = [name for name, value in reply.headers if name in ALL and value]
    assert len(found) == len(set(found))
    return set(found)


def number(reply: Reply, name: str) -> float:
    return float(reply.header(name) or "nan")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_shows_what_is_left_as_the_balance_does(
    site: Site, up: FaultServer, stream: bool
) -> None:
    """Of two caps the one that leaves less is shown, whichever is the smaller number."""
    supplied, who = kit.supply(up), kit.person("both", caps={"text.base": 700})
    daily(who, 1_000)
    up.default = chat(prompt_tokens=400, completion_tokens=400)
    other = Person(who.account, *create_key(who.account, "second"))
    assert chat_once(site, other, kit.ask(supplied)).status == 200
    gate = Gate()
    up.default = (chat_stream() if stream else chat()).but(delay_headers=gate)
    with Raw(site) as raw:
        raw.chat(who, kit.ask(supplied, stream=stream))
        gate.wait_for(1)
        balance = once(site, "GET", "/balance/", [*who.auth.items()])
        gate.open()
        reply = raw.reply()

    assert reply.status == 200
    assert names(reply) == ALL - ({"x-gateway-overhead-ms"} if stream else set())
    shown = json.loads(balance.body)
    assert shown["daily_limits"]["text.base"] == 1_000
    assert number(reply, "x-ratelimit-limit-tokens") == 1_000
    if not stream:
        shown = json.loads(once(site, "GET", "/balance/", [*who.auth.items()]).body)
    left = shown["effective_remaining"]["text.base"]
    assert number(reply, "x-quota-remaining") == left
    assert number(reply, "x-ratelimit-remaining-tokens") == left


@pytest.fixture
def media(up: FaultServer) -> Iterator[kit.Supply]:
    with alone():
        yield kit.supply(up, catch_all=True, modality=Modality.IMAGE)


def test_a_bucket_of_media_says_nothing_of_tokens(
    site: Site, up: FaultServer, media: kit.Supply, alice: Person
) -> None:
    up.default = Honest(media)
    asked = request(row("POST", "/v1/images/generations"), {}, media.model, n=3)
    reply = asked.send(site, alice)

    assert reply.status == 200
    assert names(reply) == ALL - TOKENS
    assert reply.header("x-quota-bucket") == "image"
    used = Balance.objects.get(account=alice.account, bucket="image").used
    assert number(reply, "x-quota-remaining") == 10 - used, "of three one was made"
    refused = request(row("POST", "/v1/images/generations"), {}, media.model, n=10)
    spent = refused.send(site, alice)
    assert (spent.status, spent.error["quota"]["bucket"]) == (429, "image")
    assert names(spent) == TIMES | REQUESTS | QUOTA
    assert number(spent, "x-quota-remaining") == spent.error["quota"]["left"] == 10 - used


def test_a_call_that_costs_nothing_shows_its_pace_alone(
    site: Site, up: FaultServer, media: kit.Supply
) -> None:
    up.default = Honest(media)
    who = kit.person("free", requests_per_minute=9)
    file = held(who, media.key_row(), ObjectKind.FILE)
    whole = request(row("GET", "/v1/files/{file_id}"), {"file_id": file}).send(site, who)
    listed = request(row("GET", "/v1/files"), {}).send(site, who)
    content = request(row("GET", "/v1/files/{file_id}/content"), {"file_id": file}).send(site, who)
    missing = request(row("GET", "/v1/files/{file_id}"), {"file_id": "file-none"}).send(site, who)

    assert [reply.status for reply in (whole, listed, content, missing)] == [200, 200, 200, 404]
    assert names(whole) == TIMES | REQUESTS | {"x-attempts"}
    assert names(listed) == REQUESTS | {"openai-processing-ms"}
    assert names(content) == REQUESTS | {"openai-processing-ms", "x-attempts"}
    assert names(missing) == TIMES
    left = [number(reply, "x-ratelimit-remaining-requests") for reply in (whole, listed, content)]
    assert left == [8, 7, 6]


def test_a_used_up_day_shows_the_bucket_it_ran_into(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("spent", caps={"text.base": 90})

    reply = chat_once(site, who, kit.ask(supplied, max_tokens=100))

    assert reply.status == 429
    assert names(reply) == ALL - {"x-attempts"}
    quota = reply.error["quota"]
    assert reply.header("x-quota-bucket") == quota["bucket"] == "text.base"
    assert number(reply, "x-quota-remaining") == quota["left"] == 90
    assert number(reply, "x-ratelimit-limit-tokens") == 90
    assert reply.header("x-quota-reset") == reply.header("retry-after")
    ends = clock.now() + timedelta(seconds=number(reply, "x-quota-reset"))
    assert abs(ends - datetime.fromisoformat(quota["resets_at"])) < timedelta(seconds=5)
    assert number(reply, "x-ratelimit-remaining-requests") == 999, "a refused request counts too"


def test_too_few_credits_come_back_with_the_plans_next_period(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("payer", plan="pro", caps={"credits": 5})
    started = who.account.plan_started_at

    reply = chat_once(site, who, kit.ask(supplied))

    assert (reply.status, reply.error["code"]) == (402, "insufficient_credits")
    assert names(reply) == TIMES | REQUESTS | QUOTA
    quota = reply.error["quota"]
    assert (quota["left"], quota["limit"]) == (5, "key")
    assert (reply.header("x-quota-bucket"), reply.header("x-quota-remaining")) == ("credits", "5")
    ends = datetime.fromisoformat(quota["resets_at"])
    assert timedelta(0) <= ends - (started + timedelta(days=30)) < timedelta(seconds=1)
    assert abs(clock.now() + timedelta(seconds=number(reply, "x-quota-reset")) - ends) < timedelta(
        seconds=5
    )


def test_one_request_too_many_shows_the_minute(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("quick", requests_per_minute=1)
    chat_once(site, who, kit.ask(supplied))

    reply = chat_once(site, who, kit.ask(supplied))

    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert names(reply) == TIMES | REQUESTS
    assert number(reply, "x-ratelimit-limit-requests") == 1
    assert number(reply, "x-ratelimit-remaining-requests") == 0


def test_one_call_too_many_shows_the_minute(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("busy", open_calls=0)

    reply = chat_once(site, who, kit.ask(supplied))

    assert (reply.status, reply.error["code"]) == (429, "concurrency")
    assert names(reply) == TIMES | REQUESTS
    assert number(reply, "x-ratelimit-remaining-requests") == 999


@pytest.mark.parametrize("answer", [error(500, "no"), error(400, "no")])
def test_a_call_that_failed_shows_what_is_left_and_how_often_it_was_tried(
    site: Site, up: FaultServer, alice: Person, answer: Any
) -> None:
    supplied = kit.supply(up)
    up.default = answer

    reply = chat_once(site, alice, kit.ask(supplied))

    assert reply.status in (400, 502)
    assert names(reply) == ALL
    assert reply.header("x-attempts") == "1"


def test_what_we_answer_alone_shows_its_time(site: Site, up: FaultServer, alice: Person) -> None:
    auth = [*alice.auth.items()]
    for target, status in (("/v1", 200), ("/v1/models", 200), ("/v1/models/none", 404),
                           ("/v1/nowhere", 404), ("/v1/embeddings", 405)):  # fmt: skip
        reply = once(site, "GET", target, auth)
        assert (reply.status, names(reply)) == (status, TIMES), target
        assert 0 <= number(reply, "openai-processing-ms") < 5_000
    supplied = kit.supply(up)
    for who, body in ((None, {}), (alice, b"{"), (alice, {}), (alice, kit.ask(supplied, n=-1))):
        reply = chat_once(site, who, body)
        assert reply.status in (400, 401)
        assert names(reply) == TIMES


def test_grants_are_left_too(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    daily(alice, 0)
    grant(alice.account, Bucket.TEXT_BASE, 500)

    reply = chat_once(site, alice, kit.ask(supplied))

    assert number(reply, "x-quota-remaining") == 500 - alice.closed()[0].amount
    assert number(reply, "x-ratelimit-limit-tokens") == 0


# ---- the words

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.once
def test_what_has_no_limit_is_not_mentioned() -> None:
    assert limits.quota_headers(None) == limits.quota_headers(Quota()) == {}
    endless = Quota(BucketLeft(Bucket.TEXT_BASE, None, None, 7), None)
    assert limits.quota_headers(endless) == {"x-quota-bucket": "text.base", "x-quota-reset": "7"}
    assert limits.pace_left((), {}, NOON) is None
    paced = limits.quota_headers(Quota(pace=PaceLeft(9, 0, 61)))
    assert paced == {
        "x-ratelimit-limit-requests": "9", "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m1s",
    }  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m0s"), (3_600, "1h0m0s"), (21_720, "6h2m0s")],
)
def test_a_duration_is_written_as_openai_writes_it(seconds: int, text: str) -> None:
    assert limits.reset_text(seconds) == text


@pytest.mark.once
def test_a_period_that_ends_within_a_second_is_told_to_the_second_never_too_early() -> None:
    ends = NOON + timedelta(days=3, microseconds=1)
    period = Row(1, 1, "user", "credits", "2026-11-01", 100, 0, 40, ends)
    promo = Row(2, 1, "user", "credits", None, 100, 0, 0, NOON + timedelta(days=9))
    left = limits.bucket_left(Bucket.CREDITS, Purse([period, promo], None), "2026-11-21", NOON)
    assert left == BucketLeft(Bucket.CREDITS, 100, 160, 3 * 86_400 + 1)
    promo_only = limits.bucket_left(Bucket.CREDITS, Purse([promo], None), "2026-11-21", NOON)
    assert promo_only.resets_in == 43_200
