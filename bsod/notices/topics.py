"""What people are told of, and which admins are. Each topic has its text in `templates/mail/`."""

from enum import StrEnum

from proxy.donations.models import Happened


class Topic(StrEnum):
    """The first six are for donors, the others for admins."""

    SUBMITTED = "donation_submitted"
    APPROVED = "donation_approved"
    REJECTED = "donation_rejected"
    DEAD = "donation_dead"
    REVIVED = "donation_revived"
    WITHDRAWN = "donation_withdrawn"
    WAITING = "donation_waiting"
    KEY_DISABLED = "key_disabled"
    PROVIDER_DEAD = "provider_dead"
    DRIFT = "ledger_drift"


DONOR = {
    Happened.CHECKED: Topic.SUBMITTED,
    Happened.APPROVED: Topic.APPROVED,
    Happened.REJECTED: Topic.REJECTED,
    Happened.WITHDRAWN: Topic.WITHDRAWN,
    Happened.DEAD: Topic.DEAD,
    Happened.REVIVED: Topic.REVIVED,
}
"""What a donor hears of his donation."""

PERMISSION = {
    Topic.WAITING: "donations.change_donation",
    Topic.KEY_DISABLED: "proxy.view_providerkey",
    Topic.PROVIDER_DEAD: "proxy.view_provider",
    Topic.DRIFT: "quotas.view_auditrun",
}
"""An admin is told what he may look at."""
