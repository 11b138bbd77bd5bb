"""What the pool knows at one moment: every usable key, what rests, which models there are.

Read from the database's rows in one go; nothing in it ever changes, a new one takes its place.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from django.conf import settings
from django.db.models import Q

from bsod.lib import clock
from bsod.lib.terms import Modality, Service, Tier
from bsod.lib.vault import Vault, VaultError
from proxy.catalogue import Catalogue, ModelInfo, OfferInfo, Traits
from proxy.hearsay import Place, Rested
from proxy.models import Model, Offer, Provider, ProviderKey, Rest
from proxy.providers.base import Adapter
from proxy.providers.registry import ADAPTERS

log = logging.getLogger("bsod.pool")


@dataclass(frozen=True, slots=True)
class PoolKey:
    """A live secret and where it is spent."""

    id: int
    provider: int
    adapter: Adapter
    base_url: str
    proxy_url: str
    secret: str = field(repr=False)
    donated: bool = False
    cap: int | None = None
    """Calls a day that its donor allows; each is counted before it is sent."""
    models: frozenset[str] | None = None
    """All that it serves; None: whatever its provider offers."""
    trusted: bool = False
    """What is stored may lie on this account although it is a donor's, who could read it."""

    @property
    def keeps(self) -> bool:
        """Whether a call may leave something there, or be about what lies there."""
        return self.trusted or not self.donated

    def takes(self, model: str) -> bool:
        """Whether it serves the model. "" is a call of none: one that has a list is not for it."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: int
    catalogue: Catalogue
    slugs: dict[int, str]
    keys: dict[int, list[PoolKey]]
    """Keys by provider, oldest first."""
    rests: Mapping[Place, Rested]
    kinds: Mapping[int, str] = field(default_factory=dict)
    """The kind of every provider, whether it has keys or not."""
    locks: Mapping[int, str] = field(default_factory=dict)
    """The providers an admin has locked, and what he says of it."""

    def serving(self, service: Service) -> Iterator[int]:
        """The providers with keys that serve it: first those that take what nobody lists."""
        preferred = self.catalogue.catch_alls
        for provider in (*preferred, *(id_ for id_ in self.keys if id_ not in preferred)):
            if any(key.adapter.serves(service) for key in self.keys.get(provider, ())[:1]):
                yield provider


def vault() -> Vault:
    return Vault(settings.VAULT_KEYS)


def load(generation: int) -> Snapshot:
    """Read the pool's tables."""
    providers = list(Provider.objects.filter(deleted_at=None))
    slugs = {provider.pk: provider.slug for provider in providers}
    keys = _keys(providers)
    catalogue = Catalogue(_models(slugs), slugs)
    catalogue.catch_all(provider.pk for provider in providers if provider.catch_all)
    return Snapshot(
        generation, catalogue, slugs, keys, read_rests(),
        {provider.pk: provider.kind for provider in providers},
        {provider.pk: provider.lock_text for provider in providers if provider.lock_text},
    )  # fmt: skip


def _keys(providers: list[Provider]) -> dict[int, list[PoolKey]]:
    """Every usable key, oldest first, by provider."""
    keys: dict[int, list[PoolKey]] = {}
    known = {provider.pk: provider for provider in providers if _adapter(provider)}
    rows = ProviderKey.objects.filter(provider__in=known, deleted_at=None, paused=False)
    for row in rows.order_by("id"):
        provider = known[row.provider_id]
        try:
            secret = _secret(tuple(settings.VAULT_KEYS), row.uid, row.sealed)
        except VaultError as error:
            # Never sent: a ciphertext or another row's secret must not reach a provider.
            log.error("provider key %s cannot be used: %s", row.pk, error)
            continue
        base_url = provider.base_url.rstrip("/")
        keys.setdefault(provider.pk, []).append(
            PoolKey(
                row.pk, provider.pk, ADAPTERS[provider.kind], base_url, provider.proxy_url, secret,
                row.donor_id is not None, row.daily_cap,
                None if row.allowed_models is None else frozenset(row.allowed_models),
                row.trusted_objects,
            )
        )  # fmt: skip
    return keys


def _adapter(provider: Provider) -> Adapter | None:
    adapter = ADAPTERS.get(provider.kind)
    if adapter is None:
        log.error("provider %s is of unknown kind %s", provider.slug, provider.kind)
    return adapter


@lru_cache(maxsize=4096)
def _secret(vault_keys: tuple[str, ...], uid: str, sealed: str) -> str:
    # The pool is read again at every rest; what is sealed has not changed for that.
    return Vault(vault_keys).open(uid, sealed)


def _models(slugs: dict[int, str]) -> list[ModelInfo]:
    """Tuples, and every model rather than thousands of ids by name: that is three times as fast."""
    offers: dict[int, list[OfferInfo]] = {}
    offered = Offer.objects.filter(gone_at=None, provider__in=slugs).order_by("id")
    for model, provider, upstream in offered.values_list("model_id", "provider_id", "upstream_id"):
        offers.setdefault(model, []).append(OfferInfo(provider, upstream))
    made, models = [], Model.objects.filter(pk__in=offers) if len(offers) < _FEW else Model.objects
    for pk, name, created, shutdown, *told, speaks in models.values_list(*_COLUMNS):
        if pk not in offers:
            continue
        mine = tuple(offers[pk])
        about = _traits(*told, None if speaks is None else tuple(speaks))
        made.append(
            ModelInfo(name, about, mine, slugs[mine[0].provider], clock.unix(created), shutdown)
        )
    return made


_FEW = 500
_COLUMNS = (
    "pk", "name", "created_at", "shutdown_date", "modality", "tier", "context_window",
    "max_output", "credits_per_1k_input", "credits_per_1k_output", "credits_per_call", "speaks",
)  # fmt: skip


def traits(row: Model) -> Traits:
    return _traits(
        row.modality, row.tier, row.context_window, row.max_output, row.credits_per_1k_input,
        row.credits_per_1k_output, row.credits_per_call,
        None if row.speaks is None else tuple(row.speaks),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _traits(
    modality: str, tier: str, context: int | None, output: int | None, price_in: int,
    price_out: int, per_call: int, speaks: tuple[str, ...] | None,
) -> Traits:  # fmt: skip
    """Many models share one."""
    services = None if speaks is None else frozenset(map(Service, speaks))
    return Traits(
        Modality(modality), Tier(tier), context, output, price_in, price_out, per_call, services
    )


def read_rests() -> dict[Place, Rested]:
    now, ticks = clock.now(), clock.monotonic()
    rests: dict[Place, Rested] = {}
    for row in Rest.objects.filter(Q(until=None) | Q(until__gt=now)):
        place = (None, row.key_id, row.model) if row.key_id else (row.provider_id, None, "")
        if row.until is None:
            due = row.probe_at
            probe = None if due is None else ticks + (due - now).total_seconds()
            rests[place] = Rested(None, row.reason, probe)
            continue
        # Never longer than it was to last, even when the wall clock has been set back since.
        left = min(row.until - now, row.until - row.created_at)
        rests[place] = Rested(ticks + left.total_seconds(), row.reason)
    return rests
