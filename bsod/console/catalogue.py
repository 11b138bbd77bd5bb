"""The catalogue as the console shows it: who offers which model, and which of them answer now.

`snapshot` is the one place it comes from; what it reads is kept until the pool's generation grows,
and which rests still hold is looked at again after a few seconds. Secrets are never read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy.models import Model, Offer, PoolState, Provider, ProviderKey, Rest

FRESH = 5.0  # seconds a reading is shown for
DIED = "all api keys died"
LIMITED = "rate limited by the provider"


class Listed(NamedTuple):
    """A model at one provider."""

    name: str
    provider: str
    modality: str
    tier: str
    context: int | None
    price_in: int
    price_out: int
    per_call: int
    reason: str
    """Why it does not answer; "": it does."""
    returns: datetime | None
    """When it is expected back, where that is known."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A provider and what it offers."""

    slug: str
    rows: tuple[Listed, ...]
    up: int

    @property
    def title(self) -> str:
        return _TITLES.get(self.slug) or self.slug.replace("-", " ").replace("_", " ").capitalize()

    @property
    def reason(self) -> str:
        """Why nothing of it answers; "": something does."""
        return "" if self.up or not self.rows else self.rows[0].reason


@dataclass(frozen=True, slots=True)
class Reading:
    shelves: tuple[Shelf, ...]
    models: frozenset[str]
    up: int
    """How many of them somebody answers for."""


_TITLES = {"openai": "OpenAI"}


class _Rows(NamedTuple):
    """The pool's tables, as they are at one generation."""

    slugs: Mapping[int, str]
    keys: Mapping[int, list[int]]
    models: Mapping[int, tuple[str, str, str, int | None, int, int, int]]
    offers: list[tuple[int, int]]
    rests: Mapping[tuple[int | None, int | None, str], tuple[datetime | None, str]]


def snapshot() -> Reading:
    """One small statement, more only when the pool has changed."""
    state = PoolState.objects.filter(id=1).values_list("generation", flat=True).first()
    return _reading(state or 0, int(clock.monotonic() / FRESH))


@lru_cache(maxsize=2)
def _reading(generation: int, _moment: int) -> Reading:
    rows, now = _rows(generation), clock.now()
    shelves: dict[int, list[Listed]] = {provider: [] for provider in rows.slugs}
    for model, provider in rows.offers:
        what = rows.models[model]
        why, until = _why_not(rows, provider, what[0], now)
        shelves[provider].append(Listed(what[0], rows.slugs[provider], *what[1:], why, until))
    made = [
        Shelf(rows.slugs[provider], tuple(listed), sum(not row.reason for row in listed))
        for provider, listed in shelves.items()
    ]
    made.sort(key=lambda shelf: (-len(shelf.rows), shelf.slug))
    every = [row for shelf in made for row in shelf.rows]
    up = len({row.name for row in every if not row.reason})
    return Reading(tuple(made), frozenset(row.name for row in every), up)


def _why_not(rows: _Rows, provider: int, model: str, now: datetime) -> tuple[str, datetime | None]:
    """The reason a provider does not serve a model now, and when it may again."""
    found = []
    for key in rows.keys.get(provider, ()):
        scopes = ((provider, None, ""), (None, key, ""), (None, key, model))
        rests = [rows.rests[scope] for scope in scopes if scope in rows.rests]
        holding = [rest for rest in rests if rest[0] is None or rest[0] > now]
        if not holding:
            return "", None
        found += holding
    ends = [until for until, _reason in found if until]
    if found and all(reason == RestReason.RATE_LIMIT for _until, reason in found):
        return LIMITED, min(ends)
    return DIED, min(ends, default=None)


@lru_cache(maxsize=1)
def _rows(_generation: int) -> _Rows:
    slugs = dict(Provider.objects.filter(deleted_at=None).values_list("pk", "slug"))
    keys: dict[int, list[int]] = {}
    live = ProviderKey.objects.filter(deleted_at=None).order_by("pk")
    for key, provider in live.values_list("pk", "provider_id"):
        keys.setdefault(provider, []).append(key)
    models = {
        row[0]: row[1:]
        for row in Model.objects.values_list(
            "pk", "name", "modality", "tier", "context_window", "credits_per_1k_input",
            "credits_per_1k_output", "credits_per_call",
        )
    }  # fmt: skip
    offers = Offer.objects.filter(gone_at=None, provider__deleted_at=None).order_by("model__name")
    rests: dict[tuple[int | None, int | None, str], tuple[datetime | None, str]] = {
        (None, key, model) if key else (provider, None, ""): (until, reason)
        for provider, key, model, until, reason in Rest.objects.values_list(
            "provider_id", "key_id", "model", "until", "reason"
        )
    }
    return _Rows(slugs, keys, models, list(offers.values_list("model_id", "provider_id")), rests)
