"""A disk that is nearly full takes no large form, for the ledger needs what is left."""

import asyncio
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from proxy.errors import ApiError
from proxy.gateway import forms
from proxy.gateway.exchange import AsgiExchange
from proxy.gateway.forms import RESERVE, take
from proxy.routes import ROUTES

pytestmark = pytest.mark.once
FILES = next(route for route in ROUTES if (route.method, route.path) == ("POST", "/v1/files"))
TYPE = b"multipart/form-data; boundary=b"
SMALL = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'


class Disk(NamedTuple):
    total: int
    used: int
    free: int


class Asked:
    """A request whose body is asked for piece by piece."""

    def __init__(self, length: int, pieces: Sequence[bytes]) -> None:
        self.pieces, self.given = list(pieces), 0
        scope = {"method": "POST", "headers": [(b"content-length", str(length).encode())]}
        self.exchange = AsgiExchange("01", scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        self.given += 1
        body = self.pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self.pieces)}

    async def _send(self, message: Any) -> None:
        raise AssertionError("nothing is said while a form is read")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much of the disk is free; a test may change it."""
    left = [RESERVE]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 0, left[0]))
    return left


def test_a_large_form_is_not_begun_where_it_would_take_the_reserve(free: list[int]) -> None:
    free[0] = RESERVE + 1_999_999
    asked = Asked(2_000_000, [SMALL])

    with pytest.raises(ApiError) as refused:
        asyncio.run(take(asked.exchange, TYPE, FILES))

    assert (refused.value.status, refused.value.retry_after) == (503, 30)
    assert asked.given == 0


def test_what_others_have_announced_counts(free: list[int]) -> None:
    free[0] = RESERVE + 3_000_000

    async def scene() -> list[Any]:
        waiting = asyncio.Event()
        slow = Asked(2_000_000, [])

        async def never() -> dict[str, Any]:
            await waiting.wait()
            return {"type": "http.disconnect"}

        slow.exchange._receive = never
        first = asyncio.ensure_future(take(slow.exchange, TYPE, FILES))
        await asyncio.sleep(0)
        second = take(Asked(2_000_000, [SMALL]).exchange, TYPE, FILES)
        found = await asyncio.gather(second, return_exceptions=True)
        waiting.set()
        await asyncio.gather(first, return_exceptions=True)
        third = await take(Asked(2_000_000, [SMALL]).exchange, TYPE, FILES)
        third.spool.close()
        return [*found, third]

    refused, taken = asyncio.run(scene())

    assert isinstance(refused, ApiError)
    assert refused.status == 503
    assert taken.fields == {"purpose": ["batch"]}
    assert forms._coming == 0


def test_a_form_that_stays_in_memory_needs_no_disk(free: list[int]) -> None:
    free[0] = 0

    taken = asyncio.run(take(Asked(len(SMALL), [SMALL]).exchange, TYPE, FILES))

    assert not taken.spool.on_disk
    taken.spool.close()
