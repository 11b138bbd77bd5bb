"""`GET /usage/`: what the account of a key has used, as JSON or as a table for a spreadsheet.

The page for people comes with the console; here is what it and a program read. A key sees the
usage of its whole account, for it is the account's bearer, and nobody else's: another's key is
answered like one that does not exist.
"""

import csv
import io
import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, cast

from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.keys.models import ApiKey
from bsod.api import Bearer, KeyView
from bsod.lib import clock
from bsod.lib.sheet import cell
from bsod.lib.terms import Permission
from proxy.errors import ApiError, Code, invalid
from quotas import usage
from quotas.usage import By, Span, Used

_MOST_DAYS = 400
_USUAL_DAYS = 30
_NAMES = ("by", "from", "to", "key", "model", "format")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_JSON, _CSV = "application/json", "text/csv"
_LONGEST = 256  # characters of a name
_COLUMNS = ("day", "model", "key_id", "key_name", "bucket", "calls", "amount", "prompt_tokens",
            "completion_tokens")  # fmt: skip


class Usage(KeyView):
    permission = Permission.BALANCE

    def get(self, request: Request) -> HttpResponseBase:
        account = cast(Bearer, request.user).identity.owner.id
        asked = _fields(request)
        table = _wants_table(request, asked.get("format", ""))
        names = dict(ApiKey.objects.filter(account=account).values_list("pk", "name"))
        span = span_of(asked, names, clock.now().date())
        try:
            rows = usage.used(account, span)
        except usage.TooMany:
            raise invalid(
                "by",
                f"That would be more than {usage.MOST_ROWS} rows. Ask for fewer days, for one "
                "'model' or 'key', or for less in 'by'.",
            ) from None
        if table:
            return sheet(rows, names, span)
        return Response(
            {
                "object": "usage",
                "from": span.first,
                "to": span.last,
                "by": [by for by in By if by in span.by],
                "data": [_shown(row, names) for row in rows],
                "totals": usage.totals(rows),
            }
        )


# ---- what is asked


def _fields(request: Request) -> dict[str, str]:
    """The query, each name once. ApiError 400: a name misspelt would be a wrong answer."""
    found = {}
    for name, values in request.query_params.lists():
        if name not in _NAMES:
            known = ", ".join(_NAMES)
            raise invalid(name[:64], f"There is no such parameter here; there are {known}.")
        if len(values) > 1:
            raise invalid(name, f"'{name}' may be given once.")
        text = str(values[0])
        if len(text) > _LONGEST or "\0" in text:
            raise invalid(name, f"'{name}' cannot be that.")
        found[name] = text
    return found


def _wants_table(request: Request, asked: str) -> bool:
    """CSV: as `format` says, or where it says nothing as Accept does."""
    if asked not in ("", "json", "csv"):
        raise invalid("format", "'format' must be 'json' or 'csv'.")
    if asked:
        return asked == "csv"
    return bool(request.get_preferred_type([_JSON, _CSV]) == _CSV)


def span_of(asked: Mapping[str, str], names: Mapping[int, str], today: date) -> Span:
    """What the query means, for an account with these keys. ApiError 400, 404."""
    last = _day(asked, "to") or max(today, _day(asked, "from") or today)
    first = _day(asked, "from") or last - min(timedelta(_USUAL_DAYS - 1), last - date.min)
    if first > last:
        raise invalid("from", "'from' must not be after 'to'.")
    if (last - first).days >= _MOST_DAYS:
        raise invalid("from", f"At most {_MOST_DAYS} days can be asked for at once.")
    return Span(
        first.isoformat(),
        last.isoformat(),
        _by(asked.get("by") or By.DAY),
        _keys(asked["key"], names) if asked.get("key") else None,
        asked.get("model") or None,
    )


def _day(asked: Mapping[str, str], name: str) -> date | None:
    text = asked.get(name)
    if not text:
        return None
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise invalid(name, f"'{name}' must be a day like 2026-11-21.") from None


def _by(text: str) -> set[By]:
    words = {word.strip() for word in text.split(",")}
    if not words <= {*By, "bucket"}:
        raise invalid("by", "'by' must be any of 'day', 'model' and 'key', with commas between.")
    return {By(word) for word in words if word != "bucket"}


def _keys(text: str, names: Mapping[int, str]) -> list[int]:
    """Keys of the account by their id or name; several may have one name."""
    found = [key for key, name in names.items() if text in (str(key), name)]
    by_id = [key for key in found if str(key) == text]
    if not found:
        raise ApiError(Code.NOT_FOUND, "There is no such key of yours.", param="key")
    return by_id or found


# ---- what is answered


def _shown(row: Used, names: Mapping[int, str]) -> dict[str, Any]:
    key = None if row.key is None else {"id": row.key, "name": names.get(row.key, "")}
    return {**row._asdict(), "key": key}


def sheet(rows: list[Used], names: Mapping[int, str], span: Span) -> HttpResponse:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in rows:
        name = "" if row.key is None else names.get(row.key, "")
        day, model, key, *rest = row
        writer.writerow([day or "", cell(model or ""), key or "", cell(name), *rest])
    answer = HttpResponse(text.getvalue(), content_type=f"{_CSV}; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="usage-{span.first}-{span.last}.csv"'
    return answer
