"""Donated keys as their donors and admins make them, at a provider of the test's own."""

from typing import Any

from accounts.audit import AuditEvent
from accounts.models import Account
from proxy.donations import service
from proxy.donations.models import Donation, DonationEvent
from proxy.models import ProviderKey
from proxy.pool import PoolKey, load, vault
from tests import kit
from tests.kit import Supply, unique
from tests.upstream import FaultServer, models


def shop(up: FaultServer, *, keys: int = 0, more: tuple[str, ...] = ()) -> Supply:
    """A provider that lists its one model, and `more`, to every key."""
    supplied = kit.supply(up, keys=keys)
    up.on(models([supplied.model, *more]), path_suffix="/models")
    return supplied


def given(
    supplied: Supply, donor: Account | None = None, secret: str = "", **terms: Any
) -> Donation:
    """A donation that waits."""
    donor = donor or kit.person("donor").account
    secret = secret or unique("sk-given")
    return service.submit(donor, supplied.provider.slug, secret, consent=True, **terms)


def approved(supplied: Supply, donor: Account | None = None, **terms: Any) -> Donation:
    row = given(supplied, donor, **terms)
    service.approve(row, admin())
    return row


def admin() -> Account:
    """One who signs in nowhere: no password has to be hashed."""
    boss: Account = Account.objects.create(
        username=unique("boss"), password="!", is_staff=True, is_superuser=True
    )
    return boss


def fate(donation: Donation) -> tuple[str, bool]:
    """Its state, and whether anything is left of its secret."""
    row = Donation.objects.get(pk=donation.pk)
    kept = row.sealed or (row.provider_key and row.provider_key.sealed)
    return row.state, bool(kept)


def story(donation: Donation) -> list[str]:
    return list(DonationEvent.objects.filter(donation=donation).values_list("what", flat=True))


def acts(donation: Donation) -> list[str]:
    """The audit log's verbs."""
    named = AuditEvent.objects.filter(target_kind="donations.donation", target_id=donation.pk)
    return list(named.order_by("id").values_list("verb", flat=True))


def in_pool(donation: Donation) -> PoolKey | None:
    """The key as every process sees it next."""
    row = Donation.objects.get(pk=donation.pk)
    keys = load(1).keys.get(row.provider_id, [])
    return next((key for key in keys if key.id == row.provider_key_id), None)


def opened(key: ProviderKey) -> str:
    return vault().open(key.uid, key.sealed)


def plan(who: Account) -> str:
    return str(Account.objects.get(pk=who.pk).plan_id)
