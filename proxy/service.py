"""What is done to the pool and the catalogue: add a provider and its keys, sync, probe.

Commands, the worker and the admin all call these. HTTP happens first, outside any transaction;
then one short transaction writes what was found and bumps the pool's generation.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.db import transaction
from django.db.models import F, Q

from bsod.lib import clock
from bsod.lib.addresses import forbidden
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Blame, RestReason
from bsod.lib.vault import VaultError
from proxy import probe, rests
from proxy.listings import FIELDS, describe, packed, unpacked
from proxy.matching import MODEL
from proxy.models import Model, Offer, Provider, ProviderKey, Rest
from proxy.pool import bump, bump_rests, vault
from proxy.probe import Finding
from proxy.providers.base import Listed
from proxy.providers.registry import ADAPTERS

log = logging.getLogger("bsod.pool")
_OWN_FIRST = F("donor").asc(nulls_first=True)
_CLAIM = timedelta(minutes=2)  # a probe that has not come back by then is somebody else's
_FOLLOWED = 200  # models a transaction
_TURN = 20.0  # seconds after which a turn of probes makes room for the worker's other chores


DONORS = ("donor", "daily_cap", "allowed_models", "paused", "trusted_objects")
"""The fields of a key that only a donated one has."""
SEALED = ("proxy.ProviderKey", "donations.Donation")
"""Whose rows hold secrets of providers, each sealed for its row."""


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
    check(slug, kind, base_url)
    secrets = [written(secret) for secret in secrets]
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
    return _proven(provider, keys)


def add_keys(provider: Provider, secrets: Sequence[str]) -> Added:
    """Give a provider more keys. They are probed before this returns. Raises Unknown."""
    secrets = [written(secret) for secret in secrets]
    with exclusive("add keys"):
        keys = [_add_key(provider, secret) for secret in secrets]
        bump()
    return _proven(provider, keys)


def _proven(provider: Provider, keys: Sequence[ProviderKey]) -> Added:
    findings = [(key, _probe_new(key)) for key in keys]
    return Added(provider, findings, _take_lists(provider, findings))


def check(slug: str, kind: str, base_url: str) -> None:
    """Raises Unknown where a provider cannot be like that."""
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


def written(secret: str) -> str:
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
    fields = ["sealed", "last4", "deleted_at"]
    if made or key.deleted_at:
        rests.begin(provider.pk, key.pk, RestReason.NEW, clock.now())
        # It may have been a donor's once; now it is ours.
        key.donor, key.daily_cap, key.allowed_models = None, None, None
        key.paused, key.trusted_objects = False, False
        fields += DONORS
    # Sealed anew in any case: what is stored may not open any more.
    key.sealed, key.last4, key.deleted_at = box.seal(key.uid, secret), secret[-4:], None
    key.save(update_fields=fields)
    return key


def _probe_new(key: ProviderKey) -> Finding:
    """Probe a key just given, and end what it disproves: its own rest, and its provider's."""
    found = probe.list_models(key)
    mine = Q(key=key) | Q(provider=key.provider_id, key=None)
    for rest in Rest.objects.filter(mine, until=None).exclude(reason=RestReason.OFF):
        listed = rest.key_id is None or rest.reason == RestReason.NEW
        conclude(rest, found if listed else probe.ask(key, rest.reason), clock.now())
    return found


def _take_lists(provider: Provider, findings: Sequence[tuple[ProviderKey, Finding]]) -> int:
    """What these keys list, all together. Other keys of the provider may list more."""
    listed = {model.id: model for _, found in findings for model in found.models or ()}
    asked = [key.pk for key, _ in findings]
    others = ProviderKey.objects.filter(provider=provider, deleted_at=None).exclude(pk__in=asked)
    if listed:
        write_catalogue(provider, list(listed.values()), clock.now(), whole=not others.exists())
    return len(listed)


def sync_models(provider: Provider) -> int | None:
    """Read the provider's list with its keys until one gives it; None: none did. Donated keys may
    each open a part: where there are no others, the list is what all of them say.

    An empty list is taken for none: a provider in trouble must not empty the catalogue.
    """
    keys = ProviderKey.objects.filter(provider=provider, deleted_at=None, paused=False)
    said: dict[str, Listed] = {}
    whole = True
    for key in keys.select_related("provider").order_by(_OWN_FIRST, "id"):
        listed = probe.list_models(key).models
        said |= {model.id: model for model in listed or ()}
        if key.donor_id is None and listed:
            break
        whole = whole and (key.donor_id is None or bool(listed))
    if said:
        write_catalogue(provider, list(said.values()), clock.now(), whole=whole)
    return len(said) or None


def write_catalogue(
    provider: Provider, listed: Sequence[Listed], now: datetime, *, whole: bool = True
) -> None:
    """Models and offers as the provider lists them; what an admin has fixed is left alone.

    With `whole` the list is all there is: what it lacks is gone. Other processes are told only
    when something has changed.
    """
    plain = {model.id.removeprefix("models/"): model for model in listed}
    asked = {name: model for name, model in plain.items() if askable(name)}
    with exclusive("catalogue"):
        changed, lost = _offer(provider, asked, now, whole=whole)
        changed |= describe_models([*asked, *lost])
        Provider.objects.filter(pk=provider.pk).update(synced_at=now)
        if changed:
            bump()


def askable(name: str) -> bool:
    """Whether everybody can ask for it: an id that cannot be one is not listed, and what somebody
    has fine-tuned on the shared account is his alone."""
    return bool(MODEL.fullmatch(name)) and not name.startswith("ft:")


def _offer(
    provider: Provider, listed: Mapping[str, Listed], now: datetime, *, whole: bool
) -> tuple[bool, list[str]]:
    """What the provider serves, each model under the id it knows it by: whether that is new, and
    the models it serves no more."""
    Model.objects.bulk_create([Model(name=name) for name in listed], ignore_conflicts=True)
    models = {row.name: row for row in Model.objects.filter(name__in=listed)}
    rows = Offer.objects.filter(provider=provider).select_related("model")
    known = {row.model_id: row for row in rows}
    fresh = [
        Offer(model=models[name], provider=provider, upstream_id=said.id, listed=packed(said))
        for name, said in listed.items()
    ]
    news = [offer for offer in fresh if not _same(known.get(offer.model_id), offer)]
    Offer.objects.bulk_create(
        news,
        update_conflicts=True,
        unique_fields=["model", "provider"],
        update_fields=["upstream_id", "listed", "gone_at"],
    )
    there = {offer.model_id for offer in fresh}
    missed = [row for row in known.values() if row.gone_at is None and row.model_id not in there]
    lost = missed if whole else []
    Offer.objects.filter(pk__in=[row.pk for row in lost]).update(gone_at=now)
    return bool(news or lost), [row.model.name for row in lost]


def _same(known: Offer | None, fresh: Offer) -> bool:
    names = ("upstream_id", "listed", "gone_at")
    return known is not None and all(getattr(known, n) == getattr(fresh, n) for n in names)


def describe_models(names: Collection[str]) -> bool:
    """Bring these models' rows to what rules and lists say now, but for the fields an admin has
    fixed. Whether anything changed. A model that nobody offers any more stays as it was."""
    offers: dict[int, list[tuple[str, Listed]]] = {}
    living = Offer.objects.filter(
        model__name__in=names, gone_at=None, provider__deleted_at=None
    ).select_related("provider")
    for offer in living.order_by("id"):
        said = unpacked(offer.upstream_id, offer.listed)
        offers.setdefault(offer.model_id, []).append((offer.provider.kind, said))
    news = []
    # Locked, so that no admin fixes anything meanwhile.
    for row in Model.objects.select_for_update().filter(pk__in=offers).order_by("pk"):
        told = describe(row.name, offers[row.pk])
        values = {name: getattr(row, name) if name in row.fixed else told[name] for name in FIELDS}
        if any(getattr(row, name) != value for name, value in values.items()):
            news.append(Model(name=row.name, **values))
    # One statement for many: none of them is new, and nothing else of their rows is touched.
    Model.objects.bulk_create(
        news, update_conflicts=True, unique_fields=["name"], update_fields=FIELDS
    )
    return bool(news)


def fix(models: Iterable[int], values: Mapping[str, Any]) -> None:
    """An admin sets fields of some models: from now on no sync touches those fields."""
    if not values:
        return
    chosen = list(models)
    with transaction.atomic():
        rows = Model.objects.select_for_update().filter(pk__in=chosen).order_by("pk")
        alike: dict[tuple[str, ...], list[int]] = {}
        for pk, fixed in rows.values_list("pk", "fixed"):
            alike.setdefault(tuple(fixed), []).append(pk)
        for known, numbers in alike.items():
            fixed = sorted({*known, *values})
            Model.objects.filter(pk__in=numbers).update(**values, fixed=fixed)
        bump()


def follow(models: Iterable[int]) -> None:
    """Forget what admins have set of some models: rules and lists decide again.

    Each is worked out anew: thousands in one transaction would keep the ledger waiting."""
    chosen = list(models)
    parts = [chosen[start : start + _FOLLOWED] for start in range(0, len(chosen), _FOLLOWED)]
    for part in parts:
        rows = Model.objects.filter(pk__in=part)
        with transaction.atomic():
            rows.update(fixed=[])
            describe_models(list(rows.values_list("name", flat=True)))
            if part is parts[-1]:
                bump()


def probe_due(now: datetime) -> int:
    """Probe what rests and is due; returns how many were asked. Two workers never ask twice."""
    due = Rest.objects.filter(
        Q(key=None) | Q(key__deleted_at=None, key__paused=False),
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
    keys = ProviderKey.objects.filter(provider=provider, deleted_at=None, paused=False)
    return keys.select_related("provider").order_by(_OWN_FIRST, "id").first()


def conclude(rest: Rest, found: Finding, now: datetime) -> None:
    """End a rest after a good probe, or put the next probe off."""
    # For a provider that rests, any answer will do: it can be reached again.
    passed = found.works or (rest.key_id is None and found.blame is not Blame.CONNECT)
    if rest.reason == RestReason.NEW and found.blame in (Blame.AUTH, Blame.BILLING):
        rest.reason = RestReason(str(found.blame))
    with exclusive("probe"):
        if rest.key_id:
            noted(rest.key_id, found, now)
        if passed:
            rests.end(rest)
        else:
            rests.postpone(rest, now)
            bump_rests()


def noted(key: int, found: Finding, now: datetime) -> None:
    """Keep what a probe has said, for the admin's list."""
    ProviderKey.objects.filter(pk=key).update(probed_at=now, probe_note=found.note[:120])


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


def rotate_vault() -> tuple[int, list[Any]]:
    """Seal every provider key under the first vault key again; returns how many there were, and
    those that no vault key opens, which stay as they are."""
    box, count, broken = vault(), 0, []
    for label in SEALED:
        rows = apps.get_model(label)._default_manager
        for row in rows.exclude(sealed="").select_related("provider"):
            try:
                sealed = box.rotate(row.sealed)
            except VaultError:
                broken.append(row)
                continue
            # Only where nobody has sealed it anew meanwhile.
            count += rows.filter(pk=row.pk, sealed=row.sealed).update(sealed=sealed)
    return count, broken
