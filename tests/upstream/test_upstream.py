"""The server against raw sockets: framing, breaking off, time, leaving clients, connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal

import pytest
import requests

from . import Drip, FaultServer, Gate, Pause, Reply, Seen, chat, garbage, hang
from .conftest import Connect, until
from .reply import Piece

pytestmark = pytest.mark.once

PLAIN = Reply(headers=(("X-A", "1"), ("X-A", b"2")), body=[b"hello ", b"", b"world"])


# -- framing, byte for byte -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        ("length", b"Content-Length: 11\r\nConnection: close\r\n\r\nhello world"),
        ("close", b"Connection: close\r\n\r\nhello world"),
        ("wrong_length", b"Content-Length: 523\r\nConnection: close\r\n\r\nhello world"),
        (
            "chunked",
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
        ),
    ],
)
def test_each_framing_is_exact(
    up: FaultServer, connect: Connect, framing: str, wire: bytes
) -> None:
    up.script(PLAIN.but(framing=framing, then="close"))
    got = connect().ask({}).read_all()
    assert got == b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\n" + wire
    (seen,) = up.wait_for(where=lambda seen: seen.finished)
    assert seen.sent_bytes == len(got)
    assert seen.client_gone_at is None


def test_raw_bytes_go_out_without_a_head(up: FaultServer, connect: Connect) -> None:
    up.script(garbage(b"\x00\xffnonsense"))
    assert connect().ask({}).read_all() == b"\x00\xffnonsense"


def test_header_values_tail_and_early_hints_are_not_cleaned(
    up: FaultServer, connect: Connect
) -> None:
    hints, extra = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
    up.script(Reply(headers=(("X", b"a\r\nSet-Cookie: b"),), before=hints, tail=extra))
    wire = hints + b"HTTP/1.1 200 OK\r\nX: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n" + extra
    assert connect().ask({}).read(len(wire)) == wire


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 204), ("POST", 304)])
def test_replies_without_body_keep_the_connection_in_step(
    up: FaultServer, connect: Connect, method: str, status: int
) -> None:
    up.script(Reply(status, body=b"never"), Reply(299, body=b"next"))
    client = connect().ask(method=method)
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)
    head, body = client.ask({}).reply()
    assert head.startswith(b"HTTP/1.1 299 Unassigned\r\n")
    assert body == b"next"


# -- breaking off -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_cut_inside_the_body_sends_exactly_so_much(
    up: FaultServer, connect: Connect, how: Literal["reset", "fin"]
) -> None:
    up.script(PLAIN.but(framing="chunked").cut(body=8, how=how))
    client = connect().ask({})
    assert client.read_until(b"\r\n\r\n")
    wire = b"6\r\nhello \r\n5\r\nwo"
    assert client.read(len(wire)) == wire
    if how == "reset":
        with pytest.raises(ConnectionResetError):
            client.read_all()
    else:
        assert client.read_all() == b""
    assert not up.wait_for(where=lambda seen: seen.ended_at)[0].finished


def test_reset_waits_until_the_client_has_what_was_sent(up: FaultServer, connect: Connect) -> None:
    up.script(Reply(body=b"x" * 300_000).cut(body=200_000))
    client = connect(receive_buffer=4096).ask({})
    time.sleep(0.05)  # most of it is still on our side of the wire
    client.read_until(b"\r\n\r\n")
    assert client.read(200_000) == b"x" * 200_000
    with pytest.raises(ConnectionResetError):
        client.read(1)


def test_cut_without_a_number_leaves_out_only_the_end(up: FaultServer, connect: Connect) -> None:
    up.script(PLAIN.but(framing="chunked").cut(how="fin"))
    assert connect().ask({}).read_all().endswith(b"\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n")


def test_cut_between_two_pieces_does_not_begin_the_next(up: FaultServer, connect: Connect) -> None:
    up.script(PLAIN.but(framing="chunked").cut(body=6, how="fin"))
    assert connect().ask({}).read_all().endswith(b"\r\n\r\n6\r\nhello \r\n")


def test_cut_inside_the_head(up: FaultServer, connect: Connect) -> None:
    up.script(PLAIN.cut(head=12, how="fin"), chat().cut(head=0))
    assert connect().ask({}).read_all() == b"HTTP/1.1 200"
    with pytest.raises(ConnectionResetError):
        connect().ask({}).read_all()


@pytest.mark.parametrize(
    ("reply", "sent"), [(hang(), 0), (Reply(body=b"abcdef").hang(body=2), 40)], ids=["head", "body"]
)
def test_hang_lasts_until_the_server_stops(
    up: FaultServer, connect: Connect, reply: Reply, sent: int
) -> None:
    up.script(reply)
    client = connect().ask({})
    client.read(sent)
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.read(1)
    up.stop()
    assert client.read_all() == b""
    (seen,) = up.seen
    assert (seen.sent_bytes, seen.finished, seen.client_gone_at) == (sent, False, None)


# -- time -------------------------------------------------------------------------------------


def test_delays_come_where_they_are_asked(up: FaultServer, connect: Connect) -> None:
    up.script(PLAIN.but(body=[b"a", Pause(0.1), b"b"], delay_headers=0.1, delay_between=0.05))
    start = time.monotonic()
    client = connect().ask({})
    head, marks = client.read_until(b"\r\n\r\n"), [time.monotonic() - start]
    assert b"Content-Length: 2" in head
    for letter in (b"a", b"b"):
        assert client.read(1) == letter
        marks.append(time.monotonic() - start)
    assert marks[0] >= 0.1
    assert marks[2] - marks[1] >= 0.14


def test_a_single_piece_is_not_delayed(up: FaultServer, connect: Connect) -> None:
    up.script(Reply(body=[b"a"], delay_between=30))
    assert connect().ask({}).reply()[1] == b"a"


def test_drip_slices_body_and_head(up: FaultServer, connect: Connect) -> None:
    reply = Reply(body=b"abcdef", framing="chunked", drip=Drip(2, 0.02))
    up.script(reply, reply.but(drip=Drip(20, 0.05, head=True)))
    client = connect().ask({})
    client.read_until(b"\r\n\r\n")
    assert client.read_until(b"0\r\n\r\n") == b"2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n"
    client.ask({}).read(20)
    start = time.monotonic()
    client.read(20)
    assert time.monotonic() - start > 0.04


def test_a_gate_holds_replies_until_opened(up: FaultServer, connect: Connect) -> None:
    gate = Gate()
    up.script(Reply(body=[b"a", gate, b"b"]), Reply(body=b"ab", delay_headers=gate))
    clients = [connect().ask({}) for _ in range(2)]
    gate.wait_for(2)
    assert not any(seen.finished for seen in up.seen)
    gate.open()
    assert [client.reply()[1] for client in clients] == [b"ab", b"ab"]


def test_a_client_that_leaves_is_no_longer_held(up: FaultServer, connect: Connect) -> None:
    gate = Gate()
    up.script(Reply(delay_headers=gate))
    connect().ask({}).leave()
    up.wait_for(where=lambda seen: seen.client_gone_at)
    with pytest.raises(TimeoutError, match="0 of 1"):
        gate.wait_for(1, timeout=0)


# -- clients that leave -----------------------------------------------------------------------

STREAM = Reply(framing="chunked", body=[b"first", Pause(30), b"second"])
LEAVING = {"before head": Reply(delay_headers=30), "hang": hang(), "between chunks": STREAM}


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("reply", LEAVING.values(), ids=LEAVING)
def test_leaving_is_noticed_while_idle(
    up: FaultServer, connect: Connect, reply: Reply, how: str
) -> None:
    up.script(reply)
    client = connect().ask({})
    if reply is STREAM:
        client.read_until(b"first")
    up.wait_for(1)
    left_at = time.monotonic()
    client.leave(how)
    (seen,) = up.wait_for(where=lambda seen: seen.client_gone_at)
    assert seen.client_gone_at is not None
    assert 0 <= seen.client_gone_at - left_at < 0.5
    assert not seen.finished
    until(lambda: up.open_connections == 0)


@pytest.mark.parametrize("last", [b"b", Pause(30)], ids=["before a piece", "before a pause"])
def test_leaving_is_noticed_between_two_steps(
    up: FaultServer, connect: Connect, last: Piece
) -> None:
    left = threading.Event()

    def body(_: Seen) -> Iterator[Piece]:
        yield b"a"
        left.wait(5)  # the loop stands still while the client goes
        yield from (b"", b"")  # lets the loop notice
        yield last

    up.script(Reply(body=body, framing="close"))
    client = connect().ask({})
    client.read_until(b"a")
    client.leave()
    left.set()
    (seen,) = up.wait_for(where=lambda seen: seen.client_gone_at)
    assert not seen.finished


def test_leaving_is_noticed_while_the_socket_is_full(connect: Connect) -> None:
    with FaultServer(send_buffer=16_384) as up:
        up.script(Reply(body=b"x" * 20_000_000))
        client = connect(up, receive_buffer=16_384).ask({})
        client.read(1000)
        time.sleep(0.05)
        assert up.seen[0].sent_bytes < 2_000_000, "nobody reads, so it must not be all sent"
        client.leave()
        up.wait_for(where=lambda seen: seen.client_gone_at and not seen.finished)


def test_leaving_inside_the_own_body_is_recorded(up: FaultServer, connect: Connect) -> None:
    client = connect().send(b"POST /v1/files HTTP/1.1\r\nHost: up\r\nContent-Length: 9\r\n\r\nabc")
    client.leave()
    (seen,) = up.wait_for(1)
    assert (seen.body, seen.body_complete, seen.sent_bytes) == (b"abc", False, 0)
    assert up.wait_for(where=lambda seen: seen.client_gone_at)


def test_leaving_after_the_whole_reply_is_not_gone(up: FaultServer, connect: Connect) -> None:
    client = connect().ask({})
    client.reply()
    client.leave()
    until(lambda: up.open_connections == 0)
    assert up.seen[0].finished
    assert up.seen[0].client_gone_at is None


# -- connections ------------------------------------------------------------------------------


def test_connections_are_reused_until_someone_says_close(up: FaultServer, connect: Connect) -> None:
    up.script(Reply(), Reply(body=[b"a"], framing="chunked"), Reply(then="vanish"))
    client = connect()
    client.ask({}).reply()
    client.ask({}).read_until(b"0\r\n\r\n")
    head, _ = client.ask({}).reply()
    assert b"Connection" not in head, "a vanishing server does not announce it"
    assert client.read_all() == b""
    assert connect().send(b"GET / HTTP/1.1\r\nHost: up\r\nConnection: close\r\n\r\n").read_all()
    assert [seen.connection for seen in up.seen] == [1, 1, 1, 2]
    assert up.connections == 2


def test_close_mode_and_idle_timeout(connect: Connect) -> None:
    with FaultServer(keep_alive=False) as up:
        assert b"\r\nConnection: close\r\n" in connect(up).ask({}).read_all()
    with FaultServer(idle_timeout=0.05) as up:
        client = connect(up)
        client.ask({}).reply()
        assert client.read_all() == b""


def test_stopped_it_refuses_and_comes_back_on_its_port(up: FaultServer) -> None:
    with requests.Session() as session:
        assert session.get(up.base_url + "/models", timeout=5).status_code == 200
        up.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(up.base_url + "/models", timeout=5)
        up.start()
        assert session.get(up.base_url + "/models", timeout=5).status_code == 200
    assert up.count(path_suffix="/models") == 2


def test_nobody_takes_the_port_of_a_stopped_server() -> None:
    with FaultServer() as up, socket.socket() as thief:
        up.stop()
        with pytest.raises(OSError, match="in use"):
            thief.bind(("127.0.0.1", up.port))


def test_drop_connections_resets_running_replies(up: FaultServer, connect: Connect) -> None:
    up.script(STREAM)
    client = connect().ask({})
    client.read_until(b"first")
    up.drop_connections()
    with pytest.raises(ConnectionResetError):
        client.read_all()
    assert up.seen[0].client_gone_at is None, "it was not the client who left"
    assert up.open_connections == 0
    assert connect().ask({}).reply()


def test_a_reply_that_never_waits_starves_nobody(up: FaultServer, connect: Connect) -> None:
    done = threading.Event()

    def body(_: Seen) -> Iterator[Piece]:
        while not done.is_set():
            yield b""

    up.script(Reply(body=body, framing="close"))
    busy = connect().ask({})
    assert connect().ask({}).reply()
    done.set()
    assert busy.read_all().endswith(b"\r\n\r\n")


def test_hundreds_of_slow_streams_at_once(up: FaultServer, connect: Connect) -> None:
    gate = Gate()
    slow: list[Piece] = [b"b", Pause(0.05)]
    up.default = Reply(framing="chunked", body=[b"a", gate, *slow * 5])
    clients = [connect().ask({}) for _ in range(400)]
    gate.wait_for(400)
    assert up.open_connections == 400
    start = time.monotonic()
    gate.open()
    assert all(client.read_until(b"0\r\n\r\n").endswith(b"0\r\n\r\n") for client in clients)
    assert time.monotonic() - start < 4, "they must run side by side"
    assert len(up.wait_for(400, where=lambda seen: seen.finished)) == 400
