"""Clients that leave, clients that read slowly, and providers that send too much."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site, eventually
from tests.rawclient import Raw, chat_once, peak_memory
from tests.upstream import (
    FaultServer,
    Gate,
    Pause,
    Reply,
    chat,
    chat_stream,
    endless_line,
    error,
    giant_json,
    gzip_bomb,
    hang,
    json_reply,
    sse,
    sse_frame,
)

pytestmark = pytest.mark.once

MB = 1_000_000


def words(*texts: str) -> list[bytes]:
    return [
        sse_frame({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        for text in texts
    ]


@pytest.mark.parametrize("reset", [False, True])
def test_leaving_a_stream_stops_the_provider_and_pays_prompt_and_what_was_delivered(
    site: Site, up: FaultServer, alice: Person, reset: bool
) -> None:
    supplied = kit.supply(up)
    up.script(sse(*words("a" * 30, "b" * 30), done=False).hang())
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True, max_tokens=5_000))
        raw.head()
        chunks = raw.chunks()
        assert b"a" * 30 in next(chunks)
        raw.leave(reset=reset)
        left = time.monotonic()

    seen = up.wait_for(1, 3, where=lambda seen: seen.client_gone_at)[0]

    assert (seen.client_gone_at or 0) - left < 2
    entry = alice.closed()[0]
    assert (entry.state, entry.end_reason, entry.usage_source) == (
        "settled", "client_gone", "estimated",
    )  # fmt: skip
    assert (entry.completion_tokens or 0) in range(10, 30)
    assert 10 < entry.amount < 60
    assert kit.ledger_adds_up(alice)


def test_leaving_before_anything_was_produced_costs_nothing(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for answer in (hang(), sse(*words(""), done=False).hang(), sse(done=False).hang()):
        up.script(answer)
        before = up.count()
        with Raw(site) as raw:
            raw.chat(alice, kit.ask(supplied, stream=True))
            up.wait_for(before + 1)
            time.sleep(0.1)
        left = time.monotonic()
        gone = up.wait_for(before + 1, 3, where=lambda seen: seen.client_gone_at)[-1]
        assert (gone.client_gone_at or 0) - left < 2

    calls = alice.closed(3)
    assert {(e.state, e.end_reason, e.amount) for e in calls} == {("released", "client_gone", 0)}
    assert alice.used() == 0
    assert supplied.key_row().failures == 0, "no key is to blame for a client that left"


def test_usage_that_was_seen_before_leaving_is_what_is_paid(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    usage = sse_frame({"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 7}})
    up.script(sse(*words("x"), usage, *words("y"), done=False).hang())
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        raw.head()
        seen = b""
        for piece in raw.chunks():
            seen += piece
            if b'"y"' in seen:
                break

    entry = alice.closed()[0]
    assert (entry.amount, entry.usage_source, entry.end_reason) == (77, "upstream", "client_gone")


@pytest.mark.parametrize("after", [0.05, 1.4])
def test_a_call_that_is_not_streamed_is_finished_without_its_client(
    site: Site, up: FaultServer, alice: Person, after: float
) -> None:
    supplied = kit.supply(up)
    gate = Gate()
    up.script(chat(prompt_tokens=20, completion_tokens=5).but(delay_headers=gate))
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied))
        gate.wait_for(1)
        time.sleep(after)
    time.sleep(0.4)
    assert up.seen[0].client_gone_at is None
    assert alice.entries()[0].state == "open"
    gate.open()

    entry = alice.closed()[0]
    assert (entry.state, entry.amount, entry.usage_source) == ("settled", 25, "upstream")
    assert entry.end_reason == "completed"
    assert up.seen[0].finished
    assert kit.ledger_adds_up(alice)


def test_beyond_a_hundred_such_calls_the_next_is_cancelled_and_pays_its_prompt(
    launch: Any, up: FaultServer
) -> None:
    site, supplied = launch(1, CALL_SILENCE="30"), kit.supply(up)
    crowd = kit.person("crowd", unlimited=True)
    gate = Gate()
    up.default = chat(prompt_tokens=20, completion_tokens=5).but(delay_headers=gate)
    clients = [Raw(site) for _ in range(104)]
    for raw in clients:
        raw.chat(crowd, kit.ask(supplied))
    gate.wait_for(104, 15)
    time.sleep(1.2)
    for raw in clients:
        raw.leave()

    cancelled = up.wait_for(4, 5, where=lambda seen: seen.client_gone_at)
    gate.open()

    assert len(cancelled) == 4
    calls = crowd.closed(104, 15)
    gone = [entry for entry in calls if entry.end_reason == "client_gone"]
    assert len(gone) == 4
    assert {(e.state, e.usage_source, e.completion_tokens) for e in gone} == {
        ("settled", "estimated", 0)
    }
    assert all(0 < entry.amount < entry.estimate for entry in gone)
    assert sum(entry.amount == 25 for entry in calls) == 100
    assert kit.ledger_adds_up(crowd)


def test_leaving_before_the_body_is_sent_leaves_no_trace(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for length in ("50", "70000"):
        with Raw(site) as raw:
            raw.ask("POST", "/v1/chat/completions",
                    [*alice.auth.items(), ("Content-Length", length)])  # fmt: skip
            raw.send(b'{"model":')
            time.sleep(0.1)
            raw.leave(reset=True)
    assert site.chat(alice, supplied).status_code == 200
    assert (up.count(), len(alice.entries())) == (1, 1)


def test_a_slow_reader_pauses_the_provider_and_is_noticed_when_it_leaves(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site, supplied = launch(1), kit.supply(up)
    assert site.chat(alice, supplied).status_code == 200
    (worker,) = site.workers()
    before = peak_memory(worker)
    block = words("z" * 100_000)[0]
    up.script(Reply(200, (("Content-Type", "text/event-stream"),),
                    lambda _: (block for _ in range(2_000)), "chunked"))  # fmt: skip
    with Raw(site, receive_buffer=4_096) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        raw.head()
        chunks = raw.chunks()
        assert b"z" in next(chunks)
        stalled = eventually(lambda: _stalls(up), 8, 0.3)
        assert stalled, "the provider is not read on"
        assert up.seen[1].sent_bytes < 30 * MB
        time.sleep(3.2)  # longer than STREAM_SILENCE: that silence is ours, not the provider's
        assert up.seen[1].client_gone_at is None
        for _ in range(20):
            assert b"z" in next(chunks)
        assert peak_memory(worker) - before < 40 * MB
        raw.leave(reset=True)

    up.wait_for(1, 3, where=lambda seen: seen.client_gone_at)
    entry = alice.closed(2)[1]
    assert (entry.end_reason, entry.usage_source) == ("client_gone", "estimated")
    assert 2 * 33_000 < (entry.completion_tokens or 0) < 10_000_000


def _stalls(up: FaultServer) -> bool:
    sent = up.seen[1].sent_bytes
    time.sleep(0.3)
    return sent > 100_000 and up.seen[1].sent_bytes == sent


def test_what_a_provider_sends_too_much_of_is_refused_and_costs_nothing(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site = launch(1)
    supplied = kit.supply(up)
    assert site.chat(alice, supplied).status_code == 200
    (worker,) = site.workers()
    before = peak_memory(worker)
    cases: list[tuple[Reply, bool, tuple[int, str]]] = [
        (gzip_bomb(), False, (502, "upstream_error")),
        (gzip_bomb(), True, (502, "upstream_error")),
        (giant_json(), False, (502, "upstream_too_large")),
        (giant_json(framing="chunked"), False, (502, "upstream_too_large")),
        (giant_json(), True, (502, "upstream_too_large")),
        (endless_line(), True, (502, "upstream_too_large")),
        (endless_line(start=b": "), True, (502, "upstream_too_large")),
        (error(400).but(body=lambda _: (b"x" * MB for _ in range(500)), length=500 * MB),
         False, (400, "upstream_refused")),
    ]  # fmt: skip
    for answer, stream, expected in cases:
        up.script(answer)
        began = time.monotonic()
        reply = chat_once(site, alice, kit.ask(supplied, stream=stream))
        assert (reply.status, reply.error["code"]) == expected
        assert time.monotonic() - began < 10
    assert peak_memory(worker) - before < 3 * 64 * MB
    calls = alice.closed(1 + len(cases))[1:]
    assert {(entry.state, entry.amount) for entry in calls} == {("released", 0)}
    assert sum(seen.sent_bytes for seen in up.seen) < 500 * MB, "not taken to the end"
    assert kit.ledger_adds_up(alice)


def test_an_endless_event_in_the_middle_ends_the_stream_and_what_came_is_charged(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    endless = endless_line()

    def body(seen: Any) -> Any:
        yield words("before")[0]
        yield from endless.pieces(seen)

    up.script(endless.but(body=body))
    reply = chat_once(site, alice, kit.ask(supplied, stream=True))

    assert reply.status == 200
    last = json.loads(reply.body.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert last["error"]["code"] == "upstream_too_large"
    entry = alice.closed()[0]
    assert (entry.state, entry.end_reason) == ("settled", "upstream_error")
    assert 0 < entry.amount < entry.estimate


def test_a_call_that_is_not_streamed_times_out_once(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    """Silence before the headers, and in the body; a stream that is silent gets another key."""
    whole, streamed = kit.supply(up, keys=3), kit.supply(up, keys=2)
    up.on(hang(), key=streamed.keys[0])
    up.on(chat_stream(), key=streamed.keys[1])
    up.on([hang(), json_reply(b'{"choices": ').hang(body=5)], key=whole.keys[0])
    up.default = hang()
    with ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(chat_once, site, alice, kit.ask(whole)) for _ in range(2))
        third = pool.submit(chat_once, site, bob, kit.ask(streamed, stream=True))
        replies = [first.result(), second.result(), third.result()]

    for reply in replies[:2]:
        assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    for entry in alice.closed(2):
        assert (entry.state, entry.end_reason, entry.attempts) == ("released", "timeout", 1)
    assert replies[2].status == 200
    assert b"[DONE]" in replies[2].body
    assert bob.closed()[0].state == "settled"
    assert all(seen.client_gone_at for seen in up.seen if seen.key != streamed.keys[1])


def test_a_stream_has_a_longest_time_however_lively_it_is(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site, supplied = launch(1, STREAM_LONGEST="1.5"), kit.supply(up)
    lively: list[Any] = []
    for frame in words(*["tick "] * 100):
        lively += [frame, Pause(0.05)]
    up.script(sse(*lively))

    reply = chat_once(site, alice, kit.ask(supplied, stream=True))

    assert b"upstream_timeout" in reply.body
    assert b"[DONE]" not in reply.body
    entry = alice.closed()[0]
    assert (entry.end_reason, entry.state, entry.attempts) == ("timeout", "settled", 1)
    up.wait_for(1, 2, where=lambda seen: seen.client_gone_at)
