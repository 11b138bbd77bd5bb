"""A fresh fault server, and a raw client that shows the bytes a library would hide."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import FaultServer


class RawClient:
    """One TCP connection; sends requests by hand and returns what came, byte for byte."""

    def __init__(self, up: FaultServer, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(5)
        self.sock.connect(("127.0.0.1", up.port))

    def ask(
        self,
        value: Any = None,
        path: str = "/v1/chat/completions",
        key: str = "sk-one",
        method: str = "POST",
    ) -> RawClient:
        body = b"" if value is None else json.dumps(value).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: up", f"Authorization: Bearer {key}"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
        return self.send(head + body)

    def send(self, data: bytes) -> RawClient:
        self.sock.sendall(data)
        return self

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer when the server closes."""
        got = bytearray()
        while len(got) < size and (data := self.sock.recv(min(size - len(got), 1 << 16))):
            got += data
        return bytes(got)

    def read_until(self, mark: bytes) -> bytes:
        got = b""
        while not got.endswith(mark) and (data := self.sock.recv(1)):
            got += data
        return got

    def read_all(self) -> bytes:
        """Everything until the server closes; ConnectionResetError when it resets."""
        return self.read(1 << 30)

    def reply(self) -> tuple[bytes, bytes]:
        """Head and body of one reply with a Content-Length; leaves the connection usable."""
        head = self.read_until(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return head, self.read(length)

    def leave(self, how: str = "fin") -> None:
        if how == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Connect = Callable[..., RawClient]


@pytest.fixture
def up() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server
        assert server.malformed == []


@pytest.fixture
def connect(up: FaultServer) -> Iterator[Connect]:
    """Opens raw clients, to `up` or another server, and closes them after the test."""
    clients: list[RawClient] = []

    def opened(to: FaultServer = up, receive_buffer: int | None = None) -> RawClient:
        clients.append(RawClient(to, receive_buffer))
        return clients[-1]

    yield opened
    for client in clients:
        client.leave()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll a condition that nothing announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
