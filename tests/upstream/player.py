"""Playing one reply on one channel: head, body in its framing, and the scripted stop.

Bytes are counted twice: what the kernel took (into the record), and how much of head or body is
still allowed before the stop. A chunk that is cut announces its full size first, as it would
when a provider dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from .channel import WRITE_SIZE, Channel
from .reply import Drip, How, Pause, Piece, Reply
from .seen import Record, Seen


class Stopped(Exception):
    """The script says the reply ends here, unfinished."""

    def __init__(self, how: How) -> None:
        super().__init__(how)
        self.how = how


class Player:
    """Sends `reply` to `channel`, adding to `record` what went out."""

    def __init__(self, reply: Reply, channel: Channel, record: Record) -> None:
        self._reply = reply
        self._channel = channel
        self._record = record

    async def play(self, seen: Seen, close: bool) -> None:
        """The whole reply; `Stopped` where it says so, `ClientGone` when nobody is left."""
        reply = self._reply
        if reply.delay_headers:
            await self._channel.wait(reply.delay_headers)
        pieces = reply.pieces(seen)
        await self._head(reply.head_bytes(_counted(pieces), close))
        if seen.method != "HEAD" and not reply.bodiless:
            await self._body([pieces] if isinstance(pieces, bytes) else pieces)
        if reply.stop is not None:
            raise Stopped(reply.stop.how)
        if reply.tail:
            await self._send(reply.tail)

    async def _head(self, head: bytes) -> None:
        stop = self._reply.stop
        if stop is not None and stop.where == "head":
            await self._head_bytes(head[: int(stop.after)])
            raise Stopped(stop.how)
        await self._head_bytes(head)

    async def _head_bytes(self, head: bytes) -> None:
        drip = self._reply.drip
        if drip is None or not drip.head:
            await self._send(head)
            return
        for part in _slices(head, drip.size):
            await self._send(part)
            await self._channel.wait(drip.every)

    async def _body(self, pieces: Iterable[Piece]) -> None:
        reply, first = self._reply, True
        left = reply.stop.after if reply.stop else float("inf")
        for piece in _dripped(pieces, reply.drip):
            if left <= 0:
                return
            if not isinstance(piece, bytes):
                await self._channel.wait(piece.seconds if isinstance(piece, Pause) else piece)
                continue
            await self._between(first)
            await self._piece(piece, left)
            left, first = left - len(piece), False
        if reply.framing == "chunked" and reply.stop is None:
            await self._send(b"0\r\n\r\n")

    async def _between(self, first: bool) -> None:
        pause = self._reply.drip.every if self._reply.drip else self._reply.delay_between
        if pause and not first:
            await self._channel.wait(pause)
        else:
            await asyncio.sleep(0)  # a fast reader must not starve the other connections

    async def _piece(self, piece: bytes, left: float) -> None:
        data = piece if left >= len(piece) else piece[: int(left)]
        if self._reply.framing == "chunked" and piece:  # an empty chunk would be the last
            end = b"\r\n" if len(data) == len(piece) else b""
            data = b"%x\r\n%b%b" % (len(piece), data, end)
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        for part in _slices(data, WRITE_SIZE):
            await self._channel.send(part)
            self._record.sent_bytes += len(part)


def _counted(pieces: bytes | Iterable[Piece]) -> int | None:
    if isinstance(pieces, bytes):
        return len(pieces)
    if isinstance(pieces, list | tuple):
        return sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    return None


def _slices(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _dripped(pieces: Iterable[Piece], drip: Drip | None) -> Iterator[Piece]:
    for piece in pieces:
        if drip is None or not isinstance(piece, bytes):
            yield piece
        else:
            yield from _slices(piece, drip.size)
