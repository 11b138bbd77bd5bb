"""The ledger in Django's admin: to be read. Corrections are entries of their own."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from quotas.models import AuditRun, Balance, Entry, Process


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """Nothing here is added, changed or deleted by hand."""

    show_full_result_count = False  # counting a ledger takes as long as reading it

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Entry)
class EntryAdmin(ReadOnly):
    list_display = (
        "id", "kind", "state", "account", "model", "bucket", "estimate", "amount", "shortfall",
        "end_reason", "status", "latency_ms", "created_at",
    )  # fmt: skip
    list_filter = ("state", "kind", "bucket", "end_reason")
    list_select_related = ("account",)
    search_fields = ("=id", "=account__username", "=model")


@admin.register(Balance)
class BalanceAdmin(ReadOnly):
    list_display = (
        "account", "owner", "bucket", "period", "granted", "reserved", "used", "expires_at"
    )  # fmt: skip
    list_filter = ("bucket",)
    list_select_related = ("account",)
    search_fields = ("=account__username", "=owner", "=period")


@admin.register(Process)
class ProcessAdmin(ReadOnly):
    list_display = ("id", "beat")


@admin.register(AuditRun)
class AuditRunAdmin(ReadOnly):
    list_display = ("at", "balances", "clean")

    @admin.display(boolean=True, description="Adds up")
    def clean(self, run: AuditRun) -> bool:
        return not run.drift
