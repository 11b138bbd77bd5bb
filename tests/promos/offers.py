"""Offers for tests: an offer of one code, and what an account has been given."""

from typing import Any

from bsod.lib import clock
from promos.models import Promo
from promos.rules import Why
from promos.service import Refused, make_codes, redeem
from quotas.models import Balance
from tests import kit
from tests.kit import Person


def offer(count: int = 1, chosen: str = "", **traits: Any) -> tuple[Promo, list[str]]:
    """An offer as saved, and its codes; ten images unless told otherwise."""
    traits.setdefault("name", kit.unique("offer"))
    traits.setdefault("grants", {"image": 10})
    promo = Promo(**traits)
    return promo, make_codes(promo, count=count, chosen=chosen)


def code(**traits: Any) -> str:
    return offer(**traits)[1][0]


def tried(who: Person, text: str) -> Why | None:
    """Why a code was refused just now; None: it was redeemed."""
    try:
        redeem(who.account, text, clock.now())
    except Refused as refused:
        return refused.why
    return None


def grants(who: Person) -> dict[str, int]:
    """Units granted to an account, by bucket."""
    found: dict[str, int] = {}
    for row in Balance.objects.filter(account=who.account, period=None):
        found[row.bucket] = found.get(row.bucket, 0) + (row.granted or 0)
    return found
