"""What keeps the admin's lists fast, on each database: the indexes it is told of, an estimate in
place of a count, and an end to what takes too long."""

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, transaction
from django.db.models import F, QuerySet, Value
from django.http import HttpRequest

from accounts.leafing import TooSlow, capped, estimate, hurried
from accounts.models import Account
from bsod.lib import clock
from quotas.admin import sieves
from quotas.admin.entries import EntryAdmin
from quotas.models import Balance, Entry, Grant
from tests import kit
from tests.kit import Person, staff_client
from tests.quotas.test_admin import entry


def plan(rows: "QuerySet[Any]") -> str:
    """How the newest of these are read."""
    if connection.vendor == "sqlite":
        return rows.order_by("-pk")[:51].explain()
    with transaction.atomic(), connection.cursor() as cursor:
        # A table of tests is too small for an index to pay.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        return rows.order_by("-pk")[:51].explain()


def test_each_filter_that_says_so_is_served_by_its_index(alice: Person) -> None:
    entries, account = Entry.objects.all(), alice.account.pk
    asked: list[tuple[str, QuerySet[Any]]] = [
        ("entry_by_account", entries.filter(account=account)),
        ("entry_no_call", sieves.narrow_kind(entries, "grant")),
        ("entry_open_calls", sieves.opened(entries)),
        ("entry_open_expiring", sieves.opened(entries)),
        ("balance_grant_ids", Grant.objects.filter(period__isnull=True)),
    ]
    if connection.vendor == "sqlite":  # PostgreSQL asks its statistics, and a test has none
        asked += [
            ("entry_shortfall", sieves.short(entries)),
            ("balance_one_a_period", sieves.owned(Balance.objects.all(), account)),
            ("balance_grants", sieves.owned(Balance.objects.all(), account)),
        ]
    missing = [(index, plan(rows)) for index, rows in asked if index not in plan(rows)]
    assert missing == []


def test_a_count_is_bounded_and_an_estimate_is_near(alice: Person) -> None:
    now = clock.now()
    Entry.objects.bulk_create([entry(alice, now) for _ in range(20)])
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE quotas_entry")
    there = Entry.objects.count()
    assert capped(Entry.objects.filter(account=alice.account)) == 20
    # Whatever tests have deleted counts on SQLite, whose rows are numbered.
    assert there <= estimate(Entry) * 1.05 + 20
    Entry.objects.filter(account=alice.account).delete()


def slow(rows: "QuerySet[Any]") -> "QuerySet[Any]":
    """The same rows, which nobody has the time to read."""
    if connection.vendor == "postgresql":
        return rows.extra(where=["pg_sleep(5) IS NOT NULL"])
    endless = ("(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1e9) "
               "SELECT max(x) FROM n) > 0")  # fmt: skip
    return rows.extra(where=[endless])


def test_what_takes_too_long_is_stopped_and_the_connection_goes_on(alice: Person) -> None:
    rows = Account.objects.filter(pk=alice.account.pk).annotate(n=F("pk") + Value(0))
    with pytest.raises(TooSlow), hurried(0.1):
        list(slow(rows))
    assert rows.get().pk == alice.account.pk
    with hurried(5):
        assert rows.exists()


class Slow(EntryAdmin):
    patience = 0.1

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return slow(super().get_queryset(request))


def test_a_page_that_takes_too_long_says_so(alice: Person) -> None:
    alice.account.is_staff = alice.account.is_superuser = True
    alice.account.save()
    Entry.objects.bulk_create([entry(alice, clock.now())])
    client = staff_client(alice.account)
    page = admin.site._registry[Entry]
    admin.site._registry[Entry] = Slow(Entry, admin.site)
    try:
        request = client.get("/admin/quotas/entry/").wsgi_request
        answer = admin.site._registry[Entry].changelist_view(request)
    finally:
        admin.site._registry[Entry] = page
    answer.render()  # type: ignore[attr-defined]  # a page
    assert answer.status_code == 503
    assert "stopped after 0.1 seconds" in answer.content.decode()
    Entry.objects.filter(account=alice.account).delete()
    assert kit.ledger_adds_up()
