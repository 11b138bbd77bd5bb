"""The end of an account: its row emptied, its keys dead, its history summed up and gone.

First the keys it has lent are wiped; then nobody can come in or call any more, in one transaction;
then the ledger's own purge moves what was used into its balances, so that everything still adds up.
A call that is under way ends as it would have; what it leaves is a count without a name.
"""

from django.db import transaction

from accounts.flows.close_account import close_account, may_close
from accounts.keys.ending import end_keys
from accounts.models import Account
from proxy.donations.models import Donation
from proxy.donations.service import withdraw
from quotas.meter import purge
from quotas.models import Outcome


def leave(account: Account) -> None:
    """Delete an account for good. Raises LastAdmin; doing it twice changes nothing."""
    may_close(account)
    for donation in Donation.objects.filter(donor=account, ended_at=None):
        withdraw(donation)
    with transaction.atomic():
        Donation.objects.filter(donor=account).update(note="")
        close_account(account)
        end_keys(account)
    Outcome.objects.filter(account=account).delete()
    purge(account)
