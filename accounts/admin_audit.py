"""The audit log in the admin: read, searched by who, what, whom and when, taken as CSV."""

import json
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from accounts.audit import Verb, name_people
from accounts.leafcsv import Sheeted
from accounts.models import Account, AuditEvent
from accounts.sieves import Choose, DaySieve, Sieve
from accounts.staff import ReadOnlyAdmin

Rows = QuerySet[Any]
_PEOPLE = 100  # whose names begin with what was typed


class ByActor(Sieve):
    title, parameter_name, hint = "Who", "who", "the whole name"

    def sift(self, rows: Rows, text: str) -> Rows:
        who = Account.objects.filter(username=text).values_list("pk", flat=True).first()
        return rows.filter(actor=who) if who else rows.none()


class ByTarget(Sieve):
    title, parameter_name, hint, served = "To whom or what", "target", "begins with", False

    def sift(self, rows: Rows, text: str) -> Rows:
        people = Account.objects.filter(username__istartswith=text).values_list("pk", flat=True)
        them = Q(target_kind=Account._meta.label_lower, target_id__in=map(str, people[:_PEOPLE]))
        return rows.filter(Q(target_text__istartswith=text) | them)


class ByVerb(Choose):
    title, parameter_name, served = "What", "verb", False

    def words(self) -> list[str]:
        return sorted(Verb)

    def sift(self, rows: Rows, text: str) -> Rows:
        return rows.filter(verb=text)


class _Day(DaySieve):
    lookup, days = "at__gte", 0

    def sift(self, rows: Rows, text: str) -> Rows:
        try:
            first = datetime.combine(date.fromisoformat(text), time.min, UTC)
            return rows.filter(**{self.lookup: first + timedelta(days=self.days)})
        except (ValueError, OverflowError):
            return rows.none()


class Since(_Day):
    title, parameter_name = "From day (UTC)", "since"


class Until(_Day):
    title, parameter_name, lookup, days = "To day (UTC)", "until", "at__lt", 1


@admin.register(AuditEvent)
class AuditEventAdmin(Sheeted, ReadOnlyAdmin):
    list_display = ("at", "who", "verb", "whom", "reason", "address")
    list_filter = (ByActor, ByVerb, ByTarget, Since, Until)
    linked_by = ("target_kind__exact", "target_id__exact", "actor__id__exact")
    fields = readonly_fields = (
        "at", "who", "address", "verb", "whom", "target_kind", "target_id", "reason", "details",
    )  # fmt: skip
    csv_columns = ("at", "actor_name", "verb", "target_kind", "target_id", "target_text", "reason",
                   "facts_text", "address")  # fmt: skip
    csv_verb = Verb.AUDIT_EXPORT

    def dress(self, rows: Collection[AuditEvent]) -> None:
        name_people(rows)

    def get_object(self, *args: Any, **kwargs: Any) -> AuditEvent | None:
        event: AuditEvent | None = super().get_object(*args, **kwargs)
        self.dress([event] if event else [])
        return event

    @admin.display(description="Who")
    def who(self, event: AuditEvent) -> str:
        return event.actor_name or "the system"

    @admin.display(description="To whom or what")
    def whom(self, event: AuditEvent) -> str:
        text = event.target_text or "-"
        app, _, model = event.target_kind.partition(".")
        try:
            page = reverse(f"admin:{app}_{model}_change", args=[event.target_id])
        except NoReverseMatch:
            return text
        look = "text-primary-600 dark:text-primary-500"
        return format_html('<a class="{}" href="{}">{}</a>', look, page, text)

    @admin.display(description="Details")
    def details(self, event: AuditEvent) -> str:
        return format_html("<pre>{}</pre>", self.facts_text(event, 2))

    def facts_text(self, event: AuditEvent, indent: int | None = None) -> str:
        return json.dumps(event.facts, ensure_ascii=False, indent=indent) if event.facts else ""
