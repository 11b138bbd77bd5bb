"""Providers: how their keys are, locked with a text, synced, asked, taken out and brought back.

A new one is asked before the page answers: outside of the form's transaction, which others would
wait for.
"""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet, URLField
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from accounts.models import Account
from accounts.staff import StaffAdmin
from bsod.backstage.pool.base import AskingAdmin, SeenList, answers, many, seen_of
from bsod.backstage.pool.forms import NewProviderForm, ProviderForm, without_password
from bsod.backstage.routes import actor
from proxy import figures, rechecks, tending
from proxy.models import Provider, ProviderKey
from proxy.pool import bump
from proxy.service import Added
from proxy.tending import Weight

_MOST_SYNCED = 3  # lists read while somebody waits; the worker reads the others
_NEW = (
    (None, {"fields": ("slug", "kind", "base_url", "private_network", "proxy_url", "catch_all")}),
    (
        "Its first keys",
        {
            "fields": ("secret_1", "secret_2", "secret_3"),
            "description": "They are tried before this page answers, and never shown again.",
        },
    ),
)


class TakenOut(admin.SimpleListFilter):
    """Those that were taken out are listed only when they are asked for."""

    title = "in the pool"
    parameter_name = "gone"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Taken out")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(deleted_at__isnull=self.value() != "yes")


def proved(page: Any, request: HttpRequest, added: Added) -> None:
    """What the keys that were just given have said."""
    for key, found in added.findings:
        level = messages.SUCCESS if found.works else messages.WARNING
        rests = "" if found.works else " It rests, and is asked again until it answers."
        page.message_user(request, f"Key …{key.last4} {found.note}.{rests}", level)
    page.message_user(request, f"{added.provider}: {many(added.models, 'model')} listed.")


@admin.register(Provider)
class ProviderAdmin(AskingAdmin):
    new_form = NewProviderForm
    form = ProviderForm
    formfield_overrides = {URLField: {"assume_scheme": "https"}}
    list_display = ("slug", "kind", "base_url", "state", "keys_told", "donated", "lock_text",
                    "synced_at")  # fmt: skip
    list_filter = (TakenOut, "kind", "catch_all")
    search_fields = ("slug",)
    actions = ("recheck", "sync", "lock", "unlock", "restore", "delete_selected")
    buttons = ("recheck", "sync", "lock", "unlock")
    readonly_fields = ("slug", "kind", "serves", "keys_told", "synced_at", "created_at")
    fields = ("slug", "kind", "serves", "keys_told", "base_url", "private_network", "proxy_url",
              "catch_all", "lock_text", "synced_at", "created_at")  # fmt: skip

    # ---- what is shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[SeenList]:
        return SeenList

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        given = Q(keys__donor__isnull=False, keys__deleted_at=None)
        rows: QuerySet[Any] = super().get_queryset(request)
        counted: QuerySet[Any] = rows.annotate(given=Count("keys", filter=given))
        return counted

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        return None if found is None or found.deleted_at else found

    @display(description="State", label={"up": "success", "down": "danger", "out": "warning"})  # type: ignore[untyped-decorator]  # unfold has no types
    def state(self, provider: Provider) -> tuple[str, str]:
        if provider.deleted_at:
            return "out", "taken out"
        found = seen_of(provider).look.provider(provider.pk)
        if found.available:
            return "up", "serves"
        return "down", "locked" if provider.lock_text else str(found.reason)

    @admin.display(description="State")
    def serves(self, provider: Provider) -> str:
        return str(seen_of(provider).look.provider(provider.pk).reason or "serves")

    @admin.display(description="Keys")
    def keys_told(self, provider: Provider) -> str:
        seen = seen_of(provider)
        states = figures.key_states(seen.snapshot, provider.pk, seen.ticks)
        told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        url = reverse("admin:proxy_providerkey_changelist")
        return format_html(
            '<a href="{}?provider__id__exact={}" class="underline">{}</a>',
            url, provider.pk, told or "none",
        )  # fmt: skip

    @admin.display(description="Donated")
    def donated(self, provider: Any) -> str:
        return str(provider.given or "–")

    # ---- forms

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else _NEW

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        if change:
            with transaction.atomic():
                super().save_model(request, obj, form, change)
                bump()
            return
        added = tending.add_provider(
            actor(request), obj.slug, obj.kind, obj.base_url, form.secrets(),
            catch_all=obj.catch_all, proxy_url=obj.proxy_url,
        )  # fmt: skip
        obj.pk = added.provider.pk
        proved(self, request, added)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        said = super().construct_change_message(request, form, formsets, add)
        facts = request.audit_facts.get("changed", {})  # type: ignore[attr-defined]  # see StaffAdmin
        if "proxy_url" in facts:
            facts["proxy_url"] = [without_password(url or "") for url in facts["proxy_url"]]
        return said

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        # The act has kept itself, which no form did.
        return super(StaffAdmin, self).log_addition(request, obj, message)

    # ---- acts

    def weigh(self, rows: "QuerySet[Any]") -> Weight:
        keys = ProviderKey.objects.filter(provider__in=rows.values("pk"))
        return tending.weight(keys, rows)

    def remove(self, rows: Iterable[Any], by: Account, reason: str) -> int:
        return tending.remove_providers(rows, by, reason)

    @admin.action(description="Take out…", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: "QuerySet[Any]"
    ) -> HttpResponse | None:
        return self.removal(request, queryset)

    @admin.action(description="Bring back what was taken out", permissions=["add"])
    def restore(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self.act(request, lambda by, _: tending.restore_providers(queryset, by),
                 "{} brought back; their keys are asked at once how they are.")  # fmt: skip

    @admin.action(description="Lock: callers are told the reason", permissions=["change"])
    def lock(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self.act(request, lambda by, text: tending.lock(queryset, by, text),
                 "{} locked: the models stay listed, calls get a 503 with the reason.")  # fmt: skip

    @admin.action(description="Unlock", permissions=["change"])
    def unlock(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self.act(request, lambda by, _: tending.unlock(queryset, by), "{} unlocked.")

    @admin.action(description="Probe their keys", permissions=["change"])
    def recheck(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        keys = ProviderKey.objects.filter(provider__in=queryset.values("pk"))
        told, good = answers(rechecks.recheck(keys.values_list("pk", flat=True), actor(request)))
        self.message_user(request, told, messages.SUCCESS if good else messages.WARNING)

    @admin.action(description="Read model lists now", permissions=["change"])
    def sync(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        chosen = list(queryset.filter(deleted_at=None))
        for provider in chosen[:_MOST_SYNCED]:
            count = tending.sync(provider, actor(request))
            told = "no key gives a model list" if count is None else f"{many(count, 'model')}"
            level = messages.WARNING if count is None else messages.SUCCESS
            self.message_user(request, f"{provider}: {told}.", level)
        if left := chosen[_MOST_SYNCED:]:
            tending.sync_later(left, actor(request))
            self.message_user(request, f"{many(len(left), 'list')} will be read in a minute.")
