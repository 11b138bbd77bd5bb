"""API keys in Django's admin: to be seen and revoked. They are minted elsewhere and shown once."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.keys.models import ApiKey
from accounts.keys.service import revoke


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    list_display = ("__str__", "account", "unlimited", "operator", "last_used_at", "expires_at",
                    "revoked_at")  # fmt: skip
    list_filter = ("unlimited", "operator", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("account",)
    search_fields = ("public_id", "name", "account__username")
    fields = (
        "name", "account", "public_id", "last4", "permissions", "caps", "requests_per_minute",
        "open_calls", "allowed_models", "networks", "unlimited", "operator", "created_at",
        "expires_at", "revoked_at", "last_used_at",
    )  # fmt: skip
    readonly_fields = fields
    actions = ("revoke_keys",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whole forms are read-only; the permission itself is what the action asks for.
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset.filter(revoked_at=None):
            revoke(key)
            self.log_change(request, key, "Revoked.")
