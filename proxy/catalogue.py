"""What a model is: one table of rules over its id, and how a name asked for finds a model.

A provider's list says little more than ids. The rules give modality, tier, context window, output
limit and price; an admin's override of a row wins over them. Prices are credits for 1000 tokens,
about a thirtieth of a dollar's price per million.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from bsod.lib.terms import Modality, Service, Tier


class Traits(NamedTuple):
    modality: Modality = Modality.TEXT
    tier: Tier = Tier.BASE
    context: int | None = 128_000
    output: int | None = 16_384
    price_in: int = 10
    price_out: int = 40
    per_call: int = 0
    speaks: frozenset[Service] | None = None
    """What it can be asked for; None: whatever its provider offers."""


_PRO, _BASE = Tier.PRO, Tier.BASE
_TEXT = Modality.TEXT

# First match wins; matched against the id in lower case, after any `models/` or vendor prefix.
RULES: tuple[tuple[str, Traits], ...] = (
    (r"text-embedding|embed", Traits(Modality.EMBEDDING, _BASE, 8_192, None, 1, 0)),
    (r"moderation", Traits(Modality.MODERATION, _BASE, 32_768, None, 0, 0)),
    (r"gpt-(4o-)?audio", Traits(_TEXT, _PRO, 128_000, 16_384, 84, 334)),
    (r"gpt-4o.*audio", Traits(_TEXT, _PRO, 128_000, 16_384, 84, 334)),
    (r"gpt-image|dall-e|imagen|-image", Traits(Modality.IMAGE, _BASE, None, None, 0, 0, 4_000)),
    (r"sora-2-pro", Traits(Modality.VIDEO, _PRO, None, None, 0, 0, 1_200_000)),
    (r"sora|veo", Traits(Modality.VIDEO, _BASE, None, None, 0, 0, 1_200_000)),
    (
        r"whisper|transcribe|tts|audio|realtime",
        Traits(Modality.AUDIO, _BASE, None, None, 0, 0, 600),
    ),
    (r"smollm", Traits(_TEXT, _BASE, 2_048, 1_024, 1, 1)),
    (r"gpt-[5-9].*(nano)", Traits(_TEXT, _BASE, 400_000, 128_000, 2, 14)),
    (r"gpt-[5-9].*(mini)", Traits(_TEXT, _BASE, 400_000, 128_000, 9, 67)),
    (r"gpt-[5-9].*pro", Traits(_TEXT, _PRO, 400_000, 272_000, 500, 4_000)),
    (r"gpt-[5-9]", Traits(_TEXT, _PRO, 400_000, 128_000, 42, 334)),
    (r"gpt-4\.1.*(nano|mini)", Traits(_TEXT, _BASE, 1_047_576, 32_768, 14, 54)),
    (r"gpt-4\.1", Traits(_TEXT, _PRO, 1_047_576, 32_768, 67, 267)),
    (r"gpt-4o-mini", Traits(_TEXT, _BASE, 128_000, 16_384, 5, 20)),
    (r"gpt-4o", Traits(_TEXT, _PRO, 128_000, 16_384, 84, 334)),
    (r"gpt-4", Traits(_TEXT, _PRO, 8_192, 8_192, 1_000, 2_000)),
    (r"gpt-3\.5|babbage|davinci", Traits(_TEXT, _BASE, 16_385, 4_096, 17, 50)),
    (r"\bo[134]\b.*mini", Traits(_TEXT, _PRO, 200_000, 100_000, 37, 147)),
    (r"\bo[134]\b", Traits(_TEXT, _PRO, 200_000, 100_000, 67, 267)),
    (r"claude.*haiku", Traits(_TEXT, _BASE, 200_000, 64_000, 34, 167)),
    (r"claude.*opus", Traits(_TEXT, _PRO, 200_000, 64_000, 167, 834)),
    (r"claude", Traits(_TEXT, _PRO, 200_000, 64_000, 100, 500)),
    (r"gemini.*flash.*lite", Traits(_TEXT, _BASE, 1_048_576, 65_536, 4, 14)),
    (r"gemini.*flash", Traits(_TEXT, _BASE, 1_048_576, 65_536, 10, 84)),
    (r"gemini", Traits(_TEXT, _PRO, 1_048_576, 65_536, 42, 334)),
    (r"sonar-(pro|reasoning|deep)", Traits(_TEXT, _PRO, 200_000, 8_192, 100, 500)),
    (r"sonar", Traits(_TEXT, _BASE, 127_000, 8_192, 34, 34)),
)
_RULES = tuple((re.compile(rule), traits) for rule, traits in RULES)
# Nobody lists it, so nobody knows what it costs: at least as much as the dearest (SPEC §4).
UNKNOWN = Traits(_TEXT, _PRO, None, 16_384, 1_000, 4_000)


def classify(name: str) -> Traits:
    """What the rules say of a model id; an id no rule knows is a small, cheap text model."""
    short = name.lower().rpartition("/")[2]
    return next((traits for rule, traits in _RULES if rule.search(short)), Traits())


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
    return re.sub(r"[.\-_/ ]", "", name.lower())


class Catalogue:
    """Names to models. Built when the pool changes, only read afterwards."""

    def __init__(self, models: Iterable[ModelInfo], slugs: Mapping[int, str]) -> None:
        self.models = {model.name: model for model in models}
        self._folded: dict[str, set[str]] = {}
        for model in self.models.values():
            self._learn(model.name, model.name)
            for offer in model.offers:
                slug = slugs.get(offer.provider, "")
                for known_as in (model.name, offer.upstream_id):
                    self._learn(known_as, model.name)
                    self._learn(slug + known_as, model.name)
        self._catch_all: tuple[OfferInfo, ...] = ()
        self._dearest = {kind: self._dearest_of(kind) for kind in Modality}

    def _dearest_of(self, modality: Modality) -> Traits:
        """Nobody lists it, so nobody knows its price: the dearest of its kind."""
        known = [m.traits for m in self.models.values() if m.traits.modality is modality]
        ruled = [traits for _, traits in RULES if traits.modality is modality]
        every = [*known, *ruled, *([UNKNOWN] if modality is _TEXT else [])]
        return UNKNOWN._replace(
            modality=modality,
            price_in=max(traits.price_in for traits in every),
            price_out=max(traits.price_out for traits in every),
            per_call=max(traits.per_call for traits in every),
        )

    def _learn(self, spelling: str, name: str) -> None:
        self._folded.setdefault(fold(spelling), set()).add(name)

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

    def find(self, name: str, modality: Modality = _TEXT) -> ModelInfo | None:
        """Exactly, then folded, then a catch-all's guess that it is of `modality`. Raises
        Ambiguous."""
        return self.listed(name) or self.guess(name, modality)

    def listed(self, name: str) -> ModelInfo | None:
        """A model that somebody lists. Raises Ambiguous."""
        model = self.models.get(name)
        if model:
            return model
        near = self._folded.get(fold(name), set())
        if len(near) > 1:
            raise Ambiguous(near)
        if near:
            return self.models[next(iter(near))]
        return None

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
