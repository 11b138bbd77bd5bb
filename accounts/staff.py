"""What every page of the admin has in common: its look, its memory, and the reason that is asked.

`StaffAdmin` is the base of every ModelAdmin. What is added, changed or deleted in a form of it is
kept in the audit log, in the transaction of the act. A class whose verbs are functions of a
service that keep their own record says `records_itself`; an action of a list calls its service
and nothing else. Permissions are Django's.
"""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from accounts.audit import LONGEST_REASON, Verb, plain, record, secret

NO_REASON = "Give a reason: it is kept in the audit log. Nothing was done."
# Neither name nor address of a person is kept where nothing is ever deleted.
_PRIVATE = ("email", "username")
_DIGITS = 18


class ReasonForm(ActionForm):  # type: ignore[misc]  # unfold has no types
    """Beside a list's actions: why it is done."""

    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        label="",
        widget=UnfoldAdminTextInputWidget(
            {"placeholder": "Reason (kept)", "aria-label": "Reason", "x-show": "action"}
        ),
    )


def reason_of(request: HttpRequest, page: "StaffAdmin") -> str:
    """The reason given beside an action; where there is none the list says so, and "" is told."""
    reason = request.POST.get("reason", "").strip()[:LONGEST_REASON]
    if not reason:
        refuse(request, page, NO_REASON)
    return reason


def refuse(request: HttpRequest, page: "StaffAdmin", text: str) -> None:
    """Say on the next page why nothing was done."""
    page.message_user(request, text, messages.ERROR)


class StaffAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    records_itself = False
    show_full_result_count = False  # counting a ledger takes as long as reading it
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        # No key is so large, and a database chokes on it.
        if any(len(one) > _DIGITS and one.strip("-").isdecimal() for one in value.split(",")):
            return False
        allowed: bool = super().lookup_allowed(lookup, value, request)
        return allowed

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        cl = super().get_changelist_instance(request)
        if cl.full_result_count is None and not (cl.query or cl.has_active_filters):
            cl.full_result_count = cl.result_count  # or unfold offers to show all of all
        return cl

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **more: Any) -> Any:
        """Powers are ticked: of permissions only those that a page of the admin asks for."""
        more.setdefault("widget", UnfoldAdminCheckboxSelectMultipleWidget)
        field = super().formfield_for_manytomany(db_field, request, **more)
        if field is not None and db_field.related_model is Permission:
            shown = ContentType.objects.get_for_models(
                *self.admin_site._registry, for_concrete_models=False
            )
            field.queryset = field.queryset.filter(content_type__in=shown.values())
        return field

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        request.audit_facts = {} if add else changes(form)  # type: ignore[attr-defined]  # for log_change
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._keep(request, Verb.ADD, obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._keep(request, Verb.CHANGE, obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for obj in queryset:
            self._keep(request, Verb.DELETE, obj, "")
        return super().log_deletions(request, queryset)

    def _keep(self, request: HttpRequest, verb: Verb, obj: Model, message: Any) -> None:
        facts = request.__dict__.pop("audit_facts", {})
        if not self.records_itself:
            said = message if isinstance(message, str) else ""
            record(request.user, verb, obj, reason=said, **facts)  # type: ignore[arg-type]  # signed in


class ReadOnlyAdmin(StaffAdmin):
    """Nothing here is added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def changes(form: Any) -> dict[str, Any]:
    """What a form has changed: field by field from what to what, of some only that it has."""
    names = [name for name in form.changed_data if name in form.fields]
    silent = [name for name in names if secret(name) or name in _PRIVATE]
    told = {
        name: [_shown(form.initial.get(name)), _shown(form.cleaned_data.get(name))]
        for name in names
        if name not in silent
    }
    return {**({"changed": told} if told else {}), **({"also_changed": silent} if silent else {})}


def _shown(value: Any) -> Any:
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, list | tuple | QuerySet):
        return [str(one) if isinstance(one, Model) else plain(one) for one in value]
    try:
        return plain(value)
    except TypeError:
        return plain(str(value))
