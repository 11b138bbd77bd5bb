"""What the outside may see of the catalogue: each model, whether it can be had, and if not, why.

`GET /v1/models`, `/catalog/` and the console all show what is made here. It is made of a snapshot
of the pool alone, so that every process shows the same, and it names no key and no host: reasons
are one of the few below, or the words of an admin who has locked a provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import orjson

from bsod.lib.terms import Modality, RestReason, Service, Shape
from proxy.catalogue import ModelInfo
from proxy.hearsay import Rested, back_at
from proxy.pool import PoolKey, Snapshot
from proxy.providers.base import Adapter
from proxy.providers.bridging.ways import Way, way
from proxy.providers.registry import ADAPTERS
from proxy.routes import ROUTES
from proxy.rules import sounds

DIED = "all api keys died"
UNPROVEN = "its api keys have not been tried yet"
UNREACHED = "the provider cannot be reached"
LIMITED = "every api key waits for the provider's own limit"
NOWHERE = "no route here serves it"
# The calls that ask a model for something at once.
_ASKS = {
    Shape.CHAT, Shape.RESPONSE, Shape.COMPLETION, Shape.EMBEDDING, Shape.MODERATION, Shape.IMAGE,
    Shape.TRANSCRIPTION, Shape.SPEECH, Shape.VIDEO,
}  # fmt: skip
_ROUTES = {
    kind: [
        route
        for route in ROUTES
        if route.modality is kind and route.shape in _ASKS and not route.variables
    ]
    for kind in Modality
}


@dataclass(frozen=True, slots=True)
class State:
    """Whether a model can be had. `back`: when it is expected to be (monotonic seconds), where
    that is known."""

    reason: str | None = None
    back: float | None = None

    @property
    def available(self) -> bool:
        return self.reason is None


AVAILABLE = State()


def endpoints(snapshot: Snapshot, model: ModelInfo) -> list[str]:
    """The paths at which a model can be asked for something."""
    return list(_paths_of(snapshot, model))


def _paths_of(snapshot: Snapshot, model: ModelInfo) -> tuple[str, ...]:
    traits = model.traits
    kinds = tuple([snapshot.kinds.get(offer.provider, "") for offer in model.offers])
    shapes = sounds(model.name) if traits.modality is Modality.AUDIO else None
    return _paths(kinds, traits.modality, traits.speaks, shapes)


@lru_cache(maxsize=1024)
def _paths(
    kinds: tuple[str, ...],
    modality: Modality,
    speaks: frozenset[Service] | None,
    shapes: frozenset[Shape] | None,
) -> tuple[str, ...]:
    adapters = [ADAPTERS[kind] for kind in kinds if kind in ADAPTERS]
    return tuple(
        route.path
        for route in _ROUTES[modality]
        if shapes is None or route.shape in shapes
        if any(_takes(adapter, route.service, speaks) for adapter in adapters)
    )


def _takes(adapter: Adapter, service: Service | None, speaks: frozenset[Service] | None) -> bool:
    if service is None or way(adapter, service, speaks) is Way.NONE:
        return False
    if speaks is None:
        # OpenAI's chat models know nothing of its oldest route.
        return service is not Service.COMPLETIONS or adapter.kind != "openai"
    return bool(speaks) and (service is not Service.COMPLETIONS or service in speaks)


class Look:
    """The states of models at one moment. What is so of a provider is found out once, and holds
    for all of its models but those of which a key rests alone."""

    def __init__(self, snapshot: Snapshot, now: float, today: date) -> None:
        self._snapshot, self._now, self._today = snapshot, now, today
        self._named = {model for _, _, model in snapshot.rests if model}
        self._choosy = {
            provider
            for provider, keys in snapshot.keys.items()
            if any(key.models is not None for key in keys)
        }
        """Providers with a key that does not serve every model."""
        self._usual: dict[int, State] = {}

    def model(self, model: ModelInfo, provider: int | None = None) -> State:
        """Whether a model can be had, from anybody or from one provider."""
        if model.shutdown and model.shutdown <= self._today:
            return State(f"shut down on {model.shutdown.isoformat()}")
        states = []
        for offer in model.offers:
            if provider is None or provider == offer.provider:
                state = self._at(offer.provider, model.name)
                if state.reason is None:
                    return AVAILABLE if _paths_of(self._snapshot, model) else State(NOWHERE)
                states.append(state)
        return min(states, key=_soonest, default=State(DIED))

    def provider(self, provider: int) -> State:
        """Whether a provider has a key that serves, whatever the model."""
        return self._at(provider, "")

    def _at(self, provider: int, model: str) -> State:
        if model in self._named or provider in self._choosy:
            return _found(self._snapshot, provider, model, self._now)
        known = self._usual.get(provider)
        if known is None:
            known = self._usual[provider] = _found(self._snapshot, provider, "", self._now)
        return known


def _soonest(state: State) -> float:
    return float("inf") if state.back is None else state.back


def _found(snapshot: Snapshot, provider: int, model: str, now: float) -> State:
    if provider in snapshot.locks:
        return State(snapshot.locks[provider])
    keys = [key for key in snapshot.keys.get(provider, []) if not model or key.takes(model)]
    every = [_rests(snapshot, key, model, now) for key in keys]
    if not all(every):
        return AVAILABLE
    backs = [back for rests in every if (back := back_at(rests, now)) is not None]
    reasons = [{rest.reason for rest in rests} for rests in every]
    return State(_reason(reasons), min(backs, default=None))


def _reason(reasons: list[set[str]]) -> str:
    """Why none of the keys serves. One that only waits for a limit is alive."""
    if any(of_key == {RestReason.RATE_LIMIT} for of_key in reasons):
        return LIMITED
    if reasons and all(RestReason.UNREACHABLE in of_key for of_key in reasons):
        return UNREACHED
    if any(RestReason.NEW in of_key for of_key in reasons):
        return UNPROVEN
    return DIED


def _rests(snapshot: Snapshot, key: PoolKey, model: str, now: float) -> list[Rested]:
    rests = snapshot.rests
    if not rests:
        return []
    places = ((key.provider, None, ""), (None, key.id, ""), (None, key.id, model))
    found = [rests.get(place) for place in dict.fromkeys(places)]
    return [rested for rested in found if rested and rested.holds(now)]


def changes_at(snapshot: Snapshot, now: float) -> float:
    """When the next rest ends by the clock: until then and until midnight, nothing changes but
    with the pool's generation."""
    ends = (rest.until for rest in snapshot.rests.values() if rest.until is not None)
    return min((end for end in ends if end > now), default=float("inf"))


def shown(snapshot: Snapshot, model: ModelInfo) -> dict[str, Any]:
    """A model as OpenAI's clients expect it, and what we know beside that; all but its state."""
    traits = model.traits
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "context_window": traits.context,
        "max_output": traits.output,
        "tier": str(traits.tier),
        "modality": str(traits.modality),
        "endpoints": endpoints(snapshot, model),
        "pricing": {
            "credits_per_1k_input": traits.price_in,
            "credits_per_1k_output": traits.price_out,
            "credits_per_call": traits.per_call,
        },
        "shutdown_date": model.shutdown.isoformat() if model.shutdown else None,
    }


def stated(state: State) -> dict[str, Any]:
    """The two fields that say a model's state."""
    return {"available": state.available, "reason": state.reason}


def heads(snapshot: Snapshot) -> dict[str, bytes]:
    """Every model's JSON but for its state, by name. It stays the same as long as the catalogue
    does, while keys begin to rest and return."""
    models = sorted(snapshot.catalogue.models.values(), key=lambda model: model.name)
    return {model.name: orjson.dumps(shown(snapshot, model)) for model in models}


def tail(said: Mapping[str, Any]) -> bytes:
    """What is said of a state, ready to follow a head: many models share one."""
    return b"," + orjson.dumps(said)[1:]


def whole(head: bytes, tail: bytes) -> bytes:
    """A model's JSON with its state."""
    return head[:-1] + tail
