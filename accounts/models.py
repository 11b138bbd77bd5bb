"""Who uses the product: accounts, the plans they are on, the bans that stop them; and what admins
have done (`accounts/audit.py` writes it)."""

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
    donation_notices = models.BooleanField(default=True, db_default=True, editable=False)
    terms_accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return self.username

    def get_full_name(self) -> str:
        return ""

    def get_short_name(self) -> str:
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


class AuditEvent(models.Model):
    """One act of an admin. A trigger refuses to change or delete it (`accounts/triggers.py`)."""

    actor_name = ""
    """Of whom an event names it keeps the number; `audit.name_people` says who they are by now."""

    at = models.DateTimeField(default=clock.now)
    # Nothing may be written here again, so that no account's end can reach into it.
    actor = models.ForeignKey(
        Account, models.DO_NOTHING, null=True, blank=True, related_name="+", db_constraint=False
    )
    verb = models.CharField(max_length=40)
    target_kind = models.CharField(max_length=60, blank=True, default="")
    target_id = models.CharField(max_length=40, blank=True, default="")
    target_text = models.CharField(max_length=200, blank=True, default="")
    reason = models.CharField(max_length=500, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    address = models.CharField(max_length=45, blank=True, default="")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["at"], name="audit_at"),
            models.Index(fields=["target_kind", "target_id"], name="audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.target_text}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("What has been done cannot be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("What has been done cannot be deleted.")
