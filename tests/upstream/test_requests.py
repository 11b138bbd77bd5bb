"""How requests are read: recorded as on the wire, refused when malformed, large ones cheaply."""

from __future__ import annotations

import hashlib
import time

import pytest
import requests

from . import FaultServer, Reply, error
from .conftest import Connect

pytestmark = pytest.mark.once


def test_what_is_recorded_is_what_was_on_the_wire(up: FaultServer, connect: Connect) -> None:
    head = (
        b"POST /v1/a%2F..%2Fb?x=%20&x HTTP/1.1\r\nhOST: up\r\nX-Two: a\r\n"
        b"authorization: Bearer sk-7\r\nx-two:b \r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    connect().send(head + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n").reply()
    (seen,) = up.seen
    assert (seen.method, seen.target, seen.path) == (
        "POST",
        b"/v1/a%2F..%2Fb?x=%20&x",
        "/v1/a%2F..%2Fb",
    )
    assert seen.headers[:2] == ((b"hOST", b"up"), (b"X-Two", b"a"))
    assert (seen.header_values("X-TWO"), seen.key, seen.head) == (["a", "b"], "sk-7", head)
    assert (seen.body, seen.body_length, seen.body_complete) == (b"abcde", 5, True)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\nHost: up\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: up\r\nA: b\nC: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: up\r\nA: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: up\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: up\r\nHost: up\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: up\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: up\r\nContent-Length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc0\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused_and_kept(connect: Connect, wire: bytes) -> None:
    with FaultServer() as up:
        answer = connect(up).send(wire).read_all()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert [refused.connection for refused in up.malformed] == [1]
        assert up.seen == []


def test_expect_continue_is_answered_before_the_body(up: FaultServer, connect: Connect) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: up\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    client = connect().send(head)
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"ok").reply()
    assert up.seen[0].body == b"ok"


def test_an_early_reply_leaves_the_body_unread(up: FaultServer, connect: Connect) -> None:
    up.script(error(413).but(early=True))
    client = connect().send(b"POST /x HTTP/1.1\r\nHost: up\r\nContent-Length: 99999999\r\n\r\n")
    client.send(b"x" * 8_000_000)  # swallowed: a reset here would take the answer with it
    assert b"Connection: close" in client.reply()[0]
    assert client.read_all() == b""
    assert (up.seen[0].body, up.seen[0].body_complete) == (b"", False)


@pytest.mark.parametrize("chunked", [False, True])
def test_64_mb_arrive_whole_and_quickly(chunked: bool) -> None:
    block, times = b"0123456789abcdef" * 65_536, 64
    with FaultServer(keep_body=1000) as up:
        up.default = Reply(body=b"ok")
        data = (block for _ in range(times)) if chunked else block * times
        start = time.monotonic()
        assert requests.post(up.url + "/v1/files", data=data, timeout=20).text == "ok"
        assert time.monotonic() - start < 4, "64 MB must not take quadratic time"
        (seen,) = up.seen
    digest = hashlib.sha256()
    for _ in range(times):
        digest.update(block)
    assert (seen.body_length, len(seen.body)) == (64 << 20, 1000)
    assert seen.body_sha256 == digest.hexdigest()
