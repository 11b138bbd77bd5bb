"""Sums of days, audits of the ledger, and who holds entries: all to be read."""

from django.contrib import admin

from accounts.leafcsv import Sheeted
from accounts.staff import ReadOnlyAdmin
from quotas.admin import sieves
from quotas.models import AuditRun, Process, UsageDay


@admin.register(UsageDay)
class UsageDayAdmin(Sheeted, ReadOnlyAdmin):
    list_display = ("day", "account", "api_key", "model", "bucket", "calls", "amount",
                    "prompt_tokens", "completion_tokens")  # fmt: skip
    list_filter = (sieves.ByAccount, sieves.OnDay, sieves.ByModel, sieves.ByBucket)
    linked_by = ("account__id__exact", "api_key__id__exact", "day")
    list_select_related = ("account", "api_key")
    csv_columns = ("day", "account_id", "account__username", "api_key__public_id", "model",
                   "bucket", "calls", "amount", "prompt_tokens", "completion_tokens")  # fmt: skip


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_display = ("id", "beat")


@admin.register(AuditRun)
class AuditRunAdmin(ReadOnlyAdmin):
    list_display = ("at", "balances", "clean")

    @admin.display(boolean=True, description="Adds up")
    def clean(self, run: AuditRun) -> bool:
        return not run.drift
