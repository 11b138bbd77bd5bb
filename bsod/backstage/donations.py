"""Donated keys in the admin: what waits comes first, and is decided with a button.

Nothing is changed in a form; each act is one of `proxy/donations/moderation.py`, which keeps its
own record. What a donor sets himself, his cap and his models, is his. Nobody sees the secret.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.timesince import timesince
from unfold.decorators import display

from accounts.staff import refuse
from bsod.backstage.pool.base import PoolAdmin
from bsod.backstage.routes import actor
from bsod.backstage.routes_donations import MAY, told
from bsod.console import donated
from bsod.lib import clock
from proxy.donations.checking import Refused
from proxy.donations.models import Donation, State
from proxy.donations.moderation import Said, moderate

_SHOWN = 5  # models named in the list
_LINK = '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>'
_LOOK = {
    State.PENDING: "warning", State.APPROVED: "success", State.DEAD: "danger",
    State.REJECTED: "info", State.WITHDRAWN: "info",
}  # fmt: skip


def fitting(row: Donation) -> Sequence[str]:
    """The buttons of its page: what makes sense in its state."""
    if row.state == State.PENDING:
        return ("approve", "approve_trusted", "reject", "recheck")
    if row.state in (State.APPROVED, State.DEAD):
        return ("recheck", "distrust" if row.trusted_objects else "trust", "withdraw")
    return ()


@admin.register(Donation)
class DonationAdmin(PoolAdmin):
    list_display = ("name", "from_whom", "standing", "opened", "probe", "age", "daily_cap")
    list_display_links = ("name",)
    list_filter = ("state", "provider", "trusted_objects")
    list_select_related = ("donor", "provider")
    search_fields = ("=donor__username", "=last4", "=uid")
    search_help_text = "A whole username, the last four letters of a key, or an id"
    ordering = (Case(When(state=State.PENDING, then=0), default=1), "-id")
    sortable_by = ()
    actions = ("approve", "approve_trusted", "reject", "recheck", "trust", "distrust", "withdraw")
    fieldsets = (
        (None, {"fields": ("name", "from_whom", "in_words", "reason", "note", "timeline")}),
        ("The key", {"fields": ("probe", "probed_at", "models_opened", "in_the_pool", "used")}),
        ("The donor's terms", {"fields": ("daily_cap", "models_allowed", "paused",
                                          "trusted_objects", "consent_version", "consent_at")}),
        ("Decided", {"fields": ("decided_by", "decided_at", "ended_at")}),
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        """To see a donation is one thing, to decide about it another."""
        return request.user.has_perm(MAY)

    # ---- what is shown

    @admin.display(description="Key")
    def name(self, row: Donation) -> str:
        return str(row)

    @admin.display(description="Donor")
    def from_whom(self, row: Donation) -> str:
        url = reverse("admin:accounts_account_change", args=[row.donor_id])
        return format_html(_LINK, url, row.donor)

    @display(description="State", label=_LOOK)  # type: ignore[untyped-decorator]  # unfold's
    def standing(self, row: Donation) -> tuple[str, str]:
        return row.state, self.in_words(row)

    @admin.display(description="State")
    def in_words(self, row: Donation) -> str:
        return f"{row.state}, paused" if row.paused and not row.ended else str(row.state)

    @admin.display(description="Opens")
    def opened(self, row: Donation) -> str:
        if row.opens is None:
            return "no list"
        more = len(row.opens) - _SHOWN
        return ", ".join(row.opens[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

    @admin.display(description="Given")
    def age(self, row: Donation) -> str:
        return f"{timesince(row.created_at, clock.now(), depth=1)} ago"

    @admin.display(description="Opens")
    def models_opened(self, row: Donation) -> str:
        return "no list" if row.opens is None else ", ".join(row.opens)

    @admin.display(description="Serves")
    def models_allowed(self, row: Donation) -> str:
        return "all it opens" if row.allowed_models is None else ", ".join(row.allowed_models)

    @admin.display(description="In the pool")
    def in_the_pool(self, row: Donation) -> str:
        if row.provider_key_id is None or row.ended:
            return "no"
        url = reverse("admin:proxy_providerkey_change", args=[row.provider_key_id])
        return format_html(_LINK, url, row)

    @admin.display(description="Calls")
    def used(self, row: Donation) -> str:
        month = donated.month(row, clock.now())
        if month is None:
            return "none"
        return f"{month.today} today, {month.drawn.total} in thirty days"

    @admin.display(description="What happened")
    def timeline(self, row: Donation) -> str:
        lines = (
            (f"{event.at:%Y-%m-%d %H:%M}", event.what, f": {event.text}" if event.text else "")
            for event in row.events.all()
        )
        return format_html_join("", "<p>{} {}{}</p>", lines)

    # ---- what is done

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        known = self.get_actions(request) if self.has_moderate_permission(request) else {}
        fit = [(name, known[name][2]) for name in (fitting(row) if row else ()) if name in known]
        return super().change_view(
            request, object_id, form_url, {"buttons": fit, **(extra_context or {})}
        )

    def act(  # type: ignore[override]  # of donations, told one by one
        self, request: HttpRequest, name: str, rows: "QuerySet[Donation]", *, trusted: bool = False
    ) -> None:
        said = Said(request.POST.get("reason", ""), trusted)
        chosen = list(rows.select_related("provider"))
        try:
            outcomes = moderate(name, chosen, actor(request), said)
        except Refused as why:
            refuse(request, self, f"{why.text} Nothing was done.")
            return
        good = all(one.done for one in outcomes)
        self.message_user(request, told(outcomes), messages.SUCCESS if good else messages.ERROR)

    @admin.action(description="Approve", permissions=["moderate"])
    def approve(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "approve", queryset)

    @admin.action(description="Approve, trusted with stored objects", permissions=["moderate"])
    def approve_trusted(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "approve", queryset, trusted=True)

    @admin.action(description="Reject (the donor reads the reason)", permissions=["moderate"])
    def reject(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "reject", queryset)

    @admin.action(description="Probe again", permissions=["moderate"])
    def recheck(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "recheck", queryset)

    @admin.action(description="Trust with stored objects", permissions=["moderate"])
    def trust(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "trust", queryset, trusted=True)

    @admin.action(description="Trust no more", permissions=["moderate"])
    def distrust(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "trust", queryset)

    @admin.action(description="Take out (the donor reads the reason)", permissions=["moderate"])
    def withdraw(self, request: HttpRequest, queryset: "QuerySet[Donation]") -> None:
        self.act(request, "withdraw", queryset)
