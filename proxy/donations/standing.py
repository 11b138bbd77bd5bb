"""What giving a key is worth: the plan rises with the first that is approved, and falls back to
what it was when none of them works or is here any more.

A plan that is better in any respect is left alone, and one that an admin has set meanwhile stays.
The account is locked by whoever calls.
"""

from accounts.models import FREE, Account, Plan
from accounts.plans import PlanTerms, standing
from accounts.service import change_plan
from bsod.lib import clock
from proxy.donations.models import Donation, Raised, State

SUPPORTER = "supporter"


def settle_plan(account: Account, by: Account | None = None) -> None:
    """Bring an account's plan to what its donations are worth now."""
    account = Account.objects.select_related("plan").get(pk=account.pk)
    gives = Donation.objects.filter(donor=account, state=State.APPROVED, ended_at=None).exists()
    if gives:
        _rise(account, by)
    else:
        _fall(account, by)


def _rise(account: Account, by: Account | None) -> None:
    supporter = Plan.objects.filter(pk=SUPPORTER).first()
    if supporter is None or not _worth(account, supporter):
        return
    Raised.objects.update_or_create(
        account=account,
        defaults={"plan": account.plan, "plan_expires_at": account.plan_expires_at},
    )
    change_plan(account, supporter, by=by, reason="A donated key was approved")


def _worth(account: Account, supporter: Plan) -> bool:
    """Whether the plan is at least as good as what he has, in every respect."""
    now = clock.now()
    free = Plan.objects.get(pk=FREE)
    has = standing(
        _terms(account.plan), _terms(free), account.plan_started_at, account.plan_expires_at, now
    )
    if has.pays_credits or has.terms.slug == supporter.pk:
        return False
    mine, theirs = has.terms, _terms(supporter)
    pace = theirs.requests_per_minute >= mine.requests_per_minute
    caps = all(theirs.caps.get(name, 0) >= units for name, units in mine.caps.items())
    return pace and theirs.open_calls >= mine.open_calls and caps


def _terms(plan: Plan) -> PlanTerms:
    return PlanTerms(
        plan.slug, plan.kind, plan.requests_per_minute, plan.open_calls, plan.caps,
        plan.credits_per_period, plan.period_days,
    )  # fmt: skip


def _fall(account: Account, by: Account | None) -> None:
    raised = Raised.objects.filter(account=account).select_related("plan").first()
    if raised is None:
        return
    raised.delete()
    if account.plan_id == SUPPORTER:
        change_plan(
            account, raised.plan, raised.plan_expires_at, by=by, reason="No donated key lives"
        )
