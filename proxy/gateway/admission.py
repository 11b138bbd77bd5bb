"""Who may make this call, and what is drawn for it: the refusals of SPEC §4 in their order.

Values in, values out. `screen` needs the key's rows and the catalogue; `draw_for` needs the
balances, the pace and the open calls too. Both raise ApiError.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import ceil

import orjson
from django.conf import settings

from accounts.keys.identity import Identity, Refusal, refusal
from bsod.lib.terms import Bucket, Permission
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.aim import Aim, Known, take_aim, tariff_of
from proxy.gateway.call import bad_key
from proxy.gateway.journey import Call, Caller, Ticket
from proxy.gateway.limits import PaceLeft, Quota, bucket_left, pace_spent, quota_headers
from proxy.pool import Pool
from quotas import pace as paces
from quotas.book import Holder, Purse, key_owner
from quotas.draw import Leg, draw
from quotas.ledger import WHOLE
from quotas.pace import Minute
from quotas.pricing import Tariff, TooLittle, reserve
from quotas.report import binding, holder, resets_at


@dataclass(frozen=True, slots=True)
class Screened:
    """A call that may be made if there is enough: by whom, of what, on which tariff."""

    call: Call
    identity: Identity
    aim: Aim
    tariff: Tariff | None
    holder: Holder
    paced: Sequence[tuple[str, int]]
    """The (owner, requests a minute) pairs that bound this call."""


def authenticate(
    identity: Identity | None, caller: Caller, permission: Permission | None, now: datetime
) -> Identity:
    """401, 403 for a ban, 403 for a permission."""
    why = refusal(identity, caller.token, caller.address, now)
    if why is Refusal.INVALID or identity is None:
        raise bad_key()
    if why is Refusal.BANNED:
        raise _banned(identity)
    if why is Refusal.NETWORK:
        raise ApiError(
            Code.NETWORK_NOT_ALLOWED,
            "This key may not be used from your network. Its owner can change that.",
        )
    if permission:
        need(identity, permission)
    return identity


def need(identity: Identity, permission: Permission) -> None:
    if permission not in identity.permissions:
        raise ApiError(
            Code.PERMISSION_DENIED,
            f"This key lacks the permission '{permission}'. Its owner can switch it on.",
            extra={"permission": str(permission)},
        )


def _banned(identity: Identity) -> ApiError:
    ban = identity.owner.ban
    assert ban is not None, "only a ban refuses like this"
    until = ban.until.isoformat().replace("+00:00", "Z") if ban.until else None
    return ApiError(
        Code.ACCOUNT_BANNED,
        f"This account is banned: {ban.reason}",
        extra={"ban": {"reason": ban.reason, "until": until}},
    )


def screen(
    identity: Identity | None, call: Call, pool: Pool, owned: Known, now: datetime
) -> Screened:
    """Everything that can be refused before any balance is looked at."""
    known = authenticate(identity, call.caller, call.permission, now)
    if call.fault:
        raise call.fault
    if call.zero and not known.unlimited:
        raise invalid(call.zero, f"'{call.zero}' must be a whole number of at least 1.")
    aim = take_aim(call, known, owned, pool)
    name, modality = aim.model.name, call.route.modality
    if known.allowed_models and (name or modality) and name not in known.allowed_models:
        raise ApiError(
            Code.MODEL_NOT_ALLOWED,
            f"This key is not for the model '{name}'. Its owner can add it.",
            param="model",
        )
    if modality and aim.model.traits.modality is not modality:
        raise ApiError(
            Code.MODEL_NOT_FOUND,
            f"'{name}' does not serve {call.route.path}; see GET /v1/models.",
            param="model",
        )
    if aim.model.pro and modality:
        need(known, Permission.PRO_MODELS)
    who = holder(known)
    tariff = tariff_of(aim.call, aim.model, who.plan.pays_credits and not who.unlimited)
    return Screened(aim.call, known, aim, tariff, who, _paced(known))


def _paced(identity: Identity) -> Sequence[tuple[str, int]]:
    if identity.unlimited:
        return ()
    whole = (f"user:{identity.owner.id}", identity.owner.plan.terms.requests_per_minute)
    own = identity.requests_per_minute
    return (whole,) if own is None else (whole, (key_owner(identity.id), own))


def check_pace(
    screened: Screened, known: dict[str, Minute | None], now: datetime
) -> dict[str, Minute]:
    """The paces with this request counted, or 429 with a small Retry-After."""
    counted = {}
    for owner, limit in screened.paced:
        pace = paces.at(known.get(owner), now)
        seconds = paces.wait(pace, limit, now)
        if seconds:
            raise ApiError(
                Code.RATE_LIMIT_EXCEEDED,
                f"More than {limit} requests a minute. Try again in {seconds} s.",
                retry_after=seconds,
                headers=quota_headers(Quota(pace=pace_spent(limit, now))),
            )
        counted[owner] = paces.counted(pace)
    return counted


def check_open(
    screened: Screened, opened: dict[tuple[int, int], int], pace: PaceLeft | None
) -> None:
    """429 when too many calls of the account or of the key are open."""
    if screened.holder.unlimited:
        return
    account, key = screened.holder.account, screened.identity.id
    total = opened.get((account, WHOLE), 0)
    limit, own = screened.identity.owner.plan.terms.open_calls, screened.identity.open_calls
    if total >= limit or (own is not None and opened.get((account, key), 0) >= own):
        raise ApiError(
            Code.CONCURRENCY,
            f"Too many calls are open at once (at most {limit if total >= limit else own}).",
            retry_after=1,
            headers=quota_headers(Quota(pace=pace)),
        )


def draw_for(
    screened: Screened, purse: Purse, day: str, now: datetime, pace: PaceLeft | None
) -> tuple[int, Sequence[Leg], int | None]:
    """(amount, legs, output limit to forward), or 429/402. Nothing is drawn yet."""
    call, tariff = screened.call, screened.tariff
    assert tariff, "a free call draws nothing"
    wanted = reserve(
        tariff,
        prompt=call.prompt,
        limit=call.limit,
        choices=call.choices,
        free=purse.free,
        model_limit=screened.aim.model.traits.output,
    )
    if isinstance(wanted, TooLittle):
        raise too_little(tariff.bucket, purse, wanted.needed, day, now, pace)
    drawn = draw(purse.payers, purse.bound, wanted.amount)
    return wanted.amount, drawn.legs, wanted.limit


def too_little(
    bucket: Bucket, purse: Purse, needed: int, day: str, now: datetime, pace: PaceLeft | None
) -> ApiError:
    """The refusal of an empty purse: 402 for credits, 429 for a bucket, never worth a retry."""
    ends = resets_at(purse, day)
    left = purse.free or 0
    shown = quota_headers(Quota(bucket_left(bucket, purse, day, now), pace))
    quota = {
        "bucket": str(bucket),
        "limit": binding(purse),
        "needed": needed,
        "left": left,
        "resets_at": ends.isoformat().replace("+00:00", "Z"),
    }
    if bucket is Bucket.CREDITS:
        return ApiError(
            Code.INSUFFICIENT_CREDITS,
            f"Not enough credits: {needed} needed, {left} left.",
            should_retry=False,
            extra={"quota": quota},
            headers=shown,
        )
    seconds = ceil((ends - now).total_seconds())
    return ApiError(
        Code.QUOTA_EXCEEDED,
        f"{bucket}: {needed} needed, {left} left. Resets at {quota['resets_at']}. "
        "Nothing was charged.",
        retry_after=max(1, seconds),
        should_retry=False,
        extra={"quota": quota},
        headers=shown,
    )


def ticket(
    screened: Screened,
    amount: int,
    limit: int | None,
    purse: Purse,
    pace: PaceLeft | None,
    day: str,
    now: datetime,
    homes: Mapping[int, int],
) -> Ticket:
    """What the next steps know of an admitted call. The purse is read after the reservation."""
    assert screened.tariff, "a free call has another ticket"
    quota = Quota(bucket_left(screened.tariff.bucket, purse, day, now), pace)
    return Ticket(
        screened.call,
        screened.holder.account,
        screened.aim.model,
        screened.tariff,
        amount,
        limit,
        opaque(screened.holder.account),
        quota,
        screened.tariff.bucket is Bucket.CREDITS,
        screened.aim.binding,
        screened.aim.pinned,
        homes,
        screened.identity.operator,
    )


def free_ticket(screened: Screened, homes: Mapping[int, int], pace: PaceLeft | None) -> Ticket:
    """A call that costs nothing: it has no entry, and draws on no bucket."""
    account = screened.holder.account
    return Ticket(
        screened.call, account, screened.aim.model, None, 0, None, opaque(account),
        Quota(pace=pace), False, screened.aim.binding, screened.aim.pinned, homes,
        screened.identity.operator,
    )  # fmt: skip


def quota_unavailable() -> ApiError:
    """The ledger could not be asked, or not in time: nothing is answered, nothing is due."""
    return ApiError(Code.QUOTA_UNAVAILABLE, "quota check temporarily unavailable", retry_after=1)


def price_of(tariff: Tariff) -> str:
    """The price snapshot an entry keeps."""
    price: dict[str, object] = {
        "input": tariff.input,
        "output": tariff.output,
        "per": tariff.per,
        "minimum": tariff.minimum,
        "fast": tariff.fast,
    }
    if tariff.each is not None:
        price["each"] = tariff.each
    return orjson.dumps(price).decode()


def opaque(account: int) -> str:
    """What providers are told instead of who the user is: stable, and nothing else."""
    return _opaque(settings.SECRET_KEY, account)


@lru_cache(maxsize=16_384)
def _opaque(secret_key: str, account: int) -> str:
    key = hashlib.sha256(b"user:" + secret_key.encode()).digest()
    return hmac.new(key, str(account).encode(), hashlib.sha256).hexdigest()[:32]
