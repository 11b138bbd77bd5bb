"""Asking keys how they are because an admin wants to know it (`POST /admin/recheck-keys/`).

A few are asked at once and the answers told; of many it is only noted that they are to be asked,
and the worker asks them one after another. A key that is being asked, or waits for it, is not asked
again: pressing a button twice costs a provider nothing. A key that its donor has paused is never
asked. What an answer means for the pool is decided as ever: a rest that ends by a probe ends, and
what is refused begins one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q

from accounts.audit import Verb, record
from accounts.models import Account
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Blame, RestReason
from proxy import probe, rests, service
from proxy.models import ProviderKey, Rest
from proxy.probe import Finding

AT_ONCE = 5  # keys that are asked while whoever wants to know it waits
_PATIENCE = 15.0  # seconds after which the others of them are left to the worker
_CLAIM = timedelta(minutes=2)  # a probe that has not come back by then is somebody else's
_TURN = 10.0  # seconds after which the worker makes room for its other chores


@dataclass(frozen=True, slots=True)
class Recheck:
    """What became of it: the answers, and how many keys are still to be asked."""

    found: list[tuple[ProviderKey, Finding]]
    scheduled: int
    waiting: int
    """Keys that were to be asked already."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A probe, as rests are taught by attempts."""

    provider: int
    key: int
    blame: Blame
    model: str = ""
    wait: float | None = None


def recheck(keys: Iterable[int], by: Account) -> Recheck:
    """Ask these keys, or have them asked."""
    numbers = list(keys)
    fresh, waiting = _claim(numbers, by)
    ends, found = clock.monotonic() + _PATIENCE, []
    at_once = fresh if len(fresh) <= AT_ONCE else []
    for key in at_once:
        if clock.monotonic() > ends:
            break
        found.append((key, look(key)))
    left = fresh[len(found) :]
    _hand_over(left)
    return Recheck(found, len(left), waiting)


def _claim(numbers: list[int], by: Account) -> tuple[list[ProviderKey], int]:
    """The keys that nobody is asking, which from now on are ours to ask."""
    living = ProviderKey.objects.filter(
        pk__in=numbers, deleted_at=None, paused=False, provider__deleted_at=None
    )
    with transaction.atomic():
        free = living.filter(asked_at=None).select_for_update(of=("self",)).order_by("pk")
        fresh = list(free.select_related("provider"))
        total = living.count()
        if fresh:
            mine = ProviderKey.objects.filter(pk__in=[key.pk for key in fresh])
            mine.update(asked_at=clock.now() + _CLAIM)
            target = fresh[0] if len(fresh) == 1 else ""
            record(by, Verb.PROVIDER_KEY_PROBE, target, count=len(fresh),
                   providers=sorted({key.provider.slug for key in fresh}))  # fmt: skip
    return fresh, total - len(fresh)


def _hand_over(keys: list[ProviderKey]) -> None:
    """To the worker, which takes them in a moment."""
    mine = ProviderKey.objects.filter(pk__in=[key.pk for key in keys])
    mine.update(asked_at=clock.now())


def ask_due(now: datetime) -> int:
    """Ask the keys that are to be asked; returns how many were. Two workers never ask twice."""
    due = ProviderKey.objects.filter(
        asked_at__lte=now, deleted_at=None, paused=False, provider__deleted_at=None
    )
    asked, ends = 0, clock.monotonic() + _TURN
    for key in due.select_related("provider").order_by("asked_at", "pk")[:50]:
        if clock.monotonic() > ends:
            break
        mine = ProviderKey.objects.filter(pk=key.pk, asked_at=key.asked_at)
        if mine.update(asked_at=now + _CLAIM):
            look(key)
            asked += 1
    return asked


def look(key: ProviderKey) -> Finding:
    """Ask a key, and let the pool learn from the answer."""
    mine = Q(key=key) | Q(provider=key.provider_id, key=None)
    resting = Rest.objects.filter(mine, until=None).exclude(reason=RestReason.OFF)
    found: Finding | None = None
    # Its own rest last: what that probe says is told.
    for rest in sorted(resting, key=lambda rest: rest.key_id is not None):
        found = probe.ask(key, rest.reason)
        service.conclude(rest, found, clock.now())
    if found is None:
        found = probe.call(key)
        _teach(key, found)
    _noted(key, found)
    return found


def _teach(key: ProviderKey, found: Finding) -> None:
    """As a call would have taught it. Which model a limit is for, a probe does not say."""
    if found.blame is Blame.RATE_LIMIT:
        return
    attempt = _Attempt(key.provider_id, key.pk, found.blame)
    with exclusive("recheck"), connection.cursor() as cursor:
        rests.learn(cursor, [attempt], clock.now())


def _noted(key: ProviderKey, found: Finding) -> None:
    service.noted(key.pk, found, clock.now())
    ProviderKey.objects.filter(pk=key.pk).update(asked_at=None)
