"""Donated provider keys, from the offer to the withdrawal, and what has happened to each.

A donation holds its secret, sealed, only until it is decided: an approved one's lies in the row of
the pool's key, and nowhere else; a rejected or withdrawn one's nowhere at all. While a donation
lives (`ended_at` is NULL) nobody can give the same secret to the same provider again.
"""

from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import Plan
from bsod.lib import clock, ids
from bsod.lib.terms import choices
from proxy.models import Provider, ProviderKey

LONGEST_NOTE = 500
LONGEST_REASON = 500
MOST_CALLS = 1_000_000
"""The largest cap a day."""
CONSENT = "2026-11"
"""The version of the text a donor agrees to; a new text is a new version."""


class State(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    DEAD = "dead"
    """The provider refuses it. It is approved again when a probe says so, unless it has ended."""


class Happened(StrEnum):
    """What a line of the timeline tells."""

    SUBMITTED = "submitted"
    CHECKED = "checked"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    DEAD = "dead"
    REVIVED = "revived"
    PAUSED = "paused"
    RESUMED = "resumed"
    CHANGED = "changed"


class Donation(models.Model):
    """A key somebody gives, and the terms on which he gives it."""

    uid = models.CharField(max_length=26, unique=True, default=ids.ulid, editable=False)
    donor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="donations")
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="donations")
    sealed = models.TextField(blank=True, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    last4 = models.CharField(max_length=4, editable=False)
    state = models.CharField(max_length=10, choices=choices(State), default=State.PENDING)
    note = models.TextField(max_length=LONGEST_NOTE, blank=True, help_text="The donor's own words")
    consent_version = models.CharField(max_length=20)
    consent_at = models.DateTimeField()
    opens = models.JSONField(
        null=True, blank=True, help_text="Models the last probe found; empty: it got no list"
    )
    probe = models.CharField(max_length=200, help_text="What the last probe said")
    probed_at = models.DateTimeField()
    daily_cap = models.PositiveIntegerField(
        null=True, blank=True, help_text="Calls a UTC day; empty: no cap"
    )
    allowed_models = models.JSONField(
        null=True, blank=True, help_text="The donor's choice; empty: all it opens"
    )
    paused = models.BooleanField(default=False)
    trusted_objects = models.BooleanField(
        default=False, help_text="What users store may lie on this account"
    )
    provider_key = models.ForeignKey(
        ProviderKey, models.PROTECT, null=True, blank=True, related_name="donations"
    )
    reason = models.CharField(max_length=LONGEST_REASON, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "fingerprint"],
                condition=Q(ended_at=None),
                name="donation_lives_once",
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(sealed=""), name="donation_ended_is_wiped"
            ),
        ]
        indexes = [
            models.Index(fields=["state"], condition=Q(ended_at=None), name="donation_living")
        ]

    def __str__(self) -> str:
        return f"{self.provider} …{self.last4}"

    @property
    def ended(self) -> bool:
        """Nothing of its secret is left, and nothing more will happen to it."""
        return self.ended_at is not None


class DonationEvent(models.Model):
    """A line of a donation's timeline. `notified_at` NULL: somebody is still to be told."""

    donation = models.ForeignKey(Donation, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=clock.now)
    what = models.CharField(max_length=10, choices=choices(Happened))
    state = models.CharField(max_length=10, choices=choices(State))
    text = models.CharField(max_length=LONGEST_REASON, blank=True)
    notified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["id"], condition=Q(notified_at=None), name="donation_event_untold")
        ]

    def __str__(self) -> str:
        return f"{self.donation}: {self.what}"


class Raised(models.Model):
    """The plan an account had when its first donation was approved: it falls back to that."""

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+"
    )
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="+")
    plan_expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.account} was on {self.plan}"
