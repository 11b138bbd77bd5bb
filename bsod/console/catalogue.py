"""The catalogue as the console shows it: who offers which model, and which of them answer now.

`snapshot` is the one place it comes from: what `proxy/showing.py` says of the pool, kept for a few
seconds. Secrets are never read here.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from bsod import poolview
from bsod.lib import clock
from proxy.catalogue import ModelInfo
from proxy.pool import Snapshot
from proxy.showing import Look, endpoints

FRESH = 5.0  # seconds a reading is shown for


class Listed(NamedTuple):
    """A model at one provider."""

    name: str
    provider: str
    modality: str
    tier: str
    context: int | None
    price_in: int
    price_out: int
    per_call: int
    reason: str
    """Why it does not answer; "": it does."""
    returns: datetime | None
    """When it is expected back, where that is known."""
    paths: tuple[str, ...] = ()
    """Where it can be asked for something."""
    shutdown: date | None = None
    """The day from which it is not served any more."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A provider and what it offers."""

    slug: str
    rows: tuple[Listed, ...]
    up: int

    @property
    def title(self) -> str:
        return _TITLES.get(self.slug) or self.slug.replace("-", " ").replace("_", " ").capitalize()

    @property
    def reason(self) -> str:
        """Why nothing of it answers; "": something does."""
        return "" if self.up or not self.rows else self.rows[0].reason


@dataclass(frozen=True, slots=True)
class Reading:
    shelves: tuple[Shelf, ...]
    models: frozenset[str]
    up: int
    """How many of them somebody answers for."""


_TITLES = {"openai": "OpenAI"}


def snapshot() -> Reading:
    return _reading(poolview.current().generation, int(clock.monotonic() / FRESH))


@lru_cache(maxsize=2)
def _reading(_generation: int, _moment: int) -> Reading:
    pool, now, ticks = poolview.current(), clock.now(), clock.monotonic()
    look = Look(pool, ticks, now.date())
    shelves: dict[int, list[Listed]] = {provider: [] for provider in pool.slugs}
    for _name, model in sorted(pool.catalogue.models.items()):
        paths = tuple(endpoints(pool, model))
        for provider in {offer.provider for offer in model.offers}:
            state = look.model(model, provider)
            back = None if state.back is None else now + timedelta(seconds=state.back - ticks)
            row = _row(pool, model, provider)
            shelves[provider].append(
                row._replace(reason=state.reason or "", returns=back, paths=paths)
            )
    made = [
        Shelf(pool.slugs[provider], tuple(listed), sum(not row.reason for row in listed))
        for provider, listed in shelves.items()
    ]
    made.sort(key=lambda shelf: (-len(shelf.rows), shelf.slug))
    every = [row for shelf in made for row in shelf.rows]
    up = len({row.name for row in every if not row.reason})
    return Reading(tuple(made), frozenset(row.name for row in every), up)


def _row(pool: Snapshot, model: ModelInfo, provider: int) -> Listed:
    traits = model.traits
    return Listed(
        model.name, pool.slugs[provider], traits.modality, traits.tier, traits.context,
        traits.price_in, traits.price_out, traits.per_call, "", None, (), model.shutdown,
    )  # fmt: skip
