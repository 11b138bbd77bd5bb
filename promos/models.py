"""Offers, their codes, and who has redeemed them. The limits are constraints of the tables too.

A `Promo` is an offer: what it gives, to whom, when. It has one code or a batch of them. Its grants
never change once it is made: what somebody was promised stays what he gets.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from accounts.caps import checked
from bsod.lib import clock
from promos.rules import Terms

_AT_LEAST_ONE = MinValueValidator(1)
_LONGEST_DAYS = 36_500
_MOST_TIMES = 10**9


class Promo(models.Model):
    """An offer. The row is locked by whoever redeems one of its codes, before the account's."""

    name = models.CharField(max_length=80, help_text="For admins; users do not see it")
    note = models.CharField(max_length=500, blank=True)
    grants = models.JSONField(help_text="Units of each bucket, given on top of the daily caps")
    grant_days = models.PositiveIntegerField(
        null=True, blank=True, validators=[_AT_LEAST_ONE, MaxValueValidator(_LONGEST_DAYS)],
        help_text="Days until what was given expires; empty: never",
    )  # fmt: skip
    uses = models.PositiveIntegerField(
        null=True, blank=True, default=1,
        validators=[_AT_LEAST_ONE, MaxValueValidator(_MOST_TIMES)],
        help_text="How often each code can be redeemed; empty: by any number of users",
    )  # fmt: skip
    per_user = models.PositiveIntegerField(
        default=1, validators=[_AT_LEAST_ONE, MaxValueValidator(_MOST_TIMES)],
        help_text="How many redemptions one user has, whichever codes of a batch he takes",
    )  # fmt: skip
    first_users_only = models.BooleanField(
        default=False, help_text="Only accounts that have used nothing and redeemed nothing yet"
    )
    valid_from = models.DateTimeField(default=clock.now)
    valid_until = models.DateTimeField(null=True, blank=True, help_text="Empty: for good")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", editable=False
    )
    disabled_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "promo"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(per_user__gte=1)
                & (Q(uses__isnull=True) | Q(uses__gte=1))
                & (Q(grant_days__isnull=True) | Q(grant_days__gte=1)),
                name="promo_limits",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")),
                name="promo_valid_some_time",
                violation_error_message="It must be valid for some time: until comes after from.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        try:
            grants = checked(self.grants)
        except ValidationError as error:
            raise ValidationError({"grants": error.messages}) from None
        if not grants or not all(grants.values()):
            raise ValidationError({"grants": "Give one unit or more of some bucket."})

    def lasts_until(self, now: datetime) -> datetime | None:
        """When what is granted now expires."""
        return None if self.grant_days is None else now + timedelta(days=self.grant_days)


class PromoCode(models.Model):
    """A code: its proof, its last characters, and how often it has been redeemed."""

    promo = models.ForeignKey(Promo, models.PROTECT, related_name="codes")
    digest = models.CharField(max_length=64, unique=True)
    last4 = models.CharField(max_length=4)
    most = models.PositiveIntegerField(null=True)
    redeemed = models.PositiveIntegerField(default=0)
    disabled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(most__isnull=True) | Q(redeemed__lte=F("most")),
                name="promo_code_not_overdrawn",
            )
        ]

    def __str__(self) -> str:
        return f"…{self.last4}"

    def terms(self) -> Terms:
        """What is decided on; reads its promo."""
        promo = self.promo
        return Terms(
            most=self.most,
            redeemed=self.redeemed,
            per_user=promo.per_user,
            first_users_only=promo.first_users_only,
            valid_from=promo.valid_from,
            valid_until=promo.valid_until,
            disabled=bool(self.disabled_at or promo.disabled_at),
        )


class Redemption(models.Model):
    """Who redeemed which code, when, where; and the balances it gave him."""

    promo = models.ForeignKey(Promo, models.PROTECT, related_name="+", db_index=False)
    code = models.ForeignKey(PromoCode, models.PROTECT, related_name="+")
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    number = models.PositiveIntegerField()
    """Counts an account's redemptions of one offer: the table itself refuses a second first."""
    via = models.CharField(max_length=20)
    balances = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["promo", "account", "number"], name="redemption_counted_once"
            )
        ]
        indexes = [models.Index(fields=["account", "id"], name="redemption_by_account")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.promo_id}"

    @property
    def granted(self) -> dict[str, Any]:
        """What it gave, by bucket."""
        return dict(self.promo.grants)
