"""What is done to accounts. Commands, pages, the admin and the bot all call these."""

from datetime import datetime

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

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


def ban(
    account: Account, reason: str, until: datetime | None = None, by: Account | None = None
) -> Ban:
    """Stop an account from its next request on."""
    made: Ban = Ban.objects.create(account=account, reason=reason, until=until, created_by=by)
    return made


@transaction.atomic
def lift_bans(account: Account) -> int:
    """End every standing ban of an account; returns how many there were."""
    return Ban.objects.filter(account=account, lifted_at=None).update(lifted_at=clock.now())
