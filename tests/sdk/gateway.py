"""What the gateway has seen of a client, and a minute that lets nobody in for a moment."""

import time

from accounts.keys.models import ApiKey
from bsod.lib import clock
from quotas.models import Pace
from tests.kit import Person

_BEFORE = 1_000  # requests in the minute before: the window forgets so many in a minute


def arrived(who: Person) -> int:
    """Requests of an account that came as far as the quota, refused there or not."""
    pace = Pace.objects.filter(owner=f"user:{who.account.pk}").first()
    return pace.count + pace.previous if pace else 0


def not_before(who: Person, seconds: float) -> None:
    """The key's next requests are a little too many; after so many seconds they are not."""
    second = clock.now().timestamp() % 60
    if second > 53:  # the next minute would begin with a clean slate
        time.sleep(60.1 - second)
    now = clock.now().timestamp()
    rate = _BEFORE * (1 - (now % 60) / 60)
    limit = int(rate - seconds * _BEFORE / 60)
    ApiKey.objects.filter(pk=who.key.pk).update(requests_per_minute=limit)
    Pace.objects.create(
        owner=f"key:{who.key.pk}", minute=int(now // 60), count=0, previous=_BEFORE
    )  # fmt: skip
