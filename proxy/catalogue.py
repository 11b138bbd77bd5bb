"""The models there are, and how a name that was asked for finds one of them.

What is known of a model by its id is in `rules.py`, what becomes of that and of the providers'
lists in `listings.py`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from bsod.lib.terms import Bucket, Modality, Tier
from proxy.rules import RULES, classify, short
from proxy.rules import Traits as Traits

_MOST_NEAR = 3  # names offered to whoever asks for one that is not there
_LEAST_ALIKE = 4  # letters two names must begin with alike to be near
_MEDIA = {Modality.IMAGE: Bucket.IMAGE, Modality.AUDIO: Bucket.AUDIO}

# Nobody lists it, so nobody knows what it costs: at least as much as the dearest (SPEC §4).
UNKNOWN = Traits(Modality.TEXT, Tier.PRO, None, 16_384, 1_000, 4_000)


@dataclass(frozen=True, slots=True)
class OfferInfo:
    """A provider that serves a model, and the id it knows it by."""

    provider: int
    upstream_id: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the gateway sees it: a row of the catalogue, or a catch-all's guess."""

    name: str
    traits: Traits
    offers: tuple[OfferInfo, ...]
    owned_by: str = ""
    created: int = 0
    shutdown: date | None = None

    @property
    def pro(self) -> bool:
        return self.traits.tier is Tier.PRO


class Ambiguous(Exception):
    """A folded name fits several models."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(names)
        super().__init__(", ".join(self.names))


def fold(name: str) -> str:
    """The shape in which near spellings of a model's name are equal."""
    plain = name.lower().replace("-", "").replace(".", "")  # four times as fast as a pattern
    return plain.replace("_", "").replace("/", "").replace(" ", "")


def media_bucket(modality: str, name: str) -> Bucket | None:
    """What a call of a model draws on by what it is of; None: it is text, its tier decides."""
    if modality != Modality.VIDEO:
        return _MEDIA.get(Modality(modality))
    plain = fold(name)
    if "sora2pro" in plain:
        return Bucket.VIDEO_SORA2PRO
    return Bucket.VIDEO_SORA2 if "sora2" in plain else Bucket.VIDEO_OTHER


def _alike(one: str, other: str) -> int:
    """How many letters two names begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _learn(known: dict[str, tuple[str, ...]], spelling: str, name: str) -> None:
    """Nearly every spelling is one model's: a set for each would be most of the catalogue."""
    found = known.get(spelling)
    if found is None:
        known[spelling] = (name,)
    elif name not in found:
        known[spelling] = (*found, name)


class Catalogue:
    """Names to models. Built when the pool changes, only read afterwards."""

    def __init__(self, models: Iterable[ModelInfo], slugs: Mapping[int, str]) -> None:
        self.models = {model.name: model for model in models}
        plain = {provider: fold(slug) for provider, slug in slugs.items()}
        self._folded: dict[str, tuple[str, ...]] = {}
        self._short: dict[str, tuple[str, ...]] = {}
        for name, model in self.models.items():
            near = fold(name)
            _learn(self._folded, near, name)
            for offer in model.offers:
                slug, there = plain.get(offer.provider, ""), offer.upstream_id
                _learn(self._folded, slug + near, name)
                if there != name:
                    _learn(self._folded, fold(there), name)
                    _learn(self._folded, slug + fold(there), name)
            _learn(self._short, fold(short(name)), name)
        self._spellings = sorted(self._short)
        self._catch_all: tuple[OfferInfo, ...] = ()
        self._dearest = {kind: self._dearest_of(kind) for kind in Modality}

    def _dearest_of(self, modality: Modality) -> Traits:
        """Nobody lists it, so nobody knows its price: the dearest of its kind."""
        known = [m.traits for m in self.models.values() if m.traits.modality is modality]
        ruled = [traits for _, traits in RULES if traits.modality is modality]
        every = [*known, *ruled, *([UNKNOWN] if modality is Modality.TEXT else [])]
        return UNKNOWN._replace(
            modality=modality,
            price_in=max(traits.price_in for traits in every),
            price_out=max(traits.price_out for traits in every),
            per_call=max(traits.per_call for traits in every),
        )

    def catch_all(self, providers: Iterable[int]) -> "Catalogue":
        """Let these providers take ids that nobody lists."""
        self._catch_all = tuple(OfferInfo(provider, "") for provider in providers)
        return self

    def dearest(self, modality: Modality) -> Traits:
        """What a model may cost that nobody here knows."""
        return self._dearest[modality]

    @property
    def catch_alls(self) -> tuple[int, ...]:
        """The providers that take what nobody lists."""
        return tuple(offer.provider for offer in self._catch_all)

    def find(self, name: str, modality: Modality = Modality.TEXT) -> ModelInfo | None:
        """Exactly, then folded, then a catch-all's guess that it is of `modality`. Raises
        Ambiguous."""
        return self.listed(name) or self.guess(name, modality)

    def listed(self, name: str) -> ModelInfo | None:
        """A model that somebody lists. Raises Ambiguous."""
        model = self.models.get(name)
        if model:
            return model
        near = self._folded.get(fold(name), ())
        if len(near) > 1:
            raise Ambiguous(near)
        return self.models[near[0]] if near else None

    def near(self, name: str) -> list[str]:
        """Models that whoever asked for this name may have meant: those that begin most alike.

        Looked up, not measured: a name is refused as quickly as one is found.
        """
        asked = fold(short(name))
        place = bisect_left(self._spellings, asked)
        around = self._spellings[max(0, place - _MOST_NEAR) : place + _MOST_NEAR]
        alike = {spelling: _alike(asked, spelling) for spelling in around}
        found: dict[str, None] = {}
        for spelling in sorted(around, key=lambda known: -alike[known]):
            if alike[spelling] >= _LEAST_ALIKE:
                found.update(dict.fromkeys(sorted(self._short[spelling])))
        return list(found)[:_MOST_NEAR]

    def guess(self, name: str, modality: Modality) -> ModelInfo | None:
        """A model that nobody lists, or with name "" none at all, as a catch-all takes it."""
        if not self._catch_all:
            return None
        offers = tuple(OfferInfo(offer.provider, name) for offer in self._catch_all)
        return ModelInfo(name, self._dearest[modality], offers)

    @staticmethod
    def tuned(name: str, provider: int) -> ModelInfo:
        """A fine-tuned model of somebody's own (`ft:base:…`): priced like its base."""
        base = name.split(":")[1] if name.count(":") else name
        return ModelInfo(name, classify(base), (OfferInfo(provider, name),))
