"""All that is kept of an account, as one JSON file: no secret, and nothing of anybody else.

Written out as it is read, a page of entries at a time, so that a year of calls needs no more memory
than a day.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from asgiref.sync import sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import Model, QuerySet

from accounts.flows.sign_out import sessions_of
from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.console.donated import described, use
from bsod.lib import clock
from bsod.notices.models import Notice
from promos.service import history
from proxy.models import Object
from quotas.models import Balance, Entry, UsageDay

_PAGE = 1000
_ACCOUNT = (
    "id", "username", "email", "plan_id", "plan_started_at", "plan_expires_at", "language",
    "theme", "donation_notices", "date_joined", "last_login", "terms_accepted_at",
)  # fmt: skip
_KEY = (
    "id", "public_id", "last4", "name", "permissions", "caps", "requests_per_minute",
    "open_calls", "allowed_models", "networks", "unlimited", "created_at", "expires_at",
    "revoked_at", "last_used_at",
)  # fmt: skip
_ENTRY = (
    "id", "kind", "state", "api_key_id", "route", "model", "bucket", "day", "estimate", "amount",
    "shortfall", "prompt_tokens", "completion_tokens", "cached_tokens", "usage_source",
    "end_reason", "status", "latency_ms", "first_byte_ms", "created_at", "closed_at",
)  # fmt: skip
_BALANCE = (
    "id",
    "owner",
    "bucket",
    "period",
    "granted",
    "reserved",
    "used",
    "expires_at",
    "created_at",
)
_OBJECT = ("id", "kind", "upstream_id", "data", "created_at", "expires_at")
_NOTICE = ("id", "topic", "facts", "created_at", "sent_at")
_USAGE = (
    "id", "day", "api_key_id", "model", "bucket", "calls", "amount", "prompt_tokens",
    "completion_tokens",
)  # fmt: skip


async def export(account: Account) -> AsyncIterator[str]:
    """The file, piece by piece."""
    head = await sync_to_async(_profile)(account)
    yield _json(head)[:-1]
    for name, rows, fields in _long(account):
        yield f',\n"{name}": ['
        last, comma = None, ""
        while page := await sync_to_async(_page)(rows, fields, last):
            yield comma + ",\n".join(map(_json, page))
            last, comma = page[-1]["id"], ",\n"
        yield "]"
    yield "}\n"


def _long(account: Account) -> "Iterator[tuple[str, QuerySet[Any], tuple[str, ...]]]":
    """What may have very many rows."""
    kept: tuple[tuple[str, type[Model], tuple[str, ...]], ...] = (
        ("objects", Object, _OBJECT),
        ("notices", Notice, _NOTICE),
        ("balances", Balance, _BALANCE),
        ("usage", UsageDay, _USAGE),
        ("entries", Entry, _ENTRY),
    )
    for name, model, fields in kept:
        yield name, model._default_manager.filter(account=account).order_by("pk"), fields


def _page(rows: "QuerySet[Any]", fields: tuple[str, ...], after: Any) -> list[dict[str, Any]]:
    """The next rows in the order of their keys. The thread's connection does not outlive it."""
    try:
        return list((rows if after is None else rows.filter(pk__gt=after)).values(*fields)[:_PAGE])
    finally:
        connection.close()


def _profile(account: Account) -> dict[str, Any]:
    try:
        return {
            "object": "account.export",
            "made_at": clock.now(),
            "account": Account.objects.filter(pk=account.pk).values(*_ACCOUNT).get(),
            "email_addresses": list(
                EmailAddress.objects.filter(user=account).values("email", "verified", "primary")
            ),
            "second_factors": [_factor(row) for row in Authenticator.objects.filter(user=account)],
            "sessions": [
                {"began_at": row.created_at, "ip": row.ip, "user_agent": row.user_agent}
                for row in sessions_of(account)
            ],
            "bans": list(account.bans.values("reason", "until", "created_at", "lifted_at")),
            "donations": [
                described(row) | {"use": use(row)}
                for row in account.donations.select_related("provider").order_by("pk")
            ],
            "promo_codes": [
                {
                    "last4": row.code.last4,
                    "granted": row.granted,
                    "redeemed_at": row.created_at,
                    "expires_at": row.expires_at,
                }
                for row in history(account, _PAGE)
            ],
            "keys": list(
                ApiKey.objects.filter(account=account, console=False).order_by("pk").values(*_KEY)
            ),
        }
    finally:
        connection.close()


def _factor(row: Authenticator) -> dict[str, Any]:
    """That there is one; what it proves itself by stays here."""
    return {"type": row.type, "name": row.data.get("name", ""), "created_at": row.created_at,
            "last_used_at": row.last_used_at}  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
