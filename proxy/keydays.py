"""Calls of donated keys, by UTC day. Each is counted before it is sent, in a transaction of the
ledger: so a cap holds over all processes, whatever dies in between.
"""

from datetime import timedelta
from functools import cache

from bsod.lib import clock, sql
from proxy.models import KeyDay


def take(cursor: sql.Cursor, key: int, cap: int | None, day: str) -> bool:
    """Count one more call of a key; False, and nothing is counted, where its cap is reached."""
    cursor.execute(_sql_take(), (key, day, cap, cap))
    return cursor.fetchone() is not None


@cache
def _sql_take() -> str:
    calls = sql.column(KeyDay, "calls")
    whole = sql.insert(KeyDay, ("key", "day", "calls"))
    bare = sql.bare(KeyDay, "calls")
    conflict = f"{sql.bare(KeyDay, 'key')}, {sql.bare(KeyDay, 'day')}"
    return (
        f"{whole.replace('(%s, %s, %s)', '(%s, %s, 1)')} ON CONFLICT ({conflict}) "
        f"DO UPDATE SET {bare} = {calls} + 1 "
        f"WHERE CAST(%s AS integer) IS NULL OR {calls} < %s RETURNING {bare}"
    )


def use(key: int, days: int = 30) -> list[tuple[str, int]]:
    """Calls of a key on each of the last days, oldest first, today last."""
    today = clock.now()
    every = [clock.day_of(today - timedelta(days=back)) for back in reversed(range(days))]
    rows = KeyDay.objects.filter(key=key, day__gte=every[0]).values_list("day", "calls")
    found = dict(rows)
    return [(day, found.get(day, 0)) for day in every]
