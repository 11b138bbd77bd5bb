"""What the ledger's lists are filtered by, and which index serves it.

Entries are found by account, by what they are if they are no calls, while they are open, and by
their shortfall; a time is a range of their ids, which sort by the moment they were made. All else
is looked for among those (`accounts/leafing.py`): a call pays for no index that only pages use.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.keys.models import ApiKey
from accounts.models import Account
from accounts.sieves import Choose, DaySieve, Sieve
from bsod.lib import ids
from bsod.lib.terms import Bucket, EndReason, EntryKind, EntryState
from quotas.models import USER, Entry

Rows = QuerySet[Any]
_SHORTEST_KEY, _MOST_KEYS = 4, 20
# A call's id is as old as its request, which may have waited for its body.
_SLACK = timedelta(hours=1)


# ---- spelt so that both databases find an index


def opened(rows: Rows) -> Rows:
    """Those that are open: what processes hold has one index, what jobs hold another."""
    held = Entry.objects.filter(state="open").order_by()
    calls, jobs = held.filter(process__isnull=False), held.filter(expires_at__isnull=False)
    return rows.filter(pk__in=calls.values("pk").union(jobs.values("pk")))


def short(rows: Rows) -> Rows:
    few = Entry.objects.filter(shortfall__gt=0).order_by()
    return rows.filter(pk__in=few.values("pk"))


def narrow_kind(rows: Rows, kind: str) -> Rows:
    return rows if kind == EntryKind.CALL else rows.filter(~Q(kind="call"))


def owned(rows: Rows, account: int) -> Rows:
    """An account's balances: those with a period have one index, grants another."""
    mine = rows.model._default_manager.filter(account=account).order_by()
    periods, grants = mine.filter(period__isnull=False), mine.filter(period__isnull=True)
    return rows.filter(pk__in=periods.values("pk").union(grants.values("pk"), all=True))


def _keys(text: str) -> list[tuple[int, int]]:
    """Keys that begin so, and whose they are."""
    found = ApiKey.objects.filter(public_id__startswith=text).order_by()
    if connection.vendor == "sqlite":  # whose LIKE uses no index, and whose letters sort as bytes
        found = found.filter(public_id__gte=text, public_id__lt=text + "~")
    return list(found.values_list("pk", "account_id")[:_MOST_KEYS])


# ---- the fields of the forms


class ByAccount(Sieve):
    title, parameter_name, hint = "Account", "account", "its whole name, or #number"

    def found(self, text: str) -> int | None:
        if text.startswith("#") and text[1:].isdecimal() and len(text) < 20:
            return int(text[1:])
        return Account.objects.filter(username=text).values_list("pk", flat=True).first()

    def sift(self, rows: Rows, text: str) -> Rows:
        account = self.found(text)
        return rows.none() if account is None else self.of(rows, account)

    def of(self, rows: Rows, account: int) -> Rows:
        return rows.filter(account=account)


class ByOwner(ByAccount):
    def of(self, rows: Rows, account: int) -> Rows:
        return owned(rows, account)


class ByKey(Sieve):
    title, parameter_name = "Key", "key"
    hint = f"its first letters, {_SHORTEST_KEY} or more"
    served = False

    @staticmethod
    def cut(text: str) -> str:
        """The public part alone: whoever pastes a whole key has pasted too much."""
        for prefix in settings.KEY_PREFIXES:
            text = text.strip().removeprefix(f"{prefix}-")
        return text[:12]

    def text(self) -> str:
        return self.cut(super().text())

    def keys(self, text: str) -> list[tuple[int, int]]:
        return _keys(text) if len(text) >= _SHORTEST_KEY else []

    def narrow(self, rows: Rows, text: str) -> Rows:
        return rows.filter(account__in=sorted({account for _, account in self.keys(text)}))

    def sift(self, rows: Rows, text: str) -> Rows:
        keys = [key for key, _ in self.keys(text)]
        return self.narrow(rows, text).filter(api_key__in=keys)


class Kind(Choose):
    title, parameter_name, served = "Kind", "kind__exact", False

    def words(self) -> Iterable[str]:
        return EntryKind

    def narrow(self, rows: Rows, text: str) -> Rows:
        return narrow_kind(rows, text)

    def sift(self, rows: Rows, text: str) -> Rows:
        return self.narrow(rows, text).filter(kind=text)


class State(Choose):
    title, parameter_name, served = "State", "state__exact", False

    def words(self) -> Iterable[str]:
        return EntryState

    def narrow(self, rows: Rows, text: str) -> Rows:
        return opened(rows) if text == EntryState.OPEN else rows

    def sift(self, rows: Rows, text: str) -> Rows:
        return self.narrow(rows, text).filter(state=text)


class Short(Choose):
    title, parameter_name = "Shortfall", "shortfall__gt"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("0", "took more than there was")]

    def sift(self, rows: Rows, text: str) -> Rows:
        return short(rows)


class ByBucket(Choose):
    title, parameter_name, served = "Bucket", "bucket", False

    def words(self) -> Iterable[str]:
        return Bucket

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(bucket=text)


class Ended(Choose):
    title, parameter_name, served = "How it ended", "end_reason__exact", False

    def words(self) -> Iterable[str]:
        return EndReason

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(end_reason=text)


class ByModel(Sieve):
    title, parameter_name, hint, served = "Model", "model", "begins with", False

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(model__startswith=text)


class ByRoute(Sieve):
    title, parameter_name, hint, served = "Route", "route", "begins with", False

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(route__startswith=text)


class _Day(DaySieve):
    served = False

    def day(self, text: str) -> date | None:
        try:
            return date.fromisoformat(text)
        except ValueError:
            return None


class Since(_Day):
    title, parameter_name = "From day (UTC)", "day__gte"

    def narrow(self, rows: Rows, text: str) -> Rows:
        day = self.day(text)
        return rows.none() if day is None else rows.filter(pk__gte=ids.first(_start(day) - _SLACK))

    def sift(self, rows: Rows, text: str) -> Rows:
        return self.narrow(rows, text).filter(day__gte=text)


class Until(_Day):
    title, parameter_name = "To day (UTC)", "day__lte"

    def narrow(self, rows: Rows, text: str) -> Rows:
        day = self.day(text)
        if day is None or day == date.max:
            return rows.none()
        return rows.filter(pk__lt=ids.first(_start(day + timedelta(days=1))))

    def sift(self, rows: Rows, text: str) -> Rows:
        return self.narrow(rows, text).filter(day__lte=text)


def _start(day: date) -> datetime:
    return datetime.combine(max(day, date(2000, 1, 1)), datetime.min.time(), UTC)


class OnDay(Sieve):
    """A day's sums have an index of their own."""

    title, parameter_name, kind = "Day (UTC)", "day", "date"

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(day=text)


class What(Choose):
    """What a balance is."""

    title, parameter_name, served = "Kind", "kind", False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("grant", "grants"), ("period", "a day's or a period's"), ("key", "a key's own")]

    def sift(self, rows: Rows, text: str) -> Rows:
        if text == "key":
            return rows.exclude(owner=USER)
        return rows.filter(period__isnull=text == "grant")


class InUse(Choose):
    title, parameter_name, served = "Now", "now", False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("reserved", "something reserved")]

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(reserved__gt=0)
