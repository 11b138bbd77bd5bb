"""`GET /v1/models` and `/v1/models/{model}`: the catalogue as OpenAI's clients read it.

It is written once for each state of the pool and then only sent: many clients ask for the whole
list whenever they start. What it says of a model changes with the pool's generation, when a rest
ends by the clock, and at midnight, when a model may be shut down. Its ETag is made of its bytes,
so every process gives the same, and a client that has it already gets a 304.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import orjson

from bsod.lib import clock
from bsod.lib.terms import ObjectKind
from proxy.catalogue import Catalogue, ModelInfo
from proxy.gateway.aim import find_model, no_model
from proxy.gateway.aside import aside
from proxy.models import Object
from proxy.pool import Pool, Snapshot
from proxy.showing import Look, changes_at, heads, shown, stated, tail, whole

CACHE = "private, no-cache"  # kept by the client alone, and asked for anew each time


@dataclass(frozen=True, slots=True)
class Page:
    """An answer as it goes out, and what it is known by."""

    body: bytes
    tag: str

    def headers(self) -> dict[str, str]:
        return {"etag": self.tag, "cache-control": CACHE}


def page(body: bytes) -> Page:
    return Page(body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"')


def matches(wanted: str, tag: str) -> bool:
    """Whether If-None-Match names what would be answered."""
    tags = [part.strip().removeprefix("W/") for part in wanted.split(",")]
    return tag in tags or tags == ["*"]


@dataclass(slots=True)
class Models:
    """What one process has written of the catalogue."""

    _generation: int = -1
    _until: float = 0.0
    _list: Page = field(default_factory=lambda: page(b""))
    _of: dict[str, bytes] = field(default_factory=dict)
    _heads: Mapping[str, bytes] = field(default_factory=dict)
    _catalogue: Catalogue | None = None

    def every(self, pool: Pool) -> Page:
        """The list."""
        self._look(pool.snapshot)
        return self._list

    def one(self, pool: Pool, model: ModelInfo) -> Page:
        """One model; it may be one that nobody lists."""
        snapshot = pool.snapshot
        self._look(snapshot)
        if model.name in self._of:
            return page(self._of[model.name])
        state = Look(snapshot, clock.monotonic(), clock.now().date()).model(model)
        return page(whole(orjson.dumps(shown(snapshot, model)), tail(stated(state))))

    def _look(self, snapshot: Snapshot) -> None:
        now = clock.monotonic()
        if snapshot.generation == self._generation and now < self._until:
            return
        if snapshot.catalogue is not self._catalogue:
            self._heads, self._catalogue = heads(snapshot), snapshot.catalogue
        look, listed = Look(snapshot, now, clock.now().date()), snapshot.catalogue.models
        states = {name: look.model(listed[name]) for name in self._heads}
        tails = {state: tail(stated(state)) for state in set(states.values())}
        self._of = {name: whole(head, tails[states[name]]) for name, head in self._heads.items()}
        self._list = page(b'{"object":"list","data":[' + b",".join(self._of.values()) + b"]}")
        self._generation = snapshot.generation
        self._until = min(changes_at(snapshot, now), now + _until_midnight())


def _until_midnight() -> float:
    now = clock.now()
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


async def wanted(pool: Pool, name: str, account: int | None) -> ModelInfo:
    """The model that is asked for. ApiError 404, with the names that are near."""
    if not name.startswith("ft:"):
        return find_model(pool.snapshot.catalogue, name)
    # Somebody's own: nobody else learns that there is one.
    row = await aside(partial(_tuned, account, name))
    if row is None or row.provider_id not in pool.snapshot.slugs:
        raise no_model(name)
    found = pool.snapshot.catalogue.tuned(name, row.provider_id)
    slug = pool.snapshot.slugs[row.provider_id]
    return ModelInfo(name, found.traits, found.offers, slug, clock.unix(row.created_at))


def _tuned(account: int | None, name: str) -> Object | None:
    rows = Object.objects.filter(account=account, kind=ObjectKind.MODEL, upstream_id=name)
    return rows.filter(key__deleted_at=None).order_by("-pk").first()
