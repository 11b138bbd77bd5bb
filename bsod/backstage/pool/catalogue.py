"""The catalogue: what each model is, who says so, and what an admin has set instead.

A field changed here, in a model's form, in the list or for many at once, is fixed: no sync touches
it until the model is told to follow its providers again. The other fields go on following. What
rules and lists would say stands beside what is fixed.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from bsod.backstage.pool.base import PoolAdmin, Seen, SeenList, seen_of
from bsod.backstage.pool.forms import ManyForm, ModelForm
from bsod.backstage.routes import actor
from bsod.lib.terms import Tier
from proxy import service, tending
from proxy.listings import FIELDS, describe, unpacked
from proxy.models import Model, Offer, Provider

NOWHERE = "nobody lists it"


def missing(seen: Seen, name: str) -> str:
    """Why a model cannot be had just now; "" where it can."""
    model = seen.snapshot.catalogue.models.get(name)
    return NOWHERE if model is None else seen.look.model(model).reason or ""


class Fixed(admin.SimpleListFilter):
    """Models of which an admin has set something, or nothing."""

    title = "edited here"
    parameter_name = "fixed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        if self.value() == "yes":
            return queryset.exclude(fixed=[])
        return queryset.filter(fixed=[]) if self.value() == "no" else queryset


class Available(admin.SimpleListFilter):
    """As callers are told it: by the pool, not by a rule of our own."""

    title = "available"
    parameter_name = "available"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        asked = self.value()
        if asked is None:
            return queryset
        seen = seen_of(None)
        names = seen.snapshot.catalogue.models
        bad = {name for name in names if missing(seen, name)}
        there = Offer.objects.filter(model=OuterRef("pk"), gone_at=None, provider__deleted_at=None)
        listed = queryset.filter(Exists(there))
        # Of the two ways to say it the one that names fewer models.
        if len(bad) * 2 < len(names):
            good = listed.exclude(name__in=bad)
        else:
            good = listed.filter(name__in=names.keys() - bad)
        return good if asked == "yes" else queryset.exclude(pk__in=good.values("pk"))


class At(admin.SimpleListFilter):
    """Models that a provider lists."""

    title = "provider"
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Provider.objects.filter(deleted_at=None).values_list("slug", "slug"))

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        asked = self.value()
        if asked is None:
            return queryset
        offers = Offer.objects.filter(provider__slug=asked, model=OuterRef("pk"), gone_at=None)
        return queryset.filter(Exists(offers))


@admin.register(Model)
class ModelAdmin(PoolAdmin):
    form = ModelForm
    list_display = ("name", "available", "modality", "tier", "credits_per_1k_input",
                    "credits_per_1k_output", "edited", "sellers", "context_window",
                    "shutdown_date")  # fmt: skip
    list_editable = ("tier", "credits_per_1k_input", "credits_per_1k_output")
    list_filter = (At, "modality", "tier", Fixed, Available)
    search_fields = ("name",)
    readonly_fields = ("name", "available", "beside", "offered", "created_at")
    fields = (
        "name", "available", "modality", "tier", "speaks", "context_window", "max_output",
        "credits_per_1k_input", "credits_per_1k_output", "credits_per_call", "shutdown_date",
        "beside", "offered", "created_at",
    )  # fmt: skip
    actions = ("set_many", "make_base", "make_pro", "follow")
    buttons = ("follow",)
    asks = False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[SeenList]:
        return SeenList

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)
        offers = Offer.objects.filter(gone_at=None, provider__deleted_at=None).order_by("id")
        return rows.prefetch_related(Prefetch("offers", offers.select_related("provider")))

    # ---- what is shown

    @admin.display(description="Available")
    def available(self, model: Model) -> str:
        return missing(seen_of(model), model.name) or "yes"

    @admin.display(description="Offered by")
    def sellers(self, model: Model) -> str:
        return ", ".join(offer.provider.slug for offer in model.offers.all()) or "–"

    def _said(self, model: Model) -> dict[str, Any]:
        """What rules and lists say of it."""
        return describe(model.name, [
            (offer.provider.kind, unpacked(offer.upstream_id, offer.listed))
            for offer in model.offers.all()
        ])  # fmt: skip

    @admin.display(description="Set here")
    def edited(self, model: Model) -> str:
        if not model.fixed:
            return "–"
        said = self._said(model)
        return "; ".join(f"{_words(name)} (else {_shown(said.get(name))})" for name in model.fixed)

    @admin.display(description="What is set here, and what rules and lists say")
    def beside(self, model: Model) -> SafeString | str:
        said = self._said(model)
        rows = [
            (_words(name), _shown(getattr(model, name)), _shown(said.get(name)),
             "set here" if name in model.fixed else "follows")
            for name in FIELDS
        ]  # fmt: skip
        return _table(("Field", "Holds now", "Rules and lists", ""), rows)

    @admin.display(description="Offered by")
    def offered(self, model: Model) -> SafeString | str:
        rows = [
            (offer.provider.slug, offer.upstream_id,
             ", ".join(f"{name}: {_shown(value)}" for name, value in sorted(offer.listed.items())))
            for offer in model.offers.all()
        ]  # fmt: skip
        return _table(("Provider", "Its id there", "What its list says"), rows) if rows else "–"

    # ---- forms

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        changed = {name: getattr(obj, name) for name in form.changed_data if name in FIELDS}
        service.fix([obj.pk], changed)

    # ---- acts

    @admin.action(description="Set fields of many…", permissions=["change"])
    def set_many(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        form = ManyForm(request.POST if request.POST.get("post") == "yes" else None)
        numbers = list(queryset.values_list("pk", flat=True))
        if form.is_valid():
            if values := form.values():
                count = tending.fix(numbers, values, actor(request))
                self.message_user(request, f"{count} models set.", messages.SUCCESS)
                return None
            form.add_error(None, "Fill in what is to be set.")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Set fields of {len(numbers)} models",
            "opts": self.opts,
            "form": form,
            "numbers": numbers,
            "rows": list(queryset[:50]),
            "list_url": self.list_url(),
        }
        return TemplateResponse(request, "admin/pool/set_many.html", context)

    @admin.action(description="Make them base models", permissions=["change"])
    def make_base(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self._tier(request, queryset, Tier.BASE)

    @admin.action(description="Make them pro models", permissions=["change"])
    def make_pro(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self._tier(request, queryset, Tier.PRO)

    def _tier(self, request: HttpRequest, queryset: "QuerySet[Any]", tier: Tier) -> None:
        chosen = queryset.values_list("pk", flat=True)
        self.act(request, lambda by, _: tending.fix(chosen, {"tier": tier}, by), "{} set.")

    @admin.action(description="Follow rules and lists again", permissions=["change"])
    def follow(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        chosen = queryset.values_list("pk", flat=True)
        self.act(request, lambda by, _: tending.follow(chosen, by),
                 "{} follow rules and lists in every field.")  # fmt: skip


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "nothing"
    return "–" if value is None else str(value)


_CELL = "pr-6 py-1 text-left align-top"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> SafeString:
    cells = [(format_html_join("", f'<td class="{_CELL}">{{}}</td>', ((c,) for c in row)),)
             for row in rows]  # fmt: skip
    head = format_html_join("", f'<th scope="col" class="{_CELL}">{{}}</th>', ((h,) for h in heads))
    body = format_html_join("", "<tr>{}</tr>", cells)
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)
