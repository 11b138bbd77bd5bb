"""Promo codes in the admin: made, shown once, looked after, switched off with a reason.

What an offer gives is never changed; its name, note, times and limit a user are. Redemptions are
for reading, like the ledger. Every act is the service's, which keeps it in the audit log.
"""

import base64
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.audit import Verb, record
from accounts.leafcsv import Sheeted
from accounts.leafing import LINK, Leafing
from accounts.models import Account
from accounts.sieves import Choose, Sieve
from accounts.staff import ReadOnlyAdmin, ReasonForm, StaffAdmin, changes, reason_of
from promos.export import table
from promos.forms import MakeForm
from promos.models import Promo, PromoCode, Redemption
from promos.service import disable, make_codes

_FIXED = ("given", "grant_days", "uses", "first_users_only", "codes_made", "times_redeemed",
          "created_by", "created_at", "disabled_at")  # fmt: skip
_MOST_NAMED = 100
Rows = QuerySet[Any]


# ---- what the lists are filtered by


class ByOffer(Sieve):
    title, parameter_name, hint = "Offer", "offer", "part of its name"

    def sift(self, rows: Rows, text: str) -> Rows:
        found = Promo.objects.filter(name__icontains=text).values_list("pk", flat=True)
        return rows.filter(promo__in=list(found[:_MOST_NAMED]))


class ByLast4(Sieve):
    title, parameter_name, hint, served = "Code", "last4", "its last four characters", False
    path = "last4"

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(**{self.path: text[-4:].upper()})


class OfCode(ByLast4):
    path = "code__last4"


class Switched(Choose):
    title, parameter_name, served = "Switched", "switched", False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("on", "on"), ("off", "off")]

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(disabled_at__isnull=text == "on")


class ByUser(Sieve):
    title, parameter_name, hint = "Account", "account", "its whole name"

    def sift(self, rows: Rows, text: str) -> Rows:
        account = Account.objects.filter(username=text).values_list("pk", flat=True).first()
        return rows.none() if account is None else rows.filter(account=account)


# ---- the lists


class Disabling(StaffAdmin):
    """Rows that are switched off and never deleted: redemptions point at them."""

    records_itself = True
    action_form = ReasonForm
    actions = ("switch_off",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: Rows) -> None:
        if reason := reason_of(request, self):
            actor: Any = request.user
            changed = disable(queryset, by=actor, reason=reason)
            self.message_user(request, f"{len(changed)} switched off.", messages.SUCCESS)


@admin.register(Promo)
class PromoAdmin(Disabling):
    list_display = ("name", "given", "uses", "codes_made", "times_redeemed", "valid_from",
                    "valid_until", "disabled_at")  # fmt: skip
    list_filter = ("first_users_only", ("disabled_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "note")
    show_full_result_count = True  # offers are few

    def get_queryset(self, request: HttpRequest) -> QuerySet[Promo]:
        codes = PromoCode.objects.filter(promo=OuterRef("pk")).order_by().values("promo")
        made, taken = codes.annotate(n=Count("pk")), codes.annotate(n=Sum("redeemed"))
        rows: QuerySet[Promo] = super().get_queryset(request)
        counted: QuerySet[Promo] = rows.annotate(
            made=Subquery(made.values("n"), output_field=IntegerField()),
            taken=Subquery(taken.values("n"), output_field=IntegerField()),
        )
        return counted

    @admin.display(description="Gives")
    def given(self, promo: Promo) -> str:
        return ", ".join(f"{amount:,} {bucket}" for bucket, amount in sorted(promo.grants.items()))

    @admin.display(description="Codes")
    def codes_made(self, promo: Any) -> SafeString:
        return _of_offer("promocode", promo, promo.made or 0)

    @admin.display(description="Redeemed")
    def times_redeemed(self, promo: Any) -> SafeString:
        return _of_offer("redemption", promo, promo.taken or 0)

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

    def render_change_form(self, request: HttpRequest, context: Any, **kwargs: Any) -> HttpResponse:
        # What is made is shown next, whatever else one would have liked to do.
        context.update(show_save_and_continue=bool(kwargs.get("change")),
                       show_save_and_add_another=False)  # fmt: skip
        response: HttpResponse = super().render_change_form(request, context, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: Promo, form: Any, change: bool) -> None:
        actor: Any = request.user
        if change:
            # Only what was changed: somebody may switch it off meanwhile.
            names = [name for name in form.changed_data if name in form.fields]
            obj.save(update_fields=names)
            record(actor, Verb.PROMO_CHANGE, obj, **changes(form))
            return
        asked = form.cleaned_data
        request.made_codes = make_codes(  # type: ignore[attr-defined]  # for the page after this
            obj, count=asked["count"], chosen=asked["chosen"], by=actor
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


def _of_offer(model: str, promo: Promo, number: int) -> SafeString:
    url = reverse(f"admin:promos_{model}_changelist")
    query = f"?promo__id__exact={promo.pk}"
    return format_html('<a class="{}" href="{}{}">{}</a>', LINK, url, query, number)


@admin.register(PromoCode)
class PromoCodeAdmin(Leafing, Disabling):
    list_display = ("__str__", "promo", "redeemed", "most", "disabled_at")
    list_filter = (ByOffer, ByLast4, Switched)
    linked_by = ("promo__id__exact",)
    list_select_related = ("promo",)
    fields = readonly_fields = ("promo", "last4", "redeemed", "most", "disabled_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Redemption)
class RedemptionAdmin(Sheeted, ReadOnlyAdmin):
    list_display = ("created_at", "account", "promo", "code", "via", "expires_at")
    list_filter = (ByUser, ByOffer, OfCode)
    linked_by = ("promo__id__exact", "account__id__exact", "code__id__exact")
    list_select_related = ("account", "promo", "code")
    fields = ("account", "promo", "code", "via", "balances", "expires_at", "created_at")
    csv_columns = ("created_at", "account_id", "account__username", "promo__name", "code__last4",
                   "number", "via", "expires_at")  # fmt: skip
