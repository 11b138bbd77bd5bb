"""Entries in the admin: one line a call, grant or correction, and all that is kept of it."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.leafcsv import Sheeted
from accounts.leafing import LINK
from accounts.staff import ReadOnlyAdmin
from bsod.lib import clock, sql
from bsod.lib.terms import EntryState
from quotas.admin import sieves
from quotas.ledger import load_legs
from quotas.models import Balance, Entry, Reservation

_ALPHABET = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_LONGEST, _SHORTEST = 26, 6
_DASH = "–"


@admin.register(Entry)
class EntryAdmin(Sheeted, ReadOnlyAdmin):
    list_display: tuple[str, ...] = ("made", "who", "what", "units", "model", "end", "took", "id")
    list_display_links = ("made", "id")
    list_filter: tuple[Any, ...] = (
        sieves.ByAccount, sieves.ByKey, sieves.State, sieves.Kind, sieves.ByBucket, sieves.ByModel,
        sieves.ByRoute, sieves.Since, sieves.Until, sieves.Ended, sieves.Short,
    )  # fmt: skip
    linked_by = ("account__id__exact", "api_key__id__exact")
    list_select_related = ("account", "api_key")
    search_fields = ("=id",)
    search_help_text = f"Request id, or its first {_SHORTEST} characters or more"
    fieldsets = (
        (None, {"fields": ("id", "kind", "state", "account", "key", "owner", "route", "model")}),
        ("Units", {"fields": ("bucket", "day", "estimate", "amount", "shortfall", "split",
                              "prices")}),
        ("Tokens", {"fields": ("prompt_tokens", "completion_tokens", "cached_tokens",
                               "usage_source")}),
        ("The call", {"fields": ("end_reason", "status", "attempts", "provider_key_link",
                                 "latency_ms", "first_byte_ms")}),
        ("Times", {"fields": ("created_at", "closed_at", "held")}),
    )  # fmt: skip
    csv_columns = (
        "id", "created_at", "closed_at", "kind", "state", "account_id", "account__username",
        "api_key__public_id", "owner", "route", "model", "bucket", "day", "estimate", "amount",
        "shortfall", "prompt_tokens", "completion_tokens", "cached_tokens", "usage_source",
        "end_reason", "status", "attempts", "provider_key", "latency_ms", "first_byte_ms",
    )  # fmt: skip

    def get_list_display(self, request: HttpRequest) -> Any:
        """Of what is open it is asked who holds it, and for how long."""
        columns = self.list_display
        if request.GET.get("state__exact") == EntryState.OPEN:
            columns = (*columns[:-3], "held", "age", "id")
        return columns

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A range of ids, which the primary key finds."""
        text = search_term.strip().upper()
        if not text:
            return queryset, False
        if not _SHORTEST <= len(text) <= _LONGEST or not _ALPHABET.issuperset(text):
            said = f"A request id has {_LONGEST} digits and letters; give the first {_SHORTEST}."
            self.message_user(request, said, messages.WARNING, fail_silently=True)
            return queryset.none(), False
        most = text.ljust(_LONGEST, "Z")
        return queryset.filter(pk__gte=text, pk__lte=most), False

    @admin.display(description="Made (UTC)")
    def made(self, entry: Entry) -> str:
        return f"{entry.created_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Account · key")
    def who(self, entry: Entry) -> str:
        key = f" · …{entry.api_key.last4}" if entry.api_key else ""
        return f"{entry.account}{key}"

    @admin.display(description="What")
    def what(self, entry: Entry) -> str:
        settled = entry.state == EntryState.SETTLED
        return entry.kind if settled else f"{entry.kind}, {entry.state}"

    @admin.display(description="Units")
    def units(self, entry: Entry) -> str:
        if entry.state == EntryState.OPEN:
            return f"{entry.estimate:,} {entry.bucket} reserved"
        short = f" ({entry.shortfall:,} short)" if entry.shortfall else ""
        return f"{entry.amount:,} {entry.bucket}{short}"

    @admin.display(description="End")
    def end(self, entry: Entry) -> str:
        return " ".join(str(part) for part in (entry.end_reason, entry.status) if part) or _DASH

    @admin.display(description="Took")
    def took(self, entry: Entry) -> str:
        return _DASH if entry.latency_ms is None else f"{entry.latency_ms:,} ms"

    @admin.display(description="Held by")
    def held(self, entry: Entry) -> str:
        if entry.state != EntryState.OPEN:
            return _DASH
        if entry.process:
            return f"process …{entry.process[-6:]}"
        until = f" until {entry.expires_at:%Y-%m-%d %H:%M} UTC" if entry.expires_at else ""
        return f"a job{until}"

    @admin.display(description="Age")
    def age(self, entry: Entry) -> str:
        return f"{int((clock.now() - entry.created_at).total_seconds()):,} s"

    @admin.display(description="API key")
    def key(self, entry: Entry) -> str | SafeString:
        return (
            _link("keys_apikey", entry.api_key_id, str(entry.api_key)) if entry.api_key else _DASH
        )

    @admin.display(description="Provider key")
    def provider_key_link(self, entry: Entry) -> str | SafeString:
        number = entry.provider_key
        return _DASH if number is None else _link("proxy_providerkey", number, f"key {number}")

    @admin.display(description="Drawn from")
    def split(self, entry: Entry) -> str | SafeString:
        """Which balances paid how much of it."""
        legs = load_legs(entry.legs)
        rows = Balance.objects.in_bulk([leg.balance for leg in legs])
        parts = [
            (f"{leg.amount:,}", _link("quotas_balance", leg.balance, _named(rows.get(leg.balance))))
            for leg in legs
        ]
        return format_html_join("", "<div>{} from {}</div>", parts) or _DASH

    @admin.display(description="Prices then")
    def prices(self, entry: Entry) -> str:
        kept = sql.parsed(entry.price) or {}
        return ", ".join(f"{name} {value}" for name, value in sorted(kept.items())) or _DASH


@admin.register(Reservation)
class ReservationAdmin(EntryAdmin):
    """What is held now, by a process or by a job."""

    list_display = ("made", "age", "who", "units", "model", "held", "id")
    list_filter = (sieves.ByAccount, sieves.ByKey, sieves.ByBucket, sieves.ByModel)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return sieves.opened(super().get_queryset(request))

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display


def _named(balance: Balance | None) -> str:
    if balance is None:
        return "a balance that is gone"
    whose = f"{balance.owner}, " if balance.owner != "user" else ""
    return f"{whose}{balance.bucket}, {balance.period or f'grant {balance.pk}'}"


def _link(model: str, number: Any, text: str) -> str | SafeString:
    try:
        url = reverse(f"admin:{model}_change", args=[number])
    except NoReverseMatch:
        return text
    return format_html('<a class="{}" href="{}">{}</a>', LINK, url, text)
