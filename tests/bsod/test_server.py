"""The worker process: how it goes down, and how many wait for it to come to them."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from quotas.models import Process
from tests import kit
from tests.kit import Person, Site, eventually
from tests.rawclient import CHAT, JSON_TYPE, Raw, Reply, chat_once, events, once
from tests.upstream import FaultServer, Gate, Pause, chat, sse, sse_frame


def word(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return sse_frame({"choices": [choice]})


@contextlib.contextmanager
def going_down(site: Site) -> Iterator[None]:
    """SIGTERM, what the test does meanwhile, and an orderly end."""
    site.process.send_signal(signal.SIGTERM)
    yield
    assert site.process.wait(20) == 0


def after(seconds: float, function: Any, *args: Any) -> threading.Thread:
    timer = threading.Timer(seconds, function, args)
    timer.start()
    return timer


@pytest.mark.once
def test_going_down_lets_what_can_end_and_cuts_the_rest_with_an_error(
    launch: Any, up: FaultServer
) -> None:
    """All at once, for the waiting is the same: DRAIN_SECONDS is 2 here."""
    site, supplied = launch(2), kit.supply(up)
    people = {name: kit.person(name) for name in ("ending", "endless", "whole", "stuck")}
    gate, never = Gate(), Gate()
    answers = {
        "ending": sse(word("one "), gate, word("two", "stop")),
        "endless": sse(word("one "), never, word("two", "stop")),
        "whole": chat("whole", prompt_tokens=8, completion_tokens=2).but(delay_headers=gate),
        "stuck": chat("never").but(delay_headers=never),
    }
    idle = [Raw(site) for _ in range(6)]
    for raw in idle[:3]:
        raw.ask("GET", "/livez")
        assert raw.reply().status == 200
    lines: dict[str, Raw] = {}
    for name, answer in answers.items():
        up.script(answer)
        lines[name] = Raw(site)
        lines[name].chat(people[name], kit.ask(supplied, stream=name.startswith("end")))
        up.wait_for(len(lines))
    for name in ("ending", "endless"):
        assert lines[name].head().status == 200

    with going_down(site):
        began = time.monotonic()
        for raw in idle:
            assert raw.over(), "an idle connection is closed at once"
        assert time.monotonic() - began < 1.8, "and not when calls are cut off"
        # The other worker hears of it a moment later.
        assert eventually(lambda: _is_not_ready(site))
        assert _takes_no_calls(site, people["ending"], supplied)
        after(0.7, gate.open)
        told = {name: b"".join(lines[name].chunks()) for name in ("ending", "endless")}
        replies = {name: lines[name].reply() for name in ("whole", "stuck")}
        assert 1.5 < time.monotonic() - began < 6
    for raw in (*idle, *lines.values()):
        raw.leave()

    assert told["ending"].endswith(word("two", "stop") + sse_frame("[DONE]"))
    assert told["endless"].startswith(word("one "))
    assert b"[DONE]" not in told["endless"]
    last = json.loads(events(told["endless"])[-1])
    assert last["error"]["code"] == "shutting_down"
    whole, stuck = replies["whole"], replies["stuck"]
    assert (whole.status, whole.header("connection")) == (200, "close")
    assert (stuck.status, stuck.error["code"]) == (503, "shutting_down")
    assert stuck.header("retry-after") == "1"
    calls = {name: who.closed()[0] for name, who in people.items()}
    assert [call.state for call in calls.values()] == ["settled"] * 3 + ["released"]
    cut = calls["endless"]
    assert (cut.usage_source, cut.end_reason) == ("estimated", "timeout")
    assert 0 < cut.amount < cut.estimate
    assert (calls["whole"].amount, calls["ending"].end_reason) == (10, "completed")
    assert len(people["ending"].entries()) == 1
    for who in people.values():
        assert kit.ledger_adds_up(who)
    assert "Traceback" not in site.log.read_text()


def _is_not_ready(site: Site) -> bool:
    """A new connection is refused, or told that we are going down."""
    try:
        reply = once(site, "GET", "/readyz")
    except OSError:
        return True
    if not reply.status:
        return True
    return (reply.status, json.loads(reply.body)["draining"]) == (503, True)


def _takes_no_calls(site: Site, who: Person, supplied: kit.Supply) -> bool:
    try:
        reply = chat_once(site, who, kit.ask(supplied))
    except OSError:
        return True
    if reply.status:
        assert (reply.status, reply.error["code"]) == (503, "shutting_down")
        assert reply.header("retry-after") == "1"
    return True


def test_a_worker_that_went_down_in_order_leaves_no_process_row(launch: Any) -> None:
    before = set(Process.objects.values_list("id", flat=True))
    site = launch(1)
    ours = set(Process.objects.values_list("id", flat=True)) - before
    assert ours

    with going_down(site):
        pass

    left = Process.objects.filter(id__in=ours)
    assert eventually(lambda: not left.exists(), 3)


@pytest.mark.once
def test_a_second_signal_does_not_wait(launch: Any, up: FaultServer, alice: Person) -> None:
    site, supplied = launch(1, DRAIN_SECONDS="30"), kit.supply(up)
    up.script(sse(word("one "), Gate()))
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        raw.head()
        assert next(raw.chunks()) == word("one ")
        site.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert alice.entries()[0].state == "open"
        began = time.monotonic()
        site.process.send_signal(signal.SIGQUIT)
        site.process.wait(15)
        assert time.monotonic() - began < 12


@pytest.mark.once
def test_readiness_and_liveness_are_told_without_a_key(site: Site) -> None:
    def answers() -> set[tuple[int, bytes]]:
        replies = [once(site, "GET", "/readyz") for _ in range(8)]
        return {(reply.status, reply.body) for reply in replies}

    ready = {(200, b'{"status":"ok","ledger":true,"draining":false}')}
    assert eventually(lambda: answers() == ready), "a worker that has just begun may need a moment"
    for path in ("/livez", "/livez/"):
        alive = once(site, "GET", path)
        assert (alive.status, json.loads(alive.body)) == (200, {"status": "ok"})


@pytest.mark.once
def test_the_backlog_is_the_settings_and_not_a_hundred(site: Site) -> None:
    """The kernel shows a listener's backlog where a connection shows its queue."""
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    port = urlsplit(site.url).port

    # The other worker may be opening its listener this moment.
    assert eventually(lambda: _listener_backlog(int(port or 0)) == min(2048, most))


def _listener_backlog(port: int) -> int:
    """Ask the kernel through a netlink socket: the same as `ss -ltn` does."""
    import struct

    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as line:
        question = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 1 << 10)
        question += b"\0" * 48
        line.send(struct.pack("=IHHII", 16 + len(question), 20, 0x301, 1, 0) + question)
        while True:
            data = line.recv(65_536)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind == 3:
                    raise AssertionError("no such listener")
                body = data[16:size]
                if struct.unpack_from("!H", body, 4)[0] == port:
                    waiting: int = struct.unpack_from("=II", body, 56)[1]
                    return waiting
                data = data[(size + 3) & ~3 :]


@pytest.mark.once
def test_a_crowd_that_comes_at_once_is_answered(site: Site) -> None:
    crowd = [Raw(site, timeout=10) for _ in range(400)]
    for raw in crowd:
        raw.ask("GET", "/livez")
    assert {raw.reply().status for raw in crowd} == {200}
    for raw in crowd:
        raw.leave()


@pytest.mark.once
def test_requests_sent_ahead_are_answered_in_their_order(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat("first").but(delay_headers=0.2), sse(word("second", "stop")), chat("third"))
    with Raw(site) as raw:
        for stream in (False, True, False):
            raw.chat(alice, kit.ask(supplied, stream=stream))
        raw.ask("GET", "/v1/nothing")
        replies = [raw.reply() for _ in range(4)]

    assert [reply.status for reply in replies] == [200, 200, 200, 404]
    for reply, text in zip(replies, (b"first", b"second", b"third"), strict=False):
        assert text in reply.body
    assert len(alice.closed(3)) == 3


@pytest.mark.once
def test_a_refused_body_does_not_cost_the_client_the_answer(site: Site, alice: Person) -> None:
    """The client sends on while we refuse: it must still read why."""
    body = b'{"pad":"' + b"x" * 33_000_000 + b'"}'
    replies: list[Reply] = []
    for _ in range(3):
        with Raw(site) as raw:
            with contextlib.suppress(ConnectionError):
                raw.chat(alice, body)
            replies.append(raw.reply())

    assert [(reply.status, reply.error["code"]) for reply in replies] == [
        (413, "request_too_large")
    ] * 3
    assert [reply.header("connection") for reply in replies] == ["close"] * 3


@pytest.mark.once
def test_a_body_that_stalls_is_told_408_and_draws_nothing(launch: Any, up: FaultServer) -> None:
    """gunicorn's timeout is a minute; here it is two seconds."""
    site, supplied, who = launch(1, GUNICORN_CMD_ARGS="--timeout 2"), kit.supply(up), kit.person()
    body = json.dumps(kit.ask(supplied)).encode()
    headers = [*who.auth.items(), JSON_TYPE, ("Content-Length", str(len(body) + 100_000))]
    with Raw(site) as raw:
        raw.ask("POST", CHAT, headers, body)
        reply = raw.reply()
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert raw.over()

    assert not who.entries()


@pytest.mark.once
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_while_we_wait_to_write_is_noticed(
    site: Site, up: FaultServer, alice: Person, reset: bool
) -> None:
    supplied = kit.supply(up)
    up.script(sse(*[word("z" * 500_000), Pause(0.01)] * 100, done=False).hang())
    with Raw(site, receive_buffer=4_096) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        raw.head()
        time.sleep(0.5)
        raw.leave(reset=reset)
    left = time.monotonic()

    seen = up.wait_for(1, 4, where=lambda seen: seen.client_gone_at)[0]

    assert (seen.client_gone_at or 0) - left < 2
    assert alice.closed()[0].end_reason == "client_gone"
