"""How a stream may end: whole, with exactly one `[DONE]`, or broken off and told so."""

import json
import threading
import time
from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.streams import DONE, chunk, held, texts
from tests.rawclient import Raw, chat_once, events
from tests.upstream import FaultServer, Gate, Pause, Reply, sse_frame, usage_of

pytestmark = pytest.mark.once

COMPLETE = {
    "done": [sse_frame(chunk("hi", "stop")), DONE],
    "no done": [sse_frame(chunk("hi", "stop"))],
    "finish in a chunk of its own": [sse_frame(chunk("hi")), sse_frame(chunk(finish="length"))],
    "done alone": [sse_frame(chunk("hi")), DONE],
    "done twice": [sse_frame(chunk("hi", "stop")), DONE, DONE],
    "words behind the end": [sse_frame(chunk("hi", "stop")), DONE, sse_frame(chunk("evil"))],
    "carriage returns": [sse_frame(chunk("hi", "stop")).replace(b"\n", b"\r\n"),
                         b"data: [DONE]\r\n\r\n"],
    "no space": [sse_frame(chunk("hi", "stop")).replace(b"data: ", b"data:"), b"data:[DONE]\n\n"],
    "comments and fields": [b": ping\n\n", b"event: x\nid: 7\nretry: 9\n"
                            + sse_frame(chunk("hi", "stop")), b"\n\n\n", DONE],
    "one bad line": [sse_frame(chunk("hi")), b"data: {broken\n\n", sse_frame(chunk(finish="stop")),
                     DONE],
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_stream_ends_with_exactly_one_done(talk: Any, alice: Person, name: str) -> None:
    status, body = talk(held(COMPLETE[name]))

    assert status == 200
    assert texts(body) == "hi"
    assert body.count(b"[DONE]") == 1
    assert body.endswith(DONE)
    assert b"error" not in body
    entry = alice.closed()[0]
    assert (entry.state, entry.end_reason, entry.usage_source) == (
        "settled", "completed", "estimated",
    )  # fmt: skip


FRAMES = [sse_frame(chunk("one ")), sse_frame(chunk("two "))]
TRUNCATED: dict[str, tuple[Reply, str]] = {
    "clean end without a finish": (held([*FRAMES]), "upstream_truncated"),
    "cut": (held([*FRAMES, b"data: {"]).cut(), "upstream_truncated"),
    "orderly cut": (held([*FRAMES]).cut(how="fin"), "upstream_truncated"),
    "finish, then a cut": (held([*FRAMES, sse_frame(chunk(finish="stop"))]).cut(),
                           "upstream_truncated"),
    "one choice of two": (held([*FRAMES, sse_frame(chunk(finish="stop"))]), "upstream_truncated"),
    "error event": (held([*FRAMES, Pause(0.05), sse_frame({"error": {"message": "secret org-1"}})]),
                    "upstream_error"),
    "three bad lines": (held([*FRAMES, Pause(0.05), *[b"data: {bad\n\n"] * 3,
                              sse_frame(chunk("never", "stop")), DONE]), "upstream_error"),
    "garbage chunk size": (Reply(200, (("Content-Type", "text/event-stream"),
                                       ("Transfer-Encoding", "chunked")),
                                 [b"%x\r\n%s\r\n" % (len(f), f) for f in FRAMES]
                                 + [Pause(0.05), b"zz\r\n"], framing="close"),
                           "upstream_truncated"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_stream_that_breaks_off_ends_in_a_nested_error_and_pays_for_what_came(
    talk: Any, alice: Person, name: str
) -> None:
    answer, code = TRUNCATED[name]

    status, body = talk(answer, n=2 if name == "one choice of two" else 1)

    found = events(body)
    assert status == 200
    fault = json.loads(found[-1])
    assert list(fault) == ["error"]
    assert fault["error"]["code"] == code
    assert {"message", "type", "param"} <= set(fault["error"])
    assert b"[DONE]" not in body
    assert b"org-1" not in body
    assert texts(body.removesuffix(b"data: " + found[-1] + b"\n\n")) == "one two "
    entry = alice.closed()[0]
    assert (entry.state, entry.end_reason, entry.usage_source) == (
        "settled", "upstream_error", "estimated",
    )  # fmt: skip
    assert 0 < (entry.completion_tokens or 0) <= 6
    assert entry.amount == (entry.prompt_tokens or 0) + (entry.completion_tokens or 0)
    assert entry.amount < entry.estimate
    assert kit.ledger_adds_up(alice)


def test_usage_that_was_seen_counts_even_when_the_stream_breaks_off_behind_it(
    talk: Any, alice: Person
) -> None:
    _, body = talk(held([*FRAMES, sse_frame(chunk("x", usage=usage_of(40, 5)))]).cut())

    assert b"upstream_truncated" in body
    entry = alice.closed()[0]
    assert (entry.amount, entry.usage_source) == (45, "upstream")


def test_hanging_in_the_middle_is_a_timeout_charged_for_what_came(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    """A silence of STREAM_SILENCE; events in between would have begun it anew."""
    supplied, results = kit.supply(up, keys=2), {}
    silent = held([*FRAMES]).hang()
    lively = held([FRAMES[0], Pause(2), FRAMES[1], Pause(2), sse_frame(chunk(finish="stop")), DONE])
    up.script(silent, lively)

    def run(who: Person) -> None:
        results[who.account.pk] = chat_once(site, who, kit.ask(supplied, stream=True))

    first = threading.Thread(target=run, args=(alice,))
    first.start()
    up.wait_for(1)
    run(bob)
    first.join()

    body = results[alice.account.pk].body
    assert json.loads(events(body)[-1])["error"]["code"] == "upstream_timeout"
    assert body.count(b": keep-alive") == 2
    assert b"[DONE]" not in body
    entry = alice.closed()[0]
    assert (entry.end_reason, entry.state, entry.attempts) == ("timeout", "settled", 1)
    assert 0 < entry.amount < entry.estimate
    assert results[bob.account.pk].body.endswith(DONE)
    assert up.count() == 2, "after the first byte there is no other try"
    up.wait_for(1, where=lambda seen: seen.client_gone_at)


def test_done_is_the_end_even_when_the_provider_forgets_to_close(
    talk: Any, alice: Person, up: FaultServer
) -> None:
    began = time.monotonic()
    status, body = talk(held([*FRAMES, sse_frame(chunk(finish="stop")), DONE]).hang())

    assert (status, texts(body)) == (200, "one two ")
    assert body.endswith(DONE)
    assert alice.closed()[0].end_reason == "completed"
    assert time.monotonic() - began < 2.5


def test_a_stream_whose_close_waits_for_the_ledger_is_kept_alive(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site, supplied, gate = (
        launch(1, KEEPALIVE_EVERY="0.3", CLOSE_PATIENCE="15"),
        kit.supply(up),
        Gate(),
    )
    up.script(held([sse_frame(chunk("hi", "stop")), gate, DONE]))
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        raw.head()
        chunks = raw.chunks()
        while b"hi" not in next(chunks):
            pass
        with kit.ledger_held(alice) as let_go:
            gate.open()
            told = [next(chunks) for _ in range(3)]
            let_go.set()
        assert told == [b": keep-alive\n\n"] * 3
        assert b"".join(chunks).replace(told[0], b"") == DONE
    assert alice.closed()[0].end_reason == "completed"
