"""The end of an account: its row emptied, its keys dead, its history summed up and gone.

First nobody can come in or call any more, in one transaction; then the ledger's own purge moves
what was used into its balances, so that everything still adds up. A call that is under way ends as
it would have; what it leaves is a count without a name.
"""

from django.db import transaction

from accounts.flows.close_account import close_account
from accounts.keys.ending import end_keys
from accounts.models import Account
from quotas.meter import purge
from quotas.models import Outcome


def leave(account: Account) -> None:
    """Delete an account for good. Raises LastAdmin; doing it twice changes nothing."""
    with transaction.atomic():
        close_account(account)
        end_keys(account)
    Outcome.objects.filter(account=account).delete()
    purge(account)
