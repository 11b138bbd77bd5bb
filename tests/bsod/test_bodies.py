"""Request bodies at our server: held back, timed, passed on, and answers that break off."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from bsod.lane import Lane, LaneExchange
from proxy.gateway.exchange import AsgiExchange, ClientGone
from proxy.gateway.head import read_head
from tests import kit
from tests.kit import Site, eventually
from tests.rawclient import Header, Raw, peak_memory
from tests.upstream import FaultServer, error, json_reply

pytestmark = pytest.mark.once
MB = 1_000_000
BLOCK = bytes(range(256)) * 1_024
MOST = 32 * 1024 * 1024
TYPE = ("Content-Type", "multipart/form-data; boundary=B0")


@pytest.fixture(scope="module")
def place(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The small application in one worker; a body may lag behind for a second."""
    folder, port = tmp_path_factory.mktemp("bodies"), kit.free_port()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "gunicorn"), "-k", "bsod.server.Worker",
             "-b", f"127.0.0.1:{port}", "-w", "1", "--timeout", "2", "--no-control-socket",
             "tests.bsod.bodies:application"],
            cwd=kit.ROOT, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "BODIES_FOLDER": str(folder / "spools")},
        )  # fmt: skip
    site = Site(f"http://127.0.0.1:{port}", process, log)
    try:
        assert eventually(lambda: _takes(site), 20), log.read_text()
        yield site
    finally:
        site.stop(signal.SIGKILL)
    assert "Traceback" not in log.read_text(), log.read_text()


def _takes(site: Site) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.post(f"{site.url}/take", data=b"x", timeout=2).status_code == 200
    return False


def memory(site: Site) -> int:
    (worker,) = site.workers()
    return peak_memory(worker)


def pour(raw: Raw, count: int, *, chunked: bool = False) -> str:
    """Send so many blocks; their digest."""
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(BLOCK)
        raw.send(b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK)
    if chunked:
        raw.send(b"0\r\n\r\n")
    return digest.hexdigest()


def begin(raw: Raw, target: str, length: int | None, *headers: Header) -> None:
    framing = (
        ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
    )
    raw.ask("POST", target, [framing, *headers])


# ---- held back


@pytest.mark.parametrize("chunked", [False, True])
def test_200_mb_sent_faster_than_they_are_taken_do_not_grow_the_worker(
    place: Site, chunked: bool
) -> None:
    """The application sleeps at first: until then nothing but a little is read."""
    count, before = 800, memory(place)
    with Raw(place) as raw:
        begin(raw, "/take?0.3", None if chunked else count * len(BLOCK))
        digest = pour(raw, count, chunked=chunked)
        told = json.loads(raw.reply().body)

    assert (told["size"], told["sha256"]) == (count * len(BLOCK), digest)
    assert told["largest"] <= MB
    assert memory(place) - before < MOST


def test_a_form_of_200_mb_goes_through_byte_for_byte_without_memory(place: Site) -> None:
    head = b'--B0\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    head += b'--B0\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
    end, count, before = b"\r\n--B0--\r\n", 800, memory(place)
    expected = hashlib.sha256(head + BLOCK * count + end).hexdigest()
    with FaultServer(keep_body=1_000) as up:
        up.script(json_reply({"id": "file-1"}))
        with Raw(place) as raw:
            begin(raw, f"/form?{up.base_url}", len(head) + count * len(BLOCK) + len(end), TYPE)
            raw.send(head)
            pour(raw, count)
            raw.send(end)
            reply = raw.reply()
        (seen,) = up.seen

    assert (reply.status, reply.body) == (200, b'{"id":"file-1"}')
    assert (seen.body_complete, seen.body_sha256) == (True, expected)
    assert seen.header("content-type") == TYPE[1]
    assert memory(place) - before < MOST
    assert not list((place.log.parent / "spools").iterdir())


@pytest.mark.parametrize(("data", "status", "told"), [
    (b"--B0\r\nX: 1\r\n\r\n", 400, "Content-Disposition"),
    (b"--B1\r\n", 400, "does not begin with the boundary"),
    (b"--B0\r\n" + b"x" * 20_000, 413, "head of a part"),
])  # fmt: skip
def test_a_form_that_is_refused_while_it_comes_leaves_nothing_and_is_told_why(
    place: Site, data: bytes, status: int, told: str
) -> None:
    with Raw(place) as raw:
        begin(raw, "/form?http://127.0.0.1:9", 50 * MB, TYPE)
        with contextlib.suppress(ConnectionError):
            raw.send(data)
            pour(raw, 100)
        reply = raw.reply()

    assert (reply.status, told in reply.error["message"]) == (status, True)
    assert _open_spools(place) == 0


def test_a_form_whose_client_leaves_leaves_nothing(place: Site) -> None:
    """Also what lay on the disk already is gone with him."""
    part = b'--B0\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with Raw(place) as raw:
        begin(raw, "/form?http://127.0.0.1:9", 50 * MB, TYPE)
        raw.send(part)
        pour(raw, 20)
        assert eventually(lambda: _open_spools(place) == 1)

    assert eventually(lambda: _open_spools(place) == 0)


def test_a_provider_that_refuses_early_is_heard_while_the_form_is_sent_on(place: Site) -> None:
    part = b'--B0\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with FaultServer() as up:
        up.script(error(429, "slow down").but(early=True))
        with Raw(place) as raw:
            begin(raw, f"/form?{up.base_url}", len(part) + 200 * len(BLOCK) + 10, TYPE)
            raw.send(part)
            pour(raw, 200)
            raw.send(b"\r\n--B0--\r\n")
            reply = raw.reply()

    assert (reply.status, reply.error["message"]) == (429, "slow down")
    assert eventually(lambda: _open_spools(place) == 0)


def _open_spools(site: Site) -> int:
    (worker,) = site.workers()
    return sum("/spools/" in os.readlink(link) for link in _links(worker))


def _links(pid: int) -> list[Path]:
    return [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]


def test_a_body_beyond_the_limit_is_refused_when_it_is_announced_or_when_it_comes(
    place: Site,
) -> None:
    with Raw(place) as raw:
        begin(raw, "/take", 600_000_001)
        assert raw.reply().error["message"].startswith("The body is larger than the 600 MB")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"12345", "more_body": True}

    async def read() -> list[bytes]:
        exchange = AsgiExchange("x", {"method": "POST", "headers": []}, receive, cast(Any, None))
        return [piece async for piece in exchange.pieces(12)]

    with pytest.raises(Exception, match="larger than"):
        asyncio.run(read())


def test_a_client_that_leaves_in_the_middle_is_gone_to_whoever_reads() -> None:
    said = [{"type": "http.request", "body": b"1", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return said.pop(0)

    async def read() -> None:
        exchange = AsgiExchange("x", {"method": "POST", "headers": []}, receive, cast(Any, None))
        pieces = exchange.pieces(12)
        assert await anext(pieces) == b"1"
        await anext(pieces)

    with pytest.raises(ClientGone):
        asyncio.run(read())


# ---- timed


def drip(raw: Raw, every: float, size: int) -> float:
    """Send `size` bytes of 6 000 every so often until an answer comes; how long that took."""
    began = time.monotonic()
    begin(raw, "/take", 6_000)
    raw.socket.settimeout(every)
    while time.monotonic() - began < 8:
        raw.send(b"x" * size)
        with contextlib.suppress(TimeoutError):
            if raw.socket.recv(1, socket.MSG_PEEK):
                break
    raw.socket.settimeout(5)
    return time.monotonic() - began


def byte_by_byte(raw: Raw) -> None:
    """Each byte comes in time for gunicorn, which waits two seconds for the next."""
    took, reply = drip(raw, 0.1, 1), raw.reply()
    assert (reply.status, reply.error["code"]) == (408, "request_timeout")
    assert reply.header("connection") == "close"
    assert 0.8 < took < 5


def slow_but_steady(raw: Raw) -> None:
    took, reply = drip(raw, 0.1, 400), raw.reply()
    assert (reply.status, json.loads(reply.body)["size"]) == (200, 6_000)
    assert took > 1.2


def held_back_by_us(raw: Raw) -> None:
    """The application does not read for longer than a body may lag, and reading is paused."""
    begin(raw, "/take?1.5", 100 * len(BLOCK))
    digest = pour(raw, 100)
    reply = raw.reply()
    assert (reply.status, json.loads(reply.body)["sha256"]) == (200, digest)


def waiting_to_be_told_to_go_on(raw: Raw) -> None:
    begin(raw, "/take?1.5", 3, ("Expect", "100-continue"))
    assert raw.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.send(b"abc")
    reply = raw.reply()
    assert (reply.status, json.loads(reply.body)["size"]) == (200, 3)


def one_after_another(raw: Raw) -> None:
    for _ in range(4):
        begin(raw, "/take", 20)
        raw.send(b"x" * 10)
        time.sleep(0.44)
        raw.send(b"x" * 10)
        assert raw.reply().status == 200


def test_a_body_that_is_too_slow_is_told_408_and_nobody_else_is_blamed(place: Site) -> None:
    """All at once, for the waiting is the same: a body may lag behind for a second here."""
    stories = [byte_by_byte, slow_but_steady, held_back_by_us, waiting_to_be_told_to_go_on,
               one_after_another]  # fmt: skip

    def tell(story: Callable[[Raw], None]) -> None:
        with Raw(place) as raw:
            story(raw)

    with ThreadPoolExecutor(len(stories)) as pool:
        for told in [pool.submit(tell, story) for story in stories]:
            told.result(20)


# ---- broken off


@pytest.mark.parametrize("framing", ["length", "chunked", "HTTP/1.0"])
def test_an_answer_that_is_broken_off_never_looks_whole(place: Site, framing: str) -> None:
    version = "1.0" if framing == "HTTP/1.0" else "1.1"
    line = f"POST /break?{framing} HTTP/{version}\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with Raw(place) as raw:
        raw.send(line.encode())
        said, reset = _until_the_end(raw.socket)

    assert b" 200 OK" in said
    assert b"x" * 100 in said
    assert b"late" not in said
    assert not said.endswith(b"0\r\n\r\n")
    assert reset, "without length and chunks only a reset tells that something is missing"


def _until_the_end(line: socket.socket) -> tuple[bytes, bool]:
    said = b""
    try:
        while data := line.recv(65_536):
            said += data
    except ConnectionResetError:
        return said, True
    return said, False


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"1000")]])
def test_the_lane_breaks_an_answer_off_as_well(headers: list[tuple[bytes, bytes]]) -> None:
    gone: list[int] = []

    async def answer(ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        worker: Any = SimpleNamespace(
            loop=loop, cfg=SimpleNamespace(keepalive=9), alive=True, nr=0, max_requests=9,
            nr_conns=0, protocols=set(),
        )  # fmt: skip
        lane = Lane(cast(Any, None), worker, lambda _: asyncio.Protocol())
        await loop.create_connection(lambda: lane, sock=ours)
        exchange = LaneExchange(lane, read_head([(b"host", b"127.0.0.1")], ""), b"body")
        assert [piece async for piece in exchange.pieces(4)] == [b"body"]
        exchange.on_gone(lambda: gone.append(1))
        await exchange.start(200, headers)
        await exchange.write(b"one")
        exchange.abort()
        exchange.abort()
        await exchange.write(b"late")
        await exchange.end(b"late")
        exchange.finish()
        await asyncio.sleep(0.01)
        assert worker.nr_conns == 0

    ours, theirs = socket.socketpair()
    with theirs:
        asyncio.run(answer(ours))
        said, _ = _until_the_end(theirs)

    assert b"one" in said
    assert b"late" not in said
    assert not said.endswith(b"0\r\n\r\n")
    assert not gone, "we have left, not the client"
