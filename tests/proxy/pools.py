"""Pools made by hand: which keys, and what keeps them from a model."""

from collections.abc import Mapping
from typing import Any

from proxy.catalogue import Catalogue, ModelInfo, OfferInfo, Traits
from proxy.hearsay import Hearsay, Rested
from proxy.pool import Lease, NoKey, Pool, PoolKey, Snapshot
from proxy.providers.registry import ADAPTERS

ALICE, BOB = 1, 2
NOW = 1000.0


def key(number: int, provider: int = 1) -> PoolKey:
    return PoolKey(number, provider, ADAPTERS["openai"], "http://127.0.0.1", "", f"sk-{number}")


def model(*providers: int, name: str = "m") -> ModelInfo:
    return ModelInfo(name, Traits(), tuple(OfferInfo(provider, name) for provider in providers))


def pool(keys: dict[int, list[int]], rests: Mapping[Any, Rested] | None = None) -> Pool:
    made = Pool()
    known = {
        provider: [key(number, provider) for number in numbers]
        for provider, numbers in keys.items()
    }
    made.snapshot = Snapshot(1, Catalogue([], {}), {}, known, dict(rests or {}))
    for number in (n for numbers in keys.values() for n in numbers):
        made.hearsay.prove(number)
    return made


def fresh(keys: dict[int, list[int]]) -> Pool:
    """Right after a start: no key has answered this process yet."""
    made = pool(keys)
    made.hearsay = Hearsay()
    return made


def patiently(made: Pool, account: int, now: float = NOW) -> int | None:
    """The key for a call that may wait; None: it has to."""
    found = made.lease(model(1), account, (), now, patient=True)
    if isinstance(found, Lease):
        return found.key.id
    assert found.undecided
    return None


def lease(
    made: Pool, account: int = ALICE, tried: tuple[int, ...] = (), now: float = NOW,
    what: ModelInfo | None = None,
) -> Lease:  # fmt: skip
    found = made.lease(what or model(1), account, tried, now)
    assert isinstance(found, Lease), found
    return found


def nobody(made: Pool, tried: tuple[int, ...] = (), what: ModelInfo | None = None) -> NoKey:
    found = made.lease(what or model(1), ALICE, tried, NOW)
    assert isinstance(found, NoKey), found
    return found
