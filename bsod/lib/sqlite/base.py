"""SQLite with a queue for its writers.

SQLite lets one write at a time, and lets the others look again after ever longer naps: beside a
busy ledger they find the door shut for five seconds and give up. Here whoever is going to write
takes `flock()` on a file beside the database first, and the kernel wakes him when it is his turn.
That holds for every transaction (they all begin IMMEDIATE) and for single statements outside one.
"""

import contextlib
import fcntl
import io
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.db.backends.sqlite3 import base, features

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLAC")


class _Features(features.DatabaseFeatures):
    minimum_database_version = (3, 35)  # RETURNING, UPDATE … FROM


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = _Features

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock: io.FileIO | None = None
        self._in_turn = False

    def get_connection_params(self) -> Any:
        # The hot statements have a text for each size of a batch: all of them stay compiled.
        return super().get_connection_params() | {"cached_statements": 1024}

    def take_turn(self) -> None:
        """Wait in the queue. flock() belongs to the open file: each connection opens its own, so
        that threads exclude each other too."""
        if self._lock is None:
            self._lock = io.FileIO(f"{self.settings_dict['NAME']}.lock", "a", opener=_private)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._in_turn = True

    def end_turn(self) -> None:
        if self._lock and self._in_turn:
            self._in_turn = False
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """For one statement outside a transaction."""
        self.take_turn()
        try:
            yield
        finally:
            self.end_turn()

    def _start_transaction_under_autocommit(self) -> None:
        self.take_turn()
        try:
            # What Django would run, without its cursor, which costs four times the statement.
            with self.wrap_database_errors:
                self.connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.end_turn()
            raise

    def _commit(self) -> None:
        if self.connection is not None:
            with self.wrap_database_errors:
                self.connection.commit()
        # A commit that fails leaves the transaction open: the rollback after it ends the turn.
        self.end_turn()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]  # Django's, not in its stubs
        finally:
            self.end_turn()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]  # Django's, not in its stubs
        finally:
            # Said in words, not only by closing: a child forked meanwhile shares the open file.
            self.end_turn()
            lock, self._lock = self._lock, None
            if lock:
                lock.close()

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=partial(_Cursor, self))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


class _Cursor(base.SQLiteCursorWrapper):
    def __init__(self, wrapper: DatabaseWrapper, connection: Any) -> None:
        super().__init__(connection)
        self._wrapper = wrapper

    def execute(self, query: str, params: Any = None) -> Any:
        with self._place(query):
            return super().execute(query, params)

    def executemany(self, query: str, param_list: Any) -> Any:
        with self._place(query):
            return super().executemany(query, param_list)

    def _place(self, query: str) -> contextlib.AbstractContextManager[None]:
        alone = not self.connection.in_transaction and not self._wrapper._in_turn
        if alone and query.lstrip()[:6].upper() in _WRITES:
            return self._wrapper.turn()
        return contextlib.nullcontext()
