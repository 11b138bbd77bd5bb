"""What becomes of donated keys while nobody looks: the worker calls `sweep` at every turn.

A key that its provider refuses rests at once (SPEC §5). It is dead, and its donor's plan falls
back, when a probe has been refused too: a provider's slip of a minute is no news. When a probe says
that it works again it is approved again. One that is taken out of the pool, and one whose donor or
provider is gone, has ended.
"""

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from bsod.lib import clock
from bsod.lib.terms import Blame, RestReason
from proxy import probe, rests
from proxy.donations.models import Donation, Happened, State
from proxy.donations.rows import end, locked, note_finding, tell_pool
from proxy.donations.standing import SUPPORTER, settle_plan
from proxy.donations.told import announce
from proxy.models import ProviderKey, Rest
from proxy.pool import bump_rests
from proxy.probe import Finding

DISABLED = (RestReason.AUTH, RestReason.BILLING)
"""Why a key rests that its provider refuses."""
_LOOK_EVERY = timedelta(days=1)  # the models that a key opens are read again
_LOOKS = 5  # keys that are looked at in a turn
_WHY = {
    RestReason.AUTH: "The provider does not know the key any more.",
    RestReason.BILLING: "The provider refuses the key: no credit or no permission.",
}


def sweep(now: datetime | None = None) -> int:
    """Bring every donation to what its key, donor and provider have become; returns how many
    have changed."""
    now = now or clock.now()
    _look_again(now)
    return sum(_settle(row) for row in _changed(now))


def _changed(now: datetime) -> list[Donation]:
    """Those of which something may have to be done."""
    rest = Rest.objects.filter(
        key=OuterRef("provider_key"), model="", until=None, reason__in=DISABLED
    )
    refused, confirmed = Exists(rest), Exists(rest.filter(step__gt=0))
    gone = Q(donor__deleted_at__isnull=False) | Q(provider_key__deleted_at__isnull=False)
    expired = Q(state=State.APPROVED, donor__plan_expires_at__lte=now) & ~Q(
        donor__plan_id=SUPPORTER
    )
    news = Q(confirmed, state=State.APPROVED) | Q(~refused, state=State.DEAD)
    pooled = Q(provider_key__isnull=False, provider__deleted_at__isnull=False)
    # Taken out, and added again by an admin.
    taken = Q(provider_key__isnull=False, provider_key__donor=None)
    every = gone | taken | pooled | news | expired
    return list(Donation.objects.filter(every, ended_at=None)[:100])


def _settle(donation: Donation) -> bool:
    """Decide on the rows as they are under the lock; whether anything has changed."""
    with locked(donation) as row:
        before = row.state, row.ended_at
        if not row.ended:
            _decide(row)
        return (row.state, row.ended_at) != before


def _decide(row: Donation) -> None:
    key = row.provider_key
    if row.donor.deleted_at:
        end(row, State.WITHDRAWN, Happened.WITHDRAWN)
    elif key is None:
        return
    elif key.deleted_at or key.donor_id != row.donor_id or row.provider.deleted_at:
        row.reason = "An admin has taken the key out of the pool."
        end(row, State.DEAD, Happened.DEAD)
    else:
        rest = Rest.objects.filter(key=key, model="", until=None, reason__in=DISABLED).first()
        confirmed = rest and (rest.step > 0 or row.state == State.DEAD)
        _alive(row, _WHY[RestReason(rest.reason)] if rest and confirmed else "")


def _alive(row: Donation, why: str) -> None:
    """It works, or it is dead for a reason."""
    state = State.DEAD if why else State.APPROVED
    if state != row.state:
        row.state, row.reason = state, why
        row.save(update_fields=["state", "reason"])
        announce(Happened.DEAD if why else Happened.REVIVED, row, why)
    settle_plan(row.donor)


def _look_again(now: datetime) -> None:
    """Which models do these keys open by now? Asking for a list costs a donor nothing."""
    old = Donation.objects.filter(
        state=State.APPROVED, ended_at=None, paused=False, probed_at__lt=now - _LOOK_EVERY
    )
    for row in old.select_related("provider_key__provider").order_by("probed_at")[:_LOOKS]:
        claimed = Donation.objects.filter(pk=row.pk, probed_at=row.probed_at).update(probed_at=now)
        if claimed and row.provider_key:
            _learn(row, row.provider_key, probe.list_models(row.provider_key))


def _learn(donation: Donation, key: ProviderKey, found: Finding) -> None:
    """Keep what the list said. A key that is refused begins to rest, as if a call had met it."""
    with locked(donation) as row:
        if row.ended:
            return
        before = row.opens
        note_finding(row, found)
        row.save(update_fields=["opens", "probe", "probed_at"])
        if row.opens != before:
            tell_pool(row)
        if found.blame in (Blame.AUTH, Blame.BILLING):
            rests.begin(key.provider_id, key.pk, RestReason(str(found.blame)), clock.now())
            bump_rests()
