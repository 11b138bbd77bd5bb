"""What an admin does to accounts: one table, read by the buttons, the bulk actions and the routes.

An act is done to all accounts that are named or to none. It is decided under the lock of their
rows: staff are a superuser's to act on, and nobody locks himself out. The reason is mandatory and
kept by the audit log, which each verb writes itself.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import connection
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from accounts import service
from accounts.audit import LONGEST_REASON, Verb, record
from accounts.caps import MOST
from accounts.flows.close_account import LastAdmin, close_account
from accounts.flows.powers import Level, out_of_reach, set_level
from accounts.flows.sign_out import sign_out_others
from accounts.keys.ending import end_keys
from accounts.keys.identity import lock_accounts
from accounts.models import Account, Plan
from bsod.backstage.routes import Refused
from bsod.console.leaving import leave
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Bucket
from quotas.buckets import BUCKETS
from quotas.meter import give

MOST_ACCOUNTS = 100  # at once: all of them are locked while it is done
_ONESELF = ("ban", "delete", "staff")


# ---- what is asked


class Moment(forms.DateTimeField):
    """A moment to come, UTC, or none."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **more: Any) -> None:
        widget = UnfoldAdminTextInputWidget({"type": "datetime-local"})
        super().__init__(required=False, widget=widget, **more)

    def clean(self, value: Any) -> datetime | None:
        found: datetime | None = super().clean(value)
        if found is not None and found <= clock.now():
            raise ValidationError("This moment has passed.")
        return found


class Asked(forms.Form):
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
        help_text="Mandatory; kept in the audit log.",
    )


class Until(Asked):
    field_order = ("until", "reason")
    until = Moment(label="Until (UTC)", help_text="Empty: for good.")


class Units(Asked):
    field_order = ("bucket", "amount", "expires_at", "reason")
    bucket = forms.ChoiceField(
        choices=[(bucket.value, f"{bucket} ({kind.unit})") for bucket, kind in BUCKETS.items()],
        widget=UnfoldAdminSelectWidget,
    )
    amount = forms.IntegerField(
        min_value=1, max_value=MOST, widget=UnfoldAdminIntegerFieldWidget, label="Units"
    )
    expires_at = Moment(label="Expires (UTC)", help_text="Empty: never.")


class OnPlan(Asked):
    field_order = ("plan", "expires_at", "reason")
    plan = forms.ModelChoiceField(Plan.objects, widget=UnfoldAdminSelectWidget)
    expires_at = Moment(label="Holds until (UTC)", help_text="Empty: with no end.")


class Powers(Asked):
    field_order = ("level", "reason")
    level = forms.ChoiceField(
        choices=[(level.value, level.value) for level in Level], widget=UnfoldAdminSelectWidget,
        help_text="Staff begin without any right; a superuser has them all.",
    )  # fmt: skip


# ---- the table

Said = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Act:
    label: str
    does: str
    """What comes of it, in a sentence, before it is done."""
    done: str
    icon: str
    permission: str
    form: type[Asked]
    do: Callable[[Account, Account, Said], Any]
    after: Callable[[Account], None] | None = None
    """What takes its time and may be done again: outside of the transaction."""


def _ban(by: Account, account: Account, said: Said) -> None:
    service.ban(account, said["reason"], said["until"], by)


def _unban(by: Account, account: Account, said: Said) -> None:
    service.lift_bans(account, by=by, reason=said["reason"])


def _grant(by: Account, account: Account, said: Said) -> None:
    bucket, amount, end = Bucket(said["bucket"]), said["amount"], said["expires_at"]
    give(account, bucket, amount, end, clock.now())
    record(by, Verb.ACCOUNT_GRANT, account, reason=said["reason"], bucket=bucket, amount=amount,
           expires_at=end)  # fmt: skip


def _plan(by: Account, account: Account, said: Said) -> None:
    service.change_plan(account, said["plan"], said["expires_at"], by=by, reason=said["reason"])


def _sign_out(by: Account, account: Account, said: Said) -> None:
    ended = sign_out_others(account)
    record(by, Verb.ACCOUNT_SIGN_OUT, account, reason=said["reason"], sessions=ended)


def _delete(by: Account, account: Account, said: Said) -> None:
    close_account(account)
    end_keys(account)
    account.refresh_from_db()  # its name is not kept where nothing is ever deleted
    record(by, Verb.ACCOUNT_CLOSE, account, reason=said["reason"])


def _staff(by: Account, account: Account, said: Said) -> None:
    set_level(account, Level(said["level"]), by=by, reason=said["reason"])


ACTS: dict[str, Act] = {
    "ban": Act(
        "Ban", "Every call and every page is refused from the next request on, with the reason "
        "shown to whoever is banned.", "banned", "block", "accounts.add_ban", Until, _ban),
    "unban": Act(
        "Lift bans", "Every standing ban ends; keys work again from the next request on.",
        "unbanned", "lock_open", "accounts.change_ban", Asked, _unban),
    "grant": Act(
        "Grant units", "Units on top of what the plan gives, drawn after the day's cap.",
        "given a grant", "redeem", "quotas.add_balance", Units, _grant),
    "plan": Act(
        "Change plan", "The plan holds from the next request on.", "put on the plan",
        "workspace_premium", "accounts.change_account", OnPlan, _plan),
    "sign_out": Act(
        "Sign out everywhere", "Every session in every browser ends; API keys go on working.",
        "signed out", "logout", "accounts.change_account", Asked, _sign_out),
    "staff": Act(
        "Staff rights", "Makes staff or superuser, or takes it back with every single right.",
        "given these powers", "admin_panel_settings", "", Powers, _staff),
    "delete": Act(
        "Delete for good", "Name, mail, Telegram id, factors and sessions are gone, every key is "
        "dead, the history is summed up. A row without a name stays. It cannot be undone.",
        "deleted", "delete_forever", "accounts.delete_account", Asked, _delete, leave),
}  # fmt: skip


# ---- doing it


def may(by: Account, act: Act) -> bool:
    """`superuser` is no permission that anybody has: superusers have them all."""
    return by.has_perm(act.permission)


def guard(by: Account, name: str, account: Account) -> None:
    """Raises Refused where this is not done to this account by him."""
    if out_of_reach(by, account):
        raise Refused(f"{account} is staff: only a superuser acts on staff.", status=403)
    if account.pk == by.pk and name in _ONESELF:
        raise Refused(f"{account} is yourself: ask another superuser.", status=403)
    if account.deleted_at and name != "delete":
        raise Refused(f"{account} is deleted: nothing can be done to it.", status=409)


def perform(by: Account, name: str, accounts: Collection[int], said: Said) -> list[Account]:
    """Do an act to all of them, or raise Refused and nothing is done. `said` is what the act's
    form has cleaned, and `may` has been asked."""
    act = ACTS[name]
    with exclusive(f"admin: {name}"), connection.cursor() as cursor:
        lock_accounts(cursor, accounts)
        rows = list(Account.objects.filter(pk__in=accounts).order_by("pk"))
        for row in rows:
            guard(by, name, row)
        try:
            for row in rows:
                act.do(by, row, said)
        except LastAdmin:
            raise Refused(
                "Nobody could administer the site without this account.", status=409
            ) from None
    for row in rows if act.after else ():
        act.after(row)  # type: ignore[misc]  # looked at in the line above
    return rows
