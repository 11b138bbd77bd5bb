"""The ban that stops an account at this moment: of several the one that lasts longest."""

from datetime import UTC, datetime

from django.db.models import Q

from accounts.models import Account, Ban
from bsod.lib import clock

_FOR_GOOD = datetime.max.replace(tzinfo=UTC)


def find_ban(account: Account) -> Ban | None:
    now = clock.now()
    standing = Ban.objects.filter(account=account, lifted_at=None).filter(
        Q(until=None) | Q(until__gt=now)
    )
    return max(standing, key=lambda ban: ban.until or _FOR_GOOD, default=None)
