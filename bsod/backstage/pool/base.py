"""What the pool's pages have in common: acts of a list that are buttons on a row's own page too,
and taking out, which asks once, says what hangs on it, and wants a reason."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.views import ChangeList

from accounts.models import Account
from accounts.staff import ReasonForm, StaffAdmin, refuse
from bsod import poolview
from bsod.backstage.routes import actor
from bsod.lib import clock
from proxy.pool import Snapshot
from proxy.rechecks import Recheck
from proxy.showing import Look
from proxy.tending import NoReason, Weight

_OF_OBJECT = "of_object"
"""In a form on a row's own page: where to come back to."""


class PoolAdmin(StaffAdmin):
    """A list whose acts are functions of `proxy/tending.py`, which keep their own record."""

    action_form = ReasonForm
    change_form_outer_before_template = "admin/pool/acts.html"
    buttons: tuple[str, ...] = ()
    """The actions that stand on a row's own page."""
    asks = True
    """Whether one of them has a reason."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        known = self.get_actions(request)
        more = {
            "buttons": [(name, known[name][2]) for name in self.buttons if name in known],
            "act_form": self.action_form(auto_id="act_%s") if self.asks else (),
            "list_url": self.list_url(),
            "of_object": _OF_OBJECT,
        }
        return super().change_view(  # type: ignore[no-any-return]  # unfold has no types
            request, object_id, form_url, {**more, **(extra_context or {})}
        )

    def response_action(self, request: HttpRequest, queryset: "QuerySet[Any]") -> Any:
        response = super().response_action(request, queryset)
        number = request.POST.get(_OF_OBJECT, "")
        if number.isdecimal() and type(response) is HttpResponseRedirect:
            there = self.get_queryset(request).filter(pk=int(number)).exists()
            return HttpResponseRedirect(self.page_url(number) if there else self.list_url())
        return response

    def list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def page_url(self, number: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[number])

    def act(self, request: HttpRequest, done: Callable[[Account, str], int], told: str) -> None:
        """Do it, and say to how many; `told` has a place for the number."""
        reason = request.POST.get("reason", "")
        try:
            count = done(actor(request), reason)
        except ValueError as why:
            refuse(request, self, str(why))
            return
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, told.format(count), level)


class Seen(NamedTuple):
    """The pool at one moment."""

    snapshot: Snapshot
    look: Look
    ticks: float
    usable: frozenset[int]
    """The keys it holds: those that open."""


def seen_of(row: Any) -> Seen:
    """The pool as it was when a list was read; of a row alone as it is now."""
    known: Seen = getattr(row, "seen", None) or _now()
    return known


def _now() -> Seen:
    snapshot, ticks = poolview.current(), clock.monotonic()
    usable = frozenset(key.id for keys in snapshot.keys.values() for key in keys)
    return Seen(snapshot, Look(snapshot, ticks, clock.now().date()), ticks, usable)


class SeenList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """A list that looks at the pool once for all of its rows."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        seen = _now()
        for row in self.result_list:
            row.seen = seen


class Removable(PoolAdmin):
    """Deleting is soft: the row stays, for what it has made still names it."""

    def weigh(self, rows: "QuerySet[Any]") -> Weight:
        raise NotImplementedError

    def remove(self, rows: Iterable[Any], by: Account, reason: str) -> int:
        raise NotImplementedError

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        if row is None:
            return HttpResponseRedirect(self.list_url())
        rows = self.get_queryset(request).filter(pk=row.pk)
        return self.removal(request, rows) or HttpResponseRedirect(self.list_url())

    def removal(self, request: HttpRequest, rows: "QuerySet[Any]") -> HttpResponse | None:
        """The page that asks; once it has been answered, what was asked for. None: it is done."""
        wrong = ""
        if request.method == "POST" and request.POST.get("post") == "yes":
            try:
                count = self.remove(list(rows), actor(request), request.POST.get("reason", ""))
            except NoReason as why:
                wrong = str(why)
            else:
                self.message_user(request, f"{count} taken out of the pool.", messages.SUCCESS)
                return None
        context = {
            **self.admin_site.each_context(request),
            "title": f"Take out {self.opts.verbose_name_plural}",
            "opts": self.opts,
            "rows": list(rows[:50]),
            "numbers": list(rows.values_list("pk", flat=True)),
            "weight": self.weigh(rows),
            "wrong": wrong,
            "whole": self.opts.model_name == "provider",
            "list_url": self.list_url(),
        }
        return TemplateResponse(request, "admin/pool/remove.html", context)


def answers(recheck: Recheck) -> tuple[str, bool]:
    """What became of asking keys, as a sentence; whether all of it is good."""
    parts = [f"{key} {found.note}." for key, found in recheck.found]
    if recheck.scheduled:
        parts.append(
            f"{many(recheck.scheduled, 'key')} will be asked one after another; the list shows"
            " the answers as they come."
        )
    if recheck.waiting:
        parts.append(f"{many(recheck.waiting, 'key')} waited for it already.")
    good = bool(recheck.found or recheck.scheduled) and all(f.works for _, f in recheck.found)
    return " ".join(parts) or "There is no key to ask.", good


def many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class AskingAdmin(Removable):
    """A page whose new rows come with keys, each of which is asked before the answer."""

    new_form: Any = None

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["form"] = self.new_form
        return super().get_form(request, obj, change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else ()

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "",
        extra_context: Any = None,
    ) -> Any:  # fmt: skip
        if object_id is None and request.method == "POST":
            # Without the transaction around it: the keys are asked meanwhile.
            return self._changeform_view(request, object_id, form_url, extra_context)
        return super().changeform_view(request, object_id, form_url, extra_context)
