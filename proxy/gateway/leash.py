"""Interrupting a call that waits: its client left, its provider fell silent, we are going down.

A `Leash` cancels whatever its task awaits inside `with leash:`, and turns that cancellation into
`Interrupted`. A `Vigil` is the one timer of a call: it pulls the leash and says when a keep-alive
comment is due. Neither costs anything while bytes flow: the timer looks, it is never re-armed.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType


class Why(StrEnum):
    GONE = "gone"
    SILENT = "silent"
    TOO_LONG = "too_long"
    DRAIN = "drain"


class Interrupted(Exception):
    def __init__(self, why: Why) -> None:
        super().__init__(str(why))
        self.why = why


class Leash:
    def __init__(self) -> None:
        self.why: Why | None = None
        self._task: asyncio.Task[object] | None = None
        self._pulled = False

    def pull(self, why: Why) -> None:
        """Interrupt now, or at the next `with` when the call is not waiting. A silence, which the
        next attempt forgets, hides nothing that is for good."""
        if self.why in (None, Why.SILENT):
            self.why = why
            if self._task and not self._pulled:
                self._pulled = True
                self._task.cancel()

    def slacken(self) -> None:
        """Forget a silence: the next attempt begins afresh."""
        if self.why is Why.SILENT:
            self.why, self._pulled = None, False

    def __enter__(self) -> None:
        if self.why:
            raise Interrupted(self.why)
        self._task = asyncio.current_task()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if kind is asyncio.CancelledError and self._pulled and task and self.why:
            task.uncancel()
            raise Interrupted(self.why) from None


class Vigil:
    """Watches one call. All times are in seconds of the event loop's clock."""

    def __init__(
        self,
        leash: Leash,
        silence: float,
        longest: float,
        every: float,
        comment: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._leash, self._silence, self._every, self._comment = leash, silence, every, comment
        self.heard = self.spoke = self._loop.time()
        self._end = self.heard + longest
        self.writing = False
        """The client is reading slowly: a silence would be ours, not the provider's."""
        self._timer = self._loop.call_at(self._next(), self._look)

    def restart(self) -> None:
        """A new attempt: its silence counts from now."""
        self.heard = self._loop.time()
        self._leash.slacken()

    def stop(self) -> None:
        self._timer.cancel()

    def _next(self) -> float:
        return min(self.heard + self._silence, self.spoke + self._every, self._end)

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._end:
            self._leash.pull(Why.TOO_LONG)
            return
        if self.writing:
            self.heard = self.spoke = now
        elif now >= self.heard + self._silence:
            self._leash.pull(Why.SILENT)
            self.heard = now
        elif now >= self.spoke + self._every:
            self.spoke = now
            self._comment()
        self._timer = self._loop.call_at(max(self._next(), now + 0.01), self._look)
