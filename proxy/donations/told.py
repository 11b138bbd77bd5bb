"""What happens to a donation becomes a line of its timeline, in the transaction of the act itself.

A line that somebody is to be told of waits with `notified_at` NULL until the worker has told him.
"""

from bsod.lib import clock
from proxy.donations.models import LONGEST_REASON, Donation, DonationEvent, Happened

TOLD = frozenset(
    {
        Happened.CHECKED,
        Happened.APPROVED,
        Happened.REJECTED,
        Happened.WITHDRAWN,
        Happened.DEAD,
        Happened.REVIVED,
    }
)
"""Of these the donor or the admins hear. `CHECKED`: it waits for an admin."""


def announce(event: Happened, donation: Donation, text: str = "") -> DonationEvent:
    """Write the line. The donation has the state that it is in from now on."""
    now = clock.now()
    made: DonationEvent = DonationEvent.objects.create(
        donation=donation,
        at=now,
        what=event,
        state=donation.state,
        text=text[:LONGEST_REASON],
        notified_at=None if event in TOLD else now,
    )
    return made
