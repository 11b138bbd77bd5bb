"""What failures teach the pool, and how long something is left alone (SPEC §5).

The only place where a rest begins, by the rules of `failures.py` or an admin's word. A 429 rests a
key for one model and ends by the clock; every other rest ends by a probe of the worker, but for an
admin's own: those end by the clock, or by his word. A client's own 4xx never counts. All of it is
decided on the database's rows, inside a batch or a probe's transaction, so that every process
agrees.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple, Protocol

from django.db.models import F

from bsod.lib import sql
from bsod.lib.terms import Blame, RestReason
from proxy.failures import RULES, SUSPECT_SECONDS, Scope, backoff
from proxy.failures import limit_seconds as limit_seconds
from proxy.models import PoolState, Provider, ProviderKey, Rest
from proxy.pool import bump_rests

log = logging.getLogger("bsod.pool")


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


class _Failure(NamedTuple):
    """A refusal that is the provider's failure, not the key's."""

    provider: int
    key: int
    model: str
    blame: Blame = Blame.FAILURE
    wait: float | None = None


def learn(cursor: sql.Cursor, attempts: Sequence[Learnt], now: datetime) -> None:
    """Take the verdicts of a batch into the pool's rows."""
    good = [attempt for attempt in attempts if attempt.blame is Blame.NOBODY]
    if good:
        _forgive(cursor, {attempt.key for attempt in good}, {attempt.provider for attempt in good})
    # In one order in every process: whoever locks these rows otherwise may lock them crosswise.
    bad = sorted(
        (attempt for attempt in attempts if attempt.blame in RULES),
        key=lambda attempt: (attempt.provider, attempt.key),
    )
    grave = [attempt for attempt in bad if _count(attempt)]
    if not grave:
        return
    # One process at a time decides: or two would rest each other's last live key.
    PoolState.objects.select_for_update().get(id=1)
    changed = [_decide(attempt, now) for attempt in grave]
    if any(changed):
        bump_rests()


def _count(attempt: Learnt) -> bool:
    """Add a failure to what is counted; whether there may be a rest for it."""
    rule = RULES[attempt.blame]
    if rule.in_a_row == 1:
        return True
    row: type[Provider] | type[ProviderKey]
    row, id_ = (
        (Provider, attempt.provider) if rule.scope is Scope.PROVIDER else (ProviderKey, attempt.key)
    )
    row.objects.filter(pk=id_).update(failures=F("failures") + 1)
    return row.objects.filter(pk=id_, failures__gte=rule.in_a_row).exists()


def _decide(attempt: Learnt, now: datetime) -> bool:
    """Begin the rest that the rule of its blame names; whether that is news."""
    rule = RULES[attempt.blame]
    if rule.scope is Scope.MODEL:
        return _limited(attempt, now)
    if rule.suspect and _suspect(attempt, rule.reason, rule.suspect, now):
        failure = _Failure(attempt.provider, attempt.key, attempt.model)
        return _count(failure) and _decide(failure, now)
    if rule.spares_last and not _others_live(attempt):
        return False
    key = attempt.key if rule.scope is Scope.KEY else None
    return begin(attempt.provider, key, rule.reason, now)


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
    if row and row.until is None:
        return False  # a call of no model, and the whole key rests already
    step = limit_step(row.step, row.created_at, row.until, now) if row and row.until else 0
    until = now + timedelta(seconds=limit_seconds(step, attempt.wait))
    if row and row.until and row.until > until:
        return False  # sent before the rest began: it does not end sooner for that
    Rest.objects.update_or_create(
        key_id=attempt.key,
        model=attempt.model,
        defaults={
            "provider_id": attempt.provider,
            "reason": RestReason.RATE_LIMIT,
            "until": until,
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
    pause = max(length, timedelta(seconds=RULES[Blame.RATE_LIMIT].first))
    return step + 1 if now - until < pause else 0


def _suspect(attempt: Learnt, reason: str, most: int, now: datetime) -> bool:
    """Whether so many other keys were refused within a minute that it must be the provider."""
    lately = Rest.objects.filter(
        provider_id=attempt.provider,
        reason=reason,
        created_at__gt=now - timedelta(seconds=SUSPECT_SECONDS),
    ).exclude(key_id=attempt.key)
    return lately.count() >= most


def _others_live(attempt: Learnt) -> bool:
    """Whether the provider has another live key: the last one is not rested by failures."""
    live = ProviderKey.objects.filter(provider=attempt.provider, deleted_at=None, paused=False)
    others = live.exclude(pk=attempt.key)
    resting = Rest.objects.filter(provider=attempt.provider, until=None, key__isnull=False)
    return others.exclude(pk__in=resting.values("key")).exists()


def begin(provider: int, key: int | None, reason: RestReason, now: datetime) -> bool:
    """Rest a key or a whole provider until a probe passes; whether that is news."""
    probe_at = now + timedelta(seconds=backoff(reason).first)
    scope = {"key_id": key, "model": ""} if key else {"provider_id": provider, "key": None}
    # A limit of calls of no model has the same place, and less to say; an admin has more.
    Rest.objects.filter(**scope, until__isnull=False).exclude(reason=RestReason.COOLED).delete()
    _, made = Rest.objects.get_or_create(
        **scope,
        defaults={"provider_id": provider, "reason": reason, "probe_at": probe_at,
                  "created_at": now},
    )  # fmt: skip
    if made and reason is not RestReason.NEW:
        what = f"key {key} of provider {provider}" if key else f"provider {provider}"
        log.warning("%s rests until a probe passes: %s", what, reason)
    return made


def cool(provider: int, key: int, until: datetime, now: datetime) -> bool:
    """An admin leaves a key alone for a while. Not one that rests longer, or until a probe passes:
    it must not be back sooner for that."""
    known = Rest.objects.filter(key=key, model="").first()
    if known and (known.until is None or known.until >= until):
        return False
    _order(provider, key, RestReason.COOLED, until, now)
    return True


def switch_off(provider: int, key: int, now: datetime) -> bool:
    """An admin leaves a key alone until he says otherwise; whether that is news."""
    if Rest.objects.filter(key=key, model="", reason=RestReason.OFF).exists():
        return False
    _order(provider, key, RestReason.OFF, None, now)
    return True


def _order(
    provider: int, key: int, reason: RestReason, until: datetime | None, now: datetime
) -> None:
    # A new row: a probe that is just under way must not end what it was not asked about.
    Rest.objects.filter(key=key, model="").delete()
    Rest.objects.create(
        provider_id=provider, key_id=key, reason=reason, until=until, created_at=now
    )


def switch_on(key: int, now: datetime) -> bool:
    """The key is like a new one: it serves when a probe has passed, which is due at once."""
    off = Rest.objects.filter(key=key, model="", reason=RestReason.OFF)
    return bool(off.update(reason=RestReason.NEW, probe_at=now, created_at=now))


def end(rest: Rest) -> None:
    """A probe has passed: the rest is over, and its row of failures forgotten."""
    Rest.objects.filter(pk=rest.pk).delete()
    if rest.key_id:
        ProviderKey.objects.filter(pk=rest.key_id).update(failures=0)
    Provider.objects.filter(pk=rest.provider_id).update(failures=0)
    bump_rests()


def postpone(rest: Rest, now: datetime) -> None:
    """A probe has failed: the next one later, up to the reason's longest pause."""
    step = rest.step + 1
    first, most = backoff(rest.reason)
    probe_at = now + timedelta(seconds=min(most, first * 2 ** min(step, 30)))
    # Whoever probed at the same time may have ended it: then there is no row any more.
    Rest.objects.filter(pk=rest.pk).update(step=step, probe_at=probe_at, reason=rest.reason)
