"""Answers no provider is asked for: the API's root, the catalogue, the signs of life."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bsod.lib import clock
from proxy.catalogue import ModelInfo
from proxy.gateway.admission import find_model
from proxy.gateway.answer import send_json
from proxy.gateway.call import caller_of
from proxy.gateway.exchange import Exchange
from proxy.gateway.plane import Gateway
from proxy.routes import ROUTES, Route

Params = Mapping[str, str]


async def answer(gateway: Gateway, route: Route, params: Params, exchange: Exchange) -> None:
    """A free route: checked like any other, entered nowhere."""
    head = exchange.head()
    if route.needs_key:
        await gateway.check(caller_of(head), route.permission)
    status, body = await ANSWERS[route.local](gateway, params)
    await send_json(exchange, status, body)


async def root(gateway: Gateway, params: Params) -> tuple[int, Any]:
    routes = [route for route in ROUTES if route.path.startswith("/v1")]
    return 200, {
        "object": "api",
        "name": "BSOD",
        "compatible_with": "OpenAI",
        "endpoints": [
            {"method": route.method, "path": route.path, "summary": route.summary}
            for route in routes
        ],
    }


async def models(gateway: Gateway, params: Params) -> tuple[int, Any]:
    catalogue = gateway.pool.snapshot.catalogue
    found = sorted(catalogue.models.values(), key=lambda model: model.name)
    return 200, {"object": "list", "data": [_shown(gateway, model) for model in found]}


async def model(gateway: Gateway, params: Params) -> tuple[int, Any]:
    found = find_model(gateway.pool.snapshot.catalogue, params["model"])
    return 200, _shown(gateway, found)


async def livez(gateway: Gateway, params: Params) -> tuple[int, Any]:
    return 200, {"status": "ok"}


async def readyz(gateway: Gateway, params: Params) -> tuple[int, Any]:
    ready = gateway.ready
    return 200 if ready else 503, {
        "status": "ok" if ready else "unavailable",
        "ledger": gateway.ledger.healthy,
        "draining": gateway.draining,
    }


ANSWERS: dict[str, Callable[[Gateway, Params], Awaitable[tuple[int, Any]]]] = {
    "root": root,
    "models": models,
    "model": model,
    "livez": livez,
    "readyz": readyz,
}


def _shown(gateway: Gateway, model: ModelInfo) -> dict[str, Any]:
    traits = model.traits
    endpoints = [
        route.path for route in ROUTES if route.modality and route.modality is traits.modality
    ]
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "context_window": traits.context,
        "tier": str(traits.tier),
        "modality": str(traits.modality),
        "endpoints": endpoints,
        "pricing": {
            "credits_per_1k_input": traits.price_in,
            "credits_per_1k_output": traits.price_out,
            "credits_per_call": traits.per_call,
        },
        "available": bool(endpoints) and gateway.pool.available(model, clock.monotonic()),
        "shutdown_date": model.shutdown.isoformat() if model.shutdown else None,
    }
