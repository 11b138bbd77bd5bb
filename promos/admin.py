"""Promo codes in Django's admin: made, shown once, looked after, switched off with a reason.

What an offer gives is never changed; its name, note, times and limit a user are. Redemptions are
for reading, like the ledger.
"""

import base64
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from promos.export import table
from promos.forms import MakeForm
from promos.models import Promo, PromoCode, Redemption
from promos.service import disable, make_codes
from quotas.admin import ReadOnly

_FIXED = ("grants", "grant_days", "uses", "first_users_only", "codes_made", "times_redeemed",
          "created_by", "created_at", "disabled_at")  # fmt: skip


class ReasonForm(ActionForm):
    """Beside the list's actions: what is done to others' codes has a reason."""

    reason = forms.CharField(required=False, max_length=200, label="Reason:")


class Disabling(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """Rows that are switched off and never deleted: redemptions point at them."""

    action_form = ReasonForm
    actions = ("switch_off",)
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        reason = request.POST.get("reason", "").strip()[:200]
        if not reason:
            self.message_user(request, "Give a reason: it is kept.", messages.ERROR)
            return
        changed = disable(queryset)
        for row in changed:
            self.log_change(request, row, f"Switched off: {reason}")
        self.message_user(request, f"{len(changed)} switched off.", messages.SUCCESS)


@admin.register(Promo)
class PromoAdmin(Disabling):
    list_display = ("name", "given", "uses", "codes_made", "times_redeemed", "valid_from",
                    "valid_until", "disabled_at")  # fmt: skip
    list_filter = ("first_users_only", ("disabled_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "note")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Promo]:
        made = super().get_queryset(request)
        counted: QuerySet[Promo] = made.annotate(made=Count("codes"), taken=Sum("codes__redeemed"))
        return counted

    @admin.display(description="Gives")
    def given(self, promo: Promo) -> str:
        return ", ".join(f"{amount} {bucket}" for bucket, amount in sorted(promo.grants.items()))

    @admin.display(description="Codes")
    def codes_made(self, promo: Any) -> int:
        return int(promo.made)

    @admin.display(description="Redeemed")
    def times_redeemed(self, promo: Any) -> str:
        url = reverse("admin:promos_redemption_changelist")
        return format_html('<a href="{}?promo__id__exact={}">{}</a>', url, promo.pk, promo.taken)

    def get_form(
        self, request: HttpRequest, obj: Promo | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["form"] = MakeForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Promo | None = None) -> tuple[str, ...]:
        if obj is None:
            return (*MakeForm.Meta.fields, "count", "chosen")
        return ("name", "note", "per_user", "valid_from", "valid_until", *_FIXED)

    def get_readonly_fields(self, request: HttpRequest, obj: Promo | None = None) -> list[str]:
        return list(_FIXED) if obj else []

    def save_model(self, request: HttpRequest, obj: Promo, form: Any, change: bool) -> None:
        if change:
            # Only what was changed: somebody may switch it off meanwhile.
            names = [name for name in form.changed_data if name in form.fields]
            obj.save(update_fields=names)
            return
        asked = form.cleaned_data
        obj.created_by = request.user  # type: ignore[assignment]  # signed in
        request.made_codes = make_codes(  # type: ignore[attr-defined]  # for the page after this
            obj, count=asked["count"], chosen=asked["chosen"]
        )

    def response_add(
        self, request: HttpRequest, obj: Promo, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only sight of the codes. They are in no message, session or log."""
        codes: list[str] = request.made_codes  # type: ignore[attr-defined]  # see save_model
        sheet = base64.b64encode(table(obj, codes).encode("utf-8-sig")).decode()
        context = {
            **self.admin_site.each_context(request),
            "title": f"Codes of {obj.name}",
            "opts": self.opts,
            "promo": obj,
            "codes": codes,
            "sheet": f"data:text/csv;charset=utf-8;base64,{sheet}",
            "back": reverse("admin:promos_promo_changelist"),
        }
        response = TemplateResponse(request, "admin/promos/promo/codes.html", context)
        response["Cache-Control"] = "no-store"
        return response


@admin.register(PromoCode)
class PromoCodeAdmin(Disabling):
    list_display = ("__str__", "promo", "redeemed", "most", "disabled_at")
    list_filter = (("disabled_at", admin.EmptyFieldListFilter),)
    list_select_related = ("promo",)
    search_fields = ("=last4", "promo__name")
    fields = readonly_fields = ("promo", "last4", "redeemed", "most", "disabled_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Redemption)
class RedemptionAdmin(ReadOnly):
    list_display = ("created_at", "account", "promo", "code", "via", "expires_at")
    list_filter = ("via",)
    list_select_related = ("account", "promo", "code")
    search_fields = ("=account__username", "=promo__name", "=code__last4")
    fields = ("account", "promo", "code", "via", "balances", "expires_at", "created_at")

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        return lookup == "promo__id__exact" or super().lookup_allowed(lookup, value, request)
