"""Counters for form limits that many processes share, in a small SQLite file of their own.

django-ratelimit needs a cache whose `incr` is atomic across processes; Django's file and
local-memory caches are not. This one keeps integers only, one row each, one statement a hit. With
`CACHE_URL` Django's Redis cache takes its place. Losing the file loses a minute of counting.
"""

import sqlite3
import threading
import time
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

STORE_AWAY: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
"""What counting raises, here or in Redis, when nobody can count."""
if settings.CACHE_URL:
    # A large package: who does not use it need not wait for it at each start.
    from redis.exceptions import RedisError

    STORE_AWAY = (*STORE_AWAY, RedisError)
_SWEEP = 1000  # writes between two deletions of what has expired


def _whole(value: Any) -> int:
    """A mark that only has to be there may be of any kind (allauth's for a used code is a text)."""
    return int(value) if isinstance(value, int) else 1


class CounterCache(BaseCache):
    """A Django cache that counts. Values are integers."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._path, self._local, self._writes = location, threading.local(), 0

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, timeout=5, isolation_level=None)
            found.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
                "CREATE TABLE IF NOT EXISTS counter"
                " (key TEXT PRIMARY KEY, value INTEGER, expires REAL) WITHOUT ROWID;"
            )
            self._local.connection = found
        return found

    def _expiry(self, timeout: Any) -> float:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return time.time() + (10**9 if seconds is None else seconds)

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> bool:
        now = time.time()
        name = self.make_and_validate_key(key, version=version)
        cursor = self._connection().execute(
            "INSERT INTO counter (key, value, expires) VALUES (?, ?, ?) ON CONFLICT (key) DO "
            "UPDATE SET value = excluded.value, expires = excluded.expires WHERE expires <= ?",
            (name, _whole(value), self._expiry(timeout), now),
        )
        self._sweep(now)
        return cursor.rowcount > 0

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        name, now = self.make_and_validate_key(key, version=version), time.time()
        row = (
            self._connection()
            .execute(
                "UPDATE counter SET value = value + ? WHERE key = ? AND expires > ? "
                "RETURNING value",
                (delta, name, now),
            )
            .fetchone()
        )
        if row is None:
            raise ValueError(f"there is no counter {key!r}")
        return int(row[0])

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        row = (
            self._connection()
            .execute(
                "SELECT value FROM counter WHERE key = ? AND expires > ?",
                (self.make_and_validate_key(key, version=version), time.time()),
            )
            .fetchone()
        )
        return default if row is None else row[0]

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> None:
        self._connection().execute(
            "INSERT OR REPLACE INTO counter (key, value, expires) VALUES (?, ?, ?)",
            (self.make_and_validate_key(key, version=version), int(value), self._expiry(timeout)),
        )

    def delete(self, key: Any, version: Any = None) -> bool:
        name = self.make_and_validate_key(key, version=version)
        return bool(
            self._connection().execute("DELETE FROM counter WHERE key = ?", (name,)).rowcount
        )

    def clear(self) -> None:
        self._connection().execute("DELETE FROM counter")

    def _sweep(self, now: float) -> None:
        self._writes += 1
        if self._writes % _SWEEP == 0:
            self._connection().execute("DELETE FROM counter WHERE expires <= ?", (now,))
