"""Users in the admin: found by name, mail or key, seen with what they use, acted on with a reason.

A page of the list costs the same few statements however many users there are: what its columns
show is read for the rows of one leaf at once. Nothing of an account is changed in its form but its
name and, by a superuser, its rights; everything else is an act (`acts.py`).
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission as PermissionRow
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Max, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.forms import ActionForm, AdminPasswordChangeForm, UserCreationForm

from accounts.backend import find
from accounts.flows.close_account import LastAdmin, may_close
from accounts.flows.powers import out_of_reach
from accounts.keys.models import ApiKey
from accounts.keys.tokens import public_id_of
from accounts.leafing import Leafing
from accounts.models import Account, Ban, Plan
from accounts.sieves import Choose
from accounts.staff import StaffAdmin
from bsod.backstage import person
from bsod.backstage.acts import ACTS, may
from bsod.lib import clock
from bsod.lib.terms import Bucket
from quotas.models import UsageDay

LEAST = 3  # characters of a name's beginning
MOST = 1000  # names that begin so, the first of the alphabet
_POWERS = ("is_active", "groups", "user_permissions")
_WRITTEN = ("username", "is_active")
_SHOWN = ("email", "plan", "plan_started_at", "plan_expires_at", "is_staff", "is_superuser",
          "last_login", "date_joined")  # fmt: skip
_LOOKS = {"banned": "danger", "deleted": "info", "off": "warning"}
_MORE = 0x10FFFF


# ---- finding


def found(rows: "QuerySet[Account]", term: str) -> "QuerySet[Account]":
    """The accounts a term means: the owner of a key, of an address, or names that begin so. Each
    is one look into an index; nothing that is typed is a pattern."""
    term = term.strip()
    if "\0" in term:
        return rows.none()
    owner = ApiKey.objects.filter(public_id=public_id_of(term)).values_list("account", flat=True)
    if (pk := owner.first()) is not None:
        return rows.filter(pk=pk)
    if "@" in term:
        return rows.filter(pk=one.pk) if (one := find(term)) else rows.none()
    # Cut in the order of the index: all that begin with three letters may be very many.
    begun = Account.objects.filter(begins("username", term)).order_by("username")
    return rows.filter(pk__in=begun.values("pk")[:MOST])


def begins(field: str, text: str) -> Q:
    """Exactly this text, or, from `LEAST` characters on, what begins with it."""
    if len(text) < LEAST:
        return Q(**{field: text})
    if connection.vendor == "sqlite":
        # Its LIKE knows no index beside an escape character; its order is that of the characters.
        return Q(**{f"{field}__gte": text, f"{field}__lt": text + chr(_MORE)})
    return Q(**{f"{field}__startswith": text})


# ---- the list


def dress(rows: Iterable[Any], now: datetime) -> None:
    """What the columns say of these accounts, in three statements for all of them."""
    people = {row.pk: row for row in rows}
    for row in people.values():
        row.calls, row.used, row.ban, row.key_used_at = 0, {}, None, None
    for pk, bucket, calls, amount in _today(people, now):
        people[pk].calls += calls
        people[pk].used[bucket] = amount
    for ban in standing_bans(now).filter(account__in=people):
        people[ban.account_id].ban = ban
    keys = ApiKey.objects.filter(account__in=people).values_list("account")
    for pk, moment in keys.annotate(last=Max("last_used_at")).order_by():
        people[pk].key_used_at = moment


def standing_bans(now: datetime) -> "QuerySet[Ban]":
    rows: QuerySet[Ban] = Ban.objects.filter(Q(until=None) | Q(until__gt=now), lifted_at=None)
    return rows


def _today(people: Iterable[int], now: datetime) -> Iterable[tuple[int, str, int, int]]:
    rows = UsageDay.objects.filter(account__in=people, day=clock.day_of(now))
    sums = rows.values_list("account", "bucket").annotate(Sum("calls"), Sum("amount"))
    return sums.order_by()


class ByPlan(Choose):
    title, parameter_name = "plan", "plan"

    def words(self) -> Iterable[str]:
        return Plan.objects.values_list("slug", flat=True)

    def sift(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        return rows.filter(plan=text)


class Banned(Choose):
    title, parameter_name = "ban", "ban"

    def words(self) -> Iterable[str]:
        return ("banned",)

    def sift(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        return rows.filter(pk__in=standing_bans(clock.now()).values("account"))


class ByState(Choose):
    title, parameter_name = "state", "state"
    served = False

    def words(self) -> Iterable[str]:
        return _STATES

    def sift(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        return rows.filter(_STATES[text])


_STATES = {"staff": Q(is_staff=True), "switched off": Q(is_active=False, deleted_at=None),
           "deleted": Q(deleted_at__isnull=False)}  # fmt: skip


# ---- the pages


def _bulk(name: str) -> Any:
    def chosen(page: "AccountAdmin", request: HttpRequest, rows: "QuerySet[Account]") -> Any:
        return HttpResponseRedirect(page.act_url(name, rows.values_list("pk", flat=True)))

    chosen.__name__ = name
    return admin.action(description=f"{ACTS[name].label}…")(chosen)


@admin.register(Account)
class AccountAdmin(Leafing, UserAdmin, StaffAdmin):  # type: ignore[misc,type-arg]  # untyped
    form = forms.ModelForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    action_form = ActionForm
    list_display = ("username", "on_plan", "active", "calls_today", "used_today", "banned",
                    "last_seen")  # fmt: skip
    list_filter = (ByPlan, Banned, ByState)
    list_select_related = ("plan",)
    search_fields = ("username",)
    search_help_text = (
        "A name or its first three letters or more, a whole mail address, or a key's public id."
    )
    ordering = ("-pk",)
    actions = [_bulk(name) for name in ACTS]
    fieldsets = (
        (None, {"fields": (("username", "email"), ("date_joined", "last_login"))}),
        ("Plan", {"fields": ("plan", ("plan_started_at", "plan_expires_at"))}),
        ("Rights", {"fields": (("is_staff", "is_superuser"), *_POWERS), "classes": ("collapse",)}),
    )
    filter_horizontal = ("groups", "user_permissions")
    change_form_outer_before_template = "admin/people/person.html"

    def dress(self, rows: Collection[Account]) -> None:
        dress(rows, clock.now())

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Account]", search_term: str
    ) -> "tuple[QuerySet[Account], bool]":
        return (found(queryset, search_term) if search_term else queryset), False

    # ---- who may

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> list[str]:
        # Nobody gives more than he has: rights are a superuser's to give, and not to lock himself.
        mine = obj is not None and obj.pk == request.user.pk
        if request.user.is_superuser:
            return [*_SHOWN, "is_active"] if mine else [*_SHOWN]
        return [*_SHOWN, *_POWERS]

    def has_change_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        person: Any = request.user
        mine = obj is not None and obj.pk == person.pk
        if obj and (obj.deleted_at or (out_of_reach(person, obj) and not mine)):
            return False
        return super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        if not change:
            return super().save_model(request, obj, form, change)
        if not obj.is_active:
            try:
                may_close(obj)
            except LastAdmin:
                raise PermissionDenied from None
        # The rest of the row is others' to write: a plan may rise meanwhile.
        obj.save(update_fields=[name for name in form.changed_data if name in _WRITTEN])
        return None

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        # The ledger points at accounts: the act `delete` empties the row and keeps it.
        return False

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        if not request.user.is_superuser:
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":  # whose names are made of two tables
            kwargs["queryset"] = PermissionRow.objects.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    # ---- acts

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        return {name: action for name, action in actions.items()
                if name in ACTS and may(request.user, ACTS[name])}  # type: ignore[arg-type]  # signed in  # fmt: skip

    def act_url(self, name: str, accounts: Iterable[int]) -> str:
        chosen = ",".join(str(pk) for pk in accounts)
        return f"{reverse('admin:accounts_account_act', args=[name])}?users={chosen}"

    def get_urls(self) -> list[URLPattern]:
        from bsod.backstage.routes_people import ask  # which reads this module's pages

        view = self.admin_site.admin_view(partial(ask, page=self))
        return [path("act/<slug:name>/", view, name="accounts_account_act"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        more = extra_context or {}
        if request.method == "GET" and self.has_view_permission(request) and object_id.isdecimal():
            account = get_object_or_404(Account.objects.select_related("plan"), pk=int(object_id))
            acts = [(act, self.act_url(name, [account.pk])) for name, act in ACTS.items()
                    if may(request.user, act)]  # type: ignore[arg-type]  # signed in  # fmt: skip
            more = {**more, "person": person.about(account, clock.now(), request.user),
                    "acts": acts}  # fmt: skip
        return super().change_view(request, object_id, form_url, more)

    # ---- columns

    @admin.display(description="Plan")
    def on_plan(self, row: Account) -> str:
        return str(row.plan)

    @admin.display(description="Holds", boolean=True)
    def active(self, row: Account) -> bool:
        return row.plan_expires_at is None or row.plan_expires_at > clock.now()

    @admin.display(description="Calls today")
    def calls_today(self, row: Any) -> str:
        return f"{row.calls:,}" if row.calls else "–"

    @admin.display(description="Used today")
    def used_today(self, row: Any) -> str:
        known = [(bucket, row.used[bucket]) for bucket in Bucket if row.used.get(bucket)]
        return ", ".join(f"{amount:,} {bucket}" for bucket, amount in known) or "–"

    @display(description="State", label=_LOOKS)  # type: ignore[untyped-decorator]  # unfold has no types
    def banned(self, row: Any) -> str:
        if row.deleted_at:
            return "deleted"
        return "banned" if row.ban else "" if row.is_active else "off"

    @admin.display(description="Last seen")
    def last_seen(self, row: Any) -> datetime | None:
        return max(filter(None, (row.last_login, row.key_used_at)), default=None)
