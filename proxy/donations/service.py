"""What is done with donated keys. Pages, the admin and the worker all call these.

HTTP comes first, outside of any transaction; then one short transaction decides on rows that it
has locked, in the ledger's order: the donation, the donor's account, the pool. Each verb may be
called again: it has happened once. What is refused is told by `Refused`, and nothing has changed.
The secret lies in one row at a time, sealed for that row, and in none once the donation has ended.
"""

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from accounts.audit import Verb, record
from accounts.models import Account
from bsod.lib import clock
from proxy.donations.checking import Checked as Checked
from proxy.donations.checking import (
    Refused,
    Tried,
    check_cap,
    check_donor,
    check_models,
    check_note,
    duplicate,
    live_probe,
    refused,
    try_key,
)
from proxy.donations.checking import choices as choices
from proxy.donations.models import CONSENT, LONGEST_REASON, Donation, Happened, State
from proxy.donations.rows import (
    changed,
    end,
    listed,
    locked,
    note_finding,
    pooled,
    tell_pool,
)
from proxy.donations.standing import SUPPORTER as SUPPORTER
from proxy.donations.standing import settle_plan
from proxy.donations.sweeping import sweep as sweep
from proxy.donations.told import announce
from proxy.models import Provider, ProviderKey
from proxy.pool import bump
from proxy.probe import Finding
from proxy.service import write_catalogue

# ---- by the donor


def check(provider_slug: str, secret: str) -> Checked:
    """What would be found of a key, before it is given. Nothing is kept of it."""
    try:
        tried = try_key(provider_slug, secret)
    except Refused as error:
        return Checked(False, error.text, code=error.code)
    return Checked(True, "The key works.", tried.opens)


def submit(
    donor: Account,
    provider_slug: str,
    secret: str,
    *,
    note: str = "",
    daily_cap: int | None = None,
    models: Sequence[str] | None = None,
    consent: bool = False,
) -> Donation:
    """Give a key. It waits for an admin."""
    check_donor(donor)
    if not consent:
        raise Refused("consent_needed", "Your consent is needed.", "consent")
    note, cap = check_note(note), check_cap(daily_cap)
    tried = try_key(provider_slug, secret)
    chosen = check_models(tried.provider, tried.opens, models)
    now = clock.now()
    row = Donation(
        uid=tried.uid, donor=donor, provider=tried.provider, sealed=tried.sealed,
        fingerprint=tried.fingerprint, last4=tried.secret[-4:], note=note,
        consent_version=CONSENT, consent_at=now, opens=listed(tried.opens),
        probe=tried.found.note, probed_at=now, daily_cap=cap, allowed_models=chosen,
    )  # fmt: skip
    return _kept(row, tried)


def _kept(row: Donation, tried: Tried) -> Donation:
    try:
        with transaction.atomic():
            # The probe took its time: he may be banned or gone by now.
            check_donor(Account.objects.select_for_update().get(pk=row.donor_id))
            row.save()
            announce(Happened.SUBMITTED, row)
            announce(Happened.CHECKED, row, f"The key {tried.found.note}")
    except IntegrityError:
        # Somebody was quicker, perhaps the donor himself.
        raise duplicate() from None
    return row


def withdraw(donation: Donation, by: Account | None = None, reason: str = "") -> Donation:
    """Take a key back: its secret is gone at once, calls that are under way end as they do. The
    reason is an admin's, who does it in the donor's place and whom the donor reads."""
    with locked(donation) as row:
        if row.state == State.REJECTED:
            raise Refused("ended", "It has been rejected; nothing is kept of it.")
        if not row.ended:
            row.reason = reason
            end(row, State.WITHDRAWN, Happened.WITHDRAWN)
            if by and by.pk != row.donor_id:
                record(by, Verb.DONATION_WITHDRAW, row, reason=reason)
    return row


def pause(donation: Donation, by: Account | None = None) -> Donation:
    """No call goes there until it is resumed."""
    return changed(donation, Happened.PAUSED, Verb.DONATION_PAUSE, by, paused=True)


def resume(donation: Donation, by: Account | None = None) -> Donation:
    return changed(donation, Happened.RESUMED, Verb.DONATION_RESUME, by, paused=False)


def change(
    donation: Donation,
    daily_cap: int | None,
    models: Sequence[str] | None,
    by: Account | None = None,
) -> Donation:
    """Another cap, another choice of models; it holds from the next call on."""
    cap = check_cap(daily_cap)
    chosen = check_models(donation.provider, donation.opens, models)
    return changed(
        donation, Happened.CHANGED, Verb.DONATION_CHANGE, by, daily_cap=cap, allowed_models=chosen
    )


# ---- by an admin


def approve(donation: Donation, by: Account | None, *, trusted: bool = False) -> ProviderKey:
    """Take a key into the pool; the donor's plan rises. Whoever comes second finds it there."""
    donation.refresh_from_db()
    found = _probed(donation) if donation.state == State.PENDING else None
    with locked(donation) as row:
        if row.state != State.PENDING or found is None:
            return _approved(row)
        key = pooled(row)
        row.state, row.provider_key, row.sealed = State.APPROVED, key, ""
        row.trusted_objects, row.decided_by, row.decided_at = trusted, by, clock.now()
        note_finding(row, found)
        row.save()
        tell_pool(row)
        settle_plan(row.donor, by)
        announce(Happened.APPROVED, row)
        record(by, Verb.DONATION_APPROVE, row, trusted=trusted)
        bump()
    if found.models:
        # What only this key opens is on offer from now on.
        write_catalogue(row.provider, found.models, clock.now(), whole=False)
    return key


def _probed(donation: Donation) -> Finding:
    """It may have lain here for weeks: does it still work?"""
    _need_provider(donation.provider)
    found = live_probe(
        ProviderKey(uid=donation.uid, provider=donation.provider, sealed=donation.sealed)
    )
    if not found.works:
        raise refused(found)
    return found


def _need_provider(provider: Provider) -> None:
    if provider.deleted_at:
        raise Refused("unknown_provider", "Its provider is no longer here: reject it.")


def _approved(row: Donation) -> ProviderKey:
    if row.state in (State.APPROVED, State.DEAD) and row.provider_key:
        return row.provider_key
    raise Refused("ended", f"It is {row.state}.")


def reject(donation: Donation, by: Account | None, reason: str) -> Donation:
    """Refuse a key that waits; its secret is gone."""
    reason = reason.strip()[:LONGEST_REASON]
    if not reason:
        raise Refused("reason_needed", "Give a reason; the donor reads it.", "reason")
    with locked(donation) as row:
        if row.state == State.REJECTED:
            return row
        if row.state != State.PENDING:
            raise Refused("ended", f"It is {row.state}; only one that waits can be rejected.")
        row.reason, row.decided_by, row.decided_at = reason, by, clock.now()
        end(row, State.REJECTED, Happened.REJECTED)
        record(by, Verb.DONATION_REJECT, row, reason=reason)
    return row


def trust(donation: Donation, by: Account | None, trusted: bool) -> Donation:
    """Whether what users store may lie on the donor's account, where he can read it."""
    return changed(donation, None, Verb.DONATION_TRUST, by, trusted_objects=trusted)
