"""Which providers of a model can take a call: those that answer it by themselves, and those that
answer it in other words, if it can be put so.

What only a provider that keeps things can do goes to one that does. Where there is none, the
refusal names models that have one, before anything is reserved.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace

from bsod.lib.terms import Service
from proxy.catalogue import Ambiguous, ModelInfo, OfferInfo
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.journey import Call, Weighed
from proxy.pool import Snapshot
from proxy.providers.base import Adapter, Refused
from proxy.providers.bridging.adapter import refusal
from proxy.providers.bridging.ways import CREATES, OTHER, Way, way
from proxy.providers.registry import ADAPTERS

_LONG = 100_000  # tokens of a prompt beyond which reading it leaves the event loop
MOST_NAMED = 20  # models that a refusal names


def reachable(call: Call, model: ModelInfo, pool: Snapshot) -> ModelInfo:
    """The model at those of its providers that can take the call. ApiError 400, 404."""
    service = call.route.service
    if service not in OTHER:
        return model
    if call.route.shape not in CREATES:
        # About an answer made before, or as one is made: nobody else's words mean the same.
        offers = tuple(it for it in model.offers if _serves(pool, it.provider, service))
        return model if len(offers) == len(model.offers) else replace(model, offers=offers)
    ways = [(offer, _way(pool, offer, service, model)) for offer in model.offers]
    natives = tuple(offer for offer, how in ways if how is Way.NATIVE)
    if len(natives) == len(ways):
        return model
    bridged = tuple(offer for offer, how in ways if how is Way.BRIDGED)
    if not natives and not bridged:
        return _silent(call, model, pool, service)
    refused = _refused(call) if bridged else None
    if refused and not natives:
        raise _nobody(refused, pool, service)
    return replace(model, offers=natives if refused else natives + bridged)


async def weighed(call: Call, pool: Snapshot) -> Call:
    """The call, knowing whether it can be put in other words if it may have to: a body may be
    long, and the ledger is not to wait until it has been read."""
    service = CREATES.get(call.route.shape)
    if service is None or call.fault or not call.model:
        return call
    try:
        model = pool.catalogue.find(call.model)
    except Ambiguous:
        return call
    if not model or all(_way(pool, it, service, model) is not Way.BRIDGED for it in model.offers):
        return call
    if call.prompt < _LONG:
        return replace(call, weighed=Weighed(_refused(call)))
    return replace(call, weighed=Weighed(await asyncio.to_thread(_refused, call)))


def _refused(call: Call) -> Refused | None:
    if call.weighed:
        return call.weighed.refused
    if not call.model:
        return Refused("model", "'model' must be the id of a model; see GET /v1/models.")
    return refusal(call.route.shape, call.body)


def _nobody(refused: Refused, pool: Snapshot, service: Service) -> ApiError:
    """Nobody who has this model can do it: here is who has one that can."""
    names = sorted(_natives(pool, service))
    named = f" Models that can: {_few(names)}." if names else ""
    error = invalid(refused.param, refused.message + named)
    error.extra["models"] = names[:MOST_NAMED]
    return error


def _few(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _natives(pool: Snapshot, service: Service) -> Iterator[str]:
    """Models that answer such a call by themselves, at a provider that has keys."""
    for name, model in pool.catalogue.models.items():
        keyed: Iterable[OfferInfo] = (it for it in model.offers if pool.keys.get(it.provider))
        if any(_way(pool, offer, service, model) is Way.NATIVE for offer in keyed):
            yield name


def _silent(call: Call, model: ModelInfo, pool: Snapshot, service: Service) -> ModelInfo:
    """It answers neither this nor the other: a model of another kind, or a provider without."""
    if model.traits.speaks is None or not any(
        _serves(pool, offer.provider, service) for offer in model.offers
    ):
        return replace(model, offers=())
    raise ApiError(
        Code.MODEL_NOT_FOUND,
        f"'{model.name}' does not serve {call.route.path}; see GET /v1/models.",
        param="model",
    )


def _way(pool: Snapshot, offer: OfferInfo, service: Service, model: ModelInfo) -> Way:
    adapter = _adapter(pool, offer.provider)
    return way(adapter, service, model.traits.speaks) if adapter else Way.NATIVE


def _serves(pool: Snapshot, provider: int, service: Service) -> bool:
    adapter = _adapter(pool, provider)
    return adapter is None or adapter.serves(service)


def _adapter(pool: Snapshot, provider: int) -> Adapter | None:
    """How the provider is spoken to, whether it has keys just now or not."""
    keys = pool.keys.get(provider)
    return keys[0].adapter if keys else ADAPTERS.get(pool.kinds.get(provider, ""))
