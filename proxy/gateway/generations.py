"""`GET /v1/generations/{request_id}`: one call of the caller's account, as the ledger has it.

Counts, prices and times; there is no content to show. A provider is named by its kind alone. An
open call is shown with what is reserved for it. Others' calls are not there.
"""

from typing import Any

import orjson

from bsod.lib import clock
from bsod.lib.terms import Bucket, EntryKind
from proxy.errors import ApiError, Code
from proxy.gateway.aside import aside
from proxy.gateway.asking import Asking
from proxy.models import ProviderKey
from quotas import ledger
from quotas.models import USER, Balance, Entry


async def generation(asking: Asking) -> tuple[int, Any]:
    """One entry. ApiError 404."""
    assert asking.account is not None, "the route needs a key"
    return 200, await receipt(asking.account, asking.params["request_id"])


async def receipt(account: int, id_: str) -> dict[str, Any]:
    """What one call of an account has cost. ApiError 404."""
    found: dict[str, Any] | None = await aside(lambda: _found(account, id_))
    if found is None:
        raise ApiError(
            Code.NOT_FOUND,
            f"There is no metered call '{id_}' of yours. Calls that cost nothing, and those we "
            "refused, leave no entry.",
            param="request_id",
        )
    return found


def _found(account: int, id_: str) -> dict[str, Any] | None:
    entries = Entry.objects.select_related("api_key")
    entry = entries.filter(pk=id_, account_id=account, kind=EntryKind.CALL).first()
    return _shown(entry) if entry else None


def _shown(entry: Entry) -> dict[str, Any]:
    key = entry.api_key
    return {
        "object": "generation",
        "id": entry.id,
        "created": clock.unix(entry.created_at),
        "model": entry.model,
        "route": entry.route,
        "api_key": {"id": key.pk, "name": key.name} if key else None,
        "state": entry.state,
        "day": entry.day,
        "tokens": {
            "prompt": entry.prompt_tokens,
            "completion": entry.completion_tokens,
            "cached": entry.cached_tokens,
        },
        "usage_source": entry.usage_source or None,
        "end_reason": entry.end_reason or None,
        "price": orjson.loads(entry.price),
        "bucket": entry.bucket,
        "estimate": entry.estimate,
        "amount": entry.amount,
        "shortfall": entry.shortfall,
        "split": _split(entry),
        "provider": _kind(entry.provider_key),
        "attempts": entry.attempts,
        "status": entry.status,
        "latency_ms": entry.latency_ms,
        "first_byte_ms": entry.first_byte_ms,
    }


def _split(entry: Entry) -> list[dict[str, Any]]:
    """What each balance gave; while the call is open, what it holds for it."""
    legs = ledger.load_legs(entry.legs)
    rows = Balance.objects.in_bulk([leg.balance for leg in legs])
    return [
        {
            "balance": _name(row, entry),
            "amount": leg.amount,
            "expires_at": _text(row),
        }
        for leg in legs
        if (row := rows.get(leg.balance))
    ]


def _name(row: Balance, entry: Entry) -> str:
    """In the words of `quota.limit`. What counts towards a key's cap is a part of the rest, not
    beside it."""
    if row.period is None:
        return "promo"
    if row.owner != USER:
        return "key" if entry.owner == USER else "unlimited"
    return "period" if row.bucket == Bucket.CREDITS else "daily"


def _text(row: Balance) -> str | None:
    return row.expires_at.isoformat().replace("+00:00", "Z") if row.expires_at else None


def _kind(key: int | None) -> str | None:
    """The kind of provider that was asked last."""
    if key is None:
        return None
    return ProviderKey.objects.filter(pk=key).values_list("provider__kind", flat=True).first()
