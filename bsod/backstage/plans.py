"""Plans in the admin: a number for each bucket, and how many accounts a change is for.

A bucket that is left empty has no cap to draw from, only grants. A change holds from the next
request of everybody on the plan.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from accounts.caps import MOST
from accounts.models import FREE, Account, Plan
from accounts.staff import StaffAdmin
from bsod.lib.terms import PlanKind
from quotas.buckets import BUCKETS, DAILY

CAPS = {f"cap_{bucket}": bucket for bucket in DAILY}


def _cap(bucket: Any) -> forms.IntegerField:
    return forms.IntegerField(
        min_value=0, max_value=MOST, required=False, widget=UnfoldAdminIntegerFieldWidget,
        label=f"{bucket} ({BUCKETS[bucket].unit})",
    )  # fmt: skip


class Caps(forms.Form):
    """The fields of the caps, one for each bucket that has a day."""

    locals().update({name: _cap(bucket) for name, bucket in CAPS.items()})


class PlanForm(Caps, forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """`free` stays what everybody falls back to."""

    class Meta:
        model = Plan
        fields = ("slug", "name", "kind", "requests_per_minute", "open_calls",
                  "credits_per_period", "period_days")  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        caps = DAILY if self.instance._state.adding else self.instance.caps
        self.initial.update({name: caps.get(bucket) for name, bucket in CAPS.items()})

    def clean_kind(self) -> str:
        kind: str = self.cleaned_data["kind"]
        if self.instance.pk == FREE and kind != PlanKind.BUCKETS:
            raise ValidationError("Expired plans fall back to this one: it must have buckets.")
        return kind

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        caps = {bucket.value: said.get(name) for name, bucket in CAPS.items()}
        self.instance.caps = {bucket: cap for bucket, cap in caps.items() if cap is not None}
        return said


@admin.register(Plan)
class PlanAdmin(StaffAdmin):
    form = PlanForm
    _each = iter(CAPS)
    list_display = ("name", "slug", "kind", "requests_per_minute", "open_calls", "credits",
                    "accounts")  # fmt: skip
    ordering = ("slug",)
    fieldsets = (
        (None, {"fields": (("slug", "name"), "kind", ("requests_per_minute", "open_calls"))}),
        ("Units a UTC day", {"fields": tuple(zip(_each, _each, strict=True)),
                             "description": "Empty: nothing but what is granted."}),
        ("Credits", {"fields": (("credits_per_period", "period_days"),),
                     "description": "For plans of kind credits: they have no daily caps."}),
    )  # fmt: skip
    change_form_outer_before_template = "admin/people/plan.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> list[str]:
        # The slug is the primary key: another one would be another plan.
        return ["slug"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        more = {**(extra_context or {}), "touched": touched(object_id)}
        return super().change_view(request, object_id, form_url, more)

    def save_model(self, request: HttpRequest, obj: Plan, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change:
            text = f"This holds from the next request on, for {touched(obj.pk)}."
            self.message_user(request, text, messages.INFO)

    @admin.display(description="Credits a period")
    def credits(self, plan: Plan) -> str:
        if plan.kind != PlanKind.CREDITS:
            return "–"
        return f"{plan.credits_per_period:,} for {plan.period_days} days"

    @admin.display(description="Accounts")
    def accounts(self, plan: Plan) -> int:
        return _on(plan.pk)


def touched(slug: str) -> str:
    """Whom a change of a plan is for, in words."""
    count = _on(slug)
    text = "1 account" if count == 1 else f"{count:,} accounts"
    return f"{text} and everybody whose plan has ended" if slug == FREE else text


def _on(slug: str) -> int:
    return Account.objects.filter(plan=slug, deleted_at=None).count()
