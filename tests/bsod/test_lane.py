"""The fast lane: whose request is whose on one connection, pieces, requests sent ahead, leaving."""

import json
import time
from typing import Any

import pytest

from accounts.keys.service import revoke
from proxy.errors import Code
from tests import kit
from tests.bsod.lanes import GOODBYE, by_lane, everything, post
from tests.kit import Person, Site
from tests.rawclient import Raw, Reply, peak_memory, request
from tests.upstream import FaultServer, Gate, chat, sse, sse_frame

pytestmark = pytest.mark.once

MB = 1_000_000


def word(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return sse_frame({"choices": [choice]})


def text_of(reply: Reply) -> str:
    assert reply.status == 200, reply
    text: str = json.loads(reply.body)["choices"][0]["message"]["content"]
    return text


# ---- whose request it is


def test_each_request_of_a_connection_has_its_own_body(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    seeds = [1, 22_222, 3, 4_444_444]
    with Raw(site) as raw:
        for seed in seeds:
            raw.send(post(alice, kit.ask(supplied, seed=seed)))
            assert by_lane(raw.reply())

    assert [seen.json["seed"] for seen in up.seen] == seeds
    assert len(alice.closed(4)) == 4


def test_the_case_of_header_names_means_nothing(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    head, _, body = post(alice, kit.ask(supplied), ("OpenAI-Beta", "x=1")).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    with Raw(site) as raw:
        for change in (bytes.lower, bytes.upper, bytes.swapcase, bytes.title):
            parts = [line.partition(b": ") for line in lines]
            named = [change(name) + b":" + value for name, _, value in parts]
            for order in (named, named[::-1]):
                raw.send(b"\r\n".join([first, *order]) + b"\r\n\r\n" + body)
                reply = raw.reply()
                assert (reply.status, by_lane(reply)) == (200, True), order

    assert {seen.header("openai-beta") for seen in up.seen} == {"x=1"}


def test_every_key_of_a_connection_pays_for_itself_and_no_other(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied, gone = kit.supply(up), kit.person("gone")
    calls = {who.account.pk: post(who, kit.ask(supplied)) for who in (alice, bob, gone)}
    nobody = calls[alice.account.pk].replace(b"Authorization", b"X-Nobody")
    wrong = alice.secret[:-1] + ("-" if alice.secret[-1] != "-" else "_")
    bad = calls[alice.account.pk].replace(alice.secret.encode(), wrong.encode())

    def ask(data: bytes) -> int:
        raw.send(data)
        reply = raw.reply()
        assert by_lane(reply)
        return reply.status

    with Raw(site) as raw:
        for _ in range(3):
            assert [ask(calls[who.account.pk]) for who in (alice, bob, gone)] == [200] * 3
            assert [ask(nobody), ask(calls[bob.account.pk]), ask(bad)] == [401, 200, 401]
        revoke(gone.key)
        assert [ask(calls[gone.account.pk]) for _ in range(2)] == [401, 401]
        assert [ask(calls[who.account.pk]) for who in (alice, gone, bob)] == [200, 401, 200]

    assert [len(who.closed(n)) for who, n in ((alice, 4), (bob, 7), (gone, 3))] == [4, 7, 3]


def test_a_host_is_judged_on_every_request_of_a_connection(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    with Raw(site) as raw:
        for host, status, lane in (("127.0.0.1", 200, True), ("localhost:80", 200, True),
                                   ("127.0.0.1", 200, True), ("evil.example", 400, False),
                                   ("127.0.0.1", 200, False)):  # fmt: skip
            raw.send(post(alice, kit.ask(supplied), host=host))
            reply = raw.reply()
            assert (reply.status, by_lane(reply)) == (status, lane), host


def test_an_address_is_told_anew_by_every_request_of_a_proxys_connection(
    launch: Any, up: FaultServer
) -> None:
    site, supplied = launch(1, TRUSTED_PROXIES="1"), kit.supply(up)
    remote = kit.person("remote", networks=["203.0.113.0/24"])
    inside, outside = ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.1")
    with Raw(site) as raw:
        for headers, status in (([inside], 200), ([outside], 403), ([inside], 200), ([], 403),
                                ([inside, outside], 403), ([outside, inside], 200)):  # fmt: skip
            raw.send(post(remote, kit.ask(supplied), *headers))
            reply = raw.reply()
            assert (reply.status, by_lane(reply)) == (status, True), headers


# ---- pieces


def test_a_body_in_pieces_is_the_lanes(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    call = post(alice, kit.ask(supplied))
    end = call.index(b"\r\n\r\n") + 4
    with Raw(site) as raw:
        for cuts in ([end], [end + 1, end + 2], [len(call) - 1], list(range(end, len(call)))):
            for start, stop in zip([0, *cuts], [*cuts, len(call)], strict=True):
                raw.send(call[start:stop])
                time.sleep(0.05 if len(cuts) < 3 else 0.001)
            reply = raw.reply()
            assert (reply.status, by_lane(reply)) == (200, True)
        raw.send(call[:-5])
        time.sleep(0.05)
        raw.send(call[-5:] + call + call[:-5])
        assert [by_lane(raw.reply()) for _ in range(2)] == [True, True]
        raw.send(call[-5:])
        assert by_lane(raw.reply())


def test_a_body_that_stalls_is_handed_over_and_still_answered(
    site: Site, up: FaultServer, alice: Person
) -> None:
    """After five seconds; also when it is that of a second request, and with more behind it."""
    call = post(alice, kit.ask(kit.supply(up)))
    first, second, third = (Raw(site) for _ in range(3))
    first.send(call[:-10])
    second.send(call + call[:-10])
    assert by_lane(second.reply())
    third.send(call[:-10])
    third.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        third.socket.recv(1)
    time.sleep(5.5)
    first.send(call[-10:])
    second.send(call[-10:] + call + GOODBYE)
    third.leave(reset=True)

    reply = first.reply()
    assert (reply.status, by_lane(reply)) == (200, False)
    replies = everything(second)
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert not any(by_lane(reply) for reply in replies)
    assert len(alice.closed(4)) == 4


# ---- requests sent ahead


def test_requests_sent_ahead_are_answered_in_their_order_by_whom_they_are_for(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    call, bad = post(alice, kit.ask(supplied)), post(alice, b"[]")
    stream = post(alice, kit.ask(supplied, stream=True))
    get = request("GET", "/v1", host="127.0.0.1")
    # What is sent in one piece; the statuses of the answers; how many of them are the lane's.
    trains: list[tuple[bytes, list[int], int]] = [
        (call + stream + bad + call, [200, 200, 400, 200, 200], 4),
        (call + get + call, [200, 200, 200, 200], 1),
        (stream + call[:100], [200, 400], 1),
        (bad * 200, [400] * 200 + [200], 200),
    ]
    for data, statuses, lanes in trains:
        with Raw(site) as raw:
            raw.send(data + GOODBYE)
            replies = everything(raw)
        assert [reply.status for reply in replies] == statuses
        assert [by_lane(reply) for reply in replies[:lanes]] == [True] * lanes
        assert not any(by_lane(reply) for reply in replies[lanes:])


@pytest.mark.parametrize("stream", [False, True])
def test_garbage_behind_a_call_is_refused_after_it_was_answered(
    site: Site, up: FaultServer, alice: Person, stream: bool
) -> None:
    supplied, gate = kit.supply(up), Gate()
    up.script(sse(word("one "), gate, word("two", "stop")) if stream
              else chat("whole").but(delay_headers=gate))  # fmt: skip
    with Raw(site) as raw:
        raw.send(post(alice, kit.ask(supplied, stream=stream)) + b"\x16\x03garbage\r\n\r\n")
        gate.wait_for(1)
        gate.open()
        answer, refusal = raw.reply(), raw.reply()
        assert raw.over()

    assert (answer.status, by_lane(answer)) == (200, True)
    assert (refusal.status, refusal.error["code"]) == (400, Code.INVALID_REQUEST)


def test_the_beginning_of_a_next_head_may_come_with_a_call(
    site: Site, up: FaultServer, alice: Person
) -> None:
    call = post(alice, kit.ask(kit.supply(up)))
    for cut in (1, 3, 50, call.index(b"\r\n\r\n") + 2):
        with Raw(site) as raw:
            raw.send(call + call[:cut])
            assert by_lane(raw.reply())
            time.sleep(0.02)
            raw.send(call[cut:])
            reply = raw.reply()
            assert (reply.status, by_lane(reply)) == (200, False)


def test_a_flood_behind_a_call_waits_in_the_clients_kernel_and_is_answered(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site, supplied, gate = launch(1), kit.supply(up), Gate()
    call = post(alice, kit.ask(supplied))
    refused = post(alice, b"[" + b" " * 60_000 + b"]")
    count = 800
    with Raw(site, timeout=60) as raw:
        raw.send(call + refused)
        assert [raw.reply().status for _ in range(2)] == [200, 400]
        (worker,) = site.workers()
        before = peak_memory(worker)
        up.script(chat("late").but(delay_headers=gate))
        with kit.beside(lambda: raw.send(call + refused * count + GOODBYE)):
            gate.wait_for(1)
            time.sleep(0.5)
            gate.open()
            replies = everything(raw)

    assert [reply.status for reply in replies] == [200, *[400] * count, 200]
    assert all(by_lane(reply) for reply in replies[:-1])
    assert peak_memory(worker) - before < 8 * MB, f"of {count * len(refused) // MB} MB"


# ---- leaving


def test_clients_that_leave_at_any_moment_disturb_nobody(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    site, supplied, gate = launch(1), kit.supply(up), Gate()
    call = post(alice, kit.ask(supplied))
    stream = post(alice, kit.ask(supplied, stream=True))
    up.default = chat("late", prompt_tokens=5, completion_tokens=5).but(delay_headers=gate)
    moments = [b"", call[:20], call[:-5], call, call + call, call + call[:-5], call + b"GET /",
               stream, stream + call]  # fmt: skip
    started = sum(data.count(b"POST ") > 0 and len(data) >= len(call) for data in moments) * 2
    for reset in (False, True):
        crowd = [Raw(site) for _ in moments]
        for raw, data in zip(crowd, moments, strict=True):
            raw.send(data)
        up.wait_for(started // 2 * (1 + reset), 5)
        for raw in crowd:
            raw.leave(reset=reset)
    gone = up.wait_for(4, 5, where=lambda seen: seen.client_gone_at)
    gate.open()

    assert len(gone) == 4, "the streams"
    calls = alice.closed(started)
    assert sorted(entry.amount for entry in calls) == [0] * 4 + [10] * (started - 4)
    assert site.post(alice, kit.ask(supplied)).status_code == 200
    assert "Traceback" not in site.log.read_text()
    assert kit.ledger_adds_up(alice)
