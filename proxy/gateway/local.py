"""Answers no provider is asked for: the API's root, the catalogue, the signs of life."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bsod.lib import clock
from bsod.lib.terms import Service
from proxy import openapi
from proxy.catalogue import ModelInfo
from proxy.errors import ApiError, Code, invalid
from proxy.gateway import generations, uploading
from proxy.gateway.aim import find_model
from proxy.gateway.answer import send_json, timing
from proxy.gateway.call import caller_of
from proxy.gateway.exchange import Exchange
from proxy.gateway.plane import Gateway
from proxy.route import Route
from proxy.routes import ROUTES

Params = Mapping[str, str]


async def answer(gateway: Gateway, route: Route, params: Params, exchange: Exchange) -> None:
    """A free route: checked like any other, entered nowhere."""
    head, account = exchange.head(), None
    if route.needs_key:
        identity = await gateway.check(caller_of(head), route.permission)
        account = identity.owner.id
    status, body = await ANSWERS[route.local](Asking(gateway, route, params, exchange, account))
    await send_json(exchange, status, body, timing(exchange))


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for what. `account` None: nobody in particular."""

    gateway: Gateway
    route: Route
    params: Params
    exchange: Exchange
    account: int | None


async def root(asking: Asking) -> tuple[int, Any]:
    routes = [route for route in ROUTES if route.path.startswith("/v1")]
    return 200, {
        "object": "api",
        "name": "BSOD",
        "compatible_with": "OpenAI",
        "openapi": "/v1/openapi.json",
        "endpoints": [
            {"method": route.method, "path": route.path, "summary": route.summary}
            for route in routes
        ],
    }


async def document(asking: Asking) -> tuple[int, Any]:
    return 200, openapi.body()


async def namespace(asking: Asking) -> tuple[int, Any]:
    return 200, openapi.namespace(asking.route.path)


async def realtime(asking: Asking) -> tuple[int, Any]:
    raise ApiError(
        Code.PERMISSION_DENIED,
        "Realtime sessions are not offered: they cannot be metered end to end. "
        "Use /v1/chat/completions or /v1/responses.",
        extra={"permission": "realtime"},
    )


async def needs_id(asking: Asking) -> tuple[int, Any]:
    raise invalid("id", "Name the file: DELETE /v1/files?id=..., or DELETE /v1/files/{file_id}.")


async def models(asking: Asking) -> tuple[int, Any]:
    gateway = asking.gateway
    catalogue = gateway.pool.snapshot.catalogue
    found = sorted(catalogue.models.values(), key=lambda model: model.name)
    return 200, {"object": "list", "data": [_shown(gateway, model) for model in found]}


async def model(asking: Asking) -> tuple[int, Any]:
    found = find_model(asking.gateway.pool.snapshot.catalogue, asking.params["model"])
    return 200, _shown(asking.gateway, found)


async def livez(asking: Asking) -> tuple[int, Any]:
    return 200, {"status": "ok"}


async def readyz(asking: Asking) -> tuple[int, Any]:
    gateway = asking.gateway
    ready = gateway.ready
    return 200 if ready else 503, {
        "status": "ok" if ready else "unavailable",
        "ledger": gateway.ledger.healthy,
        "draining": gateway.draining,
    }


ANSWERS: dict[str, Callable[[Asking], Awaitable[tuple[int, Any]]]] = {
    "root": root,
    "openapi": document,
    "namespace": namespace,
    "realtime": realtime,
    "needs_id": needs_id,
    "generation": generations.generation,
    "uploads": uploading.uploads,
    "upload": uploading.upload,
    "models": models,
    "model": model,
    "livez": livez,
    "readyz": readyz,
}


def _shown(gateway: Gateway, model: ModelInfo) -> dict[str, Any]:
    traits = model.traits
    endpoints = [
        route.path
        for route in ROUTES
        if route.modality is traits.modality
        and not route.variables
        and route.service
        and any(offer.provider in _serving(gateway, route.service) for offer in model.offers)
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


def _serving(gateway: Gateway, service: Service) -> list[int]:
    return list(gateway.pool.snapshot.serving(service))
