"""How long a caller is kept waiting by a ledger that is stuck, and what becomes of his call."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connection

from proxy.errors import ApiError
from proxy.gateway.plane import Gateway
from tests import kit
from tests.kit import Person
from tests.quotas.desk import admit, model, outcome, token
from tests.quotas.line import aside


@pytest.fixture(scope="module")
def name(database: None) -> str:
    return model()


def states(who: Person) -> list[str]:
    return [entry.state for entry in who.entries()]


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Gateway]:
    """A gateway's inside, in this process."""
    plane = Gateway()
    plane.open()
    try:
        yield plane
    finally:
        await plane.close()


def test_a_caller_is_not_kept_longer_than_patience_and_its_entry_is_released(
    alice: Person, name: str, settings: Any
) -> None:
    settings.LEDGER_PATIENCE = 0.3

    async def scene() -> None:
        async with opened() as plane:
            await plane.admit(admit(token(alice.secret), name).call)
            with kit.ledger_held(alice) as let_go:
                began = time.monotonic()
                with pytest.raises(ApiError) as refused:
                    await plane.admit(admit(token(alice.secret), name).call)
                assert refused.value.status == 503
                assert str(refused.value.code) == "quota_unavailable"
                assert time.monotonic() - began < 3
                assert not plane.ready, "a ledger that is stuck is not ready"
                let_go.set()
            # Looked at while its process lives: whoever else is there releases what it leaves open.
            assert await aside(
                lambda: kit.eventually(
                    lambda: states(alice) == ["open", "released"] and alice.reserved() == 60
                )
            )

    asyncio.run(scene())


@pytest.mark.parametrize(("sent", "state", "used"), [(False, "released", 0), (True, "settled", 15)])
def test_a_close_that_comes_too_late_tells_the_client_and_goes_on(
    alice: Person, name: str, settings: Any, sent: bool, state: str, used: int
) -> None:
    """A body that was not sent costs nothing; a stream that was is charged all the same."""
    settings.CLOSE_PATIENCE = 0.3

    async def scene() -> None:
        async with opened() as plane:
            ticket = await plane.admit(admit(token(alice.secret), name).call)
            with kit.ledger_held(alice) as let_go:
                settle = asyncio.ensure_future(plane.settle(ticket, outcome(10, 5), 7, sent=sent))
                await asyncio.sleep(1)
                # On PostgreSQL the batch is in its transaction: what it does is not guessed.
                assert settle.done() is (connection.vendor == "sqlite")
                let_go.set()
                if sent and connection.vendor == "postgresql":
                    assert (await settle).amount == used
                else:
                    with pytest.raises(ApiError) as told:
                        await settle
                    assert str(told.value.code) == "quota_unavailable"
            await aside(alice.closed)

    asyncio.run(scene())
    assert (alice.entries()[0].state, alice.used()) == (state, used)
    assert alice.reserved() == 0


def test_a_close_that_cannot_be_done_releases_its_entry(alice: Person, name: str) -> None:
    """Whatever is wrong with it, its units must not stay reserved for good."""

    async def scene() -> None:
        async with opened() as plane:
            ticket = await plane.admit(admit(token(alice.secret), name).call)
            with pytest.raises(ApiError) as told:
                await plane.settle(ticket, outcome(10, 5), 2**70, sent=False)
            assert str(told.value.code) == "quota_unavailable"
            await aside(alice.closed)

    asyncio.run(scene())
    assert alice.entries()[0].state == "released"
    assert (alice.used(), alice.reserved()) == (0, 0)
