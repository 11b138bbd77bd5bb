"""What stands between a right password and a session, besides the second factor."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.stages import EmailVerificationStage

from accounts.models import Account


class ConfirmMail(EmailVerificationStage):  # type: ignore[misc]  # allauth has no types
    """Whoever has registered confirms the mail address first, once. Accounts that were made in a
    shell or in the admin have nothing to confirm."""

    def handle(self) -> tuple[Any, bool]:
        if self.login.user is not None and not unconfirmed(self.login.user):
            return None, True
        # Without a user: an address that is taken was registered again, and is answered alike.
        found: tuple[Any, bool] = super().handle()
        return found


def unconfirmed(account: Account) -> bool:
    """Registered, and never in: whoever was in has confirmed an address, or never needed to."""
    if account.last_login is not None:
        return False
    confirmed = list(EmailAddress.objects.filter(user=account).values_list("verified", flat=True))
    return bool(confirmed) and not any(confirmed)
