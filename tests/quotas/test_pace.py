"""Requests a minute over a sliding window, and what a clock that jumps does to it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotas import pace as paces
from quotas.pace import Minute

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
MINUTE = int(NOON.timestamp() // 60)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_first_request_begins_a_minute() -> None:
    assert paces.at(None, NOON) == Minute(MINUTE, 0, 0)
    assert paces.wait(paces.at(None, NOON), 1, NOON) == 0


def test_the_next_minute_remembers_the_one_before() -> None:
    pace = Minute(MINUTE, 7, 3)
    assert paces.at(pace, after(59.9)) == pace
    assert paces.at(pace, after(60)) == Minute(MINUTE + 1, 0, 7)
    assert paces.at(pace, after(120)) == Minute(MINUTE + 2, 0, 0)


def test_the_older_minute_counts_by_its_share_still_in_view() -> None:
    pace = Minute(MINUTE, 2, 8)
    assert paces.rate(pace, NOON) == 10
    assert paces.rate(pace, after(30)) == 6
    assert paces.rate(pace, after(45)) == 4


def test_one_request_too_many_waits_until_there_is_room() -> None:
    full = Minute(MINUTE, 10, 0)
    assert paces.wait(full, 10, after(20)) == 40
    assert paces.wait(full, 11, after(20)) == 0
    crowded = Minute(MINUTE, 0, 10)
    assert paces.wait(crowded, 10, NOON) == 6
    assert paces.wait(crowded, 10, after(6)) == 0


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    assert paces.wait(paces.at(None, NOON), 0, NOON) > 0


@pytest.mark.parametrize("back", [0.5, 60, 120, 240])
def test_a_clock_a_little_behind_does_not_forget(back: float) -> None:
    """Another machine's clock, or one corrected by seconds, must not open the gate again."""
    full = Minute(MINUTE, 10, 0)
    assert paces.at(full, after(-back)).requests == 10
    assert paces.wait(paces.at(full, after(-back)), 10, after(-back)) > 0


@pytest.mark.parametrize("back", [3600, 86_400])
def test_a_clock_set_far_back_does_not_refuse_until_it_has_caught_up(back: float) -> None:
    full = Minute(MINUTE, 10, 10)
    assert paces.at(full, after(-back)) == Minute(int(after(-back).timestamp() // 60), 0, 0)


def test_a_clock_set_forward_forgets_what_is_out_of_view() -> None:
    assert paces.at(Minute(MINUTE, 10, 10), after(86_400)).requests == 0


@given(
    st.integers(0, 50), st.integers(0, 50), st.integers(1, 60), st.floats(0, 59.999), st.booleans()
)
def test_a_wait_is_whole_seconds_and_honest(
    requests: int, previous: int, limit: int, second: float, half: bool
) -> None:
    pace, now = Minute(MINUTE, requests, previous), after(second)
    seconds = paces.wait(pace, limit, now)
    assert isinstance(seconds, int)
    assert 0 <= seconds <= 60
    assert (seconds == 0) == (paces.rate(pace, now) + 1 <= limit)
    if seconds and half:
        earlier = now + timedelta(seconds=seconds / 2 - 0.5)
        assert paces.wait(paces.at(pace, earlier), limit, earlier) > 0
    if seconds and requests + 1 <= limit:
        later = now + timedelta(seconds=seconds, milliseconds=1)
        assert paces.wait(paces.at(pace, later), limit, later) == 0


def test_no_window_of_a_minute_lets_twice_the_limit_through() -> None:
    """Requests as fast as they are let in: any 60 seconds hold at most limit × 1.1 of them."""
    pace, admitted, limit = None, [], 60
    for tick in range(4 * 60 * 10):
        now = after(tick / 10)
        current = paces.at(pace, now)
        if not paces.wait(current, limit, now):
            current = paces.counted(current)
            admitted.append(tick / 10)
        pace = current
    windows = [sum(1 for at in admitted if start < at <= start + 60) for start in admitted]
    assert max(windows) <= limit * 1.1
