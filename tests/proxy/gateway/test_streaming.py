"""Streams: what goes on at once, what waits for the close, what is asked and what is shown."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.streams import DONE, chunk, held, texts
from tests.rawclient import Raw, chat_once, events
from tests.upstream import (
    FaultServer,
    Gate,
    Pause,
    Reply,
    Seen,
    chat,
    chat_stream,
    error,
    sse_frame,
    usage_of,
)

pytestmark = pytest.mark.once

FRAMES = [sse_frame(chunk("one ")), sse_frame(chunk("two "))]


def test_every_event_goes_on_before_the_next_one_has_come(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    gates = [Gate() for _ in range(3)]
    frames = [sse_frame(chunk(word)) for word in ("one", "two", "three")]
    up.script(held([frames[0], gates[0], frames[1], gates[1], frames[2], gates[2],
                    sse_frame(chunk(finish="stop")), DONE]))  # fmt: skip
    with Raw(site, timeout=3) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        head = raw.head()
        assert head.header("content-type") == "text/event-stream; charset=utf-8"
        assert head.header("cache-control") == "no-cache"
        assert head.header("x-accel-buffering") == "no"
        chunks = raw.chunks()
        for frame, gate in zip(frames, gates, strict=True):
            assert next(chunks) == frame
            gate.open()
        assert b"".join(chunks).endswith(DONE)


def test_the_last_word_waits_until_the_entry_is_closed(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    gate = Gate()
    up.script(held([sse_frame(chunk("x", "stop")), DONE, gate]))
    with Raw(site, timeout=3) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        raw.head()
        chunks = raw.chunks()
        assert b"x" in next(chunks)
        assert [entry.state for entry in alice.entries()] == ["open"]
        gate.open()
        assert next(chunks) == DONE
        assert [entry.state for entry in alice.entries()] == ["settled"], "not a moment earlier"


@pytest.mark.parametrize("at", ["extra", "last", "every"])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None},
                                     {"include_obfuscation": False}])  # fmt: skip
def test_usage_is_always_asked_for_and_dropped_when_the_client_did_not(
    talk: Any, up: FaultServer, alice: Person, options: Any, at: Any
) -> None:
    status, body = talk(chat_stream(usage_at=at, usage="always"), stream_options=options)

    assert status == 200
    assert b"usage" not in body
    assert texts(body) == "Hello"
    assert body.count(DONE) == 1
    sent = up.seen[0].json["stream_options"]
    assert sent == {**(options or {}), "include_usage": True}
    entry = alice.closed()[0]
    assert (entry.amount, entry.usage_source) == (12, "upstream")


@pytest.mark.parametrize("usage", ["asked", "never", "zero"])
def test_a_client_that_asked_gets_one_usage_chunk_right_before_the_end(
    talk: Any, alice: Person, usage: Any
) -> None:
    _, body = talk(chat_stream(usage=usage), stream_options={"include_usage": True})

    found = events(body)
    assert found[-1] == b"[DONE]"
    last = json.loads(found[-2])
    assert last["choices"] == []
    assert last["object"] == "chat.completion.chunk"
    counted = last["usage"]
    assert counted["total_tokens"] == counted["prompt_tokens"] + counted["completion_tokens"]
    assert sum(bool(json.loads(event).get("usage")) for event in found[:-1]) == 1
    entry = alice.closed()[0]
    shown = counted["prompt_tokens"], counted["completion_tokens"]
    assert shown == (entry.prompt_tokens, entry.completion_tokens)
    assert entry.usage_source == ("estimated" if usage == "never" else "upstream")


def test_a_provider_that_refuses_stream_options_is_asked_once_more_and_remembered(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site, supplied = launch(1), kit.supply(up)

    def strict(seen: Seen) -> Reply:
        if "stream_options" in seen.json:
            return error(400, "Unknown parameter: 'stream_options'.", param="stream_options")
        return chat_stream(["four", "teen"], usage="never")

    up.default = strict
    for wanted in (False, True):
        options = {"include_usage": True} if wanted else None
        reply = chat_once(site, alice, kit.ask(supplied, stream=True, stream_options=options))
        assert texts(reply.body) == "fourteen"
        assert (b"usage" in reply.body) is wanted

    assert ["stream_options" in seen.json for seen in up.seen] == [True, False, False]
    for entry in alice.closed(2):
        assert (entry.state, entry.usage_source, entry.attempts) == ("settled", "estimated", 1)
        assert entry.amount == (entry.prompt_tokens or 0) + (entry.completion_tokens or 0)
        assert 0 < entry.amount < 30
    assert supplied.key_row().failures == 0


def test_silence_is_filled_with_comments_before_and_between_events(
    talk: Any, alice: Person
) -> None:
    first, last = sse_frame(chunk("late")), sse_frame(chunk("later", "stop"))

    began = time.monotonic()
    status, body = talk(held([Pause(1.6), first, Pause(2.6), last, DONE]))

    assert status == 200
    before, _, after = body.partition(first)
    between = after.partition(last)[0]
    assert before == b": keep-alive\n\n"
    assert between == b": keep-alive\n\n" * 2
    assert time.monotonic() - began > 4
    assert texts(body) == "latelater"
    entry = alice.closed()[0]
    assert (entry.end_reason, entry.state) == ("completed", "settled")
    assert 1_500 < (entry.first_byte_ms or 0) < 4_000, "a comment is no first byte"


def test_failover_goes_on_after_a_comment_and_a_last_failure_is_an_event_in_the_200(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    two, one = kit.supply(up, keys=2), kit.supply(up)
    slow_fault = error(500, "no").but(delay_headers=1.5)
    results: dict[str, Any] = {}

    def run(name: str, who: Person, supplied: kit.Supply) -> None:
        results[name] = chat_once(site, who, kit.ask(supplied, stream=True))

    up.on([slow_fault, chat_stream()], key=two.keys[0])
    up.on([slow_fault, chat_stream()], key=two.keys[1])
    up.on(slow_fault, key=one.keys[0])
    # Whichever key is tried first fails; the second try of the other one would fail as well.
    up.on([chat_stream().but(delay_headers=0.1)], key=two.keys[1])
    threads = [threading.Thread(target=run, args=args)
               for args in (("saved", alice, two), ("lost", bob, one))]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lost = results["lost"]
    assert lost.status == 200
    assert lost.header("content-type") == "text/event-stream; charset=utf-8"
    assert lost.body.startswith(b": keep-alive\n\n")
    assert lost.body.count(b"data:") == 1
    assert json.loads(events(lost.body)[0])["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in lost.body
    assert bob.closed()[0].state == "released"
    saved = results["saved"]
    assert (saved.status, texts(saved.body), saved.body.count(DONE)) == (200, "Hello", 1)
    assert alice.closed()[0].amount == 12


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_marks_split_over_reads_are_still_marks(talk: Any, alice: Person, size: int) -> None:
    tail = chunk(usage=usage_of(40, 5)) | {"choices": []}
    whole = b"".join(
        [*FRAMES, sse_frame(chunk("т\u00a0😀", usage=None)), sse_frame(chunk(finish="stop")),
         sse_frame(tail), DONE]
    )  # fmt: skip
    pause: list[Any] = []
    for part in pieces(whole, size):
        pause += [part, Pause(0.0005)]

    _, body = talk(held(pause))

    assert texts(body) == "one two т\u00a0😀"
    assert b"usage" not in body
    assert body.count(DONE) == 1
    assert alice.closed()[0].amount == 45


def test_a_chunk_of_sixteen_megabytes_passes_whole(talk: Any, alice: Person) -> None:
    status, body = talk(chat_stream(big_chunk=16_000_000))

    assert status == 200
    assert len(texts(body)) == 16_000_005
    assert body.endswith(DONE)
    assert alice.closed()[0].amount == 12


def test_a_whole_answer_to_a_stream_is_streamed(talk: Any, alice: Person) -> None:
    """Some providers know no streams; a client that reads events must still get events."""
    for options in (None, {"include_usage": True}):
        status, body = talk(chat("all at once"), stream_options=options)
        assert status == 200
        assert texts(body) == "all at once"
        assert body.endswith(DONE)
        assert (b'"usage"' in body) is bool(options)
        finishes = [json.loads(event)["choices"] for event in events(body)[:-1]]
        assert [c[0]["finish_reason"] for c in finishes if c][-1] == "stop"
    status, body = talk(chat("late").but(delay_headers=1.3))
    assert body.startswith(b": keep-alive\n\n")
    assert texts(body) == "late"
    assert {entry.amount for entry in alice.closed(3)} == {12}


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_carries_the_name_the_client_asked_for(
    site: Site, up: FaultServer, alice: Person, stream: bool
) -> None:
    supplied = kit.supply(up, model=kit.unique("Some.Model"))
    asked = supplied.model.upper()
    reply = chat_once(site, alice, kit.ask(supplied, model=asked, stream=stream))

    found = events(reply.body)[:-1] if stream else [reply.body]
    assert {json.loads(item)["model"] for item in found} == {asked}
    assert up.seen[0].json["model"] == supplied.model
