"""What an account has used: sums of its days, models and keys.

Read from `UsageDay` alone, which every close adds to: no entry is looked at, so a year of calls is
as quick to show as a day, and what a purge has deleted is gone from here too. Units of different
buckets do not add up: a row is always of one bucket.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import F, OuterRef, QuerySet, Subquery, Sum

from accounts.models import Account
from quotas.models import UsageDay

MOST_ROWS = 20_000


class By(StrEnum):
    """What a row may be of, besides its bucket."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Span:
    """What is asked for: days (inclusive, UTC), and of which keys and model; None: of all."""

    first: str
    last: str
    by: Collection[By] = (By.DAY,)
    keys: Collection[int] | None = None
    model: str | None = None


class Used(NamedTuple):
    """Sums of one row; None where the row is of all."""

    day: str | None
    model: str | None
    key: int | None
    bucket: str
    calls: int
    amount: int
    prompt_tokens: int
    completion_tokens: int


class TooMany(Exception):
    """The answer would have more than MOST_ROWS rows."""


_FIELDS = {By.DAY: "day", By.MODEL: "model", By.KEY: "api_key_id"}
_SUMS = ("calls", "amount", "prompt_tokens", "completion_tokens")


def used(account: int, span: Span) -> list[Used]:
    """The rows, by day, model, key and bucket in this order. Raises TooMany."""
    found = [_used(row) for row in query(account, span)[: MOST_ROWS + 1]]
    if len(found) > MOST_ROWS:
        raise TooMany
    return found


def query(account: int, span: Span) -> QuerySet[Any, dict[str, Any]]:
    """The one statement."""
    rows = UsageDay.objects.filter(account=account, day__range=(span.first, span.last))
    if span.keys is not None:
        rows = rows.filter(api_key__in=span.keys)
    if span.model is not None:
        rows = rows.filter(model=span.model)
    places = [*(_FIELDS[by] for by in By if by in span.by), "bucket"]
    sums = {f"sum_{name}": Sum(name) for name in _SUMS}
    found: QuerySet[Any, dict[str, Any]] = rows.values(*places).annotate(**sums)
    return found.order_by(*places)


def _used(row: dict[str, Any]) -> Used:
    return Used(
        row.get("day"), row.get("model"), row.get("api_key_id"), row["bucket"],
        row["sum_calls"], row["sum_amount"], row["sum_prompt_tokens"],
        row["sum_completion_tokens"],
    )  # fmt: skip


class Busiest(NamedTuple):
    account: int
    username: str
    calls: int
    tokens: int


def busiest(first: str, most: int) -> list[Busiest]:
    """Whose calls were most since a day."""
    # A sum, so that SQLite groups the few rows of these days and does not walk through all rows in
    # the order of accounts.
    rows = UsageDay.objects.filter(day__gte=first).order_by().values(who=F("account_id") + 0)
    tokens = Sum("prompt_tokens") + Sum("completion_tokens")
    named = Account.objects.filter(pk=OuterRef("who")).values("username")
    found = rows.annotate(sum_calls=Sum("calls"), tokens=tokens).order_by("-sum_calls", "who")
    return [
        Busiest(row["who"], row["username"], row["sum_calls"], row["tokens"])
        for row in found.annotate(username=Subquery(named))[:most]
    ]


def totals(rows: Iterable[Used]) -> dict[str, Any]:
    """Sums of all rows; amounts by bucket."""
    found: dict[str, Any] = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "amount": {}}
    for row in rows:
        for name in ("calls", "prompt_tokens", "completion_tokens"):
            found[name] += getattr(row, name)
        found["amount"][row.bucket] = found["amount"].get(row.bucket, 0) + row.amount
    return found
