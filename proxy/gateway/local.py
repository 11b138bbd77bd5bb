"""Answers no provider is asked for: the API's root, the catalogue, the signs of life."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from proxy import openapi
from proxy.errors import ApiError, Code, invalid
from proxy.gateway import generations, uploading
from proxy.gateway.answer import send_json, send_unchanged, timing
from proxy.gateway.asking import Asking
from proxy.gateway.call import caller_of
from proxy.gateway.exchange import Exchange
from proxy.gateway.models import Page, matches, wanted
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
    asking = Asking(gateway, route, params, exchange, account)
    status, body = await ANSWERS[route.local](asking)
    headers = timing(exchange) | asking.headers
    if status == 304:
        await send_unchanged(exchange, headers)
    else:
        await send_json(exchange, status, body, headers)


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
    return _unless_known(asking, asking.gateway.models.every(asking.gateway.pool))


async def model(asking: Asking) -> tuple[int, Any]:
    gateway = asking.gateway
    found = await wanted(gateway.pool, asking.params["model"], asking.account)
    return _unless_known(asking, gateway.models.one(gateway.pool, found))


def _unless_known(asking: Asking, page: Page) -> tuple[int, Any]:
    """An answer, or 304 for whoever has it already."""
    asking.headers.update(page.headers())
    known = asking.exchange.head().if_none_match
    return (304, b"") if known and matches(known, page.tag) else (200, page.body)


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
