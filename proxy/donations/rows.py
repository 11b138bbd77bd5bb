"""The rows of a donation: locked in the ledger's order, brought to what the pool must know, ended.

A secret lies in one row at a time: the donation's until it is decided, then the pool's key's, and
in none once the donation has ended.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from accounts.audit import Verb, record
from accounts.keys.identity import lock_accounts
from accounts.models import Account
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.vault import VaultError
from proxy.donations.checking import Refused, opened
from proxy.donations.models import Donation, Happened, State
from proxy.donations.standing import settle_plan
from proxy.donations.told import announce
from proxy.models import ProviderKey
from proxy.pool import bump, vault
from proxy.probe import Finding


@contextmanager
def locked(donation: Donation) -> Iterator[Donation]:
    """The donation as it is now, and its donor, until the end of the transaction. The one that
    was given is brought up to date."""
    with exclusive("donation"), connection.cursor() as cursor:
        row = Donation.objects.select_for_update(no_key=True).get(pk=donation.pk)
        lock_accounts(cursor, [row.donor_id])
        yield row
    donation.refresh_from_db()


def changed(
    donation: Donation, event: Happened | None, verb: Verb, by: Account | None, **values: Any
) -> Donation:
    """New terms, if they are new. What an admin does is kept, what the donor does is his own."""
    with locked(donation) as row:
        if row.ended:
            raise Refused("ended", f"It is {row.state}.")
        if any(getattr(row, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(row, name, value)
            row.save(update_fields=list(values))
            tell_pool(row)
            if event:
                announce(event, row)
            if by and by.pk != row.donor_id:
                record(by, verb, row, **values)
    return row


def pooled(row: Donation) -> ProviderKey:
    """The pool's row for the secret: a new one, or the one of a key that was here before."""
    box = vault()
    try:
        secret = box.open(row.uid, row.sealed)
    except VaultError:
        raise Refused("lost", "Its secret does not open any more: reject it.") from None
    key, _ = ProviderKey.objects.get_or_create(
        provider=row.provider,
        fingerprint=row.fingerprint,
        defaults={"sealed": "", "last4": row.last4, "deleted_at": clock.now()},
    )
    if key.deleted_at is None:
        # Somebody has added the same secret meanwhile.
        raise Refused("duplicate", "This key is in the pool already: reject it.")
    key.rests.all().delete()
    key.sealed, key.deleted_at, key.failures = box.seal(key.uid, secret), None, 0
    key.donor = row.donor
    key.save()
    return key


def tell_pool(row: Donation) -> None:
    """What the pool must know of it. A list that the key does not open would only fail."""
    if row.provider_key_id is None or row.ended:
        return
    serves = row.allowed_models if row.allowed_models is not None else row.opens
    ProviderKey.objects.filter(pk=row.provider_key_id, donor=row.donor_id).update(
        daily_cap=row.daily_cap,
        allowed_models=serves,
        paused=row.paused,
        trusted_objects=row.trusted_objects,
    )
    bump()


def note_finding(row: Donation, found: Finding) -> None:
    """What the last probe said. One that got no list knows no better than the one before."""
    row.probe, row.probed_at = found.note[:200], clock.now()
    if found.works and found.models is not None:
        row.opens = listed(opened(found))


def listed(opens: tuple[str, ...] | None) -> list[str] | None:
    return None if opens is None else list(opens)


def end(row: Donation, state: State, event: Happened, text: str = "") -> None:
    """Nothing of the secret is left, in either row, and the plan is what it was without it."""
    now = clock.now()
    row.state, row.sealed, row.ended_at = state, "", now
    row.save()
    if row.provider_key_id:
        ProviderKey.objects.filter(pk=row.provider_key_id, donor=row.donor_id).update(
            sealed="", deleted_at=now, trusted_objects=False
        )
        bump()
    settle_plan(row.donor)
    announce(event, row, text or row.reason)
