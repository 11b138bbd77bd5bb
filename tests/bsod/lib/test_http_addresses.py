"""Names that lead to several addresses, of which not all answer."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from bsod.lib import http
from tests.upstream import FaultServer

pytestmark = pytest.mark.once
Fetch = Callable[[float, str], int]


@pytest.fixture
def fetch(up: FaultServer) -> Iterator[Fetch]:
    """Status of a request with so much patience to a name that leads to a mute address first: one
    that takes no connection and refuses none, for its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", up.port))
        listener.listen(0)
        for _ in range(4):
            knock = stack.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(listener.getsockname())

        def ask(patience: float, second: str) -> int:
            async def told() -> int:
                client = http.Client(patience)
                try:
                    to = f"http://name.test:{up.port}"
                    reply = await client.open("GET", to, "/v1/models", {}, b"")
                    reply.abort()
                    return reply.status
                finally:
                    await client.close()
                    await asyncio.sleep(0.01)  # what was given up ends behind it

            with contextlib.closing(_Resolving("127.0.0.2", second)) as loop:
                return loop.run_until_complete(told())

        yield ask


class _Resolving(uvloop.Loop):
    """A loop on which every name has these addresses."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self._found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in addresses]

    async def getaddrinfo(self, *asked: Any, **how: Any) -> Any:
        return self._found


def test_an_address_that_says_nothing_does_not_hide_the_one_that_answers(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MUTE", 0.05)

    assert fetch(0.5, "127.0.0.1") == 200


def test_nothing_is_reached_where_no_address_answers_in_time(fetch: Fetch) -> None:
    with pytest.raises(http.Unreachable):
        fetch(0.1, "127.0.0.3")
