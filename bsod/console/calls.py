"""The last calls of an account, as a table shows them: counts and results, never any content."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.console.quota import LOOKS, Look
from bsod.lib.terms import EndReason, EntryKind, EntryState
from quotas.models import Entry

_FIELDS = ("id", "created_at", "model", "route", "api_key_id", "bucket", "amount", "latency_ms",
           "status", "state", "end_reason")  # fmt: skip


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


def last_calls(account: Account, now: datetime, count: int, before: str = "") -> list[Call]:
    """The newest calls, or those before one of them."""
    rows = Entry.objects.filter(account=account, kind=EntryKind.CALL)
    if before:
        rows = rows.filter(id__lt=before)
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
