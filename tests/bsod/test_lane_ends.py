"""How an answer and a connection of the fast lane end."""

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from bsod import lane as lanes
from bsod.lane import Lane, LaneExchange
from proxy.gateway.head import read_head
from tests import kit
from tests.bsod.lanes import by_lane, post, rich
from tests.kit import Person, Site, eventually
from tests.rawclient import Raw, request
from tests.upstream import FaultServer, Gate, chat

pytestmark = pytest.mark.once
CLOSE = "close"


def test_idle_connections_are_closed_and_busy_ones_never(launch: Any, up: FaultServer) -> None:
    site, supplied, gate = launch(1, GUNICORN_CMD_ARGS="--keep-alive 1"), kit.supply(up), Gate()
    who = rich()
    call = post(who, kit.ask(supplied))
    silent, answered, busy, slow, half = (Raw(site, timeout=10) for _ in range(5))
    began = time.monotonic()
    for raw in (answered, busy):
        raw.send(call)
        assert by_lane(raw.reply())
    up.script(chat("late").but(delay_headers=gate))
    busy.send(call)
    slow.send(call[:-5])
    half.send(call[:50])
    for raw in (silent, answered, half):
        assert raw.over()
    assert 0.9 < time.monotonic() - began < 4
    time.sleep(max(0, began + 2.5 - time.monotonic()))
    slow.send(call[-5:])
    gate.open()

    for raw in (busy, slow):
        reply = raw.reply()
        assert (reply.status, by_lane(reply)) == (200, True)
        last = time.monotonic()
        assert raw.over()
        assert time.monotonic() - last < 4


def test_who_wants_no_kept_connections_gets_none(launch: Any, up: FaultServer) -> None:
    site, who = launch(1, GUNICORN_CMD_ARGS="--keep-alive 0"), rich()
    supplied = kit.supply(up)
    with Raw(site) as raw:
        time.sleep(0.3)
        raw.send(post(who, kit.ask(supplied)))
        reply = raw.reply()
        assert (reply.status, reply.header("connection")) == (200, CLOSE)
        assert raw.over()


def test_who_wants_an_access_log_finds_the_calls_in_it(launch: Any, up: FaultServer) -> None:
    site, who = launch(1, GUNICORN_CMD_ARGS="--access-logfile -"), rich()
    assert site.chat(who, kit.supply(up)).status_code == 200

    assert eventually(lambda: "POST /v1/chat/completions" in site.log.read_text())


def test_a_worker_that_has_answered_enough_says_so_and_is_replaced(
    launch: Any, up: FaultServer
) -> None:
    site, supplied, who = launch(1, GUNICORN_CMD_ARGS="--max-requests 40"), kit.supply(up), rich()
    before = site.workers()
    call = post(who, kit.ask(supplied))
    with Raw(site) as raw:
        reply = None
        while reply is None or reply.header("connection") != CLOSE:
            raw.send(call)
            reply = raw.reply()
            assert reply.status == 200
        assert raw.over()
    assert len(who.closed()) <= 40

    def replaced() -> bool:
        with contextlib.suppress(OSError):
            return bool(site.workers()) and not set(before) & set(site.workers())
        return False

    assert eventually(replaced, 15)


def test_going_down_closes_idle_lanes_and_tells_busy_ones(launch: Any, up: FaultServer) -> None:
    site, supplied, gate, who = launch(1), kit.supply(up), Gate(), rich()
    call = post(who, kit.ask(supplied))
    up.default = chat("late").but(delay_headers=gate)
    idle, busy, ahead = ([Raw(site) for _ in range(3)] for _ in range(3))
    up.script(*[chat("early")] * 2)
    for raw in idle[:2]:
        raw.send(call)
        assert by_lane(raw.reply())
    for raw in busy:
        raw.send(call)
    for raw in ahead:
        raw.send(call + call)
    gate.wait_for(6)
    site.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    for raw in idle:
        assert raw.over()
    assert time.monotonic() - began < 1.5
    time.sleep(0.3)
    gate.open()

    for raw in (*busy, *ahead):
        reply = raw.reply()
        assert (reply.status, reply.header("connection")) == (200, CLOSE)
        assert reply.header("server") is None, "the lane's"
        assert raw.over(), "what was sent ahead is not begun"
    assert site.process.wait(10) == 0
    assert len(who.closed(8)) == 8


def comings_and_goings(site: Site, who: Person, up: FaultServer) -> None:
    """Connections that end in every way there is, each several times."""
    call = post(who, kit.ask(kit.supply(up)))
    get = request("GET", "/livez", host="127.0.0.1")
    ways = [b"", call, get, call + get, get + call, call[:30], call[:-5], call + call[:30],
            b"garbage\r\n\r\n", call + b"garbage\r\n\r\n", call + call]  # fmt: skip
    for reset in (False, True):
        crowd = [Raw(site) for _ in ways * 3]
        for raw, data in zip(crowd, ways * 3, strict=True):
            raw.send(data)
        time.sleep(0.1)
        for raw in crowd:
            raw.leave(reset=reset)


def leave_unread(site: Site, who: Person, up: FaultServer) -> None:
    """Clients whose leaving is noticed only by writing to them: too much has been sent ahead."""
    supplied = kit.supply(up)
    call = post(who, kit.ask(supplied))
    for size in (10, 5 * 1_000_000):
        gate = Gate()
        up.on(chat("x" * size).but(delay_headers=gate), key=supplied.keys[0])
        crowd = [Raw(site) for _ in range(5)]
        for raw in crowd:
            raw.send(call + b"GET /livez HTTP/1.1\r\n" * 20_000)
        gate.wait_for(5)
        for raw in crowd:
            raw.leave(reset=True)
        gate.open()


def test_connections_are_counted_right_whatever_becomes_of_them(
    launch: Any, up: FaultServer
) -> None:
    """A shutdown waits for the connections that are busy: gunicorn says for how many."""
    site, who = launch(1, GUNICORN_CMD_ARGS="--log-level info"), rich()
    comings_and_goings(site, who, up)
    leave_unread(site, who, up)
    gate, supplied = Gate(), kit.supply(up)
    # For these two alone: what whoever has left had asked for may come in late.
    up.on(chat("late").but(delay_headers=gate), key=supplied.keys[0])
    lane, other = Raw(site), Raw(site)
    lane.send(post(who, kit.ask(supplied)))
    other.send(post(who, kit.ask(supplied), ("X_Odd", "1")))
    gate.wait_for(2)
    assert eventually(lambda: _connections(site) == 2, 10), "whoever has left is gone"
    site.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: "connections to finish" in site.log.read_text(), 20)
    gate.open()

    assert [raw.reply().status for raw in (lane, other)] == [200, 200]
    began = time.monotonic()
    assert site.process.wait(10) == 0
    assert time.monotonic() - began < 5
    log = site.log.read_text()
    assert "Waiting for 2 connections to finish" in log
    assert "Traceback" not in log


def test_a_crowd_that_says_nothing_and_leaves_is_forgotten(launch: Any, up: FaultServer) -> None:
    site, supplied, who = launch(1), kit.supply(up), rich()
    (worker,) = site.workers()
    for reset in (False, True):
        crowd = [Raw(site) for _ in range(200)]
        assert eventually(lambda: _sockets(worker) >= 200)
        began = time.monotonic()
        assert site.chat(who, supplied).status_code == 200
        assert time.monotonic() - began < 3
        for raw in crowd:
            raw.leave(reset=reset)
        assert eventually(lambda: _sockets(worker) < 50)
    site.session.close()
    began = time.monotonic()

    assert site.stop() == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in site.log.read_text()


def _connections(site: Site) -> int:
    """Connections that clients have to a gateway, those included that it has not yet seen end."""
    port, (worker,) = f":{int(site.url.rpartition(':')[2]):04X}", site.workers()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {row[9] for row in rows if row[1].endswith(port) and row[3] in ("01", "08")}
    known = {row[9] for row in rows}
    local = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    held = {name.removeprefix("socket:[").rstrip("]") for name in _links(worker)}
    return len(ours) + len(held - known - local)


def _sockets(process: int) -> int:
    return len(_links(process))


def _links(process: int) -> list[str]:
    """The sockets a process holds, by the names the kernel gives them."""
    found = []
    for path in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()))
    return [name for name in found if name.startswith("socket:")]


def test_a_comment_that_comes_after_the_end_is_not_said() -> None:
    """A timer may fire while the last word is being written; the client would take what comes
    behind that for the beginning of its next answer."""

    async def answer(ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        lane = _lane(loop)
        transport, _ = await loop.create_connection(lambda: lane, sock=ours)
        exchange = LaneExchange(lane, read_head([(b"host", b"127.0.0.1")], ""), b"")
        await exchange.start(200, [])
        await exchange.write(b"one")
        await exchange.end(b"two")
        await exchange.write(b": keep-alive\n\n")
        transport.close()
        await asyncio.sleep(0)

    ours, theirs = socket.socketpair()
    with theirs:
        asyncio.run(answer(ours))
        said = theirs.makefile("rb").read()

    assert said.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_client_that_takes_nothing_of_its_answer_for_long_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may acknowledge for ever that it has no room: neither a silence of the provider nor the
    end of a kept connection would end that."""
    monkeypatch.setattr(lanes, "UNTAKEN", 0.3)

    async def answer() -> None:
        loop = asyncio.get_running_loop()
        lane, ended = _lane(loop), asyncio.Event()
        monkeypatch.setattr(lane, "resume_writing", ended.set)
        server = await loop.create_server(lambda: lane, "127.0.0.1", 0)
        with socket.socket() as theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            theirs.setblocking(False)
            await loop.sock_connect(theirs, server.sockets[0].getsockname())
            await asyncio.sleep(0.01)
            lane.transport.write(b"x" * 20_000_000)
            lane.transport.close()
            async with asyncio.timeout(3):
                await ended.wait()
        server.close()
        assert lane.gone

    uvloop.run(answer())


def _lane(loop: asyncio.AbstractEventLoop) -> Lane:
    """A lane that is nobody's."""
    worker = SimpleNamespace(
        loop=loop, cfg=SimpleNamespace(keepalive=9), alive=True, nr=0, max_requests=9,
        nr_conns=0, protocols=set(),
    )  # fmt: skip
    return Lane(cast(Any, None), worker, lambda _: asyncio.Protocol())
