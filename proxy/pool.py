"""The key pool in memory: which key serves a call, and which are left alone.

A snapshot of the database's rows, read anew whenever `PoolState.generation` has grown (every
batch of the ledger looks). Leases are counted here; rests are decided in `rests.py`. Waiting is
measured by the monotonic clock, so that a clock set back cannot keep a key asleep.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F

from bsod.lib import clock
from bsod.lib.terms import Modality, RestReason, Service, Tier
from bsod.lib.vault import Vault, VaultError
from proxy.catalogue import Catalogue, ModelInfo, OfferInfo, Traits
from proxy.models import Model, Offer, PoolState, Provider, ProviderKey, Rest
from proxy.providers.base import Adapter
from proxy.providers.registry import ADAPTERS

log = logging.getLogger("bsod.pool")
_REMEMBERED = 10_000  # users whose last key is remembered, for their prompt caches
_NEAR = 2  # open calls by which that key may be busier than the idlest
_RECENT = 4  # keys remembered of each: his models may live at different providers


@dataclass(frozen=True, slots=True)
class PoolKey:
    """A live secret and where it is spent."""

    id: int
    provider: int
    adapter: Adapter
    base_url: str
    proxy_url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rested:
    """Until when (monotonic seconds; None: until a probe passes), and why."""

    until: float | None
    reason: str

    def holds(self, now: float) -> bool:
        return self.until is None or self.until > now


Scope = tuple[int | None, int | None, str]
"""(provider, None, ""), (None, key, "") or (None, key, model)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: int
    catalogue: Catalogue
    slugs: dict[int, str]
    keys: dict[int, list[PoolKey]]
    """Keys by provider, oldest first."""
    rests: dict[Scope, Rested]

    def serving(self, service: Service) -> Iterator[int]:
        """The providers with keys that serve it: first those that take what nobody lists."""
        preferred = self.catalogue.catch_alls
        for provider in (*preferred, *(id_ for id_ in self.keys if id_ not in preferred)):
            if any(key.adapter.serves(service) for key in self.keys.get(provider, ())[:1]):
                yield provider


@dataclass(frozen=True, slots=True)
class Lease:
    """A key held for one attempt."""

    key: PoolKey
    offer: OfferInfo


@dataclass(frozen=True, slots=True)
class NoKey:
    """Nobody can serve just now. `wait` is the earliest return, in seconds, where it is known."""

    wait: float | None
    limited: bool
    """Every key waits for the provider's own rate limit."""
    exists: bool
    """There is at least one key that could serve the model at another time."""


class Pool:
    def __init__(self) -> None:
        self.snapshot = Snapshot(0, Catalogue([], {}), {}, {}, {})
        self._open: Counter[int] = Counter()
        self._recent: OrderedDict[int, list[int]] = OrderedDict()

    def refresh(self, generation: int) -> None:
        """Read the pool again if it has changed. Runs on the ledger's thread."""
        if generation == self.snapshot.generation:
            return
        try:
            self.snapshot = load(generation)
        except DatabaseError:
            raise
        except Exception:
            # A row that makes no sense must not stop every call: the pool stays as it was.
            log.exception("the pool cannot be read; what was known of it goes on")
            self.snapshot = replace(self.snapshot, generation=generation)

    def lease(
        self,
        model: ModelInfo,
        account: int,
        tried: Collection[int],
        now: float,
        *,
        service: Service = Service.CHAT,
        pinned: int | None = None,
        homes: Mapping[int, int] | None = None,
    ) -> Lease | NoKey:
        """The key for the next attempt: of those that serve the model the one the account used
        last, while that is nearly the idlest.

        `pinned`: that key or none. `homes`: the account's own key at a provider comes first.
        """
        candidates = list(self._candidates(model, service, pinned))
        live = [
            lease
            for lease in candidates
            if lease.key.id not in tried and not self._rest(lease, model.name, now)
        ]
        if not live:
            return self._none(candidates, model.name, now)
        idlest = min(live, key=lambda lease: self._open[lease.key.id])
        recent = self._recent.get(account, [])
        chosen = next((x for key in recent for x in live if x.key.id == key), idlest)
        if self._open[chosen.key.id] > self._open[idlest.key.id] + _NEAR:
            chosen = idlest
        if homes:
            chosen = next((x for x in live if homes.get(x.key.provider) == x.key.id), chosen)
        self._open[chosen.key.id] += 1
        self._remember(account, chosen.key.id, recent)
        return chosen

    def _remember(self, account: int, key: int, recent: list[int]) -> None:
        self._recent[account] = [key, *(other for other in recent if other != key)][:_RECENT]
        self._recent.move_to_end(account)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def release(self, lease: Lease) -> None:
        self._open[lease.key.id] -= 1
        if not self._open[lease.key.id]:
            del self._open[lease.key.id]

    def available(self, model: ModelInfo, now: float) -> bool:
        return any(not self._rest(lease, model.name, now) for lease in self._candidates(model))

    def key(self, id_: int | None) -> PoolKey | None:
        """A key by its id, whether it rests or not."""
        keys = (key for every in self.snapshot.keys.values() for key in every)
        return next((key for key in keys if key.id == id_), None)

    def awake(self, provider: int, now: float) -> bool:
        """Whether a provider has a key that does not rest."""
        model = ModelInfo("", Traits(), (OfferInfo(provider, ""),))
        return self.available(model, now)

    def oldest(self, providers: Iterable[int], now: float) -> int | None:
        """The oldest key of these providers that does not rest, else the oldest."""
        keys = [key for provider in providers for key in self.snapshot.keys.get(provider, ())]
        awake = [key for key in keys if not self._rest(Lease(key, OfferInfo(0, "")), "", now)]
        return next((key.id for key in (*awake, *keys)), None)

    def _candidates(
        self, model: ModelInfo, service: Service | None = None, pinned: int | None = None
    ) -> Iterable[Lease]:
        for offer in model.offers:
            for key in self.snapshot.keys.get(offer.provider, ()):
                if pinned in (None, key.id) and (service is None or key.adapter.serves(service)):
                    yield Lease(key, offer)

    def _rest(self, lease: Lease, model: str, now: float) -> Rested | None:
        rests = self.snapshot.rests
        if not rests:
            return None
        key = lease.key
        for scope in ((key.provider, None, ""), (None, key.id, ""), (None, key.id, model)):
            rested = rests.get(scope)
            if rested and rested.holds(now):
                return rested
        return None

    def _none(self, candidates: list[Lease], model: str, now: float) -> NoKey:
        rests = [rest for lease in candidates if (rest := self._rest(lease, model, now))]
        ends = [rest.until - now for rest in rests if rest.until is not None]
        limited = bool(rests) and all(rest.reason == RestReason.RATE_LIMIT for rest in rests)
        return NoKey(min(ends, default=None), limited, bool(candidates))


def retry_after(wait: float | None, default: int = 30) -> int:
    """Whole seconds to wait, at least one."""
    return default if wait is None else max(1, ceil(wait))


def bump() -> None:
    """Tell every process to read the pool again. Call it in the transaction of the change."""
    PoolState.objects.filter(id=1).update(generation=F("generation") + 1)


def vault() -> Vault:
    return Vault(settings.VAULT_KEYS)


def load(generation: int) -> Snapshot:
    """Read the pool's tables."""
    providers = list(Provider.objects.filter(deleted_at=None))
    slugs = {provider.pk: provider.slug for provider in providers}
    keys = _keys(providers)
    catalogue = Catalogue(_models(slugs), slugs)
    catalogue.catch_all(provider.pk for provider in providers if provider.catch_all)
    return Snapshot(generation, catalogue, slugs, keys, _rests())


def _keys(providers: list[Provider]) -> dict[int, list[PoolKey]]:
    """Every usable key, oldest first, by provider."""
    keys: dict[int, list[PoolKey]] = {}
    known = {provider.pk: provider for provider in providers if _adapter(provider)}
    for row in ProviderKey.objects.filter(provider__in=known, deleted_at=None).order_by("id"):
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
                row.pk, provider.pk, ADAPTERS[provider.kind], base_url, provider.proxy_url, secret
            )
        )
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
    offers: dict[int, list[OfferInfo]] = {}
    for row in Offer.objects.filter(gone_at=None, provider__in=slugs).order_by("id"):
        offers.setdefault(row.model_id, []).append(OfferInfo(row.provider_id, row.upstream_id))
    return [
        ModelInfo(
            row.name,
            traits(row),
            tuple(offers[row.pk]),
            slugs[offers[row.pk][0].provider],
            clock.unix(row.created_at),
            row.shutdown_date,
        )
        for row in Model.objects.filter(pk__in=offers)
    ]


def traits(row: Model) -> Traits:
    return Traits(
        Modality(row.modality), Tier(row.tier), row.context_window, row.max_output,
        row.credits_per_1k_input, row.credits_per_1k_output, row.credits_per_call,
    )  # fmt: skip


def _rests() -> dict[Scope, Rested]:
    now, ticks = clock.now(), clock.monotonic()
    rests: dict[Scope, Rested] = {}
    for row in Rest.objects.all():
        scope = (None, row.key_id, row.model) if row.key_id else (row.provider_id, None, "")
        if row.until is None:
            rests[scope] = Rested(None, row.reason)
            continue
        # Never longer than it was to last, even when the wall clock has been set back since.
        left = min(row.until - now, row.until - row.created_at)
        rests[scope] = Rested(ticks + left.total_seconds(), row.reason)
    return rests
