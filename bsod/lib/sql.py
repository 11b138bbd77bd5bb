"""Hot statements, spelt from the models' `_meta`: a renamed column breaks here, not in silence.

Everything rare uses the ORM. What the ledger thread runs for every batch is built once by these
helpers and run on Django's own connection. What they build depends on models and names alone, so
it is built once.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Protocol

import orjson
from django.db import DEFAULT_DB_ALIAS, connection, connections, models

Model = type[models.Model]


class Cursor(Protocol):
    """What statements are run on: Django's cursor, or the hot one below."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any: ...

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
    django = connections[DEFAULT_DB_ALIAS]
    django.ensure_connection()
    with django.wrap_database_errors:
        own = django.connection.cursor()
        try:
            yield _SqliteCursor(own) if on_sqlite() else own
        finally:
            own.close()


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
def insert(model: Model, names: tuple[str, ...], rows: int = 1) -> str:
    """INSERT of so many rows, a placeholder for each name of each."""
    fields = ", ".join(bare(model, name) for name in names)
    return f"INSERT INTO {table(model)} ({fields}) VALUES {groups(rows, len(names))}"


@cache
def update(
    model: Model,
    names: tuple[str, ...],
    rows: int = 1,
    key: tuple[str, ...] = ("id",),
    add: bool = False,
) -> str:
    """UPDATE of so many rows, in each the values of `names` (to be set, or added) and its key.

    All in one statement: at each the driver lets other threads run, and must wait for its turn.
    """
    places = ["%s"] * (len(names) + len(key))
    source = ""
    if rows > 1:
        places = [_given(model, name, n) for n, name in enumerate((*names, *key), 1)]
        source = f" FROM (VALUES {groups(rows, len(places))}) AS given"
    pairs = [*zip((*names, *key), places, strict=True)]
    sets = (
        f"{bare(model, name)} = {f'{column(model, name)} + ' if add else ''}{place}"
        for name, place in pairs[: len(names)]
    )
    same = (f"{column(model, name)} = {place}" for name, place in pairs[len(names) :])
    return f"UPDATE {table(model)} SET {', '.join(sets)}{source} WHERE {' AND '.join(same)}"


def _given(model: Model, name: str, number: int) -> str:
    """A column of VALUES as a field's: PostgreSQL takes one that is all NULL for text."""
    field: Any = model._meta.get_field(name)
    kind, place = field.target_field if field.is_relation else field, f"given.column{number}"
    if on_sqlite() or isinstance(kind, models.CharField | models.TextField):
        return place
    return f"CAST({place} AS {field.db_type(connection)})"


@cache
def groups(rows: int, width: int) -> str:
    """Rows of placeholders, each in brackets."""
    return ", ".join([f"({marks(range(width))})"] * rows)


def flat(rows: Iterable[Iterable[Any]]) -> list[Any]:
    """The values of many rows, as the placeholders of one statement take them."""
    return [*chain.from_iterable(rows)]


def marks(values: Collection[Any]) -> str:
    """As many placeholders as there are values."""
    return ", ".join(["%s"] * len(values))


@lru_cache(maxsize=1024)
def stamp(moment: datetime | None) -> Any:
    """A moment as the connection's parameters want it: SQLite keeps text, naive, in UTC."""
    if moment is None or not on_sqlite():
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


@cache
def on_sqlite() -> bool:
    # Asked once: looking at Django's connection costs half a small statement.
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
