"""Turns what has happened into notices, one for each person who ought to know.

Every look is for events of the last days that were not told yet. An event's name is unique in the
outbox, so looking twice, or in two workers, tells nobody twice.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import Account
from bsod.lib.terms import RestReason
from bsod.notices.models import Notice
from bsod.notices.post import AT_ONCE, reachable
from bsod.notices.topics import DONOR, PERMISSION, Topic
from proxy.donations.models import DonationEvent, Happened
from proxy.models import Provider, ProviderKey, Rest
from quotas.models import AuditRun

RECENT = timedelta(days=3)
"""What is older is news to nobody."""
KEPT = timedelta(days=30)
SETTLED = timedelta(seconds=30)
"""A provider is dead when it still is after this: a probe may bring it back in seconds."""
AGAIN = timedelta(hours=1)
"""A provider that comes and goes is told of once in so long."""
DISABLED = (RestReason.AUTH, RestReason.BILLING)
MEANT = (RestReason.NEW, RestReason.OFF)
"""Nobody has to be told that a key is being tried, or that an admin has switched it off."""


def collect(now: datetime) -> None:
    """Write the notices of whatever has happened since the last look."""
    _donations(now)
    _disabled_keys(now)
    _dead_providers(now)
    _drift(now)


def forget_old(now: datetime) -> None:
    """What was told long ago is nobody's business any more."""
    Notice.objects.filter(created_at__lt=now - KEPT).delete()


# ---- what happened


def _donations(now: datetime) -> None:
    untold = DonationEvent.objects.filter(notified_at=None).order_by("id")
    for event in untold.select_related("donation__donor", "donation__provider")[:AT_ONCE]:
        with transaction.atomic():
            _donation(event)
            DonationEvent.objects.filter(pk=event.pk).update(notified_at=now)


def _donation(event: DonationEvent) -> None:
    donation = event.donation
    facts = {"provider": donation.provider.slug, "last4": donation.last4, "uid": donation.uid,
             "id": donation.pk, "text": event.text, "ended": donation.ended}  # fmt: skip
    what = Happened(event.what)
    name = f"donation:{event.pk}"
    if what is Happened.CHECKED:
        tell_admins(f"{name}:admins", Topic.WAITING, facts)
    # A donor who has withdrawn his key himself knows; an admin gives a reason for it.
    wanted = what is not Happened.WITHDRAWN or event.text
    if what in DONOR and wanted and donation.donor.donation_notices:
        tell(f"{name}:donor", DONOR[what], facts, donation.donor)


def _disabled_keys(now: datetime) -> None:
    rests = Rest.objects.filter(reason__in=DISABLED, until=None, created_at__gt=now - RECENT)
    for rest in rests.exclude(key=None).select_related("key", "provider"):
        assert rest.key is not None
        facts = {"provider": rest.provider.slug, "last4": rest.key.last4,
                 "reason": str(rest.reason), "key": rest.key_id}  # fmt: skip
        tell_admins(f"rest:{rest.pk}:{rest.reason}", Topic.KEY_DISABLED, facts)


def _dead_providers(now: datetime) -> None:
    for provider in dead(now):
        event = f"provider:{provider.pk}:"
        told = Notice.objects.filter(
            event__startswith=event, topic=Topic.PROVIDER_DEAD, created_at__gt=now - AGAIN
        )
        # Its latest rest names this death: one that goes on is not a new one.
        last = Rest.objects.filter(provider=provider, until=None).order_by("-pk").first()
        if last and not told.exists():
            facts = {"provider": provider.slug, "id": provider.pk}
            tell_admins(f"{event}{last.pk}", Topic.PROVIDER_DEAD, facts)


def dead(now: datetime) -> QuerySet[Provider]:
    """Providers that had keys which served, and have none that can."""
    ended = Rest.objects.filter(until=None).exclude(reason__in=MEANT)
    lasting = ended.filter(created_at__lt=now - SETTLED, created_at__gt=now - RECENT)
    keys = ProviderKey.objects.filter(provider=OuterRef("pk"), deleted_at=None)
    resting = Rest.objects.filter(key=OuterRef("pk"), until=None)
    whole = ended.filter(provider=OuterRef("pk"), key=None)
    return Provider.objects.filter(
        Exists(whole) | ~Exists(keys.exclude(Exists(resting))),
        Exists(keys),
        Exists(lasting.filter(provider=OuterRef("pk"))),
        Q(lock_text=""),
        deleted_at=None,
    )


def _drift(now: datetime) -> None:
    runs = AuditRun.objects.filter(at__gt=now - RECENT).exclude(drift=[])
    for run in runs:
        facts = {"balances": run.balances, "drift": len(run.drift), "id": run.pk}
        tell_admins(f"audit:{run.pk}", Topic.DRIFT, facts)


# ---- who is told


def tell_admins(event: str, topic: Topic, facts: dict[str, Any]) -> None:
    """Everybody of the staff who may look at it, and the admins' chat if there is one."""
    if Notice.objects.filter(event=event).exists():
        return
    staff = Account.objects.with_perm(PERMISSION[topic]).filter(is_staff=True)
    chat = [None] if settings.TELEGRAM_BOT_TOKEN and settings.ADMIN_TELEGRAM_CHAT else []
    _write(event, topic, facts, [*staff, *chat])


def tell(event: str, topic: Topic, facts: dict[str, Any], account: Account) -> None:
    _write(event, topic, facts, [account])


def _write(
    event: str, topic: Topic, facts: dict[str, Any], people: Iterable[Account | None]
) -> None:
    rows = [
        Notice(event=event, topic=topic, facts=facts, account=one)
        for one in people
        if one is None or reachable(one)
    ]
    with transaction.atomic():
        Notice.objects.bulk_create(rows, ignore_conflicts=True)
