"""What an admin does to donations: one table, for the buttons, the bulk actions and the route.

Where one of them cannot have what is asked, nothing is done to any. After that look each is decided
by itself, for its provider is asked meanwhile: what was refused then is told beside what was done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from accounts.audit import LONGEST_REASON, Verb, record
from accounts.models import Account
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from proxy import rechecks
from proxy.donations import service
from proxy.donations.checking import Refused, live_probe, opened
from proxy.donations.models import Donation, State
from proxy.models import ProviderKey

MOST = 20
"""Donations at once: whoever asks waits for their providers."""
_POOLED = frozenset({State.APPROVED, State.DEAD})
_LIVING = _POOLED | {State.PENDING}


class Said(NamedTuple):
    """What goes with an act."""

    reason: str = ""
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    label: str
    fits: frozenset[State]
    """Asking again for what has happened is no fault."""
    do: Callable[[Donation, Account, Said], str]
    reason: bool = False
    """It has to be given: the donor reads it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    donation: Donation
    text: str
    done: bool


def moderate(name: str, donations: Sequence[Donation], by: Account, said: Said) -> list[Outcome]:
    """Do an act to each. Raises Refused, and nothing was done: one of them cannot have it, or the
    reason is missing."""
    act = ACTS[name]
    if not 1 <= len(donations) <= MOST:
        raise Refused("too_many", f"Choose 1 to {MOST} donations.", "donations")
    if act.reason and not said.reason.strip():
        raise Refused("reason_needed", "Give a reason: the donor reads it.", "reason")
    for donation in donations:
        if donation.state not in act.fits:
            raise Refused("unfit", f"{donation} is {donation.state}.", "donations")
    cut = said._replace(reason=said.reason.strip()[:LONGEST_REASON])
    return [_one(act, donation, by, cut) for donation in donations]


def _one(act: Act, donation: Donation, by: Account, said: Said) -> Outcome:
    try:
        return Outcome(donation, act.do(donation, by, said), done=True)
    except Refused as why:
        donation.refresh_from_db()
        return Outcome(donation, why.text, done=False)


def _approve(donation: Donation, by: Account, said: Said) -> str:
    service.approve(donation, by, trusted=said.trusted)
    return "approved"


def _reject(donation: Donation, by: Account, said: Said) -> str:
    service.reject(donation, by, said.reason)
    return "rejected"


def _withdraw(donation: Donation, by: Account, said: Said) -> str:
    service.withdraw(donation, by, said.reason)
    return "withdrawn"


def _trust(donation: Donation, by: Account, said: Said) -> str:
    service.trust(donation, by, said.trusted)
    return "trusted with stored objects" if said.trusted else "not trusted with stored objects"


def _recheck(donation: Donation, by: Account, said: Said) -> str:
    """One that waits is asked with what its donation holds; one of the pool's keys like any other,
    so that what is said of it counts there too."""
    if donation.state in _POOLED and donation.provider_key_id:
        done = rechecks.recheck([donation.provider_key_id], by)
        return next((found.note for _key, found in done.found), "will be asked in a moment")
    found = live_probe(
        ProviderKey(uid=donation.uid, provider=donation.provider, sealed=donation.sealed)
    )
    opens = opened(found)
    with exclusive("recheck"):
        # A probe that got no list says nothing of the one before.
        lists = {} if opens is None else {"opens": list(opens)}
        # Somebody may have decided meanwhile: then there is nothing to write it to.
        waiting = Donation.objects.filter(pk=donation.pk, state=State.PENDING)
        waiting.update(probe=found.note[:200], probed_at=clock.now(), **lists)
        record(by, Verb.PROVIDER_KEY_PROBE, donation, works=found.works)
    donation.refresh_from_db()
    return found.note


ACTS: Mapping[str, Act] = MappingProxyType(
    {
        "approve": Act("Approve", _LIVING, _approve),
        "reject": Act(
            "Reject", frozenset({State.PENDING, State.REJECTED}), _reject, reason=True
        ),
        "recheck": Act("Probe again", _LIVING, _recheck),
        "trust": Act("Trust with stored objects", _LIVING, _trust),
        "withdraw": Act(
            "Take out", _LIVING | {State.WITHDRAWN}, _withdraw, reason=True
        ),
    }
)  # fmt: skip
