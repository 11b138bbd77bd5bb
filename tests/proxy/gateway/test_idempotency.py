"""Asking twice with one `Idempotency-Key`: one call, one charge, one answer."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from accounts.keys.service import create_key
from quotas.models import Outcome
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.conftest import ODD
from tests.rawclient import CHAT, JSON_TYPE, Raw, Reply, chat_once, once
from tests.upstream import FaultServer, Gate, chat, chat_stream, error, json_reply, sse, sse_frame

KEY = "Idempotency-Key"


def marked(value: str | None = None) -> tuple[str, str]:
    return (KEY, value or kit.unique("again"))


def first_id(reply: Reply) -> str | None:
    return reply.header("x-original-request-id")


def refused(reply: Reply, code: str) -> None:
    assert (reply.status, reply.error["code"]) == (409, code), reply.body


def asked(up: FaultServer) -> int:
    """Calls a provider has heard of."""
    return sum(seen.method == "POST" for seen in up.seen)


def same(first: Reply, second: Reply) -> None:
    """The second is the first again, and says so."""
    assert (first.status, first.header("content-type"), first.body) == (
        second.status, second.header("content-type"), second.body,
    )  # fmt: skip
    assert first_id(first) is None
    assert first_id(second) == first.header("x-request-id")
    assert second.header("x-request-id") not in (None, first.header("x-request-id"))


@pytest.mark.parametrize("extra", [(), (ODD,)], ids=["lane", "asgi"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_gets_the_first_answer_and_is_charged_once(
    site: Site, up: FaultServer, alice: Person, stream: bool, extra: tuple[tuple[str, str], ...]
) -> None:
    supplied = kit.supply(up)
    up.script(chat_stream(["Hel", "lo"], prompt_tokens=5) if stream else chat("Hi"))
    again, body = marked(), kit.ask(supplied, stream=stream)

    first = chat_once(site, alice, body, again, *extra)
    replies = [chat_once(site, alice, body, again, *extra) for _ in range(3)]

    assert first.status == 200
    assert b"Hi" in first.body or first.body.endswith(b"data: [DONE]\n\n")
    for reply in replies:
        same(first, reply)
    assert asked(up) == 1
    (entry,) = alice.closed()
    assert entry.id == first.header("x-request-id")
    assert alice.used() == entry.amount > 0
    assert reply.header("x-ratelimit-limit-requests"), "it is a request like any other"
    assert kit.ledger_adds_up(alice)


def test_a_body_is_the_same_however_it_is_written_and_another_is_refused(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat("Hi")
    again, body = marked(), kit.ask(supplied, user="café")
    first = chat_once(site, alice, body, again)
    turned = json.dumps(dict(reversed(body.items())), indent=3, ensure_ascii=False).encode()

    same(first, chat_once(site, alice, turned, again))
    for other in ({**body, "max_tokens": 51}, {**body, "stream": True}, {**body, "seed": None}):
        reply = chat_once(site, alice, other, again)
        refused(reply, "idempotency_mismatch")
        assert reply.header("x-should-retry") == "false", "an SDK would ask again for ever"
        assert reply.error["request_id"] == first.header("x-request-id")
    assert len(alice.closed()) == 1


def test_another_value_key_account_or_route_is_another_call(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat("Hi")
    again, body = marked(), kit.ask(supplied)
    row, secret = create_key(alice.account, "second")
    second = Person(alice.account, row, secret)

    replies = [
        chat_once(site, alice, body, again),
        chat_once(site, alice, body, (KEY, again[1].upper())),
        chat_once(site, second, body, again),
        chat_once(site, bob, body, again),
    ]
    up.default = json_reply({"id": "x", "choices": [{"index": 0, "text": "a",
                                                     "finish_reason": "stop"}]})  # fmt: skip
    kind = [*alice.auth.items(), JSON_TYPE, again]
    typed = json.dumps({"model": supplied.model, "prompt": "Hi"}).encode()
    replies.append(once(site, "POST", "/v1/completions", kind, typed))

    assert [(reply.status, first_id(reply)) for reply in replies] == [(200, None)] * 5
    assert asked(up) == 5


def test_of_many_at_once_one_is_a_call_and_the_others_are_told_to_wait(
    site: Site, up: FaultServer, alice: Person
) -> None:
    """Two workers take them."""
    supplied, gate = kit.supply(up), Gate()
    up.default = chat("Hi").but(delay_headers=gate)
    again, body = marked(), kit.ask(supplied)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(chat_once, site, alice, body, again) for _ in range(8)]
        gate.wait_for(1)
        kit.eventually(lambda: sum(future.done() for future in futures) == 7)
        late = chat_once(site, alice, body, again)
        gate.open()
        replies = [future.result() for future in futures]

    told = [reply for reply in replies if reply.status != 200]
    assert len(told) == 7
    for reply in [*told, late]:
        refused(reply, "idempotency_running")
        assert reply.header("retry-after") == "1"
    assert chat_once(site, alice, body, again).status == 200
    assert asked(up) == 1
    assert len(alice.closed()) == 1
    assert kit.ledger_adds_up(alice)


def test_a_call_that_was_not_charged_is_as_if_it_had_never_been(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    again, body = marked(), kit.ask(supplied)
    up.script(error(400), chat("Hi"))

    assert chat_once(site, alice, body, again).status == 400
    assert not Outcome.objects.filter(account=alice.account).exists()
    assert chat_once(site, alice, {**body, "max_tokens": 9}, again).status == 200
    reply = chat_once(site, alice, {**body, "max_tokens": 9}, again)
    assert first_id(reply) == alice.entries()[1].pk
    assert kit.ledger_adds_up(alice)


def test_a_refused_request_uses_no_key_up(site: Site, up: FaultServer) -> None:
    """Too little is left for the first; the second asks for less."""
    who = kit.person("poor", caps={"text.base": 100})
    supplied, again = kit.supply(up), marked()
    up.default = chat("Hi", prompt_tokens=1, completion_tokens=1)
    assert chat_once(site, who, kit.ask(supplied, max_tokens=200), again).status == 429
    assert chat_once(site, who, kit.ask(supplied), again).status == 200


def test_who_was_cut_off_gets_the_answer_that_was_made_without_him(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied, gate = kit.supply(up), Gate()
    up.script(chat("Late").but(delay_headers=gate))
    again, body = marked(), kit.ask(supplied)
    with Raw(site) as raw:
        raw.chat(alice, body, again)
        gate.wait_for(1)
    gate.open()
    (entry,) = alice.closed()

    reply = kit.eventually(
        lambda: (r := chat_once(site, alice, body, again)).status == 200 and r, every=0.1
    )

    assert b"Late" in reply.body
    assert first_id(reply) == entry.pk
    assert asked(up) == 1


def test_a_stream_its_client_has_cut_has_no_whole_answer_and_is_not_paid_twice(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    said = sse_frame({"choices": [{"index": 0, "delta": {"content": "a" * 30}}]})
    up.script(sse(said, done=False).hang())
    again, body = marked(), kit.ask(supplied, stream=True)
    with Raw(site) as raw:
        raw.chat(alice, body, again)
        raw.head()
        assert b"aaa" in next(raw.chunks())
    assert alice.closed()[0].amount > 0
    kit.eventually(lambda: Outcome.objects.get(account=alice.account).state == "lost")

    reply = chat_once(site, alice, body, again)

    refused(reply, "idempotency_unknown")
    assert reply.header("x-should-retry") == "false"
    assert len(alice.entries()) == 1


def test_a_stream_the_provider_broke_off_is_given_again_as_it_was(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat_stream(["Hel", "lo"]).cut(body=700))
    again, body = marked(), kit.ask(supplied, stream=True)

    first = chat_once(site, alice, body, again)

    assert b'"upstream_truncated"' in first.body
    same(first, chat_once(site, alice, body, again))
    assert len(alice.closed()) == 1


def test_what_keeps_a_line_alive_is_no_part_of_the_answer(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat_stream(["Hel", "lo"]).but(delay_headers=1.3))
    again, body = marked(), kit.ask(supplied, stream=True)

    first = chat_once(site, alice, body, again)
    second = chat_once(site, alice, body, again)

    assert b": keep-alive" in first.body
    assert second.body == first.body.replace(b": keep-alive\n\n", b"")


def test_credits_are_told_as_they_were_charged(site: Site, up: FaultServer) -> None:
    payer = kit.person("payer", plan="pro")
    supplied = kit.supply(up, credits_per_1k_input=1_000, credits_per_1k_output=4_000)
    up.default = chat("Hi", prompt_tokens=100, completion_tokens=50)
    again, body = marked(), kit.ask(supplied)

    first, second = (chat_once(site, payer, body, again) for _ in range(2))

    same(first, second)
    assert json.loads(second.body)["yout"]["credits_charged"] == 300
    assert payer.used("credits") == 300


# ---- the header itself


@pytest.mark.parametrize(
    ("value", "fine"),
    [("a", True), ("~ !" + "x" * 252, True), ("", False), ("x" * 256, False), ("a\tb", False),
     (b"\xc3\xa9", False)],
)  # fmt: skip
def test_a_value_is_printable_and_not_too_long(
    site: Site, up: FaultServer, alice: Person, value: Any, fine: bool
) -> None:
    supplied = kit.supply(up)
    up.default = chat("Hi")

    reply = chat_once(site, alice, kit.ask(supplied), (KEY, value))

    assert reply.status == (200 if fine else 400), reply.body
    if not fine:
        assert (reply.error["code"], reply.error["param"]) == ("invalid_value", KEY)
    assert len(alice.entries()) == fine


def test_twice_is_refused_and_what_costs_nothing_needs_none(
    site: Site, up: FaultServer, alice: Person
) -> None:
    kit.supply(up)
    both = chat_once(site, alice, {}, marked("a"), marked("b"))
    assert both.status == 400
    assert "idempotency-key" in both.error["message"]
    free = once(site, "GET", "/v1/models", [*alice.auth.items(), (KEY, "x" * 300)])
    assert free.status == 200
    nobody = once(site, "POST", CHAT, [JSON_TYPE, (KEY, "")], b"{}")
    assert nobody.status == 401, "who asks comes first"


def test_the_database_holds_nothing_of_what_was_said(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat("a word of the answer")
    again, body = marked(), kit.ask(supplied, user="a word of the question")
    chat_once(site, alice, body, again)
    row = Outcome.objects.get(account=alice.account)
    kept = " ".join(str(value) for value in vars(row).values()) + bytes(row.sealed).decode()
    assert row.sealed
    for word in ("a word", again[1], alice.secret):
        assert word not in kept
