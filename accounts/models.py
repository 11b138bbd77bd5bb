"""Who uses the product: accounts, the plans they are on, the bans that stop them."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q

from accounts.caps import checked
from bsod.lib import clock
from bsod.lib.terms import PlanKind

FREE = "free"


class Plan(models.Model):
    """What an account may use. Rows an admin edits; three are seeded (SPEC §2)."""

    slug = models.SlugField(primary_key=True, max_length=40)
    name = models.CharField(max_length=80)
    kind = models.CharField(
        max_length=10, choices=[(k, k) for k in PlanKind], default=PlanKind.BUCKETS
    )
    requests_per_minute = models.PositiveIntegerField(default=1000)
    open_calls = models.PositiveIntegerField(default=100)
    caps = models.JSONField(
        default=dict, blank=True, help_text="Units a UTC day for each bucket, e.g. {'image': 10}"
    )
    credits_per_period = models.PositiveBigIntegerField(default=0)
    period_days = models.PositiveIntegerField(default=30)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(condition=Q(period_days__gte=1), name="plan_period_days")
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.caps = checked(self.caps)


class Account(AbstractUser):
    """The user model. Deleting one empties this row and keeps it: the ledger points here."""

    first_name = None  # type: ignore[assignment]  # the product never asks for it
    last_name = None  # type: ignore[assignment]  # nor for this
    plan = models.ForeignKey(Plan, models.PROTECT, default=FREE)
    plan_started_at = models.DateTimeField(default=clock.now)
    plan_expires_at = models.DateTimeField(null=True, blank=True)
    language = models.CharField(
        max_length=10, blank=True, default="", db_default="", editable=False
    )
    theme = models.CharField(max_length=10, blank=True, default="", db_default="", editable=False)
    terms_accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return self.username


class Ban(models.Model):
    """A stop on everything an account does, until a moment or for good."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="bans")
    reason = models.CharField(max_length=500)
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: for good")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    created_by = models.ForeignKey(
        Account, models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["account"], condition=Q(lifted_at__isnull=True), name="ban_standing"
            )
        ]

    def __str__(self) -> str:
        return f"{self.account}: {self.reason}"

    def stands(self, now: datetime) -> bool:
        """Whether it stops the account at this moment."""
        return self.lifted_at is None and (self.until is None or self.until > now)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.reason = self.reason.strip()
        super().save(*args, **kwargs)
