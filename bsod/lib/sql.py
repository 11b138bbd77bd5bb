"""Hot statements, spelt from the models' `_meta`: a renamed column breaks here, not in silence.

Everything rare uses the ORM. What the ledger thread runs for every batch is built once by these
helpers and run on Django's own connection. What they build depends on models and names alone, so
it is built once.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Protocol

import orjson
from django.db import connection, models

Model = type[models.Model]


class Cursor(Protocol):
    """What statements are run on: Django's cursor, or the hot one below."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any: ...

    def executemany(self, statement: str, values: Sequence[Sequence[Any]]) -> Any: ...

    def fetchall(self) -> Any: ...

    def fetchone(self) -> Any: ...

    @property
    def rowcount(self) -> int: ...


class _SqliteCursor:
    """sqlite3's own cursor, for statements written with `%s`."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.fetchall, self.fetchone = cursor.fetchall, cursor.fetchone

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self._cursor.execute(_questions(statement), values)

    def executemany(self, statement: str, values: Sequence[Sequence[Any]]) -> Any:
        return self._cursor.executemany(_questions(statement), values)

    @property
    def rowcount(self) -> int:
        return int(self._cursor.rowcount)


@lru_cache(maxsize=4096)
def _questions(statement: str) -> str:
    return statement.replace("%s", "?")


@contextlib.contextmanager
def hot_cursor() -> Iterator[Cursor]:
    """The driver's cursor on Django's own connection, inside Django's transaction.

    Django's wrapper costs more than a small statement does, at every statement; here its errors
    are translated once for the whole block. Values must be what the driver takes (see `stamp`).
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, contextlib.closing(connection.connection.cursor()) as own:
        yield _SqliteCursor(own) if _sqlite() else own


@cache
def table(model: Model) -> str:
    return connection.ops.quote_name(model._meta.db_table)


@cache
def column(model: Model, name: str) -> str:
    """`table.column` of a field."""
    field: Any = model._meta.get_field(name)
    return f"{table(model)}.{connection.ops.quote_name(field.column)}"


@cache
def columns(model: Model, names: tuple[str, ...]) -> str:
    return ", ".join(column(model, name) for name in names)


@cache
def bare(model: Model, name: str) -> str:
    """The column alone, as INSERT and SET want it."""
    field: Any = model._meta.get_field(name)
    return connection.ops.quote_name(field.column)


@cache
def insert(model: Model, names: tuple[str, ...]) -> str:
    """INSERT of one row, a placeholder for each name."""
    fields = ", ".join(bare(model, name) for name in names)
    return f"INSERT INTO {table(model)} ({fields}) VALUES ({marks(names)})"


@cache
def update(model: Model, names: tuple[str, ...], key: str = "id") -> str:
    """UPDATE of one row found by `key`; its value comes last."""
    sets = ", ".join(f"{bare(model, name)} = %s" for name in names)
    return f"UPDATE {table(model)} SET {sets} WHERE {bare(model, key)} = %s"


def marks(values: Collection[Any]) -> str:
    """As many placeholders as there are values."""
    return ", ".join(["%s"] * len(values))


def stamp(moment: datetime | None) -> Any:
    """A moment as the connection's parameters want it: SQLite keeps text, naive, in UTC."""
    if moment is None or not _sqlite():
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


@cache
def _sqlite() -> bool:
    # Looking at Django's connection costs more than all the rest of a stamp.
    return connection.vendor == "sqlite"


def moment(value: Any) -> datetime | None:
    """A moment as a raw cursor gives it: SQLite's is naive and means UTC."""
    if value is None:
        return None
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """A JSON column's value. Shared between callers: do not change it."""
    return orjson.loads(text)
