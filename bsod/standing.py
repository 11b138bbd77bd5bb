"""How the whole stands: which providers answer, how many models can be had, whether calls fail.

One value, which `/status/`, its page, `/health/` and `/metrics` all show.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import Max

from bsod.lib import clock
from proxy import figures
from proxy.figures import FAILED, GOOD, KEY_STATES, WINDOWS
from proxy.models import Rest
from proxy.pool import Snapshot
from proxy.showing import Look

_ENOUGH = 20  # calls of an hour that can tell how we do
_WELL, _ILL = 0.95, 0.5  # shares of success below which we are not well, and down


class Health(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ProviderStanding:
    slug: str
    reason: str | None
    """Why it does not answer; None: it does."""
    since: datetime | None
    """From when on, where that is known."""
    back_in: float | None
    keys: Mapping[str, int]
    models: int

    @property
    def up(self) -> bool:
        return self.reason is None

    def told(self) -> dict[str, Any]:
        return {
            "provider": self.slug,
            "up": self.up,
            "reason": self.reason,
            "since": clock.unix(self.since) if self.since else None,
            "back_in_seconds": None if self.back_in is None else max(0, round(self.back_in)),
            "keys": {**self.keys, "total": sum(self.keys.values())},
            "models": self.models,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    state: Health
    providers: Sequence[ProviderStanding]
    models: int
    available: int
    failing: bool
    """Too many calls of the last hour have failed."""

    @property
    def keys(self) -> dict[str, int]:
        found = {state: sum(one.keys[state] for one in self.providers) for state in KEY_STATES}
        return {**found, "total": sum(found.values())}

    @property
    def out(self) -> list[ProviderStanding]:
        return [one for one in self.providers if not one.up]

    def told(self) -> dict[str, Any]:
        return {
            "state": str(self.state),
            "providers": [one.told() for one in self.providers],
            "models": {"available": self.available, "total": self.models},
        }


def stand(snapshot: Snapshot, now: datetime) -> Standing:
    ticks = clock.monotonic()
    look = Look(snapshot, ticks, now.date())
    offered = Counter(
        place
        for model in snapshot.catalogue.models.values()
        for place in {offer.provider for offer in model.offers}
    )
    since = _since()
    providers = []
    for id_, slug in sorted(snapshot.slugs.items(), key=lambda item: item[1]):
        state = look.provider(id_)
        keys = figures.key_states(snapshot, id_, ticks)
        back = None if state.back is None else state.back - ticks
        when = None if state.available else since.get(id_)
        providers.append(ProviderStanding(slug, state.reason, when, back, keys, offered[id_]))
    models = [look.model(model).available for model in snapshot.catalogue.models.values()]
    share = _recent(now)
    failing = share is not None and share < _WELL
    return Standing(_state(providers, share), providers, len(models), sum(models), failing)


def _since() -> dict[int, datetime]:
    """Since when the last of a provider's keys, or it as a whole, is left alone."""
    rests = Rest.objects.filter(model="").values_list("provider").annotate(Max("created_at"))
    return dict(rests)


def _recent(now: datetime) -> float | None:
    """The share of success in the last hour; None: there were too few calls to tell."""
    window = WINDOWS["1h"]
    recent = figures.tally(figures.calls(figures.of_window(window, now)))
    return recent.success if recent.of(GOOD) + recent.of(FAILED) >= _ENOUGH else None


def _state(providers: Sequence[ProviderStanding], share: float | None) -> Health:
    up = [one.up for one in providers]
    if not any(up) or (share is not None and share < _ILL):
        return Health.DOWN
    if not all(up) or (share is not None and share < _WELL):
        return Health.DEGRADED
    return Health.OK
