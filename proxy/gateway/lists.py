"""SIGNATURES WANTED BY THE CORE (H5: keep these three names, write the rest)."""

from typing import TYPE_CHECKING, Any

from proxy.gateway.exchange import Exchange
from proxy.gateway.journey import Ticket

if TYPE_CHECKING:
    from proxy.gateway.local import Asking
    from proxy.gateway.plane import Gateway


async def answer(gateway: "Gateway", ticket: Ticket, exchange: Exchange) -> None:
    """Admitted already (free ticket: ticket.account, ticket.call.route.lists, ticket.call.query);
    answers on the exchange with proxy.gateway.answer.send_json. ApiError goes up."""
    raise NotImplementedError


async def uploads(asking: "Asking") -> tuple[int, Any]:
    """asking.account, asking.exchange.query"""
    raise NotImplementedError


async def upload(asking: "Asking") -> tuple[int, Any]:
    """asking.account, asking.params["upload_id"]"""
    raise NotImplementedError
