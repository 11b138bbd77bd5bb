"""The life of one connection: request, reply, and again, until someone ends it.

The answer is chosen when the head is in (so an early reply can leave the body unread) and the
request is journalled before the first byte goes out. Anything unreadable gets a 400, is kept in
`journal.malformed`, and ends the connection: its next bytes cannot be trusted.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from .channel import Channel
from .player import Player, Stopped
from .reply import Reply
from .script import Answer, Script
from .seen import Journal, Malformed, Record, Seen
from .shapes import error
from .wire import ClientGone, Head, Refused, Sink, read_body, read_head

CLOSING_FRAMINGS = ("close", "wrong_length", "raw")


@dataclass(frozen=True)
class Manners:
    """How connections are treated: kept or not, idle for how long (s), bodies kept (bytes)."""

    keep_alive: bool = True
    idle_timeout: float | None = None
    keep_body: int = 128 << 20


class Exchange:
    """Serves the requests of one channel from the script, writing the journal."""

    def __init__(
        self, channel: Channel, script: Script, journal: Journal, manners: Manners
    ) -> None:
        self._channel = channel
        self._script = script
        self._journal = journal
        self._manners = manners

    async def serve(self) -> None:
        try:
            while (head := await self._next_head()) is not None:
                if not await self._serve_one(head):
                    return
        except Refused as refused:
            await self._refuse(refused)

    async def _next_head(self) -> Head | None:
        try:
            async with asyncio.timeout(self._manners.idle_timeout):
                return await read_head(self._channel.reader)
        except TimeoutError:
            return None

    async def _serve_one(self, head: Head) -> bool:
        """One request; whether the connection goes on afterwards."""
        seen = Seen(
            head.method, head.target, head.headers, head.raw, time.monotonic(), self._channel.number
        )
        answer = self._script.choose(seen)
        early = isinstance(answer, Reply) and answer.early
        if not early:
            seen = await self._with_body(head, seen)
        record = self._journal.open(seen)
        try:
            if early or seen.body_complete:
                return await self._answer(record, answer, head.keep_alive and not early)
            self._note_gone(record)
        except ClientGone:
            self._note_gone(record)
        finally:
            record.end()
        return False

    def _note_gone(self, record: Record) -> None:
        record.client_gone(self._channel.reader.ended_at or time.monotonic())

    async def _with_body(self, head: Head, seen: Seen) -> Seen:
        sink, complete = Sink(self._manners.keep_body), True
        try:
            if head.expects_continue:
                await self._channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await read_body(self._channel.reader, head.length, sink)
        except ClientGone:
            complete = False
        return replace(
            seen,
            body=sink.kept,
            body_length=sink.length,
            body_sha256=sink.sha256,
            body_complete=complete,
        )

    async def _answer(self, record: Record, answer: Answer, keep: bool) -> bool:
        seen = record.picture()
        reply = self._resolve(answer, seen)
        closes = reply.framing in CLOSING_FRAMINGS and not reply.bodiless
        keep = keep and self._manners.keep_alive and reply.then == "keep" and not closes
        try:
            await Player(reply, self._channel, record).play(seen, close=not keep)
        except Stopped as stopped:
            await self._stop(stopped)
            return False
        except ClientGone:
            raise
        except Exception as failure:  # a body function of the test broke; its fault, not ours
            self._journal.errors.append(failure)
            return False
        record.finish()
        if reply.early:
            await self._channel.linger()
        return keep

    def _resolve(self, answer: Answer, seen: Seen) -> Reply:
        try:
            return answer if isinstance(answer, Reply) else answer(seen)
        except Exception as failure:
            self._journal.errors.append(failure)
            return error(500, f"the test's script failed: {failure!r}")

    async def _stop(self, stopped: Stopped) -> None:
        if stopped.how == "hang":
            await self._channel.wait(None)
        elif stopped.how == "reset":
            await self._channel.delivered()
            self._channel.farewell = "reset"

    async def _refuse(self, refused: Refused) -> None:
        self._journal.malformed.append(Malformed(str(refused), refused.data, self._channel.number))
        seen = Seen("", b"", (), b"", time.monotonic(), self._channel.number)
        unlisted = Record(seen, self._journal.changed)
        try:
            await Player(error(400, str(refused)), self._channel, unlisted).play(seen, close=True)
            await self._channel.linger()
        except ClientGone:
            return
