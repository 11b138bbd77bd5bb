"""Times in fixed buckets: what a row of `Stat` keeps, and what can be read from it again. Pure.

The bounds are columns of a table and labels of `/metrics`: they are added to with a migration,
never moved.
"""

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS = (
    0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75,
    1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 90.0, 300.0,
)  # fmt: skip
"""Upper bounds in seconds, each included; one more bucket holds what is beyond the last."""
BUCKETS = len(BOUNDS) + 1


def names(histogram: str) -> tuple[str, ...]:
    """The columns of a histogram, in the order of the bounds."""
    return tuple(f"{histogram}_{number}" for number in range(BUCKETS))


def bucket(seconds: float) -> int:
    """Which bucket a time belongs to."""
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time below which that share of the counted lies, as far as buckets can say: evenly
    spread within one, and the last bound for what is beyond it. None: nothing was counted."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for number, count in enumerate(counts[:-1]):
        if count and seen + count >= wanted:
            low = BOUNDS[number - 1] if number else 0.0
            return low + (BOUNDS[number] - low) * max(0.0, wanted - seen) / count
        seen += count
    return BOUNDS[-1]
