"""What interrupts a call, and what of it an attempt on another key forgets."""

import asyncio

import pytest

from proxy.gateway.leash import Interrupted, Leash, Why

pytestmark = pytest.mark.once


def test_a_client_who_leaves_while_a_silence_ends_an_attempt_has_left_at_the_next() -> None:
    leash = Leash()
    leash.pull(Why.SILENT)
    leash.pull(Why.GONE)

    leash.slacken()

    with pytest.raises(Interrupted) as interrupted, leash:
        pass
    assert interrupted.value.why is Why.GONE


def test_two_reasons_at_one_moment_interrupt_once() -> None:
    async def waiting() -> tuple[Why, int]:
        leash, task = Leash(), asyncio.current_task()
        assert task
        loop = asyncio.get_running_loop()
        loop.call_soon(leash.pull, Why.SILENT)
        loop.call_soon(leash.pull, Why.DRAIN)
        with pytest.raises(Interrupted) as interrupted, leash:
            await asyncio.sleep(5)
        return interrupted.value.why, task.cancelling()

    assert asyncio.run(waiting()) == (Why.DRAIN, 0)


def test_a_silence_alone_is_forgotten() -> None:
    leash = Leash()
    leash.pull(Why.SILENT)
    leash.slacken()
    assert leash.why is None
