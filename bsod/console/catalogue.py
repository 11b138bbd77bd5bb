"""The catalogue as the console shows it: who offers which model, and which of them answer now.

`snapshot` is the one place it comes from: what `proxy/showing.py` says of the pool, kept until the
pool changes. A large catalogue takes a second to be read again: nobody waits for that who can be
shown what was so a moment ago, for a thread reads it beside them. Secrets are never read here.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from django.db import connection

from bsod import poolview
from bsod.lib import clock
from bsod.lib.terms import Modality, Tier
from proxy.catalogue import Catalogue, ModelInfo
from proxy.pool import Snapshot
from proxy.showing import Look, changes_at, endpoints

LARGE = 2_000  # models; below that everybody waits for a new reading: it is quick
HEAD_START = 0.4  # seconds in which the page that has found the change is made before it is read
OLD = 60.0  # seconds since the last reading was known to be true: after that everybody waits


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
    """A provider and what it offers: first what answers, then by name."""

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


@dataclass(frozen=True, eq=False)
class Reading:
    shelves: tuple[Shelf, ...]
    models: frozenset[str]
    up: int
    """How many of them somebody answers for."""

    @cached_property
    def best(self) -> dict[str, Listed]:
        """Of each model one provider's row: of one where it answers, if there is one."""
        found: dict[str, Listed] = {}
        for row in (row for shelf in self.shelves for row in shelf.rows):
            if row.name not in found or (found[row.name].reason and not row.reason):
                found[row.name] = row
        return found

    @cached_property
    def answering(self) -> dict[str, tuple[Listed, ...]]:
        """By modality, the models that answer: those of the smaller price first."""
        rows = [row for row in self.best.values() if not row.reason]
        rows.sort(key=lambda row: (row.tier != Tier.BASE, row.price_out, row.per_call, row.name))
        return {each: tuple(row for row in rows if row.modality == each) for each in Modality}

    @property
    def texts(self) -> tuple[Listed, ...]:
        return self.answering[Modality.TEXT]

    @property
    def example(self) -> str:
        """A model for samples."""
        return self.texts[0].name if self.texts else "gpt-5.4"


_TITLES = {"openai": "OpenAI"}


def snapshot() -> Reading:
    """One small statement, as long as the pool has not changed."""
    return _kept.current()


def read_ahead() -> None:
    """Begin to read it, so that the first visitor need not wait for a large one."""
    _kept.begin()


class Read(NamedTuple):
    """A reading, and how long it is true: until the pool changes, a rest ends, or the day."""

    reading: Reading
    generation: int
    until: float
    day: date

    def holds(self, generation: int) -> bool:
        alike = generation == self.generation and clock.now().date() == self.day
        return alike and clock.monotonic() < self.until


class Kept:
    """The last reading. One thread makes the next one, for all who want it."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._lock = threading.Lock()
        self._last: Read | None = None
        self._true_at = 0.0
        self._next: Future[Read] | None = None
        self._reader = ThreadPoolExecutor(1, "catalogue")

    def current(self) -> Reading:
        generation = poolview.generation()
        with self._lock:
            last, now = self._last, clock.monotonic()
            if last and last.holds(generation):
                self._true_at = now
                return last.reading
            aside = last and now - self._true_at < OLD and len(last.reading.models) >= LARGE
            if self._next is None or self._next.done():
                self._next = self._reader.submit(self._read, HEAD_START if aside else 0.0)
            coming = self._next
        return last.reading if last and aside else coming.result().reading

    def begin(self) -> None:
        with self._lock:
            self._next = self._reader.submit(self._read, 0.0)

    def _read(self, later: float) -> Read:
        time.sleep(later)
        try:
            made = _read(poolview.current(), self._rows)
        finally:
            connection.close()  # this thread's own
        with self._lock:
            self._last, self._true_at = made, clock.monotonic()
        return made


class Rows:
    """What is said of models that answer: the same for as long as the catalogue is."""

    def __init__(self) -> None:
        self._catalogue: Catalogue | None = None
        self._rows: dict[int, list[tuple[ModelInfo, Listed]]] = {}

    def of(self, pool: Snapshot) -> dict[int, list[tuple[ModelInfo, Listed]]]:
        """By provider, each by name."""
        if pool.catalogue is not self._catalogue:
            self._rows = {provider: [] for provider in pool.slugs}
            for _name, model in sorted(pool.catalogue.models.items()):
                paths = tuple(endpoints(pool, model))
                for provider in {offer.provider for offer in model.offers}:
                    row = _row(pool.slugs[provider], model, paths)
                    self._rows[provider].append((model, row))
            self._catalogue = pool.catalogue
        return self._rows


_kept = Kept()


def _read(pool: Snapshot, rows: Rows) -> Read:
    now, ticks = clock.now(), clock.monotonic()
    look = Look(pool, ticks, now.date())
    made = []
    for provider, known in rows.of(pool).items():
        up, down = [], []
        for model, row in known:
            state = look.model(model, provider)
            if state.reason is None:
                up.append(row)
            else:
                back = None if state.back is None else now + timedelta(seconds=state.back - ticks)
                down.append(row._replace(reason=state.reason, returns=back))
        made.append(Shelf(pool.slugs[provider], (*up, *down), len(up)))
    made.sort(key=lambda shelf: (-len(shelf.rows), shelf.slug))
    answering = len({row.name for shelf in made for row in shelf.rows[: shelf.up]})
    reading = Reading(tuple(made), frozenset(pool.catalogue.models), answering)
    return Read(reading, pool.generation, changes_at(pool, ticks), now.date())


def _row(slug: str, model: ModelInfo, paths: tuple[str, ...]) -> Listed:
    traits = model.traits
    return Listed(
        model.name, slug, traits.modality, traits.tier, traits.context, traits.price_in,
        traits.price_out, traits.per_call, "", None, paths, model.shutdown,
    )  # fmt: skip
