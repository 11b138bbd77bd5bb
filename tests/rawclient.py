"""A client that says exactly what a test wants on the wire, and sees exactly what comes back."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.kit import Person, Site, leftovers

CHAT = "/v1/chat/completions"
JSON_TYPE = ("Content-Type", "application/json")
Header = tuple[str, str | bytes]
also: list[Header] = []
"""Headers every request gets besides its own; a fixture may put one here."""


@dataclass(frozen=True)
class Reply:
    """One reply, as it was on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.values(name)
        return values[0] if values else None

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def error(self) -> dict[str, Any]:
        """The error object, which is all the body holds and has OpenAI's four fields."""
        assert self.header("content-type") == "application/json", self
        body = json.loads(self.body)
        assert list(body) == ["error"]
        error: dict[str, Any] = body["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        return error


class Raw:
    """A connection of one's own. `receive_buffer` small: a reader that is felt to be slow."""

    def __init__(
        self, site: Site, *, timeout: float = 20, receive_buffer: int | None = None
    ) -> None:
        place = urlsplit(site.url)
        self.host = f"{place.hostname}:{place.port}"
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((place.hostname, place.port))
        self._file = self.socket.makefile("rb")
        leftovers.append(self.leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self, *, reset: bool = False) -> None:
        """Close the connection: in order, or with a reset as a killed client's kernel does."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(
        self,
        method: str,
        target: str | bytes,
        headers: Sequence[Header] = (),
        body: bytes | None = None,
        *,
        host: bool = True,
    ) -> None:
        """Send a request; a body gets its Content-Length unless a header frames it."""
        self.send(request(method, target, headers, body, host=self.host if host else None))

    def chat(self, who: Person, body: Any, *headers: Header) -> None:
        """Send a chat completion."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.ask("POST", CHAT, [*who.auth.items(), JSON_TYPE, *headers], data)

    def head(self) -> Reply:
        """The status line and headers of the next reply. status 0: the connection ended."""
        line = self._file.readline().decode("latin-1")
        if not line:
            return Reply(0, [], b"")
        headers = []
        while (raw := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = raw.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        return Reply(int(line.split(" ")[1]), headers, b"")

    def reply(self, *, bodiless: bool = False) -> Reply:
        """The next reply, whole."""
        head = self.head()
        if bodiless or not head.status or head.status in (204, 304):
            return head
        if head.header("transfer-encoding") == "chunked":
            body = b"".join(self.chunks())
        elif (length := head.header("content-length")) is not None:
            body = self._file.read(int(length))
        else:
            body = self._file.read()
        return Reply(head.status, head.headers, body)

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body as they come. EOFError when it breaks off."""
        while True:
            line = self._file.readline()
            if not line:
                raise EOFError("the body ended without its last chunk")
            size = int(line.strip(), 16)
            data = self._file.read(size)
            self._file.readline()
            if not size:
                return
            yield data

    def over(self) -> bool:
        """Whether the other side has nothing more to say and has closed."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


def request(
    method: str,
    target: str | bytes,
    headers: Sequence[Header] = (),
    body: bytes | None = None,
    *,
    host: str | None,
) -> bytes:
    """The bytes of a request."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = [method.encode() + b" " + path + b" HTTP/1.1"]
    lines += [b"Host: " + host.encode()] if host else []
    names = {name.lower() for name, _ in headers}
    lines += [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode())
        for name, value in (*headers, *also)
    ]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def once(
    site: Site,
    method: str,
    target: str | bytes,
    headers: Sequence[Header] = (),
    body: bytes | None = None,
    *,
    host: bool = True,
) -> Reply:
    """One request on a connection of its own."""
    with Raw(site) as raw:
        raw.ask(method, target, headers, body, host=host)
        return raw.reply(bodiless=method == "HEAD")


def chat_once(site: Site, who: Person | None, body: Any, *headers: Header) -> Reply:
    """One chat completion on a connection of its own; bytes go as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    auth = list(who.auth.items()) if who else []
    return once(site, "POST", CHAT, [*auth, JSON_TYPE, *headers], data)


def events(body: bytes) -> list[bytes]:
    """The data of a stream's events; comments are left out."""
    blocks = body.split(b"\n\n")
    assert blocks[-1] == b"", "a stream ends with a whole event"
    return [block.removeprefix(b"data: ") for block in blocks[:-1] if not block.startswith(b":")]


def peak_memory(pid: int) -> int:
    """The most memory a process has had, in bytes."""
    return _memory(pid, "VmHWM")


def memory_now(pid: int) -> int:
    return _memory(pid, "VmRSS")


def _memory(pid: int, name: str) -> int:
    """In bytes."""
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) * 1024
