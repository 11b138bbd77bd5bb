"""One accepted connection: writing with back-pressure, waiting, and knowing when the client left.

Law: whatever the reply is doing - blocked on a full socket, silent between two chunks, hanging for
ever - the client's FIN or RST ends it at once with `ClientGone`. A FIN counts as leaving, as it
does for most providers, although a client could in theory close only its own half.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import time
from typing import Literal

from .reply import Gate
from .wire import HEAD_LIMIT, ClientGone

WRITE_SIZE = 1 << 18
"""Bytes handed to the kernel at a time, so that the count of sent bytes stays honest."""
LINGER_SECONDS = 2.0
DELIVERY_SECONDS = 1.0
_ABORTIVE = struct.pack("ii", 1, 0)


class WatchedReader(asyncio.StreamReader):
    """A stream reader that wakes a waiter when the other side ends, even with nobody reading."""

    def __init__(self) -> None:
        super().__init__(limit=HEAD_LIMIT)
        self.ended_at: float | None = None
        self.waiter: asyncio.Future[None] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        self._ended()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._ended()

    def _ended(self) -> None:
        if self.ended_at is None:
            self.ended_at = time.monotonic()
        if self.waiter is not None:
            wake(self.waiter)


class Channel:
    """Reader and writer of one connection, with its number and the way it is to be closed."""

    def __init__(self, number: int, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.farewell: Literal["fin", "reset"] = "fin"
        self._writer = writer
        # Mark 0: drain() returns only when the kernel has everything.
        writer.transport.set_write_buffer_limits(high=0)

    async def send(self, data: bytes) -> None:
        """Write and wait until the kernel took all of it."""
        if self.reader.ended_at is not None or self._writer.transport.is_closing():
            raise ClientGone
        self._writer.write(data)
        if self._writer.transport.is_closing():  # the write itself failed
            raise ClientGone
        if self._writer.transport.get_write_buffer_size():
            try:
                await self._writer.drain()
            except ConnectionError:
                raise ClientGone from None

    async def wait(self, what: float | Gate | None) -> None:
        """Sleep for seconds, until a gate opens, or (None) for ever; ClientGone ends it early."""
        if self.reader.ended_at is not None:
            raise ClientGone
        loop = asyncio.get_running_loop()
        self.reader.waiter = waiter = loop.create_future()
        try:
            if isinstance(what, Gate):
                await _until_open(what, waiter)
            else:
                timer = None if what is None else loop.call_later(what, wake, waiter)
                await _cancelling(waiter, timer)
        finally:
            self.reader.waiter = None
        if self.reader.ended_at is not None:
            raise ClientGone

    async def delivered(self) -> None:
        """Wait until the client's kernel has all we sent: a reset would throw the rest away."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        while self._unacknowledged() and time.monotonic() < deadline:
            await self.wait(0.002)

    def _unacknowledged(self) -> int:
        found = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        return int(struct.unpack("i", found)[0])

    async def linger(self) -> None:
        """End our side, then swallow what still comes, as servers do after an early answer."""
        self._writer.write_eof()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while await self.reader.read(WRITE_SIZE):
                    pass
        except (TimeoutError, ConnectionError):
            return

    def close(self) -> None:
        """Close in the way `farewell` says; harmless when it is closed already."""
        if self.farewell == "reset" and self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
        self._writer.transport.abort()  # our buffer is empty, or nobody is left to read it

    @property
    def _socket(self) -> socket.socket:
        found: socket.socket = self._writer.get_extra_info("socket")
        return found


async def _until_open(gate: Gate, waiter: asyncio.Future[None]) -> None:
    loop = asyncio.get_running_loop()

    def opened() -> None:
        loop.call_soon_threadsafe(wake, waiter)

    if not gate.subscribe(opened):
        return
    try:
        await waiter
    finally:
        gate.unsubscribe(opened)


async def _cancelling(waiter: asyncio.Future[None], timer: asyncio.TimerHandle | None) -> None:
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()


def wake(waiter: asyncio.Future[None]) -> None:
    """Resolve a waiter that may be resolved or cancelled already."""
    if not waiter.done():
        waiter.set_result(None)
