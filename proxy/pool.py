"""The key pool in memory: which key serves a call, and which are left alone.

A snapshot of the database's rows, read anew whenever `PoolState.generation` has grown (every
batch of the ledger looks). Leases are counted here; rests are decided in `rests.py`. Waiting is
measured by the monotonic clock, so that a clock set back cannot keep a key asleep.
What a process's own attempts show holds before the database has heard of it: `hearsay.py`.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, Q

from bsod.lib import clock
from bsod.lib.terms import Modality, RestReason, Service, Tier
from bsod.lib.vault import Vault, VaultError
from proxy.catalogue import Catalogue, ModelInfo, OfferInfo, Traits
from proxy.hearsay import Doubt, Hearsay, Place, back_at
from proxy.hearsay import Rested as Rested
from proxy.models import Model, Offer, PoolState, Provider, ProviderKey, Rest
from proxy.providers.base import Adapter
from proxy.providers.bridging.ways import Way, way
from proxy.providers.registry import ADAPTERS

log = logging.getLogger("bsod.pool")
_REMEMBERED = 10_000  # users whose last key is remembered, for their prompt caches
_NEAR = 2  # open calls by which that key may be busier than the idlest
_RECENT = 4  # keys remembered of each: his models may live at different providers
_LOCKED = Rested(None, "locked")
_WHOLE = 1 << 32  # a generation's upper half counts all changes, its lower half those of rests


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


@dataclass(frozen=True, slots=True)
class Lease:
    """A key held for one attempt."""

    key: PoolKey
    offer: OfferInfo
    native: bool = True
    """The model answers what is asked by itself; False: in other words."""


@dataclass(frozen=True, slots=True)
class NoKey:
    """Nobody can serve just now. `wait` is the earliest return, in seconds, where it is known."""

    wait: float | None
    limited: bool
    """Every key waits for the provider's own rate limit."""
    exists: bool
    """There is at least one key that could serve the model at another time."""
    undecided: bool = False
    """There are keys, but a call is just finding out whether they are good: `news` will tell."""
    locked: str = ""
    """What an admin says who has locked every provider that could."""


class Pool:
    def __init__(self) -> None:
        self.snapshot = Snapshot(-1, Catalogue([], {}), {}, {}, {})
        self._open: Counter[int] = Counter()
        self._recent: OrderedDict[int, list[int]] = OrderedDict()
        self.hearsay = Hearsay()

    def refresh(self, generation: int) -> None:
        """Read the pool again if it has changed. Runs on the ledger's thread."""
        known = self.snapshot
        if generation == known.generation:
            return
        try:
            if generation // _WHOLE == known.generation // _WHOLE:
                self.snapshot = replace(known, generation=generation, rests=_rests())
            else:
                self.snapshot = load(generation)
        except DatabaseError:
            raise
        except Exception:
            # A row that makes no sense must not stop every call: the pool stays as it was.
            log.exception("the pool cannot be read; what was known of it goes on")
            self.snapshot = replace(known, generation=generation)

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
        shunned: Collection[int] = (),
        patient: bool = False,
    ) -> Lease | NoKey:
        """The key for the next attempt: of those that serve the model the one the account used
        last, while that is nearly the idlest.

        `pinned`: that key or none. `homes`: the account's own key at a provider comes first.
        `shunned`: providers that come last. `patient`: whoever asks may wait for `news`.
        """
        candidates = list(self._candidates(model, service, pinned))
        live = [
            lease
            for lease in candidates
            if lease.key.id not in tried and not self._resting(lease, model.name, now)
        ]
        if not live:
            return self._none(candidates, model.name, now)
        live = [lease for lease in live if lease.key.provider not in shunned] or live
        live = [lease for lease in live if lease.native] or live
        if tried:
            # Whoever has met one bad key goes where there is an answer: he has three tries in all.
            answer = [lease for lease in live if self.hearsay.answers(lease.key.id)]
            if not answer and patient and any(self._open[lease.key.id] for lease in live):
                return NoKey(None, False, True, undecided=True)
            live = answer or live
        free = self._free(live, now, patient=patient)
        if not free:
            return NoKey(None, False, True, undecided=True)
        idlest = min(free, key=lambda lease: self._open[lease.key.id])
        recent = self._recent.get(account, [])
        chosen = next((x for key in recent for x in free if x.key.id == key), idlest)
        if self._open[chosen.key.id] > self._open[idlest.key.id] + _NEAR:
            chosen = idlest
        if homes:
            chosen = next((x for x in live if homes.get(x.key.provider) == x.key.id), chosen)
        self._open[chosen.key.id] += 1
        self.hearsay.tries(chosen.key.id, now)
        self._remember(account, chosen.key.id, recent)
        return chosen

    def _free(self, live: list[Lease], now: float, *, patient: bool) -> list[Lease]:
        """The live keys that take another call just now. None, if `patient`: `news` will tell."""
        if len(live) == 1:
            return live
        doubts = self.hearsay.doubts
        known, trying = [], []
        for lease in live:
            doubt = doubts(lease.key.id, now) if self._open[lease.key.id] else None
            if doubt is None:
                known.append(lease)
            elif doubt is Doubt.UNKNOWN:
                trying.append(lease)
        if not patient:
            return known + trying or live
        # Calls gather on keys that are known only as long as those on trial would hardly be idler.
        least = min((self._open[lease.key.id] for lease in trying), default=None)
        if known and least is not None:
            idlest = min(self._open[lease.key.id] for lease in known)
            return known if idlest <= least + _NEAR else []
        return known

    def _remember(self, account: int, key: int, recent: list[int]) -> None:
        self._recent[account] = [key, *(other for other in recent if other != key)][:_RECENT]
        self._recent.move_to_end(account)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def release(self, lease: Lease) -> None:
        self._open[lease.key.id] -= 1
        if not self._open[lease.key.id]:
            del self._open[lease.key.id]
        self.hearsay.wake()

    # ---- looks

    def available(self, model: ModelInfo, now: float) -> bool:
        return any(not self._resting(x, model.name, now) for x in self._candidates(model))

    def outlook(
        self,
        model: ModelInfo,
        now: float,
        *,
        service: Service | None = None,
        pinned: int | None = None,
    ) -> NoKey:
        """When the model can be served again, as if nobody could just now; `wait` is 0 when
        somebody can."""
        return self._none(list(self._candidates(model, service, pinned)), model.name, now)

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
        awake = [key for key in keys if not self._resting(Lease(key, OfferInfo(0, "")), "", now)]
        return next((key.id for key in (*awake, *keys)), None)

    def _candidates(
        self, model: ModelInfo, service: Service | None = None, pinned: int | None = None
    ) -> Iterable[Lease]:
        for offer in model.offers:
            keys = self.snapshot.keys.get(offer.provider, ())
            # All keys of a provider have one adapter.
            how = way(keys[0].adapter, service, model.traits.speaks) if service and keys else None
            if how is Way.NONE:
                continue
            for key in keys:
                if pinned in (None, key.id):
                    yield Lease(key, offer, how is not Way.BRIDGED)

    def _resting(self, lease: Lease, model: str, now: float) -> list[Rested]:
        """Everything that keeps a key from this model now."""
        rests, heard, key = self.snapshot.rests, self.hearsay.rests, lease.key
        if key.provider in self.snapshot.locks:
            return [_LOCKED]
        if not rests and not heard:
            return []
        places: tuple[Place, ...] = (
            (key.provider, None, ""),
            (None, key.id, ""),
            (None, key.id, model),
        )
        found = [known.get(place) for known in (rests, heard) for place in places]
        return [rested for rested in found if rested and rested.holds(now)]

    def _none(self, candidates: list[Lease], model: str, now: float) -> NoKey:
        locks = self.snapshot.locks
        unlocked = [lease for lease in candidates if lease.key.provider not in locks]
        if candidates and not unlocked:
            return NoKey(None, False, True, locked=locks[candidates[0].key.provider])
        candidates = unlocked
        every = [self._resting(lease, model, now) for lease in candidates]
        returns = [end for rests in every if (end := back_at(rests, now)) is not None]
        wait = max(0.0, min(returns) - now) if returns else None
        limited = bool(candidates) and all(
            rests and all(rest.reason == RestReason.RATE_LIMIT for rest in rests) for rests in every
        )
        return NoKey(wait, limited, bool(candidates))


def retry_after(wait: float | None, default: int = 30) -> int:
    """Whole seconds to wait, at least one."""
    return default if wait is None else max(1, ceil(wait))


def bump() -> None:
    """Tell every process to read the pool again. Call it in the transaction of the change."""
    PoolState.objects.filter(id=1).update(generation=F("generation") + _WHOLE)


def bump_rests() -> None:
    """The same where nothing but rests has changed, which is read in one look."""
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
    return Snapshot(
        generation, catalogue, slugs, keys, _rests(),
        {provider.pk: provider.kind for provider in providers},
        {provider.pk: provider.lock_text for provider in providers if provider.lock_text},
    )  # fmt: skip


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
        None if row.speaks is None else frozenset(map(Service, row.speaks)),
    )  # fmt: skip


def _rests() -> dict[Place, Rested]:
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
