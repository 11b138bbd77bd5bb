"""What an account has left, as cards: the numbers are those of `quotas.report`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import F
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.keys.identity import Identity, Owner
from accounts.models import FREE, Account, Plan
from accounts.plans import PlanTerms, Standing, standing
from bsod.lib import clock
from bsod.lib.terms import Bucket
from quotas import report
from quotas.models import USER, Balance

NEAR = 90  # per cent of a cap


@dataclass(frozen=True, slots=True)
class Look:
    """How a bucket is shown: its name and icon; its colour goes by its class."""

    name: str | Promise
    icon: str
    unit: str | Promise


_TOKENS, _CALLS = _("tokens"), ""
LOOKS: dict[str, Look] = {
    Bucket.TEXT_BASE: Look(_("Base text"), "notes", _TOKENS),
    Bucket.TEXT_PRO: Look(_("Pro text"), "psychology", _TOKENS),
    Bucket.IMAGE: Look(_("Images"), "image", _CALLS),
    Bucket.AUDIO: Look(pgettext_lazy("bucket", "Audio"), "graphic_eq", _CALLS),
    Bucket.FILE: Look(_("Files"), "draft", _CALLS),
    Bucket.VIDEO_SORA2PRO: Look("Sora 2 Pro", "movie", _CALLS),
    Bucket.VIDEO_SORA2: Look("Sora 2", "videocam", _CALLS),
    Bucket.VIDEO_OTHER: Look(_("Other video"), "smart_display", _CALLS),
    Bucket.CREDITS: Look(_("Credits"), "toll", _("credits")),
}


@dataclass(frozen=True, slots=True)
class Card:
    """One bucket of an account; None is without limit."""

    bucket: str
    left: int | None
    limit: int | None
    used: int
    reserved: int
    promo: int
    promo_ends: datetime | None

    @property
    def look(self) -> Look:
        return LOOKS[self.bucket]

    @property
    def meter(self) -> "Meter":
        return Meter.of(self.used, self.reserved, self.limit)


@dataclass(frozen=True, slots=True)
class Meter:
    """A bar in per mille of its width."""

    used: int
    held: int
    state: str

    @property
    def end(self) -> int:
        return self.used + self.held

    @classmethod
    def of(cls, used: int, reserved: int, limit: int | None) -> "Meter":
        if not limit:
            return cls(0, 0, "b-out" if limit == 0 and used else "")
        full = min(1000, round(1000 * used / limit))
        # Whatever is held can be seen.
        held = min(1000 - full, max(round(1000 * reserved / limit), 15 if reserved else 0))
        share = 100 * (used + reserved) / limit
        return cls(full, held, "b-out" if share >= 100 else "b-near" if share >= NEAR else "")


@dataclass(frozen=True, slots=True)
class Wallet:
    """All an account has, at one moment."""

    wide: list[Card]
    small: list[Card]
    resets_at: datetime
    pays_credits: bool


def wallet(account: Account, now: datetime) -> Wallet:
    holds = standing_of(account, now)
    with connection.cursor() as cursor:
        said = report.balance(cursor, _as_key(account, holds), now)
    promo_ends = _promo_ends(account)
    cards = {
        bucket: Card(
            bucket, said["daily_remaining"][bucket], said["daily_limits"][bucket],
            said["daily_used"][bucket], said["daily_reserved"][bucket],
            said["promo_credits"][bucket], promo_ends.get(bucket),
        )
        for bucket in said["daily_limits"]
    }  # fmt: skip
    day_ends = clock.end_of_day(said["day"])
    if holds.period:
        credits = _credits(account, holds, said)
        return Wallet([credits], [], holds.period.ends_at, True)
    text = (Bucket.TEXT_BASE, Bucket.TEXT_PRO)
    shown = [bucket for bucket in LOOKS if bucket in cards and bucket not in text]
    return Wallet([cards[b] for b in text], [cards[b] for b in shown], day_ends, False)


def standing_of(account: Account, now: datetime) -> Standing:
    """The plan that holds for an account at this moment."""
    rows = {plan.slug: plan for plan in Plan.objects.filter(slug__in={account.plan_id, FREE})}
    plan, free = _terms(rows[str(account.plan_id)]), _terms(rows[FREE])
    return standing(plan, free, account.plan_started_at, account.plan_expires_at, now)


def _terms(plan: Plan) -> PlanTerms:
    return PlanTerms(
        plan.slug, plan.kind, plan.requests_per_minute, plan.open_calls, plan.caps,
        plan.credits_per_period, plan.period_days,
    )  # fmt: skip


def _as_key(account: Account, holds: Standing) -> Identity:
    """The account as a key without any limit of its own would find it."""
    owner = Owner(account.pk, account.username, account.is_staff, account.is_active, holds, None)
    return Identity(
        id=0, digest="", name="", owner=owner, permissions=(), caps={}, requests_per_minute=None,
        open_calls=None, allowed_models=(), networks=(), unlimited=False, operator=False,
        expires_at=None, revoked_at=None, last_used_at=None,
    )  # fmt: skip


def _promo_ends(account: Account) -> dict[str, datetime | None]:
    """When the first grant of each bucket ends that has something left; None: none of them does."""
    ends: dict[str, datetime | None] = {}
    grants = Balance.objects.filter(account=account, owner=USER, period=None)
    for bucket, end in grants.filter(granted__gt=F("used") + F("reserved")).values_list(
        "bucket", "expires_at"
    ):
        known = ends.setdefault(bucket, end)
        if end and (known is None or end < known):
            ends[bucket] = end
    return ends


def _credits(account: Account, holds: Standing, said: Mapping[str, Any]) -> Card:
    """The period's credits; grants beside them."""
    assert holds.period is not None, "asked only for plans of credits"
    row = Balance.objects.filter(
        account=account, owner=USER, bucket=Bucket.CREDITS, period=holds.period.start
    ).first()
    used, reserved = (row.used, row.reserved) if row else (0, 0)
    granted = max(holds.period.credits, used + reserved)
    promo = said["credits"] - (granted - used - reserved)
    return Card(
        Bucket.CREDITS, said["credits"], granted, used, reserved, max(0, promo),
        _promo_ends(account).get(Bucket.CREDITS),
    )  # fmt: skip
