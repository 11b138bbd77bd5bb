"""The last calls of an account, as a table shows them: counts and results, never any content."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.console.quota import LOOKS, Look
from bsod.lib.terms import EndReason, EntryKind, EntryState
from quotas.models import Entry

_FIELDS = ("id", "created_at", "model", "route", "api_key_id", "bucket", "amount", "latency_ms",
           "status", "state", "end_reason")  # fmt: skip
SEARCHED = 20_000


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    at: datetime
    today: bool
    model: str
    route: str
    key: str
    bucket: str
    charged: int
    took: float | None
    status: int | None
    state: str
    result: str
    """What is to be said beside the status, where something went another way."""

    @property
    def look(self) -> Look:
        return LOOKS[self.bucket]

    @property
    def fine(self) -> bool:
        return self.state == EntryState.SETTLED and not self.result


def leaf_of_calls(
    account: Account, now: datetime, count: int, before: str = "", key: int | None = None
) -> tuple[list[Call], str]:
    """The newest calls, or those before one of them; and before which the next ones are, if any.

    Those of one key are looked for among the account's newest only: no index knows them.
    """
    floor = _floor(account, before) if key else ""
    found = last_calls(account, now, count + 1, before, key, floor)
    return found[:count], found[count - 1].id if len(found) > count else floor


def _floor(account: Account, before: str) -> str:
    rows = _before(Entry.objects.filter(account=account), before).order_by("-id")
    return rows.values_list("id", flat=True)[SEARCHED : SEARCHED + 1].first() or ""


def _before(rows: "QuerySet[Entry]", before: str) -> "QuerySet[Entry]":
    return rows.filter(id__lt=before) if before else rows


def last_calls(
    account: Account, now: datetime, count: int, before: str = "", key: int | None = None,
    floor: str = "",
) -> list[Call]:  # fmt: skip
    rows = _before(Entry.objects.filter(account=account, kind=EntryKind.CALL), before)
    if key:
        rows = rows.filter(api_key=key, id__gte=floor)
    found = list(rows.order_by("-id").values(*_FIELDS)[:count])
    names = dict(
        ApiKey.objects.filter(pk__in={row["api_key_id"] for row in found}).values_list("pk", "name")
    )
    return [
        Call(
            row["id"], row["created_at"], row["created_at"].date() == now.date(), row["model"],
            row["route"].removeprefix("/v1/"), names.get(row["api_key_id"], ""), row["bucket"],
            row["amount"], None if row["latency_ms"] is None else row["latency_ms"] / 1000,
            row["status"], row["state"], _result(row["state"], row["end_reason"], row["status"]),
        )
        for row in found
    ]  # fmt: skip


def _result(state: str, reason: str, status: int | None) -> str:
    if state == EntryState.OPEN:
        return _("running")
    words = {
        EndReason.CLIENT_GONE: _("hung up"),
        EndReason.UPSTREAM_ERROR: _("provider failed"),
        EndReason.TIMEOUT: _("timed out"),
        EndReason.CRASHED: _("our fault"),
    }
    if reason in words:
        return words[EndReason(reason)]
    if state == EntryState.EXPIRED:
        return _("expired")
    return _("refused") if status and status >= 400 else ""
