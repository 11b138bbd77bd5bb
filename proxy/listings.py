"""What providers list of a model, and what the catalogue's row says of it in the end.

Four voices, the later one counts for more: what is assumed of an unknown model, the rules
(`rules.py`), the provider's own list, an admin. What a list says is kept with the offer, so that
several providers of one model do not overwrite each other at every sync: a row is made of all of
them, so that it holds whoever answers. The window and the output limit are the narrowest, the
price is the highest; a model ends when the last of its providers ends it. What an admin has set
(`Model.fixed`) is left alone, field by field.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from bsod.lib.terms import Modality, Service
from proxy.providers.base import Listed
from proxy.rules import Traits, classify, in_credits, retires

FIELDS = (
    "modality", "tier", "speaks", "context_window", "max_output", "credits_per_1k_input",
    "credits_per_1k_output", "credits_per_call", "shutdown_date",
)  # fmt: skip
"""The columns of a model that rules, lists and admins decide."""
_MOST_TOKENS = 2**31 - 1
_DEAREST = 10_000.0  # dollars for a million tokens; what asks more has made a mistake
# Media are paid for by the piece, whatever a list says of their tokens.
_BY_TOKEN = {Modality.TEXT, Modality.EMBEDDING, Modality.MODERATION}


def packed(listed: Listed) -> dict[str, Any]:
    """What a list says of a model, as it is kept with the offer: only what it does say."""
    said = {
        "context": _tokens(listed.context),
        "output": _tokens(listed.output),
        "shutdown": listed.shutdown.isoformat() if listed.shutdown else None,
        "services": None if listed.services is None else sorted(map(str, listed.services)),
        "price_in": _dollars(listed.price_in),
        "price_out": _dollars(listed.price_out),
    }
    return {name: value for name, value in said.items() if value is not None}


def unpacked(upstream_id: str, said: Mapping[str, Any]) -> Listed:
    """The same, taken out again."""
    day, services = said.get("shutdown"), said.get("services")
    return Listed(
        upstream_id,
        said.get("context"),
        said.get("output"),
        date.fromisoformat(day) if day else None,
        None if services is None else frozenset(map(Service, services)),
        said.get("price_in"),
        said.get("price_out"),
    )


def _tokens(value: int | None) -> int | None:
    return value if value is not None and 0 < value <= _MOST_TOKENS else None


def _dollars(value: float | None) -> float | None:
    good = value is not None and math.isfinite(value) and 0 <= value <= _DEAREST
    return value if good else None


def describe(name: str, offers: Iterable[tuple[str, Listed]]) -> dict[str, Any]:
    """The columns of a model's row. `offers`: the kinds of the providers that offer it, and what
    each of them lists of it."""
    told = list(offers)
    ruled = classify(name)
    views = [_heard(ruled, listed) for _, listed in told] or [ruled]
    return {
        "modality": ruled.modality,
        "tier": ruled.tier,
        "speaks": _speaks(views),
        "context_window": _least(view.context for view in views),
        "max_output": _least(view.output for view in views),
        "credits_per_1k_input": max(view.price_in for view in views),
        "credits_per_1k_output": max(view.price_out for view in views),
        "credits_per_call": ruled.per_call,
        "shutdown_date": _last([listed.shutdown or retires(kind, name) for kind, listed in told]),
    }


def _heard(ruled: Traits, listed: Listed) -> Traits:
    """What is known of a model at one provider: the rules, where its list does not say better."""
    priced = ruled.modality in _BY_TOKEN
    price_in = listed.price_in if priced else None
    price_out = listed.price_out if priced else None
    return ruled._replace(
        context=listed.context or ruled.context,
        output=listed.output or ruled.output,
        price_in=ruled.price_in if price_in is None else in_credits(price_in),
        price_out=ruled.price_out if price_out is None else in_credits(price_out),
        speaks=ruled.speaks if listed.services is None else listed.services,
    )


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _speaks(views: Sequence[Traits]) -> list[str] | None:
    """What any of the providers can be asked for; None: it is not known of all of them."""
    known = [view.speaks for view in views if view.speaks is not None]
    if len(known) < len(views):
        return None
    return sorted({str(one) for each in known for one in each})


def _last(days: Sequence[date | None]) -> date | None:
    known = [day for day in days if day]
    return max(known) if known and len(known) == len(days) else None
