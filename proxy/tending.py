"""What an admin does to the pool: an act is a function here, and pages, bulk actions and routes
call it.

Each act is one transaction: it changes rows, keeps in the audit log who did it and why, and tells
every process. What takes capacity away has a reason. Nobody is asked anything inside a transaction,
and nobody's secret is in what is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts.audit import Verb, record
from accounts.models import Account
from bsod.lib import clock
from proxy import rests, service
from proxy.models import Job, Model, Object, Offer, Provider, ProviderKey, Rest
from proxy.pool import bump, bump_rests

LONGEST_COOLING = 7 * 24 * 60  # minutes


class NoReason(ValueError):
    """What takes capacity away has a reason; nothing was done."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What hangs on providers or keys that are about to go."""

    keys: int
    donated: int
    models: int
    """Models that nobody else offers."""
    objects: int
    jobs: int


def weight(keys: QuerySet[ProviderKey], providers: QuerySet[Provider] | None = None) -> Weight:
    """What goes, and what is left without its key."""
    living = keys.filter(deleted_at=None)
    return Weight(
        living.count(),
        living.filter(donor__isnull=False).count(),
        _only_at(providers) if providers is not None else 0,
        Object.objects.filter(key__in=living).count(),
        Job.objects.filter(key__in=living).count(),
    )


def _only_at(providers: QuerySet[Provider]) -> int:
    there = Offer.objects.filter(model=OuterRef("pk"), gone_at=None, provider__deleted_at=None)
    chosen = list(providers.values_list("pk", flat=True))
    return Model.objects.filter(
        Exists(there.filter(provider__in=chosen)), ~Exists(there.exclude(provider__in=chosen))
    ).count()


def _reason(text: str) -> str:
    if not text.strip():
        raise NoReason("Give a reason: it is kept in the audit log. Nothing was done.")
    return text.strip()


# ---- providers


def add_provider(
    by: Account,
    slug: str,
    kind: str,
    base_url: str,
    secrets: Sequence[str],
    *,
    catch_all: bool = False,
    proxy_url: str = "",
) -> service.Added:
    """A new provider and its first keys, probed. Raises service.Unknown."""
    added = service.add_provider(
        slug, kind, base_url, secrets, catch_all=catch_all, proxy_url=proxy_url
    )
    record(by, Verb.PROVIDER_CREATE, added.provider, kind=kind, base_url=base_url)
    _keep_keys(by, added)
    return added


def add_keys(by: Account, provider: Provider, secrets: Sequence[str]) -> service.Added:
    """More keys of a provider, probed. Raises service.Unknown."""
    added = service.add_keys(provider, secrets)
    _keep_keys(by, added)
    return added


def _keep_keys(by: Account, added: service.Added) -> None:
    for key, found in added.findings:
        record(by, Verb.PROVIDER_KEY_ADD, key, probe=found.note)


def lock(providers: Iterable[Provider], by: Account, text: str) -> int:
    """Calls get a 503 with this text; models stay listed. How many are locked so now."""
    text = _reason(text)[:300]
    with transaction.atomic():
        changed = [provider for provider in providers if provider.lock_text != text]
        Provider.objects.filter(pk__in=[one.pk for one in changed]).update(lock_text=text)
        for provider in changed:
            record(by, Verb.PROVIDER_LOCK, provider, reason=text)
        bump()
    return len(changed)


def unlock(providers: Iterable[Provider], by: Account) -> int:
    with transaction.atomic():
        locked = [provider for provider in providers if provider.lock_text]
        Provider.objects.filter(pk__in=[one.pk for one in locked]).update(lock_text="")
        for provider in locked:
            record(by, Verb.PROVIDER_UNLOCK, provider, said=provider.lock_text)
        bump()
    return len(locked)


def remove_providers(providers: Iterable[Provider], by: Account, reason: str) -> int:
    """Out of the pool and the lists. Rows and secrets stay: it can be brought back."""
    reason = _reason(reason)
    with transaction.atomic():
        chosen = [provider for provider in providers if provider.deleted_at is None]
        Provider.objects.filter(pk__in=[one.pk for one in chosen]).update(deleted_at=clock.now())
        for provider in chosen:
            record(by, Verb.PROVIDER_DELETE, provider, reason=reason)
        bump()
    return len(chosen)


def restore_providers(providers: Iterable[Provider], by: Account) -> int:
    """Back into the pool as they were. Their keys are asked at once how they are."""
    with transaction.atomic():
        gone = [provider for provider in providers if provider.deleted_at is not None]
        numbers = [one.pk for one in gone]
        Provider.objects.filter(pk__in=numbers).update(deleted_at=None, synced_at=None)
        keys = ProviderKey.objects.filter(provider__in=numbers, deleted_at=None, asked_at=None)
        keys.update(asked_at=clock.now())
        for provider in gone:
            record(by, Verb.PROVIDER_RESTORE, provider)
        bump()
    return len(gone)


def sync(provider: Provider, by: Account) -> int | None:
    """Read its model list now; None: no key gives one. Asks the provider."""
    count = service.sync_models(provider)
    record(by, Verb.PROVIDER_SYNC, provider, models=count)
    return count


def sync_later(providers: Iterable[Provider], by: Account) -> None:
    """Have their lists read by the worker, which looks every minute."""
    with transaction.atomic():
        for provider in providers:
            Provider.objects.filter(pk=provider.pk).update(synced_at=None)
            record(by, Verb.PROVIDER_SYNC, provider)


# ---- keys and rests


def remove_keys(keys: Iterable[ProviderKey], by: Account, reason: str) -> int:
    """Out of the pool, the secret wiped. What it has made upstream still names it; adding the same
    secret again revives the row."""
    reason = _reason(reason)
    with transaction.atomic():
        chosen = [key for key in keys if key.deleted_at is None]
        numbers = [key.pk for key in chosen]
        Rest.objects.filter(key__in=numbers).delete()
        ProviderKey.objects.filter(pk__in=numbers).update(
            deleted_at=clock.now(), sealed="", asked_at=None
        )
        for key in chosen:
            record(by, Verb.PROVIDER_KEY_DELETE, key, reason=reason)
        bump()
    return len(chosen)


def cool(keys: Iterable[ProviderKey], by: Account, minutes: int, reason: str) -> int:
    """Leave keys alone for so many minutes. Not those that rest for longer, or until a probe."""
    reason = _reason(reason)
    if not 1 <= minutes <= LONGEST_COOLING:
        raise ValueError(f"A key cools down for 1 to {LONGEST_COOLING} minutes.")
    now = clock.now()
    with transaction.atomic():
        until = now + timedelta(minutes=minutes)
        cooled = [key for key in keys if rests.cool(key.provider_id, key.pk, until, now)]
        for key in cooled:
            record(by, Verb.PROVIDER_KEY_COOL, key, reason=reason, minutes=minutes)
        bump_rests()
    return len(cooled)


def switch_off(keys: Iterable[ProviderKey], by: Account, reason: str) -> int:
    """No call takes these keys until somebody switches them on. Calls under way go on."""
    reason, now = _reason(reason), clock.now()
    with transaction.atomic():
        changed = [key for key in keys if rests.switch_off(key.provider_id, key.pk, now)]
        for key in changed:
            record(by, Verb.PROVIDER_KEY_DISABLE, key, reason=reason)
        bump_rests()
    return len(changed)


def switch_on(keys: Iterable[ProviderKey], by: Account) -> int:
    """Keys that were switched off serve again once a probe has passed; the worker asks at once."""
    now = clock.now()
    with transaction.atomic():
        changed = [key for key in keys if rests.switch_on(key.pk, now)]
        for key in changed:
            record(by, Verb.PROVIDER_KEY_ENABLE, key)
        bump_rests()
    return len(changed)


def end_rests(found: Iterable[Rest], by: Account) -> int:
    """End rests before their time, where it is the clock that ends them. The others say that a key
    does not work: only a probe that passes ends those."""
    with transaction.atomic():
        ended = [rest for rest in found if rest.until is not None]
        Rest.objects.filter(pk__in=[rest.pk for rest in ended]).delete()
        for rest in ended:
            record(by, Verb.REST_END, rest.key or rest.provider, was=rest.reason, model=rest.model)
        bump_rests()
    return len(ended)


# ---- the catalogue


def fix(models: Iterable[int], values: dict[str, Any], by: Account) -> int:
    """Set fields of many models at once: no sync touches those fields any more."""
    chosen = list(models)
    with transaction.atomic():
        service.fix(chosen, values)
        _keep_models(by, Verb.MODEL_FIX, chosen, set={n: str(v) for n, v in values.items()})
    return len(chosen)


def follow(models: Iterable[int], by: Account) -> int:
    """Forget what admins have set: rules and lists decide again."""
    chosen = list(models)
    _keep_models(by, Verb.MODEL_FOLLOW, chosen)
    service.follow(chosen)
    return len(chosen)


def _keep_models(by: Account, verb: Verb, chosen: Sequence[int], **facts: Any) -> None:
    """Thousands may be changed at once: one event names the first of them."""
    names = list(Model.objects.filter(pk__in=chosen[:100]).values_list("name", flat=True))
    target = Model.objects.filter(pk=chosen[0]).first() if len(chosen) == 1 else ""
    record(by, verb, target, models=names, count=len(chosen), **facts)
