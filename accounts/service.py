"""What is done to accounts. Commands, pages, the admin and the bot all call these.

What one person does to another is kept in the audit log, in the transaction of the act: `by` is
whoever does it, None a command.
"""

from datetime import datetime

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.audit import Verb, record
from accounts.models import FREE, Account, Ban, Plan
from bsod.lib import clock


def create_account(
    username: str, *, password: str | None = None, plan: str = FREE, admin: bool = False
) -> Account:
    """Make an account. Without a password it can be used through API keys only.

    Raises ValidationError: the name is taken or malformed, the plan unknown, the password weak.
    """
    if not Plan.objects.filter(slug=plan).exists():
        known = ", ".join(Plan.objects.values_list("slug", flat=True))
        raise ValidationError(f"There is no plan {plan!r}. Plans: {known}.")
    account = Account(username=username, plan_id=plan, is_staff=admin, is_superuser=admin)
    if password is None:
        account.set_unusable_password()
    else:
        validate_password(password, account)
        account.set_password(password)
    account.full_clean()
    account.save()
    return account


@transaction.atomic
def ban(
    account: Account, reason: str, until: datetime | None = None, by: Account | None = None
) -> Ban:
    """Stop an account from its next request on."""
    made: Ban = Ban.objects.create(account=account, reason=reason, until=until, created_by=by)
    record(by, Verb.ACCOUNT_BAN, account, reason=made.reason, until=until)
    return made


@transaction.atomic
def lift_bans(
    account: Account, *, only: Ban | None = None, by: Account | None = None, reason: str = ""
) -> int:
    """End every standing ban of an account, or `only` one; returns how many there were."""
    standing = Ban.objects.filter(account=account, lifted_at=None)
    if only is not None:
        standing = standing.filter(pk=only.pk)
    lifted = standing.update(lifted_at=clock.now())
    if lifted:
        record(by, Verb.ACCOUNT_UNBAN, account, reason=reason, bans=lifted)
    return lifted


@transaction.atomic
def change_plan(
    account: Account, plan: Plan, expires_at: datetime | None = None, *,
    by: Account | None = None, reason: str = "",
) -> Account:  # fmt: skip
    """Put an account on a plan, from its next request on. A plan that still holds only gets
    another end, and keeps its periods: nobody is granted one twice."""
    row = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    now = clock.now()
    before = {"plan": row.plan_id, "expires_at": row.plan_expires_at}
    ended = row.plan_expires_at is not None and row.plan_expires_at <= now
    if row.plan_id != plan.pk or ended:
        row.plan_started_at = now
    row.plan, row.plan_expires_at = plan, expires_at
    row.save(update_fields=["plan", "plan_started_at", "plan_expires_at"])
    record(by, Verb.ACCOUNT_PLAN, row, reason=reason, before=before,
           after={"plan": plan.pk, "expires_at": expires_at})  # fmt: skip
    return row
