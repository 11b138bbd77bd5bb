"""What is shown of limits, as the headers of an answer (SPEC §4).

They come from the values that have just admitted or refused the call: `quotas/report.py` says what
is left of a bucket here as it does for `/balance/`. What has no limit is not mentioned, nor is
anything that nobody has looked at: a free call has a pace, and draws on no bucket.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from bsod.lib.terms import Bucket
from quotas import pace as paces
from quotas import report
from quotas.book import Purse
from quotas.pace import Minute

_TOKENS = (Bucket.TEXT_BASE, Bucket.TEXT_PRO)  # the buckets whose units are tokens


class BucketLeft(NamedTuple):
    """A call's bucket, for the key that asks. None: without limit."""

    bucket: Bucket
    limit: int | None
    remaining: int | None
    resets_in: int
    """Seconds."""


class PaceLeft(NamedTuple):
    """The narrowest of the call's requests a minute."""

    limit: int
    remaining: int
    resets_in: int


class Quota(NamedTuple):
    """The limits of one call, as far as they are known."""

    bucket: BucketLeft | None = None
    pace: PaceLeft | None = None


def bucket_left(bucket: Bucket, purse: Purse, day: str, now: datetime) -> BucketLeft:
    """What the purse holds at this moment."""
    narrow, ends = report.narrowest(purse), report.resets_at(purse, day)
    return BucketLeft(bucket, narrow.granted if narrow else 0, purse.free, _until(ends, now))


def pace_left(
    paced: Sequence[tuple[str, int]], counted: Mapping[str, Minute], now: datetime
) -> PaceLeft | None:
    """What is left of the minute once this request has been counted. None: no limit."""
    if not paced:
        return None
    left, limit = min([(limit - paces.rate(counted[owner], now), limit) for owner, limit in paced])
    return PaceLeft(limit, max(0, int(left)), _of_minute(now))


def pace_spent(limit: int, now: datetime) -> PaceLeft:
    """The limit that refuses a request."""
    return PaceLeft(limit, 0, _of_minute(now))


@lru_cache(maxsize=64)
def _until(ends: datetime, now: datetime) -> int:
    """All calls of a batch have the same `now`, and most the same end."""
    return max(0, ceil((ends - now).total_seconds()))


@lru_cache(maxsize=8)
def _of_minute(now: datetime) -> int:
    return ceil(60 - now.timestamp() % 60)


def quota_headers(quota: Quota | None) -> dict[str, str]:
    """Our limits, never the provider's."""
    if quota is None:
        return {}
    return _of_bucket(quota.bucket) | _of_pace(quota.pace)


def _of_bucket(left: BucketLeft | None) -> dict[str, str]:
    if left is None:
        return {}
    headers = {"x-quota-bucket": str(left.bucket), "x-quota-reset": str(left.resets_in)}
    if left.remaining is not None:
        headers["x-quota-remaining"] = str(left.remaining)
    if left.bucket in _TOKENS and left.limit is not None:
        headers["x-ratelimit-limit-tokens"] = str(left.limit)
    if left.bucket in _TOKENS and left.remaining is not None:
        headers["x-ratelimit-remaining-tokens"] = str(left.remaining)
        headers["x-ratelimit-reset-tokens"] = reset_text(left.resets_in)
    return headers


def _of_pace(left: PaceLeft | None) -> dict[str, str]:
    if left is None:
        return {}
    return {
        "x-ratelimit-limit-requests": str(left.limit),
        "x-ratelimit-remaining-requests": str(left.remaining),
        "x-ratelimit-reset-requests": reset_text(left.resets_in),
    }


def reset_text(seconds: int) -> str:
    """A duration as OpenAI's rate-limit headers write it: `6h2m0s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
