"""What an answer of our own is made from: who asks for what, where no provider is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.gateway.exchange import Exchange
from proxy.gateway.plane import Gateway
from proxy.route import Route


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for what. `account` None: nobody in particular."""

    gateway: Gateway
    route: Route
    params: Mapping[str, str]
    exchange: Exchange
    account: int | None
    headers: dict[str, str] = field(default_factory=dict)
    """What is said beside the answer."""
