"""Balances and grants in the admin. Their numbers move by calls alone; a correction is an entry of
its own, with a reason, and never more than the balance holds."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.caps import MOST
from accounts.leafcsv import Sheeted
from accounts.staff import ReadOnlyAdmin, ReasonForm, reason_of, refuse
from quotas import meter
from quotas.admin import sieves
from quotas.models import Balance, Grant

_WRONG = "Give the units as a whole number: 5 charges five, -5 gives five back. Nothing was done."


class CorrectForm(ReasonForm):
    """How much, and why."""

    units = forms.CharField(
        required=False, label="",
        widget=UnfoldAdminTextInputWidget(
            {"placeholder": "Units (-5 gives back)", "aria-label": "Units", "x-show": "action",
             "inputmode": "numeric"}
        ),
    )  # fmt: skip
    field_order = ("action", "units", "reason")


@admin.register(Balance)
class BalanceAdmin(Sheeted, ReadOnlyAdmin):
    action_form = CorrectForm
    actions = ("correct",)
    list_display: tuple[str, ...] = (
        "id", "account", "owner", "bucket", "what", "granted", "reserved", "used", "left",
        "expires_at",
    )  # fmt: skip
    list_filter: tuple[Any, ...] = (sieves.ByOwner, sieves.What, sieves.ByBucket, sieves.InUse)
    linked_by = ("account__id__exact", "id__exact")
    list_select_related = ("account",)
    fields = ("account", "owner", "bucket", "period", "granted", "reserved", "used", "closed",
              "left", "expires_at", "created_at")  # fmt: skip
    csv_columns = ("id", "account_id", "account__username", "owner", "bucket", "period", "granted",
                   "reserved", "used", "expires_at", "created_at")  # fmt: skip

    @admin.display(description="Kind")
    def what(self, balance: Balance) -> str:
        return balance.period or "grant"

    @admin.display(description="Left")
    def left(self, balance: Balance) -> str:
        if balance.granted is None:
            return "no limit"
        return f"{balance.granted - balance.used - balance.reserved:,}"

    def has_correct_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("quotas.change_balance")

    @admin.action(description="Correct what is used", permissions=["correct"])
    def correct(self, request: HttpRequest, queryset: QuerySet[Balance]) -> None:
        reason = reason_of(request, self)
        units = _whole(request.POST.get("units", ""))
        rows = list(queryset[:2])
        if not reason:
            return
        if not units:
            refuse(request, self, _WRONG)
        elif len(rows) != 1:
            refuse(request, self, "Correct one balance at a time. Nothing was done.")
        else:
            self._correct(request, rows[0], units, reason)

    def _correct(self, request: HttpRequest, row: Balance, units: int, reason: str) -> None:
        actor: Any = request.user
        try:
            entry = meter.correct(row.account, row, units, by=actor, reason=reason)
        except meter.Impossible as error:
            refuse(request, self, f"{error} Nothing was done.")
            return
        done = "charged" if units > 0 else "given back"
        said = f"{abs(units):,} {row.bucket} {done}, by entry {entry.pk}."
        self.message_user(request, said, messages.SUCCESS)


@admin.register(Grant)
class GrantAdmin(BalanceAdmin):
    """What was given on top, newest first."""

    list_display = ("id", "account", "bucket", "granted", "reserved", "used", "left", "expires_at",
                    "created_at")  # fmt: skip
    list_filter = (sieves.ByOwner, sieves.ByBucket)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Balance]:
        rows: QuerySet[Balance] = super().get_queryset(request)
        return rows.filter(period__isnull=True)


def _whole(text: str) -> int | None:
    """A whole number that a balance can hold."""
    text = text.strip().replace("−", "-")
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        return None
    number = int(digits) if not text.startswith("-") else -int(digits)
    return number if abs(number) <= MOST else None
