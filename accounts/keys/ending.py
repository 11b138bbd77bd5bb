"""Every key of an account that is no more: dead at once, and nothing personal left in its row."""

from django.db.models import F
from django.db.models.functions import Coalesce

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.lib import clock


def end_keys(account: Account) -> int:
    """The next request of each gets 401. The rows stay: entries point at them."""
    return ApiKey.objects.filter(account=account).update(
        revoked_at=Coalesce(F("revoked_at"), clock.now()),
        digest="",
        name="deleted",
        networks=[],
        allowed_models=[],
    )
