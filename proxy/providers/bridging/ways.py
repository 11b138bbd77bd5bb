"""Whether a model is asked in the client's own words, or in the other of two that mean the same.

Only the call that makes an answer can be bridged: whatever is about an answer made before needs
a provider that keeps it. What a model speaks is said by a rule over its name; where its provider
offers nothing of that, the provider knows better.
"""

from collections.abc import Set
from enum import Enum
from functools import lru_cache
from typing import Protocol

from bsod.lib.terms import Service, Shape
from proxy.providers.base import Asked

OTHER = {Service.CHAT: Service.RESPONSES, Service.RESPONSES: Service.CHAT}
CREATES = {Shape.CHAT: Service.CHAT, Shape.RESPONSE: Service.RESPONSES}
"""The calls that make an answer, and what their provider must offer."""


class Way(Enum):
    """How a model at a provider answers a kind of call."""

    NATIVE = "native"
    BRIDGED = "bridged"
    NONE = "none"


class Serving(Protocol):
    def serves(self, service: Service) -> bool: ...


def way(adapter: Serving, service: Service, speaks: Set[Service] | None) -> Way:
    """`speaks`: None where nothing is known of the model; empty where it answers neither."""
    return _way(adapter, service, speaks)  # type: ignore[arg-type]  # whatever serves has a hash


@lru_cache(maxsize=1024)  # asked several times a call, of a few adapters
def _way(adapter: Serving, service: Service, speaks: Set[Service] | None) -> Way:
    other = OTHER.get(service)
    if other is None:
        return Way.NATIVE if adapter.serves(service) else Way.NONE
    if speaks and not any(map(adapter.serves, speaks)):
        speaks = None
    if adapter.serves(service) and (speaks is None or service in speaks):
        return Way.NATIVE
    if adapter.serves(other) and (speaks is None or other in speaks):
        return Way.BRIDGED
    return Way.NONE


def could(adapter: Serving, service: Service, shape: Shape) -> bool:
    """Whether a provider of this kind could serve such a call at all."""
    if shape in CREATES:
        return way(adapter, service, None) is not Way.NONE
    return adapter.serves(service)


def crosses(adapter: Serving, asked: Asked) -> bool:
    """Whether this call must be put in other words."""
    service = CREATES.get(asked.shape)
    return service is not None and way(adapter, service, asked.speaks) is Way.BRIDGED
