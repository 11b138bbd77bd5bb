"""HTTP/1.1 framing for the Python stand-ins: just enough, over asyncio's streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


class GoneError(Exception):
    """The peer closed the connection, or sent what is no HTTP."""


@dataclass
class Head:
    """First line and headers of a request or a response; header names in lower case."""

    first: list[str]
    headers: dict[str, str] = field(default_factory=dict)

    def closes(self) -> bool:
        """Whether the sender ends the connection after this message."""
        kept = self.headers.get("connection", "").lower()
        old = "HTTP/1.0" in (self.first[0], self.first[-1])
        return "close" in kept or (old and "keep-alive" not in kept)


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read up to the empty line."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as exc:
        raise GoneError from exc
    lines = text.split("\r\n")
    first = lines[0].split(" ", 2)
    if len(first) < 2:
        raise GoneError
    pairs = (line.partition(":") for line in lines[1:] if line)
    return Head(first, {name.strip().lower(): value.strip() for name, _, value in pairs})


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of chunked framing; empty at the end."""
    size = int((await reader.readline()).split(b";")[0] or b"0", 16)
    data = await reader.readexactly(size) if size else b""
    await reader.readline()
    return data


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """The whole body of a request, or of a response with a length or chunks."""
    try:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            parts = []
            while part := await read_chunk(reader):
                parts.append(part)
            return b"".join(parts)
        return await reader.readexactly(int(head.headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ValueError, OSError) as exc:
        raise GoneError from exc


def reply(status: str, body: bytes) -> bytes:
    """A whole JSON response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
