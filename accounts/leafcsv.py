"""A list of the admin as CSV: its filters and its order, streamed a leaf at a time.

Memory stays flat, no cell begins a formula, the end of what is too long says so, and who took what
is in the audit log.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path

from accounts.audit import Verb, record
from accounts.leafing import Leafing, LeafList, walk
from bsod.lib import clock
from bsod.lib.sheet import cell

MOST = 100_000


class Sheeted(Leafing):
    """Before a ModelAdmin: a list read by leaves, and the same as CSV at `csv/`."""

    csv_columns: Sequence[str] = ()
    """Fields, paths of them (`account__username`), or what the admin makes of a row."""
    csv_most = MOST
    csv_verb = Verb.LEDGER_EXPORT

    @property
    def csv_most_told(self) -> str:
        return f"{self.csv_most:,}"

    def get_urls(self) -> list[URLPattern]:
        page: Any = self
        name = f"{page.opts.app_label}_{page.opts.model_name}_csv"
        view = page.admin_site.admin_view(self.csv_view)
        own: Any = super()
        return [path("csv/", view, name=name), *own.get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        page: Any = self
        if not page.has_view_permission(request):
            raise PermissionDenied
        try:
            cl: LeafList = page.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return redirect("../?e=1")
        asked = {name: values[-1] for name, values in cl.filter_params.items()}
        named = str(page.opts.verbose_name_plural)
        record(request.user, self.csv_verb, named, filters=asked)  # type: ignore[arg-type]  # signed in
        pieces = _lines(cl, page, self.csv_most)
        return StreamingHttpResponse(
            _apart(pieces) if isinstance(request, ASGIRequest) else pieces,
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="{page.opts.model_name}-'
                f'{clock.day_of(clock.now())}.csv"',
                "Cache-Control": "no-store",
            },
        )


def _lines(cl: LeafList, page: Any, most: int) -> Iterator[bytes]:
    yield _packed([page.csv_columns])
    for leaf in walk(cl, most):
        yield _packed([[_value(page, row, name) for name in page.csv_columns] for row in leaf.rows])
        most -= len(leaf.rows)
        if leaf.more is not None and not most:
            yield _packed([[f"Stopped after {page.csv_most_told} rows: narrow the list."]])


async def _apart(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read in threads, whose connection does not outlive a piece."""
    while (piece := await sync_to_async(_next)(pieces)) is not None:
        yield piece


def _next(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    finally:
        connection.close()


def _packed(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _value(page: Any, row: Any, name: str) -> Any:
    """What a cell says."""
    value, path = row, name.split("__")
    if not hasattr(row, path[0]):
        value, path = getattr(page, name)(row), []
    for part in path:
        value = None if value is None else getattr(value, part)
    if isinstance(value, datetime):
        return value.isoformat()
    return cell(str(value)) if isinstance(value, str) else value
