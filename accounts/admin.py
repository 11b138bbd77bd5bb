"""Bans in Django's admin: laid with a reason, lifted with another, never rewritten.

Users are in `bsod/backstage/people.py` and plans in `bsod/backstage/plans.py`, which know what is
used and what a bucket is.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import admin_audit, service  # noqa: F401  # the audit log registers itself
from accounts.flows.powers import out_of_reach
from accounts.leafing import Leafing
from accounts.models import Account, Ban
from accounts.staff import ReasonForm, StaffAdmin, reason_of, refuse
from accounts.undo import Undoing
from bsod.lib import clock


class BanForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    actor: Account

    class Meta:
        model = Ban
        fields = ("account", "reason", "until")

    def clean_account(self) -> Account:
        account: Account = self.cleaned_data["account"]
        if account.pk == self.actor.pk:
            raise ValidationError("This is yourself: ask another superuser.")
        if out_of_reach(self.actor, account):
            raise ValidationError("Only a superuser acts on staff.")
        if account.deleted_at:
            raise ValidationError("This account is deleted.")
        return account

    def clean_until(self) -> Any:
        until = self.cleaned_data["until"]
        if until is not None and until <= clock.now():
            raise ValidationError("This moment has passed.")
        return until


@admin.register(Ban)
class BanAdmin(Leafing, Undoing, StaffAdmin):
    form = BanForm
    records_itself = True
    list_display = ("account", "reason", "state", "until", "lifted_at", "created_by", "created_at")
    list_select_related = ("account", "created_by")
    search_fields = ("=account__username",)
    search_help_text = "A whole username."
    autocomplete_fields = ("account",)
    action_form = ReasonForm
    actions = ("lift",)
    undo_action, undo_label, undo_field = "lift", "Lift", "lifted_at"

    def get_form(
        self, request: HttpRequest, obj: Ban | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        made = super().get_form(request, obj, change, **kwargs)
        return type(made.__name__, (made,), {"actor": request.user})

    def save_model(self, request: HttpRequest, obj: Ban, form: Any, change: bool) -> None:
        laid = service.ban(obj.account, obj.reason, obj.until, request.user)  # type: ignore[arg-type]  # signed in
        obj.pk = laid.pk

    def get_fields(self, request: HttpRequest, obj: Ban | None = None) -> tuple[str, ...]:
        said = ("account", "reason", "until")
        return (*said, "state", "created_at", "created_by", "lifted_at") if obj else said

    def get_readonly_fields(self, request: HttpRequest, obj: Ban | None = None) -> tuple[str, ...]:
        return ("state", "created_at", "created_by", "lifted_at") if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Ban | None = None) -> bool:
        # What was said is not rewritten: a ban is lifted, and laid anew.
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Ban | None = None) -> bool:
        return False

    @admin.action(description="Lift", permissions=["change"])
    def lift(self, request: HttpRequest, queryset: "QuerySet[Ban]") -> None:
        reason = reason_of(request, self)
        if not reason:
            return
        by: Any = request.user
        bans = list(queryset.filter(lifted_at=None).select_related("account"))
        beyond = [ban for ban in bans if out_of_reach(by, ban.account)]
        if beyond:
            refuse(request, self, f"{beyond[0].account} is staff: only a superuser acts on staff.")
            return
        lifted = sum(service.lift_bans(ban.account, only=ban, by=by, reason=reason) for ban in bans)
        self.message_user(request, f"Lifted: {lifted}.", messages.SUCCESS)

    @admin.display(description="State")
    def state(self, ban: Ban) -> str:
        if ban.lifted_at:
            return "lifted"
        return "stands" if ban.stands(clock.now()) else "over"
