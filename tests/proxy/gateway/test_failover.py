"""Providers on bad days: which key is tried next, what the client hears, what the pool learns."""

import email.utils
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from bsod.lib import clock
from proxy.models import Model, Offer, ProviderKey, Rest
from proxy.pool import bump
from tests import kit
from tests.kit import Person, Site, Supply, eventually
from tests.rawclient import Reply, chat_once
from tests.upstream import (
    FaultServer,
    chat,
    chat_stream,
    error,
    garbage,
    gemini_error_array,
    json_reply,
    sse,
)

pytestmark = pytest.mark.once

BOTH = pytest.mark.parametrize("stream", [False, True])


def rests(supplied: Supply) -> list[Rest]:
    return list(Rest.objects.filter(provider=supplied.provider).order_by("id"))


def refused(reply: Reply, status: int, code: str) -> bool:
    assert (reply.status, reply.error["code"]) == (status, code), reply
    return True


def released(who: Person, attempts: int) -> bool:
    """All his calls cost nothing, and were tried so often."""
    calls = who.closed()
    assert {(e.state, e.amount, e.attempts) for e in calls} == {("released", 0, attempts)}
    assert who.used() == 0
    return kit.ledger_adds_up(who)


def second_home(supplied: Supply, up: FaultServer) -> Supply:
    """Another provider of the same model, elsewhere."""
    other = kit.supply(up)
    Offer.objects.filter(provider=other.provider).update(
        model=Model.objects.get(name=supplied.model), upstream_id=supplied.model
    )
    bump()
    return Supply(other.provider, supplied.model, other.keys, up)


@BOTH
@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408, 520])
def test_a_failing_provider_is_tried_on_three_keys_and_no_more(
    site: Site, up: FaultServer, alice: Person, status: int, stream: bool
) -> None:
    supplied = kit.supply(up, keys=4)
    up.default = error(status, "boom at 10.0.0.7 org-secret123")

    reply = chat_once(site, alice, kit.ask(supplied, stream=stream))

    assert refused(reply, 502, "upstream_error")
    assert reply.header("retry-after") == "1"
    assert reply.header("x-attempts") == "3"
    assert b"secret" not in reply.body + repr(reply.headers).encode()
    assert len({seen.key for seen in up.seen}) == up.count() == 3
    assert released(alice, 3)
    failures = ProviderKey.objects.filter(provider=supplied.provider)
    assert sorted(failures.values_list("failures", flat=True)) == [0, 1, 1, 1]
    assert rests(supplied) == []


BROKEN = {
    "reset": chat().cut(head=0),
    "orderly": chat().cut(head=0, how="fin"),
    "half a head": chat().cut(head=30),
    "cut body": chat().cut(body=20),
    "wrong length": chat().but(framing="wrong_length"),
    "no last chunk": chat().but(framing="chunked").cut(),
    "garbage": garbage(),
    "malformed": json_reply(b'{"choices": ['),
    "no object": json_reply([1]),
    "no choices": json_reply({"id": "x"}),
    "empty choices": json_reply({"choices": []}),
    "odd choices": json_reply({"choices": [None]}),
    "empty": json_reply(b""),
    "html": json_reply(b"<html>").but(headers=(("Content-Type", "text/html"),)),
    "error in a 200": json_reply({"error": {"message": "overloaded"}}),
    "nan": json_reply(b'{"choices":[{"x":NaN}]}'),
    "no content": json_reply(b"", 204),
}
BROKEN_STREAMS = {
    "reset": chat_stream().cut(head=0),
    "cut at once": chat_stream().cut(body=0),
    "empty": sse(done=False),
    "only done": sse(),
    "malformed": sse(b"data: {nope\n\n"),
    "no object": sse("[1]"),
    "error first": sse({"error": {"message": "overloaded"}}),
    "html": json_reply(b"<html></html>").but(headers=(("Content-Type", "text/html"),)),
    "odd choices": sse({"choices": [7]}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_makes_no_sense_is_tried_on_another_key(
    site: Site, up: FaultServer, alice: Person, bob: Person, name: str
) -> None:
    supplied, single = kit.supply(up, keys=2), kit.supply(up)
    up.script(BROKEN[name], chat("saved"))

    reply = chat_once(site, alice, kit.ask(supplied))

    assert json.loads(reply.body)["choices"][0]["message"]["content"] == "saved"
    assert reply.header("x-attempts") == "2"
    assert len({seen.key for seen in up.seen}) == 2
    entry = alice.closed()[0]
    assert (entry.state, entry.amount, entry.attempts) == ("settled", 12, 2)
    failed = ProviderKey.objects.filter(provider=supplied.provider, failures=1)
    assert failed.count() == 1
    up.default = BROKEN[name]
    lost = chat_once(site, bob, kit.ask(single))
    assert lost.status == 502
    assert lost.error["code"] in ("upstream_error", "upstream_truncated")
    assert released(bob, 1)


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_stream_that_fails_before_its_first_byte_is_tried_on_another_key(
    site: Site, up: FaultServer, alice: Person, bob: Person, name: str
) -> None:
    supplied, single = kit.supply(up, keys=2), kit.supply(up)
    up.script(BROKEN_STREAMS[name], chat_stream(["saved"]))

    reply = chat_once(site, alice, kit.ask(supplied, stream=True))

    assert b"saved" in reply.body
    assert reply.body.count(b"[DONE]") == 1
    assert b"error" not in reply.body
    assert alice.closed()[0].amount == 12
    up.default = BROKEN_STREAMS[name]
    lost = chat_once(site, bob, kit.ask(single, stream=True))
    assert lost.status == 502, "nothing was sent yet: a plain refusal"
    assert lost.error["code"] in ("upstream_error", "upstream_truncated")
    assert released(bob, 1)


@BOTH
def test_a_refused_connection_is_another_key_and_then_another_host_within_a_second(
    site: Site, up: FaultServer, alice: Person, bob: Person, stream: bool
) -> None:
    with FaultServer() as gone:
        supplied, alone = kit.supply(gone, keys=1), kit.supply(gone, keys=2)
        second_home(supplied, up)
        gone.stop()
        began = time.monotonic()
        reply = chat_once(site, alice, kit.ask(supplied, stream=stream))
        lost = chat_once(site, bob, kit.ask(alone, stream=stream))
        assert time.monotonic() - began < 2
        assert gone.connections == 0

    assert (reply.status, reply.header("x-attempts")) in ((200, "2"), (200, "1"), (200, None))
    assert up.count() == 1
    assert alice.closed()[0].state == "settled"
    assert refused(lost, 503, "upstream_unavailable")
    assert int(lost.header("retry-after") or 0) > 0
    assert released(bob, 2)
    assert set(
        ProviderKey.objects.filter(provider=alone.provider).values_list("failures", flat=True)
    ) == {0}, "no key is to blame"
    alone.provider.refresh_from_db()
    assert alone.provider.failures == 2


def test_a_name_or_a_trust_that_fails_is_the_same_as_a_refused_connection(
    launch: Any, alice: Person
) -> None:
    site = launch(1, CONNECT_TIMEOUT="1")
    with FaultServer() as plain:
        tls = plain.base_url.replace("http:", "https:")
        for base in ("http://no-such-host.invalid/v1", tls, "http://127.0.0.1:1/v1"):
            supplied = kit.supply(plain, base_url=base)
            reply = chat_once(site, alice, kit.ask(supplied))
            assert refused(reply, 503, "upstream_unavailable")
            assert supplied.key_row().failures == 0
        assert plain.count() == 0, "nothing is said to who cannot be trusted"
    assert released(alice, 1)


def test_five_refused_connections_rest_the_provider_and_none_is_tried_then(
    site: Site, alice: Person
) -> None:
    with FaultServer() as gone:
        supplied = kit.supply(gone)
        gone.stop()
        for _ in range(5):
            chat_once(site, alice, kit.ask(supplied))
        assert [(r.reason, r.key_id, r.until) for r in rests(supplied)] == [
            ("unreachable", None, None)
        ]
        gone.start()
        reply = chat_once(site, alice, kit.ask(supplied))
        assert refused(reply, 503, "upstream_unavailable")
        assert int(reply.header("retry-after") or 0) > 0
        assert gone.connections == 0
    assert alice.closed(6)[-1].attempts == 0


WAITS: dict[str, tuple[dict[str, Any], float]] = {
    "seconds": ({"retry_after": 20}, 20),
    "fraction": ({"retry_after": 2.5}, 2.5),
    "date": ({"retry_after": "date"}, 30),
    "milliseconds": ({"headers": [("retry-after-ms", "15000")]}, 15),
    "both": ({"retry_after": 100, "headers": [("retry-after-ms", "15000")]}, 15),
    "nothing": ({}, 5),
    "nonsense": ({"retry_after": "soon"}, 5),
    "negative": ({"retry_after": "-5"}, 5),
    "for ever": ({"retry_after": 10**9}, 600),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_rate_limit_rests_the_key_for_this_model_as_long_as_it_says(
    site: Site, up: FaultServer, alice: Person, name: str
) -> None:
    supplied = kit.supply(up)
    said, seconds = WAITS[name]
    if name == "date":
        until = clock.now() + timedelta(seconds=30)
        said = {"retry_after": email.utils.format_datetime(until, usegmt=True)}
    up.default = error(429, "slow down", **said)

    first, second = (chat_once(site, alice, kit.ask(supplied)) for _ in range(2))

    for reply in (first, second):
        assert refused(reply, 429, "upstream_rate_limited")
        assert reply.error["type"] == "upstream_error"
        assert seconds - 2 <= int(reply.header("retry-after") or 0) <= seconds + 1
        assert reply.header("x-should-retry") is None, "waiting may help here"
    assert up.count() == 1
    (rest,) = rests(supplied)
    assert (rest.reason, rest.model, rest.key_id) == (
        "rate_limit", supplied.model, supplied.key_row().pk,
    )  # fmt: skip
    assert rest.until is not None
    assert abs((rest.until - rest.created_at).total_seconds() - seconds) < 2
    assert {entry.state for entry in alice.closed(2)} == {"released"}


@BOTH
def test_of_several_limited_keys_the_soonest_decides_how_long_to_wait(
    site: Site, up: FaultServer, alice: Person, stream: bool
) -> None:
    supplied = kit.supply(up, keys=3)
    up.script(*(error(429, "slow down", retry_after=wait) for wait in (40, 8, 60)))

    first, second = (chat_once(site, alice, kit.ask(supplied, stream=stream)) for _ in range(2))

    assert up.count() == 3
    for reply in (first, second):
        assert refused(reply, 429, "upstream_rate_limited")
        assert 6 <= int(reply.header("retry-after") or 0) <= 8


def test_a_limited_key_is_passed_over_for_its_model_only(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    limited = supplied.keys[0]
    up.on(error(429, "slow down", retry_after=60), key=limited)

    statuses = [site.chat(alice, supplied).status_code for _ in range(6)]

    assert statuses == [200] * 6
    assert up.count(key=limited) <= 1
    assert [rest.reason for rest in rests(supplied)] in ([], ["rate_limit"])


REFUSALS = {
    "401": (error(401, "Incorrect API key provided: sk-secret123"), "auth"),
    "402": (error(402, "pay"), "billing"),
    "403": (error(403, "region"), "billing"),
    "no money": (error(429, "You exceeded your current quota", code="insufficient_quota",
                       type="insufficient_quota"), "billing"),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", REFUSALS)
def test_a_dead_key_is_disabled_at_once_and_the_next_one_answers(
    site: Site, up: FaultServer, alice: Person, bob: Person, name: str, stream: bool
) -> None:
    answer, reason = REFUSALS[name]
    supplied, single = kit.supply(up, keys=2), kit.supply(up)
    dead = supplied.keys[0]
    up.on(answer, key=dead)
    up.on(answer, key=single.keys[0])

    with ThreadPoolExecutor(1) as pool:
        asks = [pool.submit(chat_once, site, who, kit.ask(supplied, stream=stream))
                for who in (alice, bob, alice, bob)]  # fmt: skip
        assert [ask.result().status for ask in asks] == [200] * 4

    assert up.count(key=dead) == 1, "the first call that met it was its last"
    (rest,) = rests(supplied)
    assert (rest.reason, rest.until, rest.key_id) == (reason, None, supplied.key_row().pk)
    reply = chat_once(site, alice, kit.ask(single, stream=stream))
    assert refused(reply, 503, "upstream_unavailable")
    assert int(reply.header("retry-after") or 0) > 0
    assert b"secret" not in reply.body
    assert refused(chat_once(site, bob, kit.ask(single)), 503, "upstream_unavailable")
    assert up.count(key=single.keys[0]) == 1


@BOTH
@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 415, 422])
def test_a_refusal_of_the_request_itself_is_passed_on_without_what_names_the_account(
    site: Site, up: FaultServer, alice: Person, status: int, stream: bool
) -> None:
    supplied = kit.supply(up, keys=2)
    told = (
        f"Bad 'top_k' for {supplied.keys[0]} {supplied.keys[1]} sk-proj-abc123DEF456 in "
        "org-Abc123456, proj_XYZ99, see https://provider.example/x at api.provider.com"
    )
    up.default = error(status, told, param="top_k", code="bad_value",
                       headers=[("x-request-id", "req_leak1")])  # fmt: skip

    reply = chat_once(site, alice, kit.ask(supplied, stream=stream))

    assert refused(reply, status, "bad_value")
    assert reply.error["param"] == "top_k"
    assert reply.error["message"].startswith("Bad 'top_k' for ")
    text = reply.body.decode() + repr(reply.headers)
    leaks = (*supplied.keys, "sk-proj", "abc123", "org-Abc", "proj_XYZ", "provider.", "req_leak")
    assert [word for word in leaks if word in text] == []
    assert up.count() == 1, "another key would say the same"
    assert released(alice, 1)
    assert rests(supplied) == []
    assert supplied.key_row().failures == supplied.key_row(1).failures == 0


def test_a_refusal_without_words_or_in_another_shape_is_still_a_refusal(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for answer, part in (
        (json_reply(b"", 400), "refused"),
        (json_reply(b"<html>nope", 404), "refused"),
        (json_reply({"error": "plain words"}, 400), "plain words"),
        (json_reply({"error": {"message": 5, "code": 7, "param": []}}, 400), "refused"),
        (gemini_error_array(), "Unknown name"),
    ):
        up.script(answer)
        reply = chat_once(site, alice, kit.ask(supplied))
        assert reply.status in (400, 404)
        assert part in reply.error["message"]
        assert isinstance(reply.error["code"], str)
    assert supplied.key_row().failures == 0


def test_five_failures_in_a_row_rest_a_key_but_never_the_last_one(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    up.default = error(500, "boom")
    for _ in range(6):
        chat_once(site, alice, kit.ask(supplied))

    assert [rest.reason for rest in rests(supplied)] == ["failures"]
    assert chat_once(site, alice, kit.ask(supplied)).status == 502
    tried = Counter(seen.key for seen in up.seen)
    assert sorted(tried.values())[0] == 5
    up.default = chat("well again")
    assert chat_once(site, alice, kit.ask(supplied)).status == 200
    live = supplied.key_row(0 if rests(supplied)[0].key_id != supplied.key_row(0).pk else 1)
    assert eventually(lambda: ProviderKey.objects.get(pk=live.pk).failures == 0)
