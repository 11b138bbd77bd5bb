"""Bodies that are sent piece by piece: as the provider takes them, and no longer than it does."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bsod.lib import http
from bsod.lib.spool import Cut, Spool
from tests.kit import eventually
from tests.upstream import FaultServer, Reply, error, json_reply

pytestmark = pytest.mark.once
BLOCK = bytes(range(256)) * 512


class Blocks:
    """A body of blocks that counts how much of it was asked for. `lie`: bytes it says too many."""

    def __init__(self, count: int, lie: int = 0) -> None:
        self._count = count
        self.length = count * len(BLOCK) + lie
        self.read = 0

    def chunks(self) -> Iterator[bytes]:
        for _ in range(self._count):
            self.read += len(BLOCK)
            yield BLOCK

    @property
    def sha256(self) -> str:
        return hashlib.sha256(BLOCK * self._count).hexdigest()


def talk(story: Callable[[http.Client], Awaitable[None]]) -> None:
    """Run a story on the loop that the server has, with a client that is closed after it."""

    async def told() -> None:
        client = http.Client(5)
        try:
            await story(client)
        finally:
            await client.close()

    uvloop.run(told())


async def post(client: http.Client, up: FaultServer, body: Any, **how: Any) -> tuple[int, bytes]:
    """Status and body of the answer; the connection is kept if it can be."""
    reply = await client.open("POST", up.base_url, "/files", {}, body, **how)
    answer = b""
    while data := await reply.read():
        answer += data
    reply.release()
    return reply.status, answer


def test_a_body_arrives_byte_for_byte_and_the_connection_is_kept(
    up: FaultServer, tmp_path: Path
) -> None:
    async def story(client: http.Client) -> None:
        with Spool(tmp_path) as spool:
            spool.write(BLOCK * 30)
            body = Cut(spool, [b"begin ", range(7, spool.size - 3), b" end"])
            for _ in range(2):
                assert (await post(client, up, body))[0] == 200
            assert (await post(client, up, Cut(spool, [])))[0] == 200
            assert (await post(client, up, b"bytes"))[0] == 200

    up.default = json_reply({})
    talk(story)

    expected = b"begin " + (BLOCK * 30)[7:-3] + b" end"
    assert [seen.body for seen in up.seen] == [expected, expected, b"", b"bytes"]
    lengths = [int(seen.header("content-length") or -1) for seen in up.seen]
    assert lengths == [len(expected), len(expected), 0, 5]
    assert up.connections == 1


def test_a_kept_connection_that_had_ended_is_no_loss_the_body_goes_again(up: FaultServer) -> None:
    body, sent = Blocks(20), list[int]()

    async def story(client: http.Client) -> None:
        assert (await post(client, up, b""))[0] == 200
        answer = await post(client, up, body, repeat=True, progress=lambda: sent.append(1))
        assert answer == (201, b"{}")
        up.script(Reply().cut(head=0))
        with pytest.raises(http.Broken):
            await post(client, up, body)

    up.script(json_reply({}), Reply().cut(head=0), json_reply({}).but(status=201))
    talk(story)

    assert [seen.body_sha256 for seen in up.seen[1:]] == [body.sha256] * 3
    assert [seen.connection for seen in up.seen] == [1, 1, 2, 2]
    assert len(sent) == 40


def test_no_more_is_read_than_the_provider_takes(up: FaultServer) -> None:
    """A provider that reads nothing. What the kernels hold between us is theirs to decide."""
    body = Blocks(3_000)

    async def story(client: http.Client) -> None:
        sending = asyncio.ensure_future(post(client, up, body))
        read = -1
        while read != body.read:
            read = body.read
            await asyncio.sleep(0.2)
        assert len(BLOCK) < read < body.length / 3
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert body.read == read

    up.script(Reply(early=True).hang(head=0))
    talk(story)


def test_who_gives_up_in_the_middle_closes_the_connection(up: FaultServer) -> None:
    async def story(client: http.Client) -> None:
        def progress() -> None:
            if body.read == 20 * len(BLOCK):
                sending.cancel()

        sending = asyncio.ensure_future(post(client, up, body, progress=progress))
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.to_thread(up.wait_for, 1, where=lambda seen: seen.client_gone_at)

    body = Blocks(3_000)
    talk(story)

    assert not up.seen[0].body_complete
    assert body.read <= 21 * len(BLOCK)


def test_others_have_their_turn_while_a_body_is_sent(up: FaultServer) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story(client: http.Client) -> None:
        counting = asyncio.ensure_future(count())
        await post(client, up, Blocks(100))
        counting.cancel()

    talk(story)

    assert turns >= 100


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_answer_that_comes_before_the_body_is_sent_is_the_answer(
    up: FaultServer, framing: str
) -> None:
    body = Blocks(3_000)

    async def story(client: http.Client) -> None:
        status, answer = await post(client, up, body, repeat=True)
        assert (status, b"too big" in answer) == (413, True)
        assert (await post(client, up, b"next"))[0] == 200

    up.script(error(413, "too big").but(early=True, framing=framing), json_reply({}))
    talk(story)

    assert body.read < body.length / 3
    assert [seen.connection for seen in up.seen] == [1, 2], "the first is not used again"


def test_an_early_answer_that_would_keep_the_connection_does_not(up: FaultServer) -> None:
    """Its next request would be read as the rest of the body that we have not sent."""
    body = Blocks(3_000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def story(client: http.Client) -> None:
        assert await post(client, up, body) == (200, b"{}")
        assert (await post(client, up, b"next"))[0] == 200

    up.script(Reply(body=raw, framing="raw", early=True), json_reply({}))
    talk(story)

    assert body.read < body.length / 3
    assert [seen.connection for seen in up.seen] == [1, 2]
    assert up.seen[1].body == b"next"


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_provider_that_leaves_in_the_middle_of_a_body_is_noticed(
    up: FaultServer, how: Any
) -> None:
    body = Blocks(3_000)

    async def story(client: http.Client) -> None:
        with pytest.raises(http.Broken):
            await asyncio.wait_for(post(client, up, body), 5)

    up.script(Reply(early=True).cut(head=0, how=how))
    talk(story)

    assert body.read < body.length / 3


def test_a_refused_connection_reads_nothing_of_the_body(up: FaultServer) -> None:
    body = Blocks(3)

    async def story(client: http.Client) -> None:
        up.stop()
        with pytest.raises(http.Unreachable):
            await post(client, up, body)
        up.start()
        assert (await post(client, up, body))[0] == 200

    up.default = json_reply({})
    talk(story)

    assert body.read == 3 * len(BLOCK)


@pytest.mark.parametrize("lie", [1, -1, len(BLOCK)])
def test_a_body_that_is_not_as_long_as_it_says_never_looks_whole(up: FaultServer, lie: int) -> None:
    async def story(client: http.Client) -> None:
        with pytest.raises(ValueError, match="as long as it says"):
            await post(client, up, Blocks(5, lie))
        assert (await post(client, up, b"next"))[0] == 200

    up.default = json_reply({})
    talk(story)

    assert eventually(lambda: not up.open_connections)
    whole = [(seen.body, seen.connection) for seen in up.seen if seen.body_complete]
    assert whole == [(b"next", 2)]


def test_a_body_that_cannot_be_read_breaks_the_request_off(up: FaultServer, tmp_path: Path) -> None:
    async def story(client: http.Client) -> None:
        spool = Spool(tmp_path, 0)
        spool.write(BLOCK * 10)
        body = Cut(spool, [range(spool.size)])
        spool.close()
        with pytest.raises(ValueError, match="closed"):
            await post(client, up, body)

    talk(story)

    assert eventually(lambda: not up.open_connections)
    assert not any(seen.body_complete for seen in up.seen)


def test_connections_that_a_burst_has_left_are_not_kept_beside_the_one_in_use(
    up: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "IDLE", 0.1)

    async def story(client: http.Client) -> None:
        await post(client, up, b"")
        before = _sockets()
        await asyncio.gather(*(post(client, up, b"") for _ in range(6)))
        assert _sockets() > before
        async with asyncio.timeout(2):
            while _sockets() > before:
                await post(client, up, b"")
                await asyncio.sleep(0.01)

    talk(story)


def _sockets() -> int:
    """Of this process, which is the provider too."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(path.readlink()).startswith("socket:")
    return found
