"""What failures teach the pool, and how long something is left alone (SPEC §5).

The only place where a rest begins. A 429 rests a key for one model and ends by the clock; every
other rest ends by a probe of the worker. A client's own 4xx never counts. All of it is decided on
the database's rows, inside a batch or a probe's transaction, so that every process agrees.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple, Protocol

from django.conf import settings
from django.db.models import F

from bsod.lib import sql
from bsod.lib.terms import Blame, RestReason
from proxy.models import Provider, ProviderKey, Rest
from proxy.pool import bump

IN_A_ROW = 5  # failures after which a key, or connect failures after which a provider, rests
_LIMIT_FIRST, _LIMIT_MOST = 5.0, 600.0
_SUSPECT_KEYS, _SUSPECT_SECONDS = 3, 60


class Backoff(NamedTuple):
    """Seconds before the first probe, and the most between two."""

    first: float
    most: float


def backoff(reason: str) -> Backoff:
    if reason in (RestReason.AUTH, RestReason.BILLING):
        return Backoff(settings.FIRST_PROBE * 12, 86_400.0)
    return Backoff(settings.FIRST_PROBE, 3_600.0)


class Learnt(Protocol):
    """One attempt at a provider, as its verdict names it."""

    @property
    def provider(self) -> int: ...

    @property
    def key(self) -> int: ...

    @property
    def model(self) -> str: ...

    @property
    def blame(self) -> Blame: ...

    @property
    def wait(self) -> float | None: ...


def learn(cursor: sql.Cursor, attempts: Sequence[Learnt], now: datetime) -> None:
    """Take the verdicts of a batch into the pool's rows."""
    good = [attempt for attempt in attempts if attempt.blame is Blame.NOBODY]
    if good:
        _forgive(cursor, {attempt.key for attempt in good}, {attempt.provider for attempt in good})
    # In one order in every process: whoever locks these rows otherwise may lock them crosswise.
    bad = sorted(
        (attempt for attempt in attempts if _RULES.get(attempt.blame)),
        key=lambda attempt: (attempt.provider, attempt.key),
    )
    changed = [_RULES[attempt.blame](attempt, now) for attempt in bad]
    if any(changed):
        bump()


def _forgive(cursor: sql.Cursor, keys: set[int], providers: set[int]) -> None:
    """A success ends a row of failures. One indexed look where there was none."""
    cursor.execute(
        f"{_failing(ProviderKey, len(keys))} UNION ALL {_failing(Provider, len(providers))}",
        (*keys, *providers),
    )
    if cursor.fetchall():
        ProviderKey.objects.filter(pk__in=keys, failures__gt=0).update(failures=0)
        Provider.objects.filter(pk__in=providers, failures__gt=0).update(failures=0)


@cache
def _failing(model: type[Provider] | type[ProviderKey], count: int) -> str:
    return (
        f"SELECT 1 FROM {sql.table(model)} "
        f"WHERE {sql.column(model, 'id')} IN ({sql.marks(range(count))}) "
        f"AND {sql.column(model, 'failures')} > 0"
    )


def _limited(attempt: Learnt, now: datetime) -> bool:
    row = Rest.objects.filter(key_id=attempt.key, model=attempt.model).first()
    step = limit_step(row.step, row.created_at, row.until, now) if row and row.until else 0
    seconds = limit_seconds(step, attempt.wait)
    Rest.objects.update_or_create(
        key_id=attempt.key,
        model=attempt.model,
        defaults={
            "provider_id": attempt.provider,
            "reason": RestReason.RATE_LIMIT,
            "until": now + timedelta(seconds=seconds),
            "step": step,
            "created_at": now,
        },
    )
    return True


def limit_step(step: int, began: datetime, until: datetime, now: datetime) -> int:
    """Doublings of the next rest: one more when the last one ended only just now.

    A refusal while it still lasts belongs to a call sent before it, and teaches nothing new.
    """
    if now < until:
        return step
    length = until - began
    return step + 1 if now - until < max(length, timedelta(seconds=_LIMIT_FIRST)) else 0


def limit_seconds(step: int, wait: float | None) -> float:
    """What the provider asked for, else 5 s doubling; never more than ten minutes."""
    return min(_LIMIT_MOST, wait if wait is not None else _LIMIT_FIRST * 2 ** min(step, 10))


def _refused(attempt: Learnt, now: datetime) -> bool:
    """401 and billing rest the key at once; many keys at once make the provider suspect instead."""
    reason = RestReason.AUTH if attempt.blame is Blame.AUTH else RestReason.BILLING
    lately = Rest.objects.filter(
        provider_id=attempt.provider,
        reason=reason,
        created_at__gt=now - timedelta(seconds=_SUSPECT_SECONDS),
    ).exclude(key_id=attempt.key)
    if lately.count() >= _SUSPECT_KEYS:
        return _failed(attempt, now)
    return begin(attempt.provider, attempt.key, reason, now)


def _failed(attempt: Learnt, now: datetime) -> bool:
    ProviderKey.objects.filter(pk=attempt.key).update(failures=F("failures") + 1)
    row = ProviderKey.objects.filter(pk=attempt.key).first()
    if row is None or row.failures < IN_A_ROW or not _others_live(row, now):
        return False
    return begin(attempt.provider, attempt.key, RestReason.FAILURES, now)


def _others_live(key: ProviderKey, now: datetime) -> bool:
    """Whether the provider has another live key: the last one is not rested by failures."""
    others = ProviderKey.objects.filter(provider=key.provider_id, deleted_at=None).exclude(
        pk=key.pk
    )
    resting = Rest.objects.filter(provider=key.provider_id, until=None, key__isnull=False)
    return others.exclude(pk__in=resting.values("key")).exists()


def _unreachable(attempt: Learnt, now: datetime) -> bool:
    Provider.objects.filter(pk=attempt.provider).update(failures=F("failures") + 1)
    row = Provider.objects.filter(pk=attempt.provider).first()
    if row is None or row.failures < IN_A_ROW:
        return False
    return begin(attempt.provider, None, RestReason.UNREACHABLE, now)


_RULES = {
    Blame.RATE_LIMIT: _limited,
    Blame.AUTH: _refused,
    Blame.BILLING: _refused,
    Blame.FAILURE: _failed,
    Blame.CONNECT: _unreachable,
}


def begin(provider: int, key: int | None, reason: RestReason, now: datetime) -> bool:
    """Rest a key or a whole provider until a probe passes; whether that is news."""
    probe_at = now + timedelta(seconds=backoff(reason).first)
    scope = {"key_id": key, "model": ""} if key else {"provider_id": provider, "key": None}
    _, made = Rest.objects.get_or_create(
        **scope,
        defaults={"provider_id": provider, "reason": reason, "probe_at": probe_at,
                  "created_at": now},
    )  # fmt: skip
    return made


def end(rest: Rest) -> None:
    """A probe has passed: the rest is over, and its row of failures forgotten."""
    Rest.objects.filter(pk=rest.pk).delete()
    if rest.key_id:
        ProviderKey.objects.filter(pk=rest.key_id).update(failures=0)
    Provider.objects.filter(pk=rest.provider_id).update(failures=0)
    bump()


def postpone(rest: Rest, now: datetime) -> None:
    """A probe has failed: the next one later, up to the reason's longest pause."""
    step = rest.step + 1
    first, most = backoff(rest.reason)
    probe_at = now + timedelta(seconds=min(most, first * 2 ** min(step, 30)))
    # Whoever probed at the same time may have ended it: then there is no row any more.
    Rest.objects.filter(pk=rest.pk).update(step=step, probe_at=probe_at, reason=rest.reason)
