"""Empty an account's row for good: no name, mail, password, factor or session is left (SPEC §9).

The row itself stays, for the ledger points at it. Keys and the ledger are ended by their own
packages; `bsod/console/leaving.py` does all of it.
"""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import transaction

from accounts.flows.sign_out import sign_out_others
from accounts.models import Account
from bsod.lib import clock

GONE = "deleted-"
"""What the name of an account that is no more begins with; nobody may choose such a one."""


class LastAdmin(Exception):
    """Without this account nobody could administer the site."""


def may_close(account: Account) -> None:
    """Raises LastAdmin."""
    if account.is_superuser:
        others = Account.objects.filter(is_superuser=True, is_active=True).exclude(pk=account.pk)
        if not others.exists():
            raise LastAdmin


@transaction.atomic
def close_account(account: Account) -> None:
    """Raises LastAdmin. Closing twice changes nothing."""
    row = Account.objects.select_for_update().get(pk=account.pk)
    if row.deleted_at:
        return
    may_close(row)
    sign_out_others(row)
    EmailAddress.objects.filter(user=row).delete()
    Authenticator.objects.filter(user=row).delete()
    row.bans.all().delete()
    row.groups.clear()
    row.user_permissions.clear()
    row.username, row.email = f"{GONE}{row.pk}", ""
    row.is_active = row.is_staff = row.is_superuser = False
    row.language = row.theme = ""
    row.last_login = row.terms_accepted_at = None
    row.deleted_at = clock.now()
    row.set_unusable_password()
    row.save()
