"""What providers do on bad days, as ready replies. Sizes in bytes.

Big bodies are generated while they are sent, so that a gigabyte costs the server a few blocks;
each has an end, so that a client without a cap fails its test instead of filling the machine.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .reply import Framing, Header, Reply
from .seen import Seen

BLOCK = 1 << 20


def garbage(data: bytes = b"\x16\x03\x01\x02\x00\x01 this is no HTTP\r\n\r\n") -> Reply:
    """Bytes instead of HTTP, then the connection closes."""
    return Reply(framing="raw", body=data)


def hang() -> Reply:
    """Take the request and never answer."""
    return Reply().hang(head=0)


def redirect(location: str, status: int = 307) -> Reply:
    """A redirect nobody should follow."""
    return Reply(status, (("Location", location),))


def split_headers(name: str = "x-request-id", injected: bytes = b"Set-Cookie: owned=1") -> Reply:
    """An answer whose header value holds a line break and another header behind it."""
    return Reply(headers=((name, b"a\r\n" + injected), _JSON), body=b"{}")


def gzip_bomb(size: int = 64 << 20) -> Reply:
    """gzip (whoever asked for identity) of valid JSON that unpacks to `size` bytes, 1:1000."""
    headers = (_JSON, ("Content-Encoding", "gzip"))
    return Reply(headers=headers, body=lambda _: _gzip_json(size), framing="chunked")


def giant_json(size: int = 2 << 30, framing: Framing = "length") -> Reply:
    """A valid JSON object of exactly `size` bytes, one string long."""
    return Reply(headers=(_JSON,), body=lambda _: _json(size), framing=framing, length=size)


def endless_line(size: int | None = 256 << 20, start: bytes = b"data: ") -> Reply:
    """An SSE line that does not end within `size` bytes; None: goes on until the client leaves."""

    def body(_: Seen) -> Iterator[bytes]:
        yield start
        sent = len(start)
        while size is None or sent < size:
            yield _filler(BLOCK if size is None else min(BLOCK, size - sent))
            sent += BLOCK

    headers = (("Content-Type", "text/event-stream"),)
    return Reply(headers=headers, body=body, framing="chunked")


_JSON: Header = ("Content-Type", "application/json")
_OPEN, _CLOSE = b'{"a":"', b'"}'
_FILLER = b"a" * BLOCK


def _filler(size: int) -> bytes:
    return _FILLER if size == BLOCK else _FILLER[:size]


def _json(size: int) -> Iterator[bytes]:
    if size < len(_OPEN) + len(_CLOSE):
        raise ValueError(f"a JSON object of {size} bytes is too small to fill")
    yield _OPEN
    left = size - len(_OPEN) - len(_CLOSE)
    while left > 0:
        yield _filler(min(BLOCK, left))
        left -= BLOCK
    yield _CLOSE


def _gzip_json(size: int) -> Iterator[bytes]:
    """One gzip member. A full flush forgets the window, so a filler block is packed only once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    check, packed = 0, b""
    yield struct.pack("<4BLBB", 0x1F, 0x8B, 8, 0, 0, 2, 255)
    for part in _json(size):
        check = zlib.crc32(part, check)
        if part is not _FILLER or not packed:
            data = packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
            packed = data if part is _FILLER else packed
        yield packed if part is _FILLER else data
    yield packer.flush(zlib.Z_FINISH) + struct.pack("<LL", check, size & 0xFFFFFFFF)
