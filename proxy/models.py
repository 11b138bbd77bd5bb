"""Providers, their keys and rests, the catalogue of models. The admin's and the pool's tables."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from bsod.lib import clock, ids
from bsod.lib.terms import Modality, ObjectKind, RestReason, Tier, choices
from proxy import histogram


class PoolState(models.Model):
    """One row: a number that grows with every change of the pool. Each batch reads it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    generation = models.BigIntegerField(default=1)

    def __str__(self) -> str:
        return f"generation {self.generation}"


class Provider(models.Model):
    """Somewhere models are served: an adapter's kind and a base URL."""

    slug = models.SlugField(unique=True, max_length=40)
    kind = models.CharField(max_length=20)
    base_url = models.URLField(max_length=300)
    proxy_url = models.CharField(max_length=300, blank=True)
    catch_all = models.BooleanField(default=False, help_text="Takes model ids nobody lists")
    lock_text = models.CharField(
        max_length=300,
        blank=True,
        help_text="Locks the provider: its models stay listed, calls get a 503 with this text",
    )
    failures = models.PositiveIntegerField(default=0, editable=False)
    synced_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class ProviderKey(models.Model):
    """A secret of a provider, sealed by the vault under this row's `uid`."""

    uid = models.CharField(max_length=26, unique=True, default=ids.ulid, editable=False)
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="keys")
    sealed = models.TextField(editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    last4 = models.CharField(max_length=4, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # An admin wants to know how it is: the worker asks. What the last probe said.
    asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    probed_at = models.DateTimeField(null=True, blank=True, editable=False)
    probe_note = models.CharField(max_length=120, blank=True, default="", editable=False)
    # What only a donated key has. `proxy.donations` writes it; the pool keeps to it.
    donor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+",
        editable=False,
    )  # fmt: skip
    daily_cap = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="Calls a UTC day; empty: no cap"
    )
    allowed_models = models.JSONField(
        null=True, blank=True, editable=False, help_text="Models it serves; empty: all"
    )
    paused = models.BooleanField(default=False, editable=False)
    trusted_objects = models.BooleanField(
        default=False,
        editable=False,
        help_text="What users store may lie on this account, where its owner can read it",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "fingerprint"], name="provider_key_once_a_provider"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider} …{self.last4}"


class KeyDay(models.Model):
    """Calls of a donated key on a UTC day. Each is counted before it is sent: a cap holds."""

    key = models.ForeignKey(ProviderKey, models.CASCADE, related_name="days", db_index=False)
    day = models.CharField(max_length=10)
    calls = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "day"], name="key_day_once")]

    def __str__(self) -> str:
        return f"{self.key} {self.day}: {self.calls}"


class Rest(models.Model):
    """Something of the pool is left alone: a provider, a key, or a key for one model.

    `until` set: it ends by the clock. NULL: it ends by a successful probe, due at `probe_at`.
    """

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="rests")
    key = models.ForeignKey(ProviderKey, models.CASCADE, null=True, related_name="rests")
    model = models.CharField(max_length=256, default="", blank=True)
    reason = models.CharField(max_length=20, choices=choices(RestReason))
    until = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True)
    step = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["key", "model"], condition=Q(key__isnull=False), name="rest_one_a_key"
            ),
            models.UniqueConstraint(
                fields=["provider"], condition=Q(key__isnull=True), name="rest_one_a_provider"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key or self.provider} {self.model} {self.reason}"


class Model(models.Model):
    """A model of the catalogue, whoever offers it. Prices in credits.

    Made of rules and lists by `listings.py`, but for the fields an admin has fixed.
    """

    name = models.CharField(max_length=256, unique=True)
    modality = models.CharField(max_length=20, choices=choices(Modality), default=Modality.TEXT)
    tier = models.CharField(max_length=10, choices=choices(Tier), default=Tier.BASE)
    context_window = models.PositiveIntegerField(null=True, blank=True)
    max_output = models.PositiveIntegerField(null=True, blank=True)
    credits_per_1k_input = models.PositiveIntegerField(default=0)
    credits_per_1k_output = models.PositiveIntegerField(default=0)
    credits_per_call = models.PositiveBigIntegerField(default=0)
    shutdown_date = models.DateField(null=True, blank=True)
    speaks = models.JSONField(
        null=True, blank=True, help_text="Ways to ask for text; none: whatever its provider offers"
    )
    fixed = models.JSONField(
        default=list, editable=False, help_text="Fields set here: syncs leave them alone"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def overridden(self) -> bool:
        """Whether an admin has set any of it."""
        return bool(self.fixed)


class Offer(models.Model):
    """A provider lists a model, under the id the provider calls it by."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="offers")
    provider = models.ForeignKey(Provider, models.CASCADE, related_name="offers")
    upstream_id = models.CharField(max_length=256)
    listed = models.JSONField(default=dict, help_text="What the provider's list says of it")
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "provider"], name="offer_once"),
            models.CheckConstraint(condition=~Q(upstream_id=""), name="offer_has_an_id"),
        ]

    def __str__(self) -> str:
        return f"{self.provider}: {self.upstream_id}"


class Object(models.Model):
    """Something that lives on a provider's account, and whose it is. Never what is in it.

    One account's for good on its key: a second creator of the same id does not get it.
    """

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="+", db_index=False)
    key = models.ForeignKey(ProviderKey, models.PROTECT, related_name="held")
    kind = models.CharField(max_length=20, choices=choices(ObjectKind))
    upstream_id = models.CharField(max_length=256)
    data = models.JSONField(default=dict, help_text="Sizes and states that nobody can be asked for")
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upstream_id", "key"], name="object_one_a_key")
        ]
        indexes = [
            models.Index(fields=["account", "kind", "id"], name="object_lists"),
            models.Index(fields=["account", "provider", "id"], name="object_homes"),
            models.Index(
                fields=["expires_at"],
                condition=Q(expires_at__isnull=False),
                name="object_expiring",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.upstream_id}"


class Job(models.Model):
    """Something begun at a provider that ends later, and the open entry that pays for it.

    There is a row as long as the entry is open: whoever sees the end first closes both.
    """

    entry = models.CharField(primary_key=True, max_length=26)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="+", db_index=False)
    key = models.ForeignKey(ProviderKey, models.PROTECT, related_name="+", db_index=False)
    kind = models.CharField(max_length=20, choices=choices(ObjectKind))
    upstream_id = models.CharField(max_length=256)
    path = models.CharField(max_length=400, help_text="Where the provider tells its state")
    next_at = models.DateTimeField(db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["upstream_id", "key"], name="job_of_object")]

    def __str__(self) -> str:
        return f"{self.kind} {self.upstream_id}"


class Stat(models.Model):
    """What was counted of calls in a minute, in an hour, and ever: each call is in all three.

    Nothing of whose they were. A batch of the ledger is counted like a call, of the route
    `ledger`: its `status` is a size that it does not exceed, its operations are its attempts.
    """

    step = models.CharField(max_length=6)
    at = models.DateTimeField()
    route = models.CharField(max_length=120)
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=256)
    status = models.CharField(max_length=8)
    count = models.BigIntegerField(default=0, db_default=0)
    attempts = models.BigIntegerField(default=0, db_default=0)
    prompt = models.BigIntegerField(default=0, db_default=0)
    completion = models.BigIntegerField(default=0, db_default=0)
    latency = models.BigIntegerField(default=0, db_default=0, help_text="Microseconds, all of them")
    first = models.BigIntegerField(default=0, db_default=0, help_text="To the first byte, the same")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["step", "at", "route", "provider", "model", "status"], name="stat_once"
            )
        ]
        indexes = [models.Index(fields=["model", "step", "at"], name="stat_of_model")]

    def __str__(self) -> str:
        return f"{self.step} {self.at} {self.route} {self.model} {self.status}"


for _name in (*histogram.names("latency"), *histogram.names("first")):
    Stat.add_to_class(_name, models.BigIntegerField(default=0, db_default=0))


class Busy(models.Model):
    """What a process has open this moment. It says so every few seconds; what is old is void."""

    process = models.CharField(primary_key=True, max_length=26)
    calls = models.PositiveIntegerField(default=0)
    streams = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.calls} calls, {self.streams} streams"
