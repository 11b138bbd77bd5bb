"""What the server remembers of every request: frozen pictures for tests, one live record inside.

A `Record` belongs to the event loop and changes while its reply is played; a test only ever gets
`Seen`, a picture taken at the moment it asked. All times are `time.monotonic()` seconds.

Law: a request is in the journal before the first byte of its answer is sent, so a client that
has any part of an answer finds its request in `journal.pictures()`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

KEY_HEADERS = ("x-goog-api-key", "x-api-key", "api-key")


@dataclass(frozen=True)
class Seen:
    """One request and how its reply went, as of now. Sizes in bytes, times in monotonic seconds."""

    method: str
    target: bytes
    """The request target exactly as on the wire, query included."""
    headers: tuple[tuple[bytes, bytes], ...]
    """Names and values in wire order, names in the client's spelling."""
    head: bytes
    """The whole head as received, up to and including the empty line."""
    at: float
    """When the head was complete."""
    connection: int
    """Number of the connection since the server was made (1, 2, ...); equal means reused."""
    body: bytes = b""
    """The body without transfer coding; only its first `keep_body` bytes when it is larger."""
    body_length: int = 0
    body_sha256: str = ""
    body_complete: bool = False
    """False while unread (an early reply) or when the client left in the middle of sending it."""
    sent_bytes: int = 0
    """Bytes of our reply, head and framing included, that the kernel took."""
    finished: bool = False
    """Our whole reply was written and accepted; never true for a reply scripted to stop."""
    client_gone_at: float | None = None
    """When we noticed the client leaving before our reply was finished."""
    ended_at: float | None = None
    """When this exchange was over for us, however it ended."""

    def header(self, name: str) -> str | None:
        """The first value of a header (any case), or None."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """All values of a header (any case), in order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    @property
    def key(self) -> str | None:
        """The caller's credential: the bearer token, else Gemini's or Anthropic's key header."""
        scheme, _, token = (self.header("authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        return next((found for name in KEY_HEADERS if (found := self.header(name))), None)

    @property
    def path(self) -> str:
        """The target without its query; still percent-encoded."""
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def json(self) -> Any:
        """The body parsed as JSON; raises ValueError when it is not."""
        return json.loads(self.body)

    def matches(
        self, path_suffix: str | None = None, key: str | None = None, method: str | None = None
    ) -> bool:
        """Whether every given condition holds; None means any."""
        return (
            (path_suffix is None or self.path.endswith(path_suffix))
            and (key is None or self.key == key)
            and (method is None or self.method == method.upper())
        )


@dataclass(frozen=True)
class Malformed:
    """Bytes that were no acceptable request: the reason, and what had been read of them."""

    reason: str
    data: bytes
    connection: int


class Record:
    """The live side of one `Seen`; every change wakes the tests that wait on the journal."""

    def __init__(self, seen: Seen, changed: threading.Condition) -> None:
        self._seen = seen
        self._changed = changed
        self.sent_bytes = 0  # hot: added to on every write, without lock or wake-up

    def picture(self) -> Seen:
        return replace(self._seen, sent_bytes=self.sent_bytes)

    def finish(self) -> None:
        self._update(finished=True, ended_at=time.monotonic())

    def client_gone(self, at: float) -> None:
        self._update(client_gone_at=at, ended_at=time.monotonic())

    def end(self) -> None:
        """Close the record if nothing else did: a scripted stop, or the server going down."""
        if self._seen.ended_at is None:
            self._update(ended_at=time.monotonic())

    def _update(self, **changes: Any) -> None:
        with self._changed:
            self._seen = replace(self._seen, **changes)
            self._changed.notify_all()


@dataclass
class Journal:
    """All records since the last reset, shared between the event loop and the tests' threads."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    malformed: list[Malformed] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    _records: list[Record] = field(default_factory=list)

    def open(self, seen: Seen) -> Record:
        record = Record(seen, self.changed)
        with self.changed:
            self._records.append(record)
            self.changed.notify_all()
        return record

    def pictures(self, where: Callable[[Seen], object] | None = None) -> list[Seen]:
        with self.changed:
            taken = [record.picture() for record in self._records]
        return [seen for seen in taken if where is None or where(seen)]

    def wait_for(
        self, count: int, timeout: float, where: Callable[[Seen], object] | None = None
    ) -> list[Seen]:
        with self.changed:  # re-entrant, so pictures() may take it again
            if self.changed.wait_for(lambda: len(self.pictures(where)) >= count, timeout):
                return self.pictures(where)
        found, total = len(self.pictures(where)), len(self.pictures())
        raise TimeoutError(f"{found} of {count} requests after {timeout} s ({total} seen in all)")

    def reset(self) -> None:
        with self.changed:
            self._records.clear()
            self.malformed.clear()
            self.errors.clear()
            self.changed.notify_all()
