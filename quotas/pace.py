"""Requests a minute, as a sliding window over two counted minutes. Pure."""

from datetime import datetime
from math import ceil
from typing import NamedTuple

_ASKEW = 5  # minutes by which the clocks of two machines may differ


class Minute(NamedTuple):
    """Requests counted in `minute` (since 1970) and in the one before it."""

    minute: int
    requests: int
    previous: int


def at(pace: Minute | None, now: datetime) -> Minute:
    """The same pace seen from `now`. A clock a little behind stays in the minute already counted;
    one set back further counts anew, or it would refuse until it has caught up."""
    minute = int(now.timestamp() // 60)
    if pace is None or not pace.minute - _ASKEW <= minute <= pace.minute + 1:
        return Minute(minute, 0, 0)
    if minute == pace.minute + 1:
        return Minute(minute, 0, pace.requests)
    return pace


def rate(pace: Minute, now: datetime) -> float:
    """Requests of the last 60 seconds, the older minute counted by the share still in view."""
    share = 1 - (now.timestamp() % 60) / 60
    return pace.requests + pace.previous * share


def wait(pace: Minute, limit: int, now: datetime) -> int:
    """0 when one more request is within `limit`, else whole seconds until it may be."""
    over = rate(pace, now) + 1 - limit
    if over <= 0:
        return 0
    left = 60 - now.timestamp() % 60
    if pace.requests + 1 > limit:
        return max(1, ceil(left))
    return max(1, min(ceil(left), ceil(over * 60 / pace.previous)))


def counted(pace: Minute) -> Minute:
    return Minute(pace.minute, pace.requests + 1, pace.previous)
