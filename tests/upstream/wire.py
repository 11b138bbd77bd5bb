"""Reading requests from the wire, strictly: what a real provider's front end would refuse, we do.

A gateway that lets a bad byte through to its upstream shows here as `Refused`, never as a
request that merely looks odd: bare line feeds, folded lines, two lengths, length with chunks.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass

HEAD_LIMIT = 1 << 20
"""Bytes of head accepted; also the reader's buffer mark."""
READ_SIZE = 1 << 18

_REQUEST_LINE = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.([01])")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[ -~]*)?\r\n")

Headers = tuple[tuple[bytes, bytes], ...]


class Refused(Exception):
    """Not an acceptable request; the message is the reason, `data` what had been read."""

    def __init__(self, reason: str, data: bytes) -> None:
        super().__init__(reason)
        self.data = data


class ClientGone(Exception):
    """The client closed or reset the connection before the exchange was over."""


@dataclass(frozen=True)
class Head:
    """A parsed head. `length` is None for a chunked body."""

    raw: bytes
    method: str
    target: bytes
    headers: Headers
    length: int | None
    keep_alive: bool
    expects_continue: bool


class Sink:
    """Collects a body: the first `keep` bytes themselves, of all of it length and hash."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept = bytearray()
        self._hash = hashlib.sha256()
        self.length = 0

    def add(self, data: bytes) -> None:
        self.length += len(data)
        self._hash.update(data)
        self._kept += data[: self._keep - len(self._kept)]

    @property
    def kept(self) -> bytes:
        return bytes(self._kept)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head, or None when the client closed between two requests."""
    try:
        return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as cut:
        if cut.partial:
            raise Refused("client left inside the head", cut.partial) from None
        return None
    except asyncio.LimitOverrunError:
        raise Refused(f"head over {HEAD_LIMIT} bytes", await reader.read(HEAD_LIMIT)) from None
    except ConnectionError:
        return None


def parse_head(raw: bytes) -> Head:
    """Parse one whole head, its empty line included."""
    first, *lines = raw[:-4].split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise Refused("bad request line", raw)
    headers = tuple(_header(line, raw) for line in lines)
    if len(_values(headers, b"host")) != 1:
        raise Refused("not exactly one Host", raw)
    connection = b",".join(_values(headers, b"connection")).lower()
    return Head(
        raw=raw,
        method=request[1].decode("ascii"),
        target=request[2],
        headers=headers,
        length=_body_length(headers, raw),
        keep_alive=request[3] == b"1" and b"close" not in connection,
        expects_continue=b"100-continue" in _values(headers, b"expect"),
    )


def _header(line: bytes, raw: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or any(bad in value for bad in b"\r\n\0"):
        raise Refused(f"bad header line {line[:80]!r}", raw)
    return name, value.strip(b" \t")


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name.lower() == wanted]


def _body_length(headers: Headers, raw: bytes) -> int | None:
    lengths, codings = _values(headers, b"content-length"), _values(headers, b"transfer-encoding")
    if codings:
        if lengths or codings != [b"chunked"]:
            raise Refused("ambiguous or unknown Transfer-Encoding", raw)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Refused("bad Content-Length", raw)
    return int(lengths[0])


async def read_body(reader: asyncio.StreamReader, length: int | None, sink: Sink) -> None:
    """Read one body into `sink`; ClientGone when it breaks off, what came before stays there."""
    try:
        if length is None:
            await _read_chunks(reader, sink)
        else:
            await _read_exactly(reader, length, sink)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise ClientGone from None
    except asyncio.LimitOverrunError:
        raise Refused("endless chunk line", b"") from None


async def _read_exactly(reader: asyncio.StreamReader, length: int, sink: Sink) -> None:
    while length:
        data = await reader.read(min(length, READ_SIZE))
        if not data:
            raise asyncio.IncompleteReadError(b"", length)
        sink.add(data)
        length -= len(data)


async def _read_chunks(reader: asyncio.StreamReader, sink: Sink) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise Refused("bad chunk size", line)
        if int(size[1], 16) == 0:
            break
        await _read_exactly(reader, int(size[1], 16), sink)
        if (end := await reader.readexactly(2)) != b"\r\n":
            raise Refused("chunk longer than its size", end)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers mean nothing here
