"""Memory is given back once there is quiet, and only then."""

import pytest

from bsod.lib.memory import Quiet

pytestmark = pytest.mark.once


def test_memory_is_given_back_once_when_work_stands_still() -> None:
    quiet = Quiet()

    assert [quiet.look(work) for work in (0, 5, 5, 5, 6, 7, 7, 7)] == [
        False, False, True, False, False, False, True, False,
    ]  # fmt: skip


def test_what_a_busy_while_has_left_goes_back_to_the_system() -> None:
    """Blocks below the size the C library maps alone, every second one freed."""
    blocks = [bytearray(40_000) for _ in range(2000)]
    kept = blocks[::2]
    quiet = Quiet()
    del blocks
    before = _resident()
    quiet.look(1)
    assert quiet.look(1)

    assert _resident() < before - 20_000_000
    assert len(kept) == 1000


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
