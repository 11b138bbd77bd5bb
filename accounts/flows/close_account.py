"""Empty an account's row for good: no name, mail, password, factor or session is left (SPEC §9).

The row itself stays, for the ledger points at it. Keys and the ledger are ended by their own
packages; `bsod/console/leaving.py` does all of it.
"""

from collections.abc import Iterable

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Model

from accounts.flows.sign_out import sign_out_others
from accounts.models import Account, Ban
from bsod.lib import clock

GONE = "deleted-"
"""What the name of an account that is no more begins with; nobody may choose such a one."""
_POWERS = 0x62736F64  # a number of ours among PostgreSQL's advisory locks


class LastAdmin(Exception):
    """Without this account nobody could administer the site."""


def may_close(account: Account) -> None:
    """Raises LastAdmin. Of two who take each other's powers at once one comes second."""
    if account.is_superuser:
        _one_at_a_time()
        others = Account.objects.filter(is_superuser=True, is_active=True).exclude(pk=account.pk)
        if not others.exists():
            raise LastAdmin


def _one_at_a_time() -> None:
    """Until the end of the transaction. Rows would not do: each of the two holds the other's. On
    SQLite the whole database is ours already."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_POWERS])


def _forget_log(model: type[Model], keys: Iterable[int]) -> None:
    """Django's own log of forms names what they were about; the audit log does not."""
    kind = ContentType.objects.get_for_model(model)
    LogEntry.objects.filter(content_type=kind, object_id__in=[str(key) for key in keys]).delete()


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
    _forget_log(Ban, row.bans.values_list("pk", flat=True))
    _forget_log(Account, [row.pk])
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
