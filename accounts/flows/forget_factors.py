"""Who has lost app, passkeys and recovery codes begins anew: without a factor, and signed out."""

from allauth.mfa.models import Authenticator
from django.db import transaction

from accounts.audit import Verb, record
from accounts.flows.sign_out import sign_out_others
from accounts.models import Account


@transaction.atomic
def forget_factors(account: Account, *, by: Account | None, reason: str) -> int:
    """How many there were: an app, its recovery codes and each passkey count as one."""
    count: int
    count, _ = Authenticator.objects.filter(user=account).delete()
    sign_out_others(account)
    record(by, Verb.ACCOUNT_FACTORS, account, reason=reason, forgotten=count)
    return count
