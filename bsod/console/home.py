"""`/`: what the service is, to a guest; what is left today and the last calls, to a person."""

from dataclasses import dataclass
from typing import Any

from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.console import catalogue, live, quota, samples
from bsod.console.calls import last_calls
from bsod.console.pages import packed_page
from bsod.console.quota import NEAR
from bsod.lib import clock
from quotas.models import Balance

SHOWN_CALLS = 10


@require_safe
@packed_page
def home(request: HttpRequest) -> HttpResponse:
    base = request.build_absolute_uri("/").rstrip("/")
    found = catalogue.snapshot()
    shown: dict[str, Any] = {
        "base": base,
        "quick": samples.quick_start(base, found.example),
        "up": found.up,
        "total": len(found.models),
    }
    if not request.user.is_authenticated:
        return render(request, "console/guest.html", {**shown, "day": live.day()})
    return render(request, "console/home.html", shown | _of(request.user))


def _of(account: Account) -> dict[str, Any]:
    now = clock.now()
    wallet = quota.wallet(account, now)
    calls = last_calls(account, now, SHOWN_CALLS)
    return {
        "now": now,
        "wallet": wallet,
        "wait": wallet.resets_at - now,
        "near": near_its_cap(account, clock.day_of(now)),
        "calls": calls,
        "has_keys": bool(calls) or _has_keys(account),
    }


def _has_keys(account: Account) -> bool:
    return ApiKey.objects.filter(account=account, console=False, revoked_at=None).exists()


@dataclass(frozen=True, slots=True)
class Near:
    """A key that has nearly used up a cap of its own."""

    key: int
    name: str
    share: int


def near_its_cap(account: Account, day: str) -> Near | None:
    """The one key that is nearest to a cap of its own, where one is near."""
    rows = Balance.objects.filter(
        account=account, period=day, owner__startswith="key:", granted__gt=0
    ).filter(granted__lte=(F("used") + F("reserved")) * 100 / NEAR)
    for owner, used, reserved, granted in rows.order_by(
        -(F("used") + F("reserved")) * 100 / F("granted")
    ).values_list("owner", "used", "reserved", "granted")[:5]:
        key = ApiKey.objects.filter(
            account=account, pk=int(owner[4:]), revoked_at=None, unlimited=False
        ).first()
        if key and key.alive(clock.now()):
            return Near(key.pk, key.name, min(100, 100 * (used + reserved) // (granted or 1)))
    return None
