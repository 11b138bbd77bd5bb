"""Accounts, plans and bans in Django's admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import FREE, Account, Ban, Plan
from bsod.lib import clock
from bsod.lib.terms import Bucket, PlanKind

_POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """The caps' buckets exist, and `free` stays what everybody falls back to."""

    def clean_caps(self) -> dict[str, int]:
        caps = self.cleaned_data["caps"] or {}
        if not isinstance(caps, dict):
            raise ValidationError("Give an object, such as {} or {'image': 10} in JSON.")
        for bucket, cap in caps.items():
            if bucket not in set(Bucket) - {Bucket.CREDITS}:
                raise ValidationError(f"{bucket} is no bucket with a daily cap.")
            if type(cap) is not int or not 0 <= cap < 2**53:
                raise ValidationError(f"The cap of {bucket} must be a whole number, 0 or more.")
        return caps

    def clean_kind(self) -> str:
        kind: str = self.cleaned_data["kind"]
        if self.instance.pk == FREE and kind != PlanKind.BUCKETS:
            raise ValidationError("Expired plans fall back to this one: it must have buckets.")
        return kind


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    form = PlanForm
    list_display = ("name", "slug", "kind", "requests_per_minute", "open_calls")

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> list[str]:
        # The slug is the primary key: another one would be another plan.
        return ["slug"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        return False


@admin.register(Account)
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]  # no generic at run time
    list_display = ("username", "plan", "plan_expires_at", "is_staff", "is_active", "date_joined")
    list_filter = ("plan", "is_staff", "is_active")
    list_select_related = ("plan",)
    search_fields = ("username", "email")
    fieldsets = (
        (None, {"fields": ("username", "password", "email")}),
        ("Plan", {"fields": ("plan", "plan_started_at", "plan_expires_at")}),
        ("Powers", {"fields": ("is_active", *_POWERS)}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))
        # Nobody gives more than he has: powers are a superuser's to give.
        return fields if request.user.is_superuser else [*fields, *_POWERS]

    def has_change_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        if obj and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        # The ledger points at accounts: they are banned or switched off, never removed.
        return False


@admin.register(Ban)
class BanAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    list_display = ("account", "reason", "until", "lifted_at", "created_by", "created_at")
    list_select_related = ("account", "created_by")
    search_fields = ("account__username", "reason")
    autocomplete_fields = ("account",)
    fields = ("account", "reason", "until")
    actions = ("lift",)

    def save_model(self, request: HttpRequest, obj: Ban, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]  # signed in
        super().save_model(request, obj, form, change)

    def get_readonly_fields(self, request: HttpRequest, obj: Ban | None = None) -> list[str]:
        return ["account"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Ban | None = None) -> bool:
        return False

    @admin.action(description="Lift the selected bans", permissions=["change"])
    def lift(self, request: HttpRequest, queryset: QuerySet[Ban]) -> None:
        for ban in queryset.filter(lifted_at=None):
            ban.lifted_at = clock.now()
            ban.save(update_fields=["lifted_at"])
            self.log_change(request, ban, "Lifted.")
