"""What is done to the pool and the catalogue: add a provider and its keys, sync, probe.

Commands, the worker and the admin all call these. HTTP happens first, outside any transaction;
then one short transaction writes what was found and bumps the pool's generation.
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db.models import Q

from bsod.lib import clock
from bsod.lib.addresses import forbidden
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Blame, RestReason
from bsod.lib.vault import VaultError
from proxy import probe, rests
from proxy.catalogue import classify
from proxy.matching import MODEL
from proxy.models import Model, Offer, Provider, ProviderKey, Rest
from proxy.pool import bump, vault
from proxy.probe import Finding
from proxy.providers.registry import ADAPTERS

log = logging.getLogger("bsod.pool")
_CLAIM = timedelta(minutes=2)  # a probe that has not come back by then is somebody else's
_TURN = 20.0  # seconds after which a turn of probes makes room for the worker's other chores


class Unknown(ValueError):
    """A provider cannot be like that; the text says what is wrong."""


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

    Raises Unknown: no such kind of provider, a base URL or a secret that is none.
    """
    _check(slug, kind, base_url)
    secrets = [_written(secret) for secret in secrets]
    with exclusive("add provider"):
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
    return Added(provider, findings, _take_lists(provider, findings))


def _check(slug: str, kind: str, base_url: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", slug):
        raise Unknown("A provider's name is 1 to 40 letters, digits, '-' and '_'.")
    if kind not in ADAPTERS:
        raise Unknown(f"There is no kind {kind!r}. Kinds: {', '.join(sorted(ADAPTERS))}.")
    try:
        url = urlsplit(base_url)
        host = url.hostname or ""
        good = url.scheme in ("http", "https") and host and url.port != 0
    except ValueError:
        raise Unknown("The base URL is no URL.") from None
    odd = any(mark in base_url for mark in "?#@") or not _plain(base_url)
    if not good or odd or len(base_url) > 300:
        raise Unknown("The base URL must look like https://api.example.com/v1, without a query.")
    if forbidden(host):
        raise Unknown("Link-local and metadata addresses serve no models.")


def _written(secret: str) -> str:
    """A secret as it goes into a header: nothing around it, nothing odd in it."""
    text = secret.strip()
    if not text or not _plain(text):
        raise Unknown("A key is printable ASCII without spaces.")
    return text


def _plain(text: str) -> bool:
    return all("!" <= letter <= "~" for letter in text)


def _add_key(provider: Provider, secret: str) -> ProviderKey:
    """A key rests until whoever added it has probed it. The same secret twice is one key."""
    box = vault()
    key, made = ProviderKey.objects.get_or_create(
        provider=provider,
        fingerprint=box.fingerprint(secret),
        defaults={"sealed": "", "last4": secret[-4:]},
    )
    if made or key.deleted_at:
        rests.begin(provider.pk, key.pk, RestReason.NEW, clock.now())
    # Sealed anew in any case: what is stored may not open any more.
    key.sealed, key.last4, key.deleted_at = box.seal(key.uid, secret), secret[-4:], None
    key.save(update_fields=["sealed", "last4", "deleted_at"])
    return key


def _probe_new(key: ProviderKey) -> Finding:
    """Probe a key just given, and end what it disproves: its own rest, and its provider's."""
    found = probe.list_models(key)
    mine = Q(key=key) | Q(provider=key.provider_id, key=None)
    for rest in Rest.objects.filter(mine, until=None):
        listed = rest.key_id is None or rest.reason == RestReason.NEW
        conclude(rest, found if listed else probe.ask(key, rest.reason), clock.now())
    return found


def _take_lists(provider: Provider, findings: Sequence[tuple[ProviderKey, Finding]]) -> int:
    """What these keys list, all together. Other keys of the provider may list more."""
    names = {name for _, found in findings for name in found.models or ()}
    asked = [key.pk for key, _ in findings]
    others = ProviderKey.objects.filter(provider=provider, deleted_at=None).exclude(pk__in=asked)
    if names:
        write_catalogue(provider, sorted(names), clock.now(), whole=not others.exists())
    return len(names)


def sync_models(provider: Provider) -> int | None:
    """Read the provider's list with its keys until one gives it; None: none did.

    An empty list is taken for none: a provider in trouble must not empty the catalogue.
    """
    keys = ProviderKey.objects.filter(provider=provider, deleted_at=None)
    for key in keys.select_related("provider").order_by("id"):
        found = probe.list_models(key)
        if found.models:
            write_catalogue(provider, found.models, clock.now())
            return len(found.models)
    return None


def write_catalogue(
    provider: Provider, names: Sequence[str], now: datetime, *, whole: bool = True
) -> None:
    """Models and offers as the provider lists them; what an admin has edited is left alone.

    With `whole` the list is all there is: what it lacks is gone.
    """
    # An id that nobody could ask for is not listed at all.
    plain = {name.removeprefix("models/"): name for name in names}
    listed = {name: upstream for name, upstream in plain.items() if MODEL.fullmatch(name)}
    with exclusive("catalogue"):
        _describe(listed)
        _offer(provider, listed, now, whole=whole)
        Provider.objects.filter(pk=provider.pk).update(synced_at=now)
        bump()


def _offer(provider: Provider, listed: Mapping[str, str], now: datetime, *, whole: bool) -> None:
    """What the provider serves, each model under the id it knows it by."""
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
    if whole:
        lost = Offer.objects.filter(provider=provider, gone_at=None)
        lost.exclude(model__name__in=listed).update(gone_at=now)


def _describe(names: Collection[str]) -> None:
    """Rows for these models, as the rules have them now; an admin's rows stay as they are."""
    rows = [Model(name=name, **_traits(name)) for name in names]
    Model.objects.bulk_create(rows, ignore_conflicts=True)
    for row in Model.objects.filter(name__in=names, overridden=False):
        traits = _traits(row.name)
        if any(getattr(row, field) != value for field, value in traits.items()):
            Model.objects.filter(pk=row.pk, overridden=False).update(**traits)


def _traits(name: str) -> dict[str, Any]:
    traits = classify(name)
    return {
        "modality": traits.modality,
        "tier": traits.tier,
        "context_window": traits.context,
        "max_output": traits.output,
        "credits_per_1k_input": traits.price_in,
        "credits_per_1k_output": traits.price_out,
        "credits_per_call": traits.per_call,
    }


def probe_due(now: datetime) -> int:
    """Probe what rests and is due; returns how many were asked. Two workers never ask twice."""
    due = Rest.objects.filter(
        Q(key=None) | Q(key__deleted_at=None),
        until=None, probe_at__lte=now, provider__deleted_at=None,
    )  # fmt: skip
    asked, ends = 0, clock.monotonic() + _TURN
    for rest in due.select_related("provider", "key__provider").order_by("probe_at")[:50]:
        if clock.monotonic() > ends:
            break
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


def conclude(rest: Rest, found: Finding, now: datetime) -> None:
    """End a rest after a good probe, or put the next probe off."""
    # For a provider that rests, any answer will do: it can be reached again.
    passed = found.works or (rest.key_id is None and found.blame is not Blame.CONNECT)
    if rest.reason == RestReason.NEW and found.blame in (Blame.AUTH, Blame.BILLING):
        rest.reason = RestReason(str(found.blame))
    with exclusive("probe"):
        if passed:
            rests.end(rest)
        else:
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


def rotate_vault() -> tuple[int, list[ProviderKey]]:
    """Seal every provider key under the first vault key again; returns how many there were, and
    those that no vault key opens, which stay as they are."""
    box, count, broken = vault(), 0, []
    for key in ProviderKey.objects.exclude(sealed="").select_related("provider"):
        try:
            sealed = box.rotate(key.sealed)
        except VaultError:
            broken.append(key)
            continue
        # Only where nobody has sealed it anew meanwhile.
        count += ProviderKey.objects.filter(pk=key.pk, sealed=key.sealed).update(sealed=sealed)
    return count, broken
