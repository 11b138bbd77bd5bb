"""Whose key is this, and what may it do right now? Read afresh for every call, never cached.

`read` takes the rows of many keys in one go: on PostgreSQL it locks the owners' account rows,
and whoever holds those owns the accounts' balances and entries (DESIGN §3). `refusal` decides
from values alone.
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from django.db import connection

from accounts.keys.models import ApiKey
from accounts.keys.tokens import Token, matches
from accounts.models import FREE, Account, Ban, Plan
from accounts.plans import PlanTerms, Standing, standing
from bsod.lib import sql

_KEY = (
    "public_id", "id", "digest", "name", "account", "permissions", "caps",
    "requests_per_minute", "open_calls", "allowed_models", "networks",
    "unlimited", "operator", "expires_at", "revoked_at", "last_used_at",
)  # fmt: skip
_ACCOUNT = (
    "id", "username", "is_staff", "is_active", "plan", "plan_started_at", "plan_expires_at"
)  # fmt: skip
_PLAN = (
    "slug", "kind", "requests_per_minute", "open_calls", "caps", "credits_per_period",
    "period_days",
)  # fmt: skip


class Refusal(StrEnum):
    INVALID = "invalid"
    BANNED = "banned"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Banned:
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Owner:
    id: int
    username: str
    is_staff: bool
    is_active: bool
    plan: Standing
    ban: Banned | None


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and its owner as they stand in this transaction."""

    id: int
    digest: str
    name: str
    owner: Owner
    permissions: Collection[str]
    caps: Mapping[str, int]
    requests_per_minute: int | None
    open_calls: int | None
    allowed_models: Collection[str]
    networks: Collection[str]
    unlimited: bool
    operator: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def refusal(identity: Identity | None, token: Token, address: str, now: datetime) -> Refusal | None:
    """Why this key may not call at all, or None. The secret is compared even for no key."""
    proven = matches(token, identity.digest if identity else "0" * 64)
    if identity is None or not proven or not _alive(identity, now):
        return Refusal.INVALID
    if identity.owner.ban:
        return Refusal.BANNED
    if identity.networks and not _within(address, tuple(identity.networks)):
        return Refusal.NETWORK
    return None


def _alive(identity: Identity, now: datetime) -> bool:
    if identity.revoked_at or (identity.expires_at and identity.expires_at <= now):
        return False
    # An operator key is gone with its owner's staff flag.
    return identity.owner.is_active and (identity.owner.is_staff or not identity.operator)


@lru_cache(maxsize=1024)
def _within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped:
        client = client.ipv4_mapped
    return any(client in ipaddress.ip_network(network) for network in networks)


def read(
    cursor: sql.Cursor,
    public_ids: Collection[str],
    now: datetime,
    also: Collection[int] = (),
    lock: bool = True,
) -> dict[str, Identity]:
    """The keys with these public ids, and their owners, locked where the database can.

    The accounts `also` are locked in the same breath, for whatever else the batch does to them.
    """
    rows = _key_rows(cursor, tuple(public_ids)) if public_ids else []
    wanted = {row[4] for row in rows}
    # On SQLite the whole database is ours already: only what is needed is read.
    locked = wanted | set(also) if lock and connection.vendor == "postgresql" else wanted
    accounts = lock_accounts(cursor, locked, lock) if locked else []
    owners = _owners(cursor, [row for row in accounts if row[0] in wanted], now)
    return {row[0]: _identity(row, owners[row[4]]) for row in rows}


def _key_rows(cursor: sql.Cursor, ids: tuple[str, ...]) -> list[tuple[Any, ...]]:
    cursor.execute(
        f"SELECT {sql.columns(ApiKey, _KEY)} FROM {sql.table(ApiKey)} "
        f"WHERE {sql.column(ApiKey, 'public_id')} IN ({sql.marks(ids)})",
        ids,
    )
    return list(cursor.fetchall())


def _identity(row: tuple[Any, ...], owner: Owner) -> Identity:
    return Identity(
        id=row[1],
        digest=row[2],
        name=row[3],
        owner=owner,
        permissions=sql.parsed(row[5]),
        caps=sql.parsed(row[6]),
        requests_per_minute=row[7],
        open_calls=row[8],
        allowed_models=sql.parsed(row[9]),
        networks=sql.parsed(row[10]),
        unlimited=bool(row[11]),
        operator=bool(row[12]),
        expires_at=sql.moment(row[13]),
        revoked_at=sql.moment(row[14]),
        last_used_at=sql.moment(row[15]),
    )


def _owners(
    cursor: sql.Cursor, accounts: Sequence[tuple[Any, ...]], now: datetime
) -> dict[int, Owner]:
    """Accounts with the plan that holds for them and the ban that stands."""
    if not accounts:
        return {}
    plans = _plans(cursor)
    bans = _bans(cursor, [row[0] for row in accounts], now)
    return {
        row[0]: Owner(
            row[0],
            row[1],
            bool(row[2]),
            bool(row[3]),
            standing(plans[row[4]], plans[FREE], _known(row[5]), sql.moment(row[6]), now),
            bans.get(row[0]),
        )
        for row in accounts
    }


def lock_accounts(
    cursor: sql.Cursor, accounts: Collection[int], lock: bool = True
) -> list[tuple[Any, ...]]:
    """Take the lock that owns these accounts' ledger rows; returns the accounts."""
    ids = tuple(accounts)
    locking = "FOR NO KEY UPDATE" if lock and connection.vendor == "postgresql" else ""
    cursor.execute(
        f"SELECT {sql.columns(Account, _ACCOUNT)} FROM {sql.table(Account)} "
        f"WHERE {sql.column(Account, 'id')} IN ({sql.marks(ids)}) "
        f"ORDER BY {sql.column(Account, 'id')} {locking}",
        ids,
    )
    return list(cursor.fetchall())


def _known(value: Any) -> datetime:
    found = sql.moment(value)
    assert found is not None, "the column is NOT NULL"
    return found


def _plans(cursor: sql.Cursor) -> dict[str, PlanTerms]:
    cursor.execute(f"SELECT {sql.columns(Plan, _PLAN)} FROM {sql.table(Plan)}")
    return {
        row[0]: PlanTerms(row[0], row[1], row[2], row[3], sql.parsed(row[4]), row[5], row[6])
        for row in cursor.fetchall()
    }


def _bans(cursor: sql.Cursor, accounts: Collection[int], now: datetime) -> dict[int, Banned]:
    ids = tuple(accounts)
    cursor.execute(
        f"SELECT {sql.columns(Ban, ('account', 'reason', 'until'))} FROM {sql.table(Ban)} "
        f"WHERE {sql.column(Ban, 'lifted_at')} IS NULL "
        f"AND {sql.column(Ban, 'account')} IN ({sql.marks(ids)})",
        ids,
    )
    standing_bans: dict[int, Banned] = {}
    for account, reason, until_ in cursor.fetchall():
        until = sql.moment(until_)
        earlier = standing_bans.get(account)
        if until and until <= now:
            continue
        # Of several the one that lasts longest is shown.
        if earlier is None or (earlier.until and (until is None or until > earlier.until)):
            standing_bans[account] = Banned(reason, until)
    return standing_bans
