"""Providers, their keys and the catalogue in Django's admin.

Providers and keys come from `manage.py add_provider` and the environment, where a key is probed
before it serves; here they are seen, changed and taken out. Taking out is soft: what a key has
made upstream still names it. Every change here reaches the pool of every process.
"""

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from bsod.lib import clock
from bsod.lib.addresses import Address, literal, resolve
from bsod.lib.terms import Service, Tier
from proxy.listings import FIELDS
from proxy.models import Model, Provider, ProviderKey, Rest
from proxy.pool import bump
from proxy.service import fix, follow

SPOKEN = (Service.CHAT, Service.RESPONSES, Service.COMPLETIONS)


class Pooled(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """Rows the pool is made of: a saved one is read again by every process."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            bump()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class SoftlyDeleted(Pooled):
    """Deleting keeps the row, out of the pool and out of the lists."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(deleted_at=None)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, Any]:
        # Nothing goes with a row that stays.
        names = [str(obj) for obj in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_queryset(request, self.model._default_manager.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            queryset.update(deleted_at=clock.now())
            bump()


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """A base URL leads to the Internet, unless the box says that a private network is meant."""

    private_network = forms.BooleanField(
        required=False, help_text="The base URL is on a private network or on this machine"
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        url = cleaned.get("base_url", "")
        if "base_url" in self.changed_data and url:
            self._check(url, bool(cleaned.get("private_network")))
        return cleaned

    def _check(self, url: str, private: bool) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            self.add_error("base_url", "It must begin with https:// or http://.")
            return
        for address in addresses(url):
            if address.is_multicast or address.is_unspecified:
                self.add_error("base_url", "No provider is served from that address.")
            elif not address.is_global and not private:
                self.add_error("base_url", "That is a private network: tick the box if it is meant")


def addresses(url: str) -> list[Address]:
    """Where a URL leads today. ValidationError: nowhere, or where nobody serves models."""
    try:
        parts = urlsplit(url)
        found = resolve(parts.hostname or "", parts.port or 443)
    except (OSError, ValueError):
        raise ValidationError(
            {"base_url": "That host is not found, or serves no models."}
        ) from None
    return [address for host in found if (address := literal(host))]


@admin.register(Provider)
class ProviderAdmin(SoftlyDeleted):
    form = ProviderForm
    list_display = ("slug", "kind", "base_url", "catch_all", "live_keys", "lock_text",
                    "synced_at")  # fmt: skip
    actions = ("lock", "unlock")
    readonly_fields = ("slug", "kind", "synced_at", "created_at")
    fields = ("slug", "kind", "base_url", "private_network", "proxy_url", "catch_all", "lock_text",
              "synced_at", "created_at")  # fmt: skip

    @admin.display(description="Keys")
    def live_keys(self, provider: Provider) -> int:
        return int(provider.keys.filter(deleted_at=None).count())

    @admin.action(description="Lock them: models stay listed, calls get a 503")
    def lock(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        self._say(queryset.filter(lock_text=""), "Locked by an administrator.")

    @admin.action(description="Unlock them")
    def unlock(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        self._say(queryset, "")

    def _say(self, queryset: QuerySet[Provider], text: str) -> None:
        with transaction.atomic():
            queryset.update(lock_text=text)
            bump()


@admin.register(ProviderKey)
class ProviderKeyAdmin(SoftlyDeleted):
    list_display = ("__str__", "state", "failures", "created_at")
    list_filter = ("provider",)
    list_select_related = ("provider",)
    fields = readonly_fields = ("provider", "last4", "state", "failures", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("rests", "provider__rests")

    @admin.display(description="State")
    def state(self, key: ProviderKey) -> str:
        """`live`, or what keeps the key from serving."""
        now = clock.now()
        rests = [*key.rests.all(), *(r for r in key.provider.rests.all() if r.key_id is None)]
        holding = [rest for rest in rests if rest.until is None or rest.until > now]
        return ", ".join(map(described, holding)) or "live"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        # The secret goes; adding it again revives the row.
        with transaction.atomic():
            Rest.objects.filter(key__in=queryset.values("pk")).delete()
            queryset.update(deleted_at=clock.now(), sealed="")
            bump()


def described(rest: Rest) -> str:
    what = f"{rest.reason} for {rest.model}" if rest.model else rest.reason
    return f"{what} until {rest.until:%H:%M:%S}" if rest.until else f"{what} until a probe passes"


class ModelForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """Nothing chosen in `speaks` means: whatever its provider offers."""

    speaks = forms.MultipleChoiceField(
        choices=[(str(one), str(one)) for one in SPOKEN],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Ways to ask for text; none: whatever its provider offers",
    )

    def clean_speaks(self) -> list[str] | None:
        return sorted(self.cleaned_data["speaks"]) or None


class Fixed(admin.SimpleListFilter):
    """Models of which an admin has set something, or nothing."""

    title = "edited here"
    parameter_name = "fixed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes":
            return queryset.exclude(fixed=[])
        return queryset.filter(fixed=[]) if self.value() == "no" else queryset


@admin.register(Model)
class ModelAdmin(Pooled):
    """A field changed here, in a model's form or in the list, is fixed: no sync touches it until
    the model is told to follow its provider again. The other fields go on following."""

    form = ModelForm
    list_display = ("name", "modality", "tier", "context_window", "max_output",
                    "credits_per_1k_input", "credits_per_1k_output", "shutdown_date",
                    "edited")  # fmt: skip
    list_editable = ("tier", "credits_per_1k_input", "credits_per_1k_output")
    list_filter = ("modality", "tier", Fixed, "offers__provider")
    list_per_page = 50
    search_fields = ("name",)
    readonly_fields = ("name", "edited", "created_at")
    fields = (
        "name", "modality", "tier", "speaks", "context_window", "max_output",
        "credits_per_1k_input", "credits_per_1k_output", "credits_per_call", "shutdown_date",
        "edited", "created_at",
    )  # fmt: skip
    actions = ("make_base", "make_pro", "follow")

    @admin.display(description="Set here")
    def edited(self, model: Model) -> str:
        return ", ".join(model.fixed) or "-"

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        fix([obj.pk], {name: getattr(obj, name) for name in form.changed_data if name in FIELDS})

    @admin.action(description="Make them base models")
    def make_base(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        fix(queryset.values_list("pk", flat=True), {"tier": Tier.BASE})

    @admin.action(description="Make them pro models")
    def make_pro(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        fix(queryset.values_list("pk", flat=True), {"tier": Tier.PRO})

    @admin.action(description="Follow rules and lists again, in every field")
    def follow(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        follow(queryset.values_list("pk", flat=True))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
