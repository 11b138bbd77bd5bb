"""What is done with promo codes: make, redeem, switch off. Pages, the admin, commands and the bot
all call these.

Redeeming is one transaction: the promo's row is locked first, then the account's (the ledger's own
order, DESIGN §4), then all that is decided on is read. Nothing of it is read from before the locks
but whether it is worth taking them: a guesser never gets into the ledger's queue.
"""

from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet

from accounts.audit import Verb, record
from accounts.keys.identity import lock_accounts
from accounts.models import Account, Ban
from bsod.lib import clock
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Bucket
from promos import codes
from promos.models import Promo, PromoCode, Redemption
from promos.rules import Facts, Why, refusal
from quotas.meter import give
from quotas.models import Balance

MOST_CODES = 1_000  # a batch: more would hold the writers' queue for too long


class Refused(Exception):
    """The code was not redeemed, and nothing was granted. `ban` is the one that stops the account,
    if it is one."""

    def __init__(self, why: Why, ban: Ban | None = None) -> None:
        super().__init__(str(why))
        self.why, self.ban = why, ban


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a code has given: units of each bucket, and when they expire."""

    granted: tuple[tuple[Bucket, int], ...]
    expires_at: datetime | None


# ---- making


def make_codes(
    promo: Promo, *, count: int = 1, chosen: str = "", by: Account | None = None, reason: str = ""
) -> list[str]:
    """Save a new offer with `count` random codes, or the chosen one. Returns their full texts,
    which nobody can show again. Raises ValidationError, and then nothing was saved."""
    if not promo._state.adding:
        raise ValueError("an offer's codes are made with it")
    promo.created_by = by or promo.created_by
    promo.full_clean()
    if not 1 <= count <= MOST_CODES or (chosen and count != 1):
        raise ValidationError(f"Make 1 to {MOST_CODES} codes at once; a chosen code is one.")
    texts = [chosen.strip()] if chosen else [codes.mint() for _ in range(count)]
    folded = [check_chosen(chosen)] if chosen else [codes.fold(text) or "" for text in texts]
    rows = [
        PromoCode(promo=promo, digest=codes.digest(each), last4=each[-4:], most=promo.uses)
        for each in folded
    ]
    try:
        with transaction.atomic():
            promo.save()
            PromoCode.objects.bulk_create(rows)
            record(by, Verb.PROMO_CREATE, promo, reason=reason, codes=count, gives=promo.grants,
                   uses=promo.uses, per_user=promo.per_user)  # fmt: skip
    except IntegrityError:
        raise ValidationError(_TAKEN) from None
    return texts


_TAKEN = "There has been such a code before: choose another."


def check_chosen(text: str) -> str:
    """The folded form of a code somebody chooses. Raises ValidationError where it cannot be one."""
    folded = codes.fold(text)
    if folded is None:
        raise ValidationError(
            f"A code has {codes.LEAST} to {codes.MOST} Latin letters and digits; spaces and dashes "
            "do not count."
        )
    if PromoCode.objects.filter(digest=codes.digest(folded)).exists():
        raise ValidationError(_TAKEN)
    return folded


# ---- redeeming


def redeem(account: Account, text: str, now: datetime, *, via: str = "page") -> Redeemed:
    """Give an account what a code is worth. Raises Refused; or a DatabaseError, after which it may
    be tried again: what was granted after all is refused as redeemed already."""
    folded = codes.fold(text)
    digest = codes.digest(folded or "")
    code, facts, ban = _read(account, digest, now)
    if why := refusal(facts, now):
        raise Refused(why, ban)
    assert code is not None, "no code would have been refused"
    with exclusive("redeem"), connection.cursor() as cursor:
        Promo.objects.select_for_update(no_key=True).get(pk=code.promo_id)
        lock_accounts(cursor, [account.pk])
        code, facts, ban = _read(account, digest, now)
        if why := refusal(facts, now):
            raise Refused(why, ban)
        assert code is not None, "as above"
        return _give(account, code, facts.this_offer + 1, now, via)


def _read(
    account: Account, digest: str, now: datetime
) -> tuple[PromoCode | None, Facts, Ban | None]:
    """All that is decided on. A code that does not exist costs the same statements as one that
    does: neither the answer nor its time tells them apart."""
    code = PromoCode.objects.select_related("promo").filter(digest=digest).first()
    mine = Redemption.objects.filter(account=account)
    taken = list(mine.filter(promo=code.promo_id if code else 0).values_list("code", flat=True))
    ban = next((ban for ban in Ban.objects.filter(account=account, lifted_at=None)
                if ban.stands(now)), None)  # fmt: skip
    active = Account.objects.filter(pk=account.pk, is_active=True).exists()
    # Sums that stay when an account purges its history.
    spent = Balance.objects.filter(Q(used__gt=0) | Q(reserved__gt=0), account=account).exists()
    facts = Facts(
        terms=code.terms() if code else None,
        banned=ban is not None or not active,
        this_code=taken.count(code.pk) if code else 0,
        this_offer=len(taken),
        used_before=mine.exists() or spent,
    )
    return code, facts, ban


def _give(account: Account, code: PromoCode, number: int, now: datetime, via: str) -> Redeemed:
    """The grants, the count and the record. The locks are held."""
    promo = code.promo
    expires_at = promo.lasts_until(now)
    granted = tuple((Bucket(name), amount) for name, amount in sorted(promo.grants.items()))
    balances = [give(account, bucket, amount, expires_at, now).pk for bucket, amount in granted]
    PromoCode.objects.filter(pk=code.pk).update(redeemed=F("redeemed") + 1)
    Redemption.objects.create(
        promo=promo, code=code, account=account, number=number, via=via,
        balances=balances, expires_at=expires_at, created_at=now,
    )  # fmt: skip
    return Redeemed(granted, expires_at)


# ---- what is shown and switched off


def history(account: Account, most: int = 50) -> list[Redemption]:
    """What an account has redeemed, newest first, with its promos."""
    return list(Redemption.objects.filter(account=account).select_related("promo", "code")[:most])


def disable(
    rows: QuerySet[Promo] | QuerySet[PromoCode], *, by: Account | None = None, reason: str = ""
) -> list[Promo | PromoCode]:
    """Switch offers or single codes off, from the next try on, all or none. What they gave stays
    given. Returns those that were on."""
    now = clock.now()
    with transaction.atomic():
        changed = [row for row in rows if _switch_off(row, now)]
        for row in changed:
            record(by, Verb.PROMO_DISABLE, row, reason=reason)
    return changed


def _switch_off(row: Promo | PromoCode, now: datetime) -> bool:
    """By the database's own word: of two who do it at once, one has done it."""
    on = type(row)._default_manager.filter(pk=row.pk, disabled_at=None)
    return bool(on.update(disabled_at=now))
