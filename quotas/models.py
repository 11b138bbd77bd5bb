"""The ledger's tables (DESIGN §4). Three carry it: Balance, Entry, Process.

These models own the schema, the migrations and every read but the hot ones. The hot statements
are in `ledger.py`, on the same connection, with the names these models give.
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from bsod.lib import clock
from bsod.lib.terms import EndReason, EntryKind, EntryState, OutcomeState, UsageSource, choices

USER = "user"


class Balance(models.Model):
    """Units somebody may draw: a day's cap, a period's credits, or a grant.

    `owner` is `user`, `key:<id>` (a key's own cap, or an unlimited key's account) or
    `anon:<hash>`. `period` is the UTC date, the start of a credit period, or NULL for a grant.
    `closed` is the part of `used` whose entries have been purged.
    """

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    owner = models.CharField(max_length=80, default=USER)
    bucket = models.CharField(max_length=20)
    period = models.CharField(max_length=10, null=True, blank=True)
    granted = models.BigIntegerField(null=True)
    reserved = models.BigIntegerField(default=0)
    used = models.BigIntegerField(default=0)
    closed = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "bucket", "period", "owner"],
                condition=Q(period__isnull=False),
                name="balance_one_a_period",
            ),
            models.CheckConstraint(
                condition=Q(reserved__gte=0)
                & Q(used__gte=0)
                & Q(closed__gte=0)
                & (Q(granted__isnull=True) | Q(granted__gte=0)),
                name="balance_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(granted__isnull=True) | Q(granted__gte=F("reserved") + F("used")),
                name="balance_not_overdrawn",
            ),
        ]
        indexes = [
            models.Index(
                fields=["account", "bucket"],
                condition=Q(period__isnull=True),
                name="balance_grants",
            ),
            # The newest grants among a million days; no day's row comes by here.
            models.Index(fields=["id"], condition=Q(period__isnull=True), name="balance_grant_ids"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.owner} {self.bucket} {self.period or 'grant'}"


class Entry(models.Model):
    """One row per call, grant or correction; never any content. Changed once: when it closes."""

    id = models.CharField(primary_key=True, max_length=26)
    kind = models.CharField(max_length=10, choices=choices(EntryKind), default=EntryKind.CALL)
    state = models.CharField(max_length=10, choices=choices(EntryState), default=EntryState.OPEN)
    # Their own indexes would cost every call a page; the ones below serve.
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    api_key = models.ForeignKey(
        "keys.ApiKey", models.PROTECT, null=True, related_name="+", db_index=False
    )
    owner = models.CharField(max_length=80, default=USER)
    route = models.CharField(max_length=80, default="")
    model = models.CharField(max_length=256, default="")
    bucket = models.CharField(max_length=20)
    day = models.CharField(max_length=10)
    estimate = models.BigIntegerField(default=0)
    amount = models.BigIntegerField(default=0)
    shortfall = models.BigIntegerField(default=0)
    legs = models.TextField(default="[]")
    price = models.TextField(default="{}")
    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    usage_source = models.CharField(max_length=10, choices=choices(UsageSource), default="")
    end_reason = models.CharField(max_length=20, choices=choices(EndReason), default="")
    status = models.PositiveSmallIntegerField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    provider_key = models.BigIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    first_byte_ms = models.PositiveIntegerField(null=True)
    process = models.CharField(max_length=26, null=True)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "entries"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(estimate__gte=0) & Q(shortfall__gte=0), name="entry_not_negative"
            ),
        ]
        indexes = [
            models.Index(fields=["account", "id"], name="entry_by_account"),
            models.Index(
                fields=["account", "api_key"],
                condition=Q(state="open", process__isnull=False),
                name="entry_open_calls",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(state="open", expires_at__isnull=False),
                name="entry_open_expiring",
            ),
            # Nearly no call has one, so nearly no close comes by here.
            models.Index(
                fields=["day", "bucket"], condition=Q(shortfall__gt=0), name="entry_shortfall"
            ),
            # Grants and corrections among a million calls; no call comes by here.
            models.Index(fields=["id"], condition=~Q(kind="call"), name="entry_no_call"),
        ]

    def __str__(self) -> str:
        return self.id


class Reservation(Entry):
    """An entry that is open, in a list of its own."""

    class Meta:
        proxy = True


class Grant(Balance):
    """A balance that was given and belongs to no period, in a list of its own."""

    class Meta:
        proxy = True


class Process(models.Model):
    """A gateway process that lives: its heart beats once a batch (DESIGN §4)."""

    id = models.CharField(primary_key=True, max_length=26)
    beat = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.id


class Pace(models.Model):
    """Requests in this minute and in the one before, of `user:<id>` or `key:<id>`."""

    owner = models.CharField(primary_key=True, max_length=80)
    minute = models.BigIntegerField()
    count = models.PositiveIntegerField(default=0)
    previous = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.owner


class UsageDay(models.Model):
    """Sums of a day's closed calls; added in close, deleted by purge."""

    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    api_key = models.ForeignKey("keys.ApiKey", models.PROTECT, related_name="+")
    model = models.CharField(max_length=256)
    bucket = models.CharField(max_length=20)
    day = models.CharField(max_length=10)
    calls = models.BigIntegerField(default=0)
    amount = models.BigIntegerField(default=0)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "day", "api_key", "model", "bucket"], name="usage_day_one"
            )
        ]
        # For what everybody has used; a day of a row never changes, so a close does not pay for it.
        indexes = [models.Index(fields=["day"], name="usage_day_all")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.day} {self.model}"


class Outcome(models.Model):
    """What a call with an `Idempotency-Key` has come to, for a day; see `outcomes.py`.

    `scope` and `fingerprint` are keyed hashes; the answer lies in `sealed`, encrypted. `process` is
    the one that runs the call, `once` that what it began must never be begun twice.
    """

    scope = models.CharField(primary_key=True, max_length=64)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    entry = models.CharField(max_length=26)
    process = models.CharField(max_length=26)
    fingerprint = models.CharField(max_length=64)
    once = models.BooleanField()
    state = models.CharField(max_length=10, choices=choices(OutcomeState))
    status = models.PositiveSmallIntegerField(null=True)
    content_type = models.CharField(max_length=120, default="")
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField(db_index=True)
    # Last: whoever reads the others does not come past its pages.
    sealed = models.BinaryField(null=True)

    def __str__(self) -> str:
        return self.entry


class AuditRun(models.Model):
    """The last time the ledger was added up, and what did not agree."""

    at = models.DateTimeField(default=clock.now)
    balances = models.PositiveIntegerField()
    drift = models.JSONField(default=list)

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {'drift' if self.drift else 'clean'}"


class Worker(models.Model):
    """One row: when the worker has last done its chores, and when somebody asked for an audit."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    beat_at = models.DateTimeField(null=True)
    audit_asked_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "worker"

    def __str__(self) -> str:
        return f"last seen {self.beat_at:%Y-%m-%d %H:%M}" if self.beat_at else "never seen"
