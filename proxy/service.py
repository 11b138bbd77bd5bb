"""What is done to the pool and the catalogue: add a provider and its keys, sync, probe.

Commands, the worker and the admin all call these. HTTP happens first, outside any transaction;
then one short transaction writes what was found and bumps the pool's generation.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from bsod.lib import clock
from bsod.lib.terms import Blame, RestReason
from proxy import probe, rests
from proxy.catalogue import classify
from proxy.models import Model, Offer, Provider, ProviderKey, Rest
from proxy.pool import bump, vault
from proxy.probe import Finding
from proxy.providers.registry import ADAPTERS

log = logging.getLogger("bsod.pool")
_CLAIM = timedelta(minutes=2)  # a probe that has not come back by then is somebody else's


class Unknown(ValueError):
    """There is no such kind or provider; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Added:
    provider: Provider
    findings: list[tuple[ProviderKey, Finding]]
    models: int


def add_provider(
    slug: str,
    kind: str,
    base_url: str,
    secrets: Sequence[str],
    *,
    catch_all: bool = False,
    proxy_url: str = "",
) -> Added:
    """Add a provider, or change it and add keys to it. The keys are probed before this returns.

    Raises Unknown: no such kind of provider, or a base URL that is none.
    """
    if kind not in ADAPTERS:
        raise Unknown(f"There is no kind {kind!r}. Kinds: {', '.join(sorted(ADAPTERS))}.")
    if not base_url.startswith(("http://", "https://")):
        raise Unknown("The base URL must begin with https:// or http://.")
    with transaction.atomic():
        provider, _ = Provider.objects.update_or_create(
            slug=slug,
            defaults={
                "kind": kind,
                "base_url": base_url.rstrip("/"),
                "catch_all": catch_all,
                "proxy_url": proxy_url,
                "deleted_at": None,
            },
        )
        keys = [_add_key(provider, secret) for secret in secrets]
        bump()
    findings = [(key, _probe_new(key)) for key in keys]
    return Added(provider, findings, _take_lists(provider, [found for _, found in findings]))


def _add_key(provider: Provider, secret: str) -> ProviderKey:
    """A key rests until whoever added it has probed it. The same secret twice is one key."""
    box = vault()
    key, made = ProviderKey.objects.get_or_create(
        provider=provider,
        fingerprint=box.fingerprint(secret),
        defaults={"sealed": "", "last4": secret[-4:]},
    )
    if made or key.deleted_at:
        key.sealed, key.deleted_at = box.seal(key.uid, secret), None
        key.save()
        rests.begin(provider.pk, key.pk, RestReason.NEW, clock.now())
    return key


def _probe_new(key: ProviderKey) -> Finding:
    found = probe.list_models(key)
    rest = Rest.objects.filter(key=key, until=None).first()
    if rest:
        conclude(rest, found, clock.now())
    return found


def _take_lists(provider: Provider, findings: Iterable[Finding]) -> int:
    names = {name for found in findings for name in found.models or ()}
    if names:
        write_catalogue(provider, sorted(names), clock.now())
    return len(names)


def sync_models(provider: Provider) -> int | None:
    """Read the provider's list with its keys until one gives it; None: none did."""
    for key in ProviderKey.objects.filter(provider=provider, deleted_at=None).order_by("id"):
        found = probe.list_models(key)
        if found.models is not None:
            write_catalogue(provider, found.models, clock.now())
            return len(found.models)
    return None


@transaction.atomic
def write_catalogue(provider: Provider, names: Sequence[str], now: datetime) -> None:
    """Models and offers as the provider lists them; what an admin has edited is left alone."""
    listed = {name.removeprefix("models/"): name for name in names}
    known = set(Model.objects.filter(name__in=listed).values_list("name", flat=True))
    Model.objects.bulk_create([_described(name) for name in listed if name not in known])
    models = {row.name: row for row in Model.objects.filter(name__in=listed)}
    Offer.objects.bulk_create(
        [
            Offer(model=models[name], provider=provider, upstream_id=upstream)
            for name, upstream in listed.items()
        ],
        update_conflicts=True,
        unique_fields=["model", "provider"],
        update_fields=["upstream_id", "gone_at"],
    )
    Offer.objects.filter(provider=provider, gone_at=None).exclude(model__name__in=listed).update(
        gone_at=now
    )
    Provider.objects.filter(pk=provider.pk).update(synced_at=now)
    bump()


def _described(name: str) -> Model:
    traits = classify(name)
    return Model(
        name=name,
        modality=traits.modality,
        tier=traits.tier,
        context_window=traits.context,
        max_output=traits.output,
        credits_per_1k_input=traits.price_in,
        credits_per_1k_output=traits.price_out,
        credits_per_call=traits.per_call,
    )


def probe_due(now: datetime) -> int:
    """Probe what rests and is due; returns how many were asked. Two workers never ask twice."""
    due = Rest.objects.filter(until=None, probe_at__lte=now).order_by("probe_at")
    asked = 0
    for rest in due.select_related("provider", "key__provider")[:50]:
        claimed = Rest.objects.filter(pk=rest.pk, probe_at=rest.probe_at).update(
            probe_at=now + _CLAIM
        )
        key = rest.key or _any_key(rest.provider)
        if claimed and key:
            conclude(rest, probe.ask(key, rest.reason), clock.now())
            asked += 1
    return asked


def _any_key(provider: Provider) -> ProviderKey | None:
    keys = ProviderKey.objects.filter(provider=provider, deleted_at=None)
    return keys.select_related("provider").order_by("id").first()


@transaction.atomic
def conclude(rest: Rest, found: Finding, now: datetime) -> None:
    """End a rest after a good probe, or put the next probe off."""
    # For a provider that rests, any answer will do: it can be reached again.
    if found.works or (rest.key_id is None and found.blame is not Blame.CONNECT):
        rests.end(rest)
        return
    if rest.reason == RestReason.NEW and found.blame in (Blame.AUTH, Blame.BILLING):
        rest.reason = RestReason(str(found.blame))
        rest.save(update_fields=["reason"])
    rests.postpone(rest, now)
    bump()


def sync_due(now: datetime, every: timedelta) -> int:
    """Sync every provider whose list is older than `every`; returns how many."""
    old = Q(synced_at=None) | Q(synced_at__lt=now - every)
    count = 0
    for provider in Provider.objects.filter(old, deleted_at=None):
        # Stamped first, so that a provider that hangs is not asked at every turn.
        Provider.objects.filter(pk=provider.pk).update(synced_at=now)
        if sync_models(provider) is not None:
            count += 1
    return count


def forget_old_limits(now: datetime) -> None:
    """Drop rests that ended by the clock long enough ago to matter no more."""
    Rest.objects.filter(until__lt=now - timedelta(hours=1)).delete()


def rotate_vault() -> int:
    """Seal every provider key under the first vault key again."""
    box, count = vault(), 0
    for key in ProviderKey.objects.exclude(sealed=""):
        ProviderKey.objects.filter(pk=key.pk).update(sealed=box.rotate(key.sealed))
        count += 1
    return count
