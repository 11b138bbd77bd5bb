"""Whose key is this, and what may it do right now? Read afresh for every call, never cached.

`read` takes the rows of many keys in one go: on PostgreSQL it locks the owners' account rows,
and whoever holds those owns the accounts' balances and entries (DESIGN §3). `refusal` decides
from values alone.
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

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
_BAN = ("reason", "until")
# Where they are in a row of the one read.
_ACCOUNT_AT = slice(len(_KEY), len(_KEY) + len(_ACCOUNT))
_PLAN_AT = slice(_ACCOUNT_AT.stop, _ACCOUNT_AT.stop + len(_PLAN))
_BAN_AT = slice(_PLAN_AT.stop, _PLAN_AT.stop + len(_BAN))


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
    if lock:
        lock_accounts(cursor, also, public_ids)
    if not public_ids:
        return {}
    cursor.execute(_sql_read(len(public_ids)), (FREE, *public_ids))
    rows = cursor.fetchall()
    plans = {(plan := row[_PLAN_AT])[0]: _terms(*plan) for row in rows}
    bans = _bans(rows, now)
    owners: dict[int, Owner] = {}
    found: dict[str, Identity] = {}
    for row in rows:
        account = row[_ACCOUNT_AT]
        owner = owners.get(account[0])
        if owner is None:
            owner = owners[account[0]] = _owner(account, plans, bans.get(account[0]), now)
        if row[0] not in found:
            found[row[0]] = _identity(row, owner)
    return found


@cache
def _sql_read(keys: int) -> str:
    """A row for each key, and more where the owner is not on the free plan (which may have to
    stand in for his) or has several bans."""
    account, lifted = sql.column(Account, "id"), sql.column(Ban, "lifted_at")
    return (
        f"SELECT {sql.columns(ApiKey, _KEY)}, {sql.columns(Account, _ACCOUNT)}, "
        f"{sql.columns(Plan, _PLAN)}, {sql.columns(Ban, _BAN)} FROM {sql.table(ApiKey)} "
        f"JOIN {sql.table(Account)} ON {account} = {sql.column(ApiKey, 'account')} "
        f"JOIN {sql.table(Plan)} "
        f"ON {sql.column(Plan, 'slug')} IN ({sql.column(Account, 'plan')}, %s) "
        f"LEFT JOIN {sql.table(Ban)} "
        f"ON {sql.column(Ban, 'account')} = {account} AND {lifted} IS NULL "
        f"WHERE {sql.column(ApiKey, 'public_id')} IN ({sql.marks(range(keys))})"
    )


def lock_accounts(
    cursor: sql.Cursor, accounts: Collection[int], keys: Collection[str] = ()
) -> None:
    """Take the lock that owns the ledger rows of these accounts, and of the owners of these keys
    (a key never changes its owner). Whatever is decided on is read by later statements: one that
    has waited for a lock still sees the other tables as they were before."""
    # On SQLite the whole database is ours already.
    if (accounts or keys) and not sql.on_sqlite():
        cursor.execute(_sql_lock(len(accounts), len(keys)), (*accounts, *keys))


@cache
def _sql_lock(accounts: int, keys: int) -> str:
    account = sql.column(Account, "id")
    wanted = []
    if accounts:
        wanted.append(f"VALUES {sql.groups(accounts, 1)}")
    if keys:
        wanted.append(
            f"SELECT {sql.column(ApiKey, 'account')} FROM {sql.table(ApiKey)} "
            f"WHERE {sql.column(ApiKey, 'public_id')} IN ({sql.marks(range(keys))})"
        )
    return (
        f"SELECT {account} FROM {sql.table(Account)} "
        f"WHERE {account} IN ({' UNION ALL '.join(wanted)}) ORDER BY {account} FOR NO KEY UPDATE"
    )


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


def _owner(
    account: tuple[Any, ...], plans: Mapping[str, PlanTerms], ban: Banned | None, now: datetime
) -> Owner:
    """An account with the plan that holds for it and the ban that stands."""
    id_, username, is_staff, is_active, plan, started_at, expires_at = account
    holds = standing(plans[plan], plans[FREE], _known(started_at), sql.moment(expires_at), now)
    return Owner(id_, username, bool(is_staff), bool(is_active), holds, ban)


def _known(value: Any) -> datetime:
    found = sql.moment(value)
    assert found is not None, "the column is NOT NULL"
    return found


@lru_cache(maxsize=256)
def _terms(*plan: Any) -> PlanTerms:
    slug, kind, requests_per_minute, open_calls, caps, credits, days = plan
    return PlanTerms(slug, kind, requests_per_minute, open_calls, sql.parsed(caps), credits, days)


def _bans(rows: Iterable[tuple[Any, ...]], now: datetime) -> dict[int, Banned]:
    """The standing ban of each account that has one. Of several the one that lasts longest."""
    standing_bans: dict[int, Banned] = {}
    for row in rows:
        reason, until_ = row[_BAN_AT]
        until = sql.moment(until_)
        if reason is None or (until and until <= now):
            continue
        account = row[_ACCOUNT_AT][0]
        earlier = standing_bans.get(account)
        if earlier is None or (earlier.until and (until is None or until > earlier.until)):
            standing_bans[account] = Banned(reason, until)
    return standing_bans
