"""SQLite with a queue for its writers.

SQLite lets one write at a time, and lets the others look again after ever longer naps: beside a
busy ledger they find the door shut for five seconds and give up. Here whoever is going to write
takes `flock()` on a file beside the database first, and the kernel wakes him when it is his turn.
That holds for every transaction (they all begin IMMEDIATE) and for single statements outside one.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.db.backends.sqlite3 import base

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLAC")


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn: int | None = None

    def take_turn(self) -> None:
        """Wait in the queue. Opened each time (3 µs): flock() belongs to the open file, so that
        threads exclude each other too, and nothing stays open when a thread ends."""
        path = f"{self.settings_dict['NAME']}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._turn = descriptor

    def end_turn(self) -> None:
        descriptor, self._turn = self._turn, None
        if descriptor is not None:
            # Said in words, not only by closing: a child forked meanwhile shares the open file.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

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
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # Django's, not in its stubs
        except BaseException:
            self.end_turn()
            raise

    def _commit(self) -> None:
        # A commit that fails leaves the transaction open: the rollback after it ends the turn.
        super()._commit()  # type: ignore[misc]  # Django's, not in its stubs
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
            self.end_turn()

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=partial(_Cursor, self))


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
        alone = not self.connection.in_transaction and self._wrapper._turn is None
        if alone and query.lstrip()[:6].upper() in _WRITES:
            return self._wrapper.turn()
        return contextlib.nullcontext()
