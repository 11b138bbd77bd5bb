"""What rests at this moment: providers, keys, keys for one model; and which provider lists what.

For reading, but that a rest which ends by the clock can be ended before its time.
"""

from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from accounts.staff import ReadOnlyAdmin, ReasonForm
from bsod.backstage.pool.base import PoolAdmin, answers
from bsod.backstage.pool.keys import WORDS
from bsod.backstage.routes import actor
from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy import rechecks, tending
from proxy.models import Offer, ProviderKey, Rest


class Over(admin.SimpleListFilter):
    """A limit that has ended stays for an hour: the next one is longer for it."""

    title = "rests"
    parameter_name = "over"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Not any more")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        over = Q(until__lte=clock.now())
        return queryset.filter(over) if self.value() == "yes" else queryset.exclude(over)


@admin.register(Rest)
class RestAdmin(PoolAdmin, ReadOnlyAdmin):
    action_form = ReasonForm
    list_display = ("place", "model", "because", "created_at", "until", "probe_at")
    list_filter = (Over, "reason", "provider")
    list_select_related = ("provider", "key__provider")
    search_fields = ("=model", "=provider__slug", "=key__last4")
    actions = ("recheck", "end")
    ordering = ("-created_at",)
    fields = ("place", "provider", "key", "model", "because", "created_at", "until", "probe_at",
              "step")  # fmt: skip

    @admin.display(description="What rests")
    def place(self, rest: Rest) -> str:
        return str(rest.key or rest.provider)

    @display(description="Why", label={"a": "danger", "b": "warning"})  # type: ignore[untyped-decorator]  # unfold has no types
    def because(self, rest: Rest) -> tuple[str, str]:
        grave = rest.reason in (RestReason.AUTH, RestReason.BILLING, RestReason.OFF)
        return "a" if grave else "b", WORDS[RestReason(rest.reason)]

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("proxy.change_providerkey")

    @admin.action(description="Probe now", permissions=["end"])
    def recheck(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        # Of a provider that rests any key will do.
        living = ProviderKey.objects.filter(deleted_at=None).order_by("pk")
        keys = living.filter(rests__in=queryset).values_list("pk", flat=True)
        whole = queryset.filter(key=None).values("provider")
        first = living.filter(provider=OuterRef("provider")).values("pk")[:1]
        any_of = living.filter(provider__in=whole, pk=Subquery(first)).values_list("pk", flat=True)
        found = rechecks.recheck({*keys, *any_of}, actor(request))
        told, good = answers(found)
        self.message_user(request, told, messages.SUCCESS if good else messages.WARNING)

    @admin.action(description="End what ends by the clock", permissions=["end"])
    def end(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self.act(request, lambda by, _: tending.end_rests(queryset, by),
                 "{} ended. The others end when a probe passes, or are switched on."
                 )  # fmt: skip


class Gone(admin.SimpleListFilter):
    title = "listed"
    parameter_name = "gone"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Not any more")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        listed = Q(gone_at=None, provider__deleted_at=None)
        return queryset.exclude(listed) if self.value() == "yes" else queryset.filter(listed)


@admin.register(Offer)
class OfferAdmin(ReadOnlyAdmin):
    list_display = ("model", "provider", "upstream_id", "gone_at")
    list_filter = (Gone, "provider")
    list_select_related = ("model", "provider")
    search_fields = ("model__name", "upstream_id")
    ordering = ("provider__slug", "upstream_id")
