"""Provider keys: how each is and why, what it has been used for, and what an admin does about it.

The secret is never shown, not even to whoever has given it: four characters name a key.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.timesince import timesince
from unfold.decorators import display

from accounts.models import Account
from bsod.backstage.pool import traffic
from bsod.backstage.pool.base import AskingAdmin, SeenList, answers, seen_of
from bsod.backstage.pool.forms import KeyActsForm, NewKeysForm
from bsod.backstage.pool.providers import proved
from bsod.backstage.routes import actor
from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy import rechecks, tending
from proxy.figures import KEY_STATES, state_of
from proxy.models import ProviderKey, Rest
from proxy.tending import Weight

WORDS = {
    RestReason.NEW: "not tried yet",
    RestReason.RATE_LIMIT: "the provider's own limit",
    RestReason.AUTH: "refused: the key is not valid",
    RestReason.BILLING: "refused: no money or no right",
    RestReason.FAILURES: "failed several times in a row",
    RestReason.UNREACHABLE: "the provider cannot be reached",
    RestReason.COOLED: "cooled down by an admin",
    RestReason.OFF: "switched off by an admin",
}
UNUSABLE = "no key of VAULT_KEYS opens it, or its provider is of an unknown kind"
_LOOKS = {"live": "success", "limited": "info", "resting": "warning", "new": "info",
          "paused": "warning", "locked": "warning", "disabled": "danger"}  # fmt: skip


def holding(rest: Rest, now: datetime) -> bool:
    return rest.until is None or rest.until > now


def length(begin: datetime, end: datetime) -> str:
    seconds = max(0, int((end - begin).total_seconds()))
    return f"{seconds} s" if seconds < 60 else timesince(begin, end)


def told(rest: Rest, now: datetime) -> str:
    """Why something rests, since when, and what ends it."""
    words = WORDS[RestReason(rest.reason)]
    words += f" (for {rest.model})" if rest.model else ""
    words += f", for {length(rest.created_at, now)}"
    if rest.until:
        return f"{words}; until {rest.until:%H:%M:%S} UTC"
    if rest.probe_at is None:
        return f"{words}; until an admin switches it on"
    due = f"in {length(now, rest.probe_at)}" if rest.probe_at > now else "now"
    return f"{words}; until a probe passes, the next {due}"


class ByRest(admin.SimpleListFilter):
    """Keys by what keeps them."""

    title = "state"
    parameter_name = "rest"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        why = [(str(reason), words.capitalize()) for reason, words in WORDS.items()]
        return [("live", "Live"), *why, ("waiting", "Waits to be probed")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        asked = self.value()
        if asked == "waiting":
            return queryset.filter(asked_at__isnull=False)
        if asked is None:
            return queryset
        now = Q(until=None) | Q(until__gt=clock.now())
        here = Q(key=OuterRef("pk")) | Q(provider=OuterRef("provider"), key=None)
        if asked == "live":
            return queryset.filter(~Exists(Rest.objects.filter(now, here, model="")), paused=False)
        return queryset.filter(Exists(Rest.objects.filter(now, here, reason=asked)))


class Donated(admin.SimpleListFilter):
    title = "donated"
    parameter_name = "donated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        asked = self.value()
        return queryset if asked is None else queryset.filter(donor__isnull=asked == "no")


@admin.register(ProviderKey)
class ProviderKeyAdmin(AskingAdmin):
    new_form = NewKeysForm
    action_form = KeyActsForm
    list_display = ("name", "state", "why", "lately", "failures", "donor", "probe",
                    "created_at")  # fmt: skip
    list_filter = (ByRest, Donated, "provider")
    list_select_related = ("provider", "donor")
    search_fields = ("=last4", "=provider__slug")
    search_help_text = "The last four characters of a key, or a provider's name."
    actions = ("recheck", "cool", "end_rest", "switch_off", "switch_on", "delete_selected")
    buttons = actions[:-1]
    fields = ("provider", "last4", "state", "why", "lately", "failures", "probe", "donor",
              "donors_word", "created_at")  # fmt: skip
    readonly_fields = fields
    records_itself = True

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)
        rows = rows.filter(deleted_at=None, provider__deleted_at=None)
        return rows.prefetch_related("rests", "provider__rests")

    # ---- what is shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[SeenList]:
        return SeenList

    @admin.display(description="Key", ordering="provider__slug")
    def name(self, key: ProviderKey) -> str:
        return str(key)

    def _rests(self, key: ProviderKey, now: datetime) -> list[Rest]:
        whole = [rest for rest in key.provider.rests.all() if rest.key_id is None]
        return [rest for rest in [*whole, *key.rests.all()] if holding(rest, now)]

    @display(description="State", label=_LOOKS)  # type: ignore[untyped-decorator]  # unfold has no types
    def state(self, key: ProviderKey) -> str:
        rests = self._rests(key, clock.now())
        states = [state_of(rest.reason) for rest in rests if not rest.model]
        worst = max(states, key=KEY_STATES.index, default="live")
        if self._broken(key):
            return "disabled"
        if worst != "live":
            return worst
        return "paused" if key.paused else "locked" if key.provider.lock_text else "live"

    def _broken(self, key: ProviderKey) -> bool:
        # A paused key is not in the pool at all.
        return not key.paused and key.pk not in seen_of(key).usable

    @admin.display(description="Why")
    def why(self, key: ProviderKey) -> str:
        now = clock.now()
        parts = [told(rest, now) for rest in self._rests(key, now)]
        if key.provider.lock_text:
            parts.insert(0, f"its provider is locked: {key.provider.lock_text}")
        if key.paused:
            parts.insert(0, "paused by its donor")
        if self._broken(key):
            parts.insert(0, UNUSABLE)
        return "; ".join(parts[:3]) + (f"; {len(parts) - 3} more" if len(parts) > 3 else "") or "–"

    @admin.display(description="Calls in 24 h")
    def lately(self, key: ProviderKey) -> str:
        used = traffic.by_key().get(key.pk)
        return used.told if used else "–"

    @admin.display(description="Last probe")
    def probe(self, key: ProviderKey) -> str:
        now = clock.now()
        said = f"{key.probe_note}, {length(key.probed_at, now)} ago" if key.probed_at else "–"
        return format_html("being asked… (before: {})", said) if key.asked_at else said

    @admin.display(description="What its donor allows")
    def donors_word(self, key: ProviderKey) -> str:
        if key.donor_id is None:
            return "–"
        cap = "no cap" if key.daily_cap is None else f"{key.daily_cap:,} calls a day"
        models = "all models" if key.allowed_models is None else ", ".join(key.allowed_models)
        stored = "; trusted with stored objects" if key.trusted_objects else ""
        return f"{cap}; {models or 'no model'}{stored}"

    # ---- forms

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A key is acted on, and has no field to fill in.
        return obj is None and super().has_change_permission(request, obj)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        new = ("provider", "secret_1", "secret_2", "secret_3")
        return super().get_fields(request, obj) if obj else new

    def save_model(self, request: HttpRequest, obj: ProviderKey, form: Any, change: bool) -> None:
        added = tending.add_keys(actor(request), obj.provider, form.secrets())
        obj.pk, obj.last4 = added.findings[0][0].pk, added.findings[0][0].last4
        proved(self, request, added)

    # ---- acts

    def weigh(self, rows: "QuerySet[Any]") -> Weight:
        return tending.weight(rows)

    def remove(self, rows: Iterable[Any], by: Account, reason: str) -> int:
        return tending.remove_keys(rows, by, reason)

    @admin.action(description="Take out: wipe the secret…", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: "QuerySet[Any]"
    ) -> HttpResponse | None:
        return self.removal(request, queryset)

    @admin.action(description="Probe now", permissions=["change"])
    def recheck(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        found = rechecks.recheck(queryset.values_list("pk", flat=True), actor(request))
        told, good = answers(found)
        self.message_user(request, told, messages.SUCCESS if good else messages.WARNING)

    @admin.action(description="Cool down for so many minutes", permissions=["change"])
    def cool(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        text = request.POST.get("minutes", "")
        minutes = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
        self.act(request, lambda by, why: tending.cool(queryset, by, minutes, why),
                 "{} cooled down. A key that rests for longer, or until a probe, stays as it is."
                 )  # fmt: skip

    @admin.action(description="End what ends by the clock", permissions=["change"])
    def end_rest(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        rests = Rest.objects.filter(key__in=queryset.values("pk"))
        found = rests.select_related("key__provider", "provider")
        self.act(request, lambda by, _: tending.end_rests(found, by),
                 "{} rests ended. The others end when a probe passes, or are switched on."
                 )  # fmt: skip

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self.act(request, lambda by, why: tending.switch_off(queryset, by, why),
                 "{} switched off. Calls under way go on.")  # fmt: skip

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        self.act(request, lambda by, _: tending.switch_on(queryset, by),
                 "{} switched on: they serve once a probe has passed, in a moment.")  # fmt: skip
