"""API keys in Django's admin: to be seen, made for somebody, and revoked with a reason.

Nothing here shows a secret or what proves one: a key's text is on the one page that answers its
making, and nowhere after that. The hidden key of an account's console can be seen, not revoked.
"""

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from accounts.audit import LONGEST_REASON, Verb, record
from accounts.flows.powers import out_of_reach
from accounts.keys.models import ApiKey, every_permission
from accounts.keys.service import create_key, revoke
from accounts.keys.tokens import public_id_of
from accounts.leafing import Leafing
from accounts.models import Account
from accounts.sieves import Choose, Sieve
from accounts.staff import ReasonForm, StaffAdmin, reason_of, refuse
from accounts.undo import Undoing
from bsod.lib import clock
from bsod.lib.terms import Permission

_MADE = ("account", "name", "permissions", "expires_at", "unlimited", "operator", "reason")
_WORDS = ("shown_key", "state", "kind", "may", "daily_caps", "models", "from_where")
_LOOKS = {"live": "success", "expired": "warning", "revoked": "danger"}
_BEYOND = "{} is staff: only a superuser acts on staff."


def shown(key: ApiKey) -> str:
    """What of a key may be seen: its public id and its last four characters."""
    return f"{settings.KEY_PREFIXES[-1]}-{key.public_id}…{key.last4}"


class MakeForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """A key for somebody. What is above every limit is a superuser's to give."""

    actor: Any
    permissions = forms.MultipleChoiceField(
        choices=[(one.value, one.value) for one in Permission], required=False,
        initial=every_permission, widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )  # fmt: skip
    reason = forms.CharField(
        max_length=LONGEST_REASON, widget=UnfoldAdminTextareaWidget({"rows": 2}),
        help_text="Mandatory; kept in the audit log.",
    )  # fmt: skip
    unlimited = forms.BooleanField(
        required=False,
        help_text="No cap, speed or concurrency limit; metered like any. Superusers only",
    )
    operator = forms.BooleanField(
        required=False, help_text="Not bound by who owns an object; for staff. Superusers only"
    )

    class Meta:
        model = ApiKey
        fields = ("account", "name", "permissions", "expires_at")

    def clean_account(self) -> Account:
        account: Account = self.cleaned_data["account"]
        if account.pk != self.actor.pk and out_of_reach(self.actor, account):
            raise ValidationError(_BEYOND.format(account))
        if account.deleted_at:
            raise ValidationError("This account is deleted.")
        return account

    def clean_expires_at(self) -> datetime | None:
        end: datetime | None = self.cleaned_data["expires_at"]
        if end is not None and end <= clock.now():
            raise ValidationError("This moment has passed.")
        return end

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if (said.get("unlimited") or said.get("operator")) and not self.actor.is_superuser:
            raise ValidationError("Unlimited and operator keys are a superuser's to make.")
        account = said.get("account")
        if said.get("operator") and account and not account.is_staff:
            self.add_error("operator", "Operator keys are for staff only.")
        return said


class ByOwner(Sieve):
    title, parameter_name, hint = "owner", "account", "A whole username"

    def sift(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        return rows.filter(account__username=text)


class ByState(Choose):
    title, parameter_name = "state", "state"
    served = False

    def words(self) -> tuple[str, ...]:
        return ("live", "expired", "revoked", "unlimited", "operator", "console")

    def sift(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        over = Q(expires_at__lte=clock.now())
        revoked = Q(revoked_at__isnull=False)
        wanted = {"live": ~over & ~revoked, "expired": over & ~revoked, "revoked": revoked}
        return rows.filter(wanted.get(text) or Q(**{text: True}))


@admin.register(ApiKey)
class ApiKeyAdmin(Leafing, Undoing, StaffAdmin):
    records_itself = True
    list_display = ("short_key", "name", "owner", "state", "kind", "may", "daily_caps",
                    "from_where", "expires_at", "last_used_at")  # fmt: skip
    list_filter = (ByOwner, ByState)
    list_select_related = ("account",)
    search_fields = ("=public_id",)
    search_help_text = "A key's public id, or its owner's whole username."
    autocomplete_fields = ("account",)
    fields = (
        ("name", "account"), ("shown_key", "state"), ("kind", "last_used_at"),
        ("created_at", "expires_at"), "revoked_at", "may", "daily_caps",
        ("requests_per_minute", "open_calls"), "models", "from_where",
    )  # fmt: skip
    action_form = ReasonForm
    actions = ("revoke_keys",)
    undo_action, undo_label, undo_field = "revoke_keys", "Revoke", "revoked_at"

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[ApiKey]", search_term: str
    ) -> "tuple[QuerySet[ApiKey], bool]":
        """By index only: nothing that is typed is a pattern."""
        term = search_term.strip()
        if not term or "\0" in term:
            return (queryset.none() if term else queryset), False
        owners = Account.objects.filter(username=term).values("pk")
        return queryset.filter(Q(public_id=public_id_of(term)) | Q(account__in=owners)), False

    # ---- making one

    def get_form(
        self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        made = super().get_form(request, obj, change, form=MakeForm, fields=MakeForm.Meta.fields)
        return type("MakeForm", (made,), {"actor": request.user})

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.fields if obj else _MADE

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return _WORDS if obj else ()

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        one = {"show_save_and_add_another": False, "show_save_and_continue": False}
        page: HttpResponse = super().add_view(request, form_url, {**(extra_context or {}), **one})
        return page

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        said = dict(form.cleaned_data)
        reason = said.pop("reason")
        account = said.pop("account")
        key, request.made_key = create_key(account, **said)  # type: ignore[attr-defined]  # for the page after this
        obj.pk, obj.public_id, obj.last4 = key.pk, key.public_id, key.last4
        by: Any = request.user
        record(by, Verb.KEY_CREATE, key, reason=reason, account=account.pk,
               unlimited=key.unlimited, operator=key.operator)  # fmt: skip

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only sight of the key. It is in no message, session or log."""
        context = {
            **self.admin_site.each_context(request), "title": f"Key of {obj.account}",
            "opts": self.opts, "text": request.made_key, "key": obj,  # type: ignore[attr-defined]  # see save_model
            "back": reverse("admin:keys_apikey_change", args=[obj.pk]),
        }  # fmt: skip
        page = TemplateResponse(request, "admin/people/key.html", context)
        page["Cache-Control"] = "no-store"
        return page

    # ---- who may, and revoking

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whole forms are read-only; the permission itself is what the action asks for.
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Revoke", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: "QuerySet[ApiKey]") -> None:
        reason = reason_of(request, self)
        if not reason:
            return
        by: Any = request.user
        keys = list(queryset.filter(revoked_at=None).select_related("account"))
        for key in keys:
            if key.console:
                text = f"{key.account}'s console key is hidden and revoked by nobody: ban instead."
                refuse(request, self, text)
                return
            if out_of_reach(by, key.account):
                refuse(request, self, _BEYOND.format(key.account))
                return
        done = sum(revoke(key, by=by, reason=reason) for key in keys)
        self.message_user(request, f"Revoked: {done}.", messages.SUCCESS)

    # ---- columns

    @admin.display(description="Key")
    def shown_key(self, key: ApiKey) -> str:
        return shown(key)

    @admin.display(description="Key")
    def short_key(self, key: ApiKey) -> str:
        return f"{key.public_id}…{key.last4}"

    @admin.display(description="Owner")
    def owner(self, key: ApiKey) -> str:
        return key.account.get_username()

    @display(description="State", label=_LOOKS)  # type: ignore[untyped-decorator]  # unfold has no types
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "live" if key.alive(clock.now()) else "expired"

    @admin.display(description="Kind")
    def kind(self, key: ApiKey) -> str:
        words = ("unlimited", "operator", "console")
        found = [word for word in words if getattr(key, word)]
        return ", ".join("console (hidden)" if word == "console" else word for word in found) or "–"

    @admin.display(description="May")
    def may(self, key: ApiKey) -> str:
        return "all" if set(key.permissions) == set(Permission) else ", ".join(key.permissions)

    @admin.display(description="Caps a day")
    def daily_caps(self, key: ApiKey) -> str:
        return ", ".join(f"{bucket} {cap:,}" for bucket, cap in key.caps.items()) or "–"

    @admin.display(description="Models")
    def models(self, key: ApiKey) -> str:
        return ", ".join(key.allowed_models) or "all"

    @admin.display(description="Networks")
    def from_where(self, key: ApiKey) -> str:
        return ", ".join(key.networks) or "everywhere"
