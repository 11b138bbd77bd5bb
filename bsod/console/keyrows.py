"""Keys as the Access tab shows them: what each may do, what it used today, whether it works."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.utils.translation import gettext as _

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.console.forms import SWITCHES
from bsod.console.quota import LOOKS, Look, Meter
from bsod.lib import clock
from bsod.lib.terms import Bucket, Permission
from quotas.models import Balance, UsageDay

DAYS = 30
_TEXT = (Bucket.TEXT_BASE, Bucket.TEXT_PRO)


@dataclass(frozen=True, slots=True)
class Today:
    """What a key used, of its narrowest own cap or, without one, of text."""

    bucket: str
    used: int
    cap: int | None
    meter: Meter

    @property
    def look(self) -> Look:
        return LOOKS[self.bucket]


@dataclass(frozen=True, slots=True)
class KeyRow:
    key: ApiKey
    state: str
    """`live`, `expired` or `revoked`."""
    today: Today

    @property
    def shown(self) -> str:
        """What of it may be seen: its public id and its last four characters."""
        return f"{settings.KEY_PREFIXES[-1]}-{self.key.public_id}…{self.key.last4}"

    @property
    def switches(self) -> list[tuple[Any, str, bool]]:
        return [(label, icon, name in self.key.permissions) for name, label, icon in SWITCHES]

    @property
    def spoken(self) -> str:
        """The strip of permissions, in words."""
        on = [str(label) for label, _icon, is_on in self.switches if is_on]
        head = _("%(on)s of %(all)s permissions") % {"on": len(on), "all": len(Permission)}
        return f"{head}: {', '.join(on)}" if on else head


def rows_of(account: Account, keys: Sequence[ApiKey], now: datetime) -> list[KeyRow]:
    """The rows of one page: two more statements for all of them."""
    day = clock.day_of(now)
    ids = [key.pk for key in keys]
    used: dict[tuple[int, str], int] = {
        (key, bucket): amount
        for key, bucket, amount in UsageDay.objects.filter(
            account=account, day=day, api_key__in=ids
        ).values_list("api_key_id", "bucket").annotate(sum_amount=Sum("amount"))
    }  # fmt: skip
    capped = {
        (row.owner, row.bucket): row
        for row in Balance.objects.filter(
            account=account, period=day, owner__in=[f"key:{id_}" for id_ in ids]
        )
    }
    return [KeyRow(key, state_of(key, now), _today(key, used, capped)) for key in keys]


def state_of(key: ApiKey, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "live" if key.alive(now) else "expired"


def _today(
    key: ApiKey, used: Mapping[tuple[int, str], int], capped: Mapping[tuple[str, str], Balance]
) -> Today:
    found = []
    for bucket, cap in key.caps.items():
        row = capped.get((f"key:{key.pk}", bucket))
        spent, held = (row.used, row.reserved) if row else (0, 0)
        share = (spent + held) / cap if cap else 1.0
        found.append((share, Today(bucket, spent, cap, Meter.of(spent, held, cap))))
    if found:
        return max(found, key=lambda each: each[0])[1]
    spent = sum(used.get((key.pk, bucket), 0) for bucket in _TEXT)
    return Today(Bucket.TEXT_BASE, spent, None, Meter(0, 0, ""))


@dataclass(frozen=True, slots=True)
class Bars:
    """Amounts of days in a row, drawn in a box of 6 units a day by 48."""

    bucket: str
    bars: list[tuple[int, int, int, str, int]]
    """(x, y, height, day, amount)"""
    total: int

    @property
    def width(self) -> int:
        return 6 * len(self.bars)

    @property
    def look(self) -> Look:
        return LOOKS[self.bucket]


def bars(bucket: str, days: Iterable[str], amounts: Mapping[str, int]) -> Bars:
    found = [(day, amounts.get(day, 0)) for day in days]
    most = max((amount for _day, amount in found), default=0) or 1
    drawn = []
    for at, (day, amount) in enumerate(found):
        height = max(2, round(48 * amount / most)) if amount else 0
        drawn.append((6 * at, 48 - height, height, day, amount))
    return Bars(bucket, drawn, sum(amount for _day, amount in found))


def month(key: ApiKey, now: datetime) -> Bars:
    """Thirty days of a key, of the bucket it uses most."""
    days = days_to(now.date(), DAYS)
    found: dict[str, dict[str, int]] = {}
    for bucket, day, amount in UsageDay.objects.filter(
        account=key.account_id, api_key=key, day__gte=days[0]
    ).values_list("bucket", "day").annotate(sum_amount=Sum("amount")):  # fmt: skip
        found.setdefault(bucket, {})[day] = amount
    text = [bucket for bucket in _TEXT if bucket in found]
    named: list[str] = [*text] or [*found] or [Bucket.TEXT_BASE]
    most = max(named, key=lambda bucket: sum(found.get(bucket, {}).values()))
    return bars(most, days, found.get(most, {}))


def days_to(last: date, count: int) -> list[str]:
    return [(last - timedelta(days=back)).isoformat() for back in range(count - 1, -1, -1)]
