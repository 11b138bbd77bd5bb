"""Who may administer the site: given and taken by a superuser, never by the last one from himself.

Whoever is no longer staff loses every single right with it: made staff again he begins at none.
"""

from enum import StrEnum

from django.db import transaction

from accounts.audit import Verb, record
from accounts.flows.close_account import may_close
from accounts.models import Account


class Level(StrEnum):
    USER = "user"
    STAFF = "staff"
    SUPERUSER = "superuser"


def level_of(account: Account) -> Level:
    if account.is_superuser:
        return Level.SUPERUSER
    return Level.STAFF if account.is_staff else Level.USER


def out_of_reach(actor: Account, account: Account) -> bool:
    """Staff are a superuser's to act on."""
    return (account.is_staff or account.is_superuser) and not actor.is_superuser


@transaction.atomic
def set_level(account: Account, level: Level, *, by: Account | None, reason: str) -> Account:
    """Holds from the next request on. Raises LastAdmin."""
    row = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    before = level_of(row)
    if before is Level.SUPERUSER and level is not Level.SUPERUSER:
        may_close(row)
    row.is_staff = level is not Level.USER
    row.is_superuser = level is Level.SUPERUSER
    row.save(update_fields=["is_staff", "is_superuser"])
    if level is Level.USER:
        row.groups.clear()
        row.user_permissions.clear()
    record(by, Verb.ACCOUNT_STAFF, row, reason=reason, before=before, after=level)
    return row
