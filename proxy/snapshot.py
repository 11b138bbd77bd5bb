"""What the pool knows at one moment: every usable key, what rests, which models there are.

Read from the database's rows in one go; nothing in it ever changes, a new one takes its place.
A catalogue is built anew only where its rows have changed: who asks `is` knows whether they have.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.models import Q
from django.db.models.sql.compiler import SQLCompiler

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
    mark: bytes = b""
    """Of the rows that the catalogue was made of."""

    def serving(self, service: Service) -> Iterator[int]:
        """The providers with keys that serve it: first those that take what nobody lists."""
        preferred = self.catalogue.catch_alls
        for provider in (*preferred, *(id_ for id_ in self.keys if id_ not in preferred)):
            if any(key.adapter.serves(service) for key in self.keys.get(provider, ())[:1]):
                yield provider


def vault() -> Vault:
    return Vault(settings.VAULT_KEYS)


NOTHING = Snapshot(-1, Catalogue([], {}), {}, {}, {})
WHOLE = 1 << 32  # a generation's upper half counts all changes, its lower half those of rests


class Readings:
    """What was read last. Whoever else in the process needs the same has it already: none waits for
    another, so that two who need it at one moment read it twice, and nothing worse."""

    def __init__(self) -> None:
        self._last = NOTHING

    def at(self, generation: int) -> Snapshot:
        """The pool as it is at this generation, which its caller has just read."""
        last = self._last
        if generation != last.generation:
            self._last = last = self._read(generation, last)
        return last

    @staticmethod
    def _read(generation: int, known: Snapshot) -> Snapshot:
        try:
            if generation // WHOLE == known.generation // WHOLE:
                return replace(known, generation=generation, rests=read_rests())
            return load(generation, known)
        except Error:
            raise  # the database's, which may be well again at the next look
        except Exception:
            # A row that makes no sense must not stop every call: the pool stays as it was.
            log.exception("the pool cannot be read; what was known of it goes on")
            return replace(known, generation=generation)


readings = Readings()
"""The process's own: what the ledger's thread has read is there for pages, and the reverse."""


def load(generation: int, known: Snapshot = NOTHING) -> Snapshot:
    """Read the pool's tables. What has not changed since `known` is not built again."""
    providers = list(Provider.objects.filter(deleted_at=None))
    slugs = {provider.pk: provider.slug for provider in providers}
    kinds = {provider.pk: provider.kind for provider in providers}
    catch_alls = tuple(provider.pk for provider in providers if provider.catch_all)
    offers = _offers(slugs)
    reader, rows = _rows(offers)
    # Most changes are of keys. What is made of a catalogue says where its models can be asked, too.
    mark = blake2b(repr((slugs, kinds, catch_alls, offers, rows)).encode()).digest()
    catalogue = known.catalogue
    if mark != known.mark:
        models = _models(reader.results_iter([rows], tuple_expected=True), offers, slugs)
        catalogue = Catalogue(models, slugs).catch_all(catch_alls)
    return Snapshot(
        generation, catalogue, slugs, _keys(providers), read_rests(), kinds,
        {provider.pk: provider.lock_text for provider in providers if provider.lock_text}, mark,
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


Offers = dict[int, list[tuple[int, str]]]  # by model: (provider, its id there)


def _offers(slugs: dict[int, str]) -> Offers:
    offers: Offers = {}
    offered = Offer.objects.filter(gone_at=None, provider__in=slugs).order_by("id")
    for model, provider, upstream in offered.values_list("model_id", "provider_id", "upstream_id"):
        offers.setdefault(model, []).append((provider, upstream))
    return offers


def _rows(offers: Offers) -> tuple[SQLCompiler, list[Sequence[Any]]]:
    """The models as the database gives them, and who makes values of that: it takes longer than
    reading them. All of them rather than thousands of ids by name: that is three times as fast."""
    models = Model.objects.filter(pk__in=offers) if len(offers) < _FEW else Model.objects.all()
    asked = models.order_by("pk").values_list(*_COLUMNS)
    reader = asked.query.get_compiler(asked.db)
    return reader, [row for chunk in reader.execute_sql() for row in chunk]


def _models(
    rows: Iterable[Sequence[Any]], offers: Offers, slugs: dict[int, str]
) -> Iterator[ModelInfo]:
    for pk, name, created, shutdown, *told, speaks in rows:
        if pk in offers:
            mine = tuple(OfferInfo(*offer) for offer in offers[pk])
            about = _traits(*told, None if speaks is None else tuple(speaks))
            owner = slugs[mine[0].provider]
            yield ModelInfo(name, about, mine, owner, clock.unix(created), shutdown)


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
