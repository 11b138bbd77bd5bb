"""The buckets: their units and what a free account gets of each in a UTC day (SPEC §3)."""

from typing import NamedTuple

from bsod.lib.terms import Bucket


class Kind(NamedTuple):
    unit: str
    daily: int | None
    """The default free cap a UTC day; None: only grants fill it."""


BUCKETS: dict[Bucket, Kind] = {
    Bucket.TEXT_BASE: Kind("tokens", 500_000),
    Bucket.TEXT_PRO: Kind("tokens", 100_000),
    Bucket.IMAGE: Kind("calls", 10),
    Bucket.AUDIO: Kind("calls", 25),
    Bucket.VIDEO_SORA2PRO: Kind("calls", 1),
    Bucket.VIDEO_SORA2: Kind("calls", 3),
    Bucket.VIDEO_OTHER: Kind("calls", 5),
    Bucket.FILE: Kind("uploads", 5),
    Bucket.CREDITS: Kind("credits", None),
}
DAILY = {bucket: kind.daily for bucket, kind in BUCKETS.items() if kind.daily is not None}
