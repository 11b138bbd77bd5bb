"""`GET /v1/generations/{request_id}`: one call, to whose account it is, and no word of content."""

import json
from datetime import timedelta
from typing import Any

import pytest

from accounts.keys.service import create_key
from bsod.lib import clock, ids
from bsod.lib.terms import Bucket
from quotas.meter import grant
from quotas.models import Entry
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.test_quota import daily
from tests.rawclient import Raw, Reply, chat_once, once
from tests.upstream import FaultServer, Gate, chat, chat_stream, error


def look(site: Site, who: Person | None, id_: str | None) -> Reply:
    return once(site, "GET", f"/v1/generations/{id_}", [*(who.auth.items() if who else ())])


def found(site: Site, who: Person, id_: str | None) -> Any:
    reply = look(site, who, id_)
    assert reply.status == 200, reply
    return json.loads(reply.body)


def test_a_call_is_shown_as_its_entry_has_it(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    tier = {"service_tier": "priority"}
    up.default = chat("the-answer", prompt_tokens=30, completion_tokens=12, extra=tier)
    asked = [{"role": "user", "content": "the-question"}]
    reply = chat_once(site, alice, kit.ask(supplied, messages=asked, priority="fast"))
    entry = alice.closed()[0]

    shown = found(site, alice, reply.header("x-request-id"))

    assert shown == {
        "object": "generation", "id": entry.id, "created": clock.unix(entry.created_at),
        "model": supplied.model, "route": "/v1/chat/completions",
        "api_key": {"id": alice.key.pk, "name": "alice"}, "state": "settled", "day": entry.day,
        "tokens": {"prompt": 30, "completion": 12, "cached": 0}, "usage_source": "upstream",
        "end_reason": "completed",
        "price": {"input": 1, "output": 1, "per": 1, "minimum": 0, "fast": True},
        "bucket": "text.base", "estimate": entry.estimate, "amount": 105, "shortfall": 0,
        "split": [{"balance": "daily", "amount": 105, "expires_at": None}],
        "provider": "compatible", "attempts": 1, "status": 200, "latency_ms": entry.latency_ms,
        "first_byte_ms": entry.first_byte_ms,
    }  # fmt: skip
    text = json.dumps(shown)
    for word in ("the-answer", "the-question", "127.0.0.1", str(up.port), supplied.provider.slug,
                 supplied.keys[0], alice.account.username):  # fmt: skip
        assert word not in text
    other = Person(alice.account, *create_key(alice.account, "second"))
    assert found(site, other, entry.id) == shown


def test_a_call_that_is_open_is_shown_with_what_is_held_for_it(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied, gate = kit.supply(up), Gate()
    up.script(chat_stream().but(delay_headers=gate))
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        gate.wait_for(1)
        (entry,) = alice.entries()
        shown = found(site, alice, entry.id)
        gate.open()
        raw.reply()

    assert (shown["state"], shown["amount"]) == ("open", 0)
    assert shown["tokens"] == {"prompt": None, "completion": None, "cached": None}
    assert shown["split"] == [
        {"balance": "daily", "amount": shown["estimate"], "expires_at": None}
    ]  # fmt: skip
    assert shown["estimate"] == entry.estimate > 50
    assert [shown[name] for name in ("end_reason", "status", "provider", "latency_ms")] == [
        None
    ] * 4
    alice.closed()
    assert found(site, alice, entry.id)["state"] == "settled"


def test_the_split_names_each_balance_and_what_it_gave(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("split", caps={"text.base": 5_000})
    daily(who, 20)
    ends = clock.now().replace(microsecond=0) + timedelta(hours=1)
    grant(who.account, Bucket.TEXT_BASE, 1_000)
    grant(who.account, Bucket.TEXT_BASE, 30, expires_at=ends)
    up.default = chat(prompt_tokens=40, completion_tokens=50)

    shown = found(site, who, chat_once(site, who, kit.ask(supplied)).header("x-request-id"))

    until = ends.isoformat().replace("+00:00", "Z")
    assert [(leg["balance"], leg["amount"], leg["expires_at"]) for leg in shown["split"]] == [
        ("daily", 20, None), ("promo", 30, until), ("promo", 40, None), ("key", 90, None),
    ]  # fmt: skip
    assert shown["amount"] == 90


@pytest.mark.parametrize(
    ("person", "balance"), [({"plan": "pro"}, "period"), ({"unlimited": True}, "unlimited")]
)
def test_credits_and_keys_without_limits_have_balances_of_their_own(
    site: Site, up: FaultServer, person: dict[str, Any], balance: str
) -> None:
    supplied, who = kit.supply(up), kit.person("other", **person)

    shown = found(site, who, chat_once(site, who, kit.ask(supplied)).header("x-request-id"))

    (leg,) = shown["split"]
    assert (leg["balance"], leg["amount"]) == (balance, shown["amount"])
    assert (leg["expires_at"] is None) is (balance == "unlimited")


def test_a_call_that_failed_is_shown_with_its_attempts(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    up.default = error(500, "no")
    reply = chat_once(site, alice, kit.ask(supplied))

    shown = found(site, alice, reply.header("x-request-id"))

    assert (shown["state"], shown["amount"], shown["split"]) == ("released", 0, [])
    assert (shown["attempts"], shown["status"]) == (2, reply.status)
    assert (shown["end_reason"], shown["usage_source"]) == ("upstream_error", None)


def test_what_is_not_ones_own_call_is_not_there(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied = kit.supply(up)
    hers = chat_once(site, alice, kit.ask(supplied)).header("x-request-id")
    refused = chat_once(site, bob, kit.ask(supplied, max_tokens=-1)).header("x-request-id")
    grant(bob.account, Bucket.IMAGE, 5)
    granted = Entry.objects.get(account=bob.account, kind="grant").pk
    listed = once(site, "GET", "/v1/models", [*bob.auth.items()]).header("x-request-id")

    answers = [look(site, bob, id_) for id_ in (hers, refused, granted, listed, ids.ulid())]

    assert {(reply.status, reply.error["code"], reply.error["param"]) for reply in answers} == {
        (404, "not_found", "request_id")
    }
    assert look(site, None, hers).status == 401


@pytest.mark.once
def test_an_id_that_is_no_ulid_has_no_route(site: Site, alice: Person) -> None:
    good = ids.ulid()
    for bad in (good.lower(), good[:-1], good + "0", "8" + good[1:], "U" * 26, "x1", "%30" * 26,
                good[:-1] + "-", ".." + good[2:]):  # fmt: skip
        reply = look(site, alice, bad)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "not_found", None)
    reply = once(site, "POST", f"/v1/generations/{good}", [*alice.auth.items()])
    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD, OPTIONS")
    assert once(site, "GET", "/v1/generations", [*alice.auth.items()]).status == 404
