"""Bodies too large for memory: bytes that grow at their end and are read again anywhere.

What goes beyond a limit lies in a temporary file that never has a name, so it is gone with us
whatever happens. A `Body` is what is sent on: it can be read again from its beginning, because a
request may have to be sent a second time.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

CHUNK = 131_072  # bytes read at once: a disk is quick with it, and a socket takes it


class Body(Protocol):
    """The body of a request that is sent piece by piece."""

    @property
    def length(self) -> int:
        """Bytes in all; `chunks` gives exactly so many."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes from the beginning, at every call."""


class Spool:
    """Bytes in memory, then in a file. OSError when the disk does not take them."""

    def __init__(self, folder: Path, in_memory: int = 1_000_000) -> None:
        self._folder, self._in_memory = folder, in_memory
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._closed = False
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def write(self, data: bytes) -> None:
        """Append. After an OSError nothing of `data` counts."""
        self._check()
        if self._file is None and self.size + len(data) > self._in_memory:
            self._spill()
        if self._file is None:
            self._memory += data
        else:
            _write(self._file.fileno(), data, self.size)
        self.size += len(data)

    def read(self, start: int, length: int) -> bytes:
        """These bytes; fewer where the end is nearer."""
        self._check()
        length = min(length, self.size - start)
        if start < 0 or length <= 0:
            return b""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + length])
        return _read(self._file.fileno(), length, start)

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """The same in pieces."""
        end = min(start + length, self.size)
        while start < end:
            data = self.read(start, min(CHUNK, end - start))
            start += len(data)
            yield data

    def close(self) -> None:
        """Forget everything; whoever reads from then on gets a ValueError."""
        self._closed = True
        self._memory = bytearray()
        file, self._file = self._file, None
        if file:
            file.close()

    def _check(self) -> None:
        if self._closed:
            raise ValueError("the spool is closed")

    def _spill(self) -> None:
        """Move what is in memory to a file without a name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # buffering=0: what is written is in the kernel, and a full disk is told at once.
        file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 # closed by close()
        try:
            _write(file.fileno(), self._memory, 0)
        except OSError:
            file.close()
            raise
        self._file, self._memory = file, bytearray()


class Cut:
    """A `Body` of pieces: bytes of its own, and ranges of a spool."""

    def __init__(self, spool: Spool, pieces: Sequence[bytes | range]) -> None:
        self._spool, self._pieces = spool, tuple(pieces)
        self.length = sum(map(len, self._pieces))

    def chunks(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, range):
                yield from self._spool.chunks(piece.start, len(piece))
            elif piece:
                yield piece


def whole(spool: Spool) -> Body:
    """All that a spool holds now."""
    return Cut(spool, [range(spool.size)])


def _write(file: int, data: bytes | bytearray, at: int) -> None:
    view = memoryview(data)
    while view:
        # A nearly full disk takes a part, and refuses the next try.
        taken = os.pwrite(file, view, at)
        view, at = view[taken:], at + taken


def _read(file: int, length: int, at: int) -> bytes:
    data = os.pread(file, length, at)
    while len(data) < length:
        more = os.pread(file, length - len(data), at + len(data))
        if not more:
            raise OSError("the temporary file is shorter than what was written to it")
        data += more
    return data
