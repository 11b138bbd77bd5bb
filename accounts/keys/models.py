"""An API key as stored: no secret, only what proves one and what it may do."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q

from bsod.lib import clock
from bsod.lib.terms import Permission


def every_permission() -> list[str]:
    return [permission.value for permission in Permission]


class ApiKey(models.Model):
    """A key never has more than its owner: every right is recomputed at use (SPEC §2)."""

    public_id = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    last4 = models.CharField(max_length=4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=80)
    permissions = models.JSONField(default=every_permission, blank=True)
    caps = models.JSONField(default=dict, blank=True, help_text="Units a UTC day by bucket")
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    open_calls = models.PositiveIntegerField(null=True, blank=True)
    allowed_models = models.JSONField(default=list, blank=True, help_text="Model ids; empty: all")
    networks = models.JSONField(default=list, blank=True, help_text="CIDR; empty: everywhere")
    unlimited = models.BooleanField(default=False, editable=False)
    operator = models.BooleanField(default=False, editable=False)
    console = models.BooleanField(default=False, editable=False)
    """The one by which an account's calls from the console are billed; see `console.py`."""
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"
        constraints = [
            models.UniqueConstraint(
                fields=["account"], condition=Q(console=True), name="key_one_console"
            )
        ]
        indexes = [
            models.Index(
                fields=["account"], condition=Q(revoked_at__isnull=True), name="key_standing"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} …{self.last4}"

    def alive(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
