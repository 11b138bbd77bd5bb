"""What is odd is gunicorn's: it is answered as if the lane were not there, byte for byte.

The same bytes go to a gateway whose connections begin in the lane and to one without it (who asks
gunicorn for an access log gets no lane), each followed by a last request on the connection.
"""

import functools
import json
import random
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests import kit
from tests.bsod.lanes import GOODBYE, by_lane, everything, post, reaction, rich, same
from tests.kit import Person, Site
from tests.rawclient import CHAT, JSON_TYPE, Raw, chat_once, request
from tests.upstream import FaultServer, chat, error, sse, sse_frame

pytestmark = pytest.mark.once
NO_LANE = {"GUNICORN_CMD_ARGS": "--access-logfile /dev/null"}
HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def without(database: None) -> Iterator[Site]:
    """A gateway without the lane."""
    running = kit.launch(1, **NO_LANE)
    yield running
    running.stop()


@pytest.fixture
def plain(up: FaultServer) -> bytes:
    """A plain call that is answered 200."""
    up.default = chat("fixed")
    return post(rich(), kit.ask(kit.supply(up)))


Oddness = dict[str, list[bytes]]


def with_line(call: bytes, *lines: bytes) -> bytes:
    """The call with header lines before its own first one."""
    first, _, rest = call.partition(b"\r\n")
    return b"\r\n".join([first, *lines, rest])


def with_length(call: bytes, line: bytes) -> bytes:
    """The call with another Content-Length line; `%d` is the true length."""
    head, _, body = call.partition(b"\r\n\r\n")
    lines = [name for name in head.split(b"\r\n") if not name.startswith(b"Content-Length")]
    return b"\r\n".join([*lines, line.replace(b"%d", b"%d" % len(body))]) + b"\r\n\r\n" + body


def with_target(call: bytes, target: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    rest = call.partition(b"\r\n")[2]
    return b"POST " + target + b" " + version + b"\r\n" + rest


def chunked(call: bytes) -> bytes:
    head, _, body = with_length(call, b"Transfer-Encoding: chunked").partition(b"\r\n\r\n")
    return head + b"\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def lengths(call: bytes) -> Oddness:
    lines = {
        "twice the same": b"Content-Length: %d\r\nContent-Length: %d",
        "twice, another": b"Content-Length: %d\r\nContent-Length: 0",
        "twice, long first": b"Content-Length: 0000000000\r\nContent-Length: %d",
        "with a coding behind": b"Content-Length: %d\r\nTransfer-Encoding: chunked",
        "with a coding before": b"Transfer-Encoding: chunked\r\nContent-Length: %d",
        "with an identity": b"Transfer-Encoding: identity\r\nContent-Length: %d",
        "with a strange coding": b"Transfer-Encoding: xchunked\r\nContent-Length: %d",
        "with a hidden coding": b"Transfer-Encoding:\x0bchunked\r\nContent-Length: %d",
        "sign": b"Content-Length: +%d",
        "minus": b"Content-Length: -1",
        "space before the colon": b"Content-Length : %d",
        "space inside": b"Content-Length: 1 %d",
        "list": b"Content-Length: %d, %d",
        "hexadecimal": b"Content-Length: 0x10",
        "other digits": b"Content-Length: \xb2",
        "underscore": b"Content-Length: 1_0",
        "empty": b"Content-Length:",
        "ten digits": b"Content-Length: 00000000%d",
        "none": b"X-Nothing: 1",
    }
    return {f"length {name}": [with_length(call, line)] for name, line in lines.items()}


def lines(call: bytes) -> Oddness:
    odd = {
        "underscore": b"X_Odd: 1",
        "close": b"Connection: close",
        "close in a list": b"Connection: keep-alive, close",
        "upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        "upgrade alone": b"Upgrade: websocket",
        "expect": b"Expect: 100-continue",
        "expect another": b"Expect: the-unexpected",
        "folded": b"X-Folded: a\r\n b",
        "fold of the first line": b" folded: 1",
        "no colon": b"X-Nothing",
        "no name": b": nameless",
        "space in a name": b"X Y: 1",
        "nul": b"X-Odd: a\x00b",
        "bell": b"X-Odd: \x07",
        "delete": b"X-Odd: \x7f",
        "latin": b"X-Odd: \xe9",
        "bare return": b"X-Odd: a\rContent-Length: 3",
        "bare line feed": b"X-Odd: a\nContent-Length: 3",
        "second host": b"Host: 127.0.0.1",
        "second key": b"Authorization: Bearer other",
        "second type": b"Content-Type: application/json",
        "trailer": b"Trailer: Content-Length",
        "a hundred": b"\r\n".join(b"X-N%d: 1" % number for number in range(96)),
        "one more than a hundred": b"\r\n".join(b"X-N%d: 1" % number for number in range(97)),
        "a long one": b"X-Long: " + b"x" * 20_000,
        "a very long one": b"X-Long: " + b"x" * 40_000,
    }
    return {f"line {name}": [with_line(call, line)] for name, line in odd.items()}


def targets(call: bytes) -> Oddness:
    odd = [b"/v1/chat/completions?a=b", b"/v1/chat/%63ompletions", b"/v1/chat/completions?",
           b"http://127.0.0.1" + CHAT.encode(), b"//v1/chat/completions", b"*", b"", b"/v1/models",
           b"/v1/chat/../chat/completions", b"/v1/chat/completions#x", b"/balance", b"/v1/nothing",
           b"/admin/login/", b"127.0.0.1:80"]  # fmt: skip
    return {
        **{f"target {target!r}": [with_target(call, target)] for target in odd},
        "version 1.0": [with_target(call, CHAT.encode(), b"HTTP/1.0")],
        "version 1.2": [with_target(call, CHAT.encode(), b"HTTP/1.2")],
        "version 2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        "small method": [b"post" + call[4:]],
        "another method": [b"PUT" + call[4:]],
        "two spaces": [call.replace(b" ", b"  ", 1)],
    }


def shapes(call: bytes) -> Oddness:
    head, _, body = call.partition(b"\r\n\r\n")
    many = json.dumps({"pad": "x" * 70_000}).encode()
    get = b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return {
        "get first": [get, call],
        "get between": [call, get, call],
        "chunked": [chunked(call)],
        "chunked, then plain": [chunked(call), call],
        "line feeds": [call.replace(b"\r\n", b"\n")],
        "returns": [call.replace(b"\r\n", b"\r")],
        "empty line first": [b"\r\n" + call],
        "empty line between": [call + b"\r\n" + call],
        "two empty lines first": [b"\r\n\r\n" + call],
        "body without a head": [body],
        "large": [with_length(head + b"\r\n\r\n" + many, b"Content-Length: %d")],
        "no host": [call.replace(b"Host: 127.0.0.1\r\n", b"")],
        "empty host": [call.replace(b"Host: 127.0.0.1", b"Host:")],
        "strange host": [call.replace(b"Host: 127.0.0.1", b"Host: evil.example")],
        "two hosts in one": [call.replace(b"Host: 127.0.0.1", b"Host: 127.0.0.1, evil.example")],
        "no http": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
        "garbage behind": [call + b"garbage\r\n\r\n"],
        "a body that goes on": [call + b"}"],
        "a smuggled request": [with_length(call, b"Content-Length: 0")],
    }


PLAIN_AT_FIRST = {"line a hundred", "get between", "empty line between", "garbage behind",
                  "a body that goes on", "a smuggled request"}  # fmt: skip


@pytest.mark.parametrize("kind", [lengths, lines, targets, shapes])
def test_what_is_odd_is_answered_as_without_the_lane(
    site: Site, without: Site, plain: bytes, kind: Any
) -> None:
    for name, pieces in kind(plain).items():
        with_lane, alone = (reaction(where, pieces) for where in (site, without))
        assert with_lane, name
        assert [same(reply) for reply in with_lane] == [same(reply) for reply in alone], name
        assert not any(by_lane(reply) for reply in alone), name
        assert name in PLAIN_AT_FIRST or not any(by_lane(reply) for reply in with_lane), name


def test_any_mixture_of_oddness_is_answered_as_without_the_lane(
    site: Site, without: Site, plain: bytes
) -> None:
    """Sixty connections of three requests each; some are bent, and some have one bad byte."""
    dice = random.Random(5)
    bent = [piece for kind in (lines, targets, lengths) for [piece] in kind(plain).values()]
    bent = [piece for piece in bent if len(piece) < 10_000]
    by_lane_too = 0
    for number in range(60):
        data = bytearray(b"".join(dice.choice([*[plain] * len(bent), *bent]) for _ in range(3)))
        if dice.random() < 0.3:
            data[dice.randrange(len(plain) - 200)] = dice.choice(b"\x00\r\n\t :,;_-aZ\x7f\xff")
        if b"100-continue" in data:
            continue
        cut = dice.randrange(1, len(data))
        pieces = [bytes(data)] if number % 2 else [bytes(data[:cut]), bytes(data[cut:])]
        with_lane, alone = (reaction(where, pieces) for where in (site, without))
        assert [same(reply) for reply in with_lane] == [same(reply) for reply in alone], pieces
        by_lane_too += any(by_lane(reply) for reply in with_lane)
    assert by_lane_too > 15, "the lane had its part"


@pytest.mark.parametrize("oddly", [b"X_Odd: 1", b"Expect: the-unexpected", b"Upgrade: h2c"])
def test_a_connection_that_was_handed_over_stays_handed_over(
    site: Site, plain: bytes, oddly: bytes
) -> None:
    with Raw(site) as raw:
        for data, lane in ((plain, True), (with_line(plain, oddly), False), (plain, False)):
            raw.send(data)
            reply = raw.reply()
            assert (reply.status, by_lane(reply)) == (200, lane)


def test_a_head_in_pieces_is_handed_over_and_answered(site: Site, plain: bytes) -> None:
    end = plain.index(b"\r\n\r\n") + 4
    for cuts in ([1], [4], [end - 4], [end - 3], [end - 1], list(range(1, end + 3))):
        with Raw(site) as raw:
            raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, stop in zip([0, *cuts], [*cuts, len(plain)], strict=True):
                raw.send(plain[start:stop])
                # What has been sent is acknowledged, and so read, before the rest comes.
                assert kit.eventually(functools.partial(_taken, raw), every=0.001)
            reply = raw.reply()
            assert (reply.status, by_lane(reply)) == (200, False), cuts


def _taken(raw: Raw) -> bool:
    """Whether the other side's program has read all we sent: asked of the kernel."""
    here, there = raw.socket.getsockname(), raw.socket.getpeername()
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1].endswith(f":{there[1]:04X}") and fields[2].endswith(f":{here[1]:04X}"):
                return fields[4].endswith(":00000000")
    raise AssertionError("no such connection")


def test_who_waits_to_be_told_is_told(site: Site, plain: bytes) -> None:
    head, _, body = with_line(plain, b"Expect: 100-continue").partition(b"\r\n\r\n")
    with Raw(site, timeout=5) as raw:
        raw.send(head + b"\r\n\r\n")
        assert raw.head().status == 100
        raw.send(body)
        reply = raw.reply()
        assert (reply.status, by_lane(reply)) == (200, False)


CASES: dict[str, tuple[Any, dict[str, Any], int]] = {
    "whole": (chat("same"), {}, 200),
    "stream": (sse(sse_frame({"choices": [{"index": 0, "delta": {"content": "x"},
                                           "finish_reason": "stop"}]})), {"stream": True}, 200),
    "a stream that breaks": (sse(sse_frame({"choices": [{"index": 0, "delta": {"content": "x"}}]}),
                                 done=False).cut(), {"stream": True}, 200),
    "refused by the provider": (error(400, "no"), {}, 400),
    "provider down": (error(500), {}, 502),
    "provider down, streaming": (error(500), {"stream": True}, 502),
    "no such model": (chat(), {"model": "no-such-model"}, 404),
    "bad field": (chat(), {"stream": "yes"}, 400),
    "too much": (chat(), {"max_tokens": 9_000_000}, 429),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_lane_and_asgi_give_the_same_answer(
    site: Site, up: FaultServer, alice: Person, bob: Person, name: str
) -> None:
    answer, fields, status = CASES[name]
    up.default = answer
    replies = [
        chat_once(site, who, kit.ask(kit.supply(up)) | fields, *odd)
        for who, odd in ((alice, ()), (bob, (("X_Odd", "1"),)))
    ]

    assert [reply.status for reply in replies] == [status] * 2
    assert [by_lane(reply) for reply in replies] == [True, False]
    models = [_without_models(same(reply)) for reply in replies]
    assert models[0] == models[1]


def _without_models(reply: Any) -> Any:
    """Each call had a model of its own, named with random letters."""
    return re.sub(r"model-0-[0-9a-f]+", "model", repr(reply))


def test_the_lane_and_asgi_refuse_alike(site: Site, alice: Person) -> None:
    revoked = kit.person("gone")
    revoked.key.delete()
    auth = [*alice.auth.items()]
    cases: dict[str, tuple[list[Any], bytes, int]] = {
        "no JSON": ([*auth, JSON_TYPE], b"{", 400),
        "no body": ([*auth, JSON_TYPE], b"", 400),
        "list": ([*auth], b"[]", 400),
        "no key": ([JSON_TYPE], b"{}", 401),
        "bad key": ([("Authorization", "Bearer x")], b"{}", 401),
        "no scheme": ([("Authorization", alice.secret)], b"{}", 401),
        "deleted key": ([*revoked.auth.items()], b"{}", 401),
        "another type": ([*auth, ("Content-Type", "text/plain")], b"{}", 415),
        "encoded": ([*auth, ("Content-Encoding", "gzip")], b"{}", 415),
    }
    for name, (headers, body, status) in cases.items():
        for path in (CHAT, CHAT + "/", "/v1/index.php/chat/completions"):
            replies = []
            for odd in ((), [("X_Odd", "1")]):
                with Raw(site) as raw:
                    raw.send(request("POST", path, [*headers, *odd], body, host=HOST) + GOODBYE)
                    replies.append(everything(raw))
            assert replies[0][0].status == status, name
            assert [by_lane(reply[0]) for reply in replies] == [True, False], name
            assert [same(r) for r in replies[0]] == [same(r) for r in replies[1]], name
    assert alice.entries() == []
