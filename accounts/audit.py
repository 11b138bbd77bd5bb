"""The audit log: who has done what to whom, and why. One row for each act of an admin.

`record` is the only way in, and there is none out: an event is neither changed nor deleted, which
a trigger holds on both databases. Written in the transaction of the act itself, so that neither is
there without the other. Facts are plain values and never a secret. People are kept by their number
alone and named when it is read, so that a deleted account's name is gone from here too.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db.models import Model

from accounts.models import Account, AuditEvent

LONGEST_REASON, _LONGEST_TEXT = 500, 200
_MOST_ITEMS = 100
_PERSON = Account._meta.label_lower
SECRET = ("password", "secret", "sealed", "digest", "fingerprint", "token", "cookie")
"""What the names of fields that nobody reads back have in them."""
_asking: ContextVar[str] = ContextVar("address of whoever acts", default="")


class Verb(StrEnum):
    """What may be done; a new act is one more line here."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"

    ACCOUNT_BAN = "account.ban"
    ACCOUNT_UNBAN = "account.unban"
    ACCOUNT_PLAN = "account.plan"
    ACCOUNT_GRANT = "account.grant"
    ACCOUNT_CORRECT = "account.correct"
    ACCOUNT_SIGN_OUT = "account.sign_out"
    ACCOUNT_STAFF = "account.staff"
    ACCOUNT_FACTORS = "account.factors"
    ACCOUNT_CLOSE = "account.close"

    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"

    PROMO_CREATE = "promo.create"
    PROMO_CHANGE = "promo.change"
    PROMO_DISABLE = "promo.disable"

    DONATION_APPROVE = "donation.approve"
    DONATION_REJECT = "donation.reject"
    DONATION_WITHDRAW = "donation.withdraw"
    DONATION_PAUSE = "donation.pause"
    DONATION_RESUME = "donation.resume"
    DONATION_CHANGE = "donation.change"
    DONATION_TRUST = "donation.trust"

    PROVIDER_CREATE = "provider.create"
    PROVIDER_DELETE = "provider.delete"
    PROVIDER_RESTORE = "provider.restore"
    PROVIDER_LOCK = "provider.lock"
    PROVIDER_UNLOCK = "provider.unlock"
    PROVIDER_SYNC = "provider.sync"
    PROVIDER_KEY_ADD = "provider_key.add"
    PROVIDER_KEY_DELETE = "provider_key.delete"
    PROVIDER_KEY_DISABLE = "provider_key.disable"
    PROVIDER_KEY_ENABLE = "provider_key.enable"
    PROVIDER_KEY_COOL = "provider_key.cool"
    PROVIDER_KEY_PROBE = "provider_key.probe"
    REST_END = "rest.end"

    MODEL_FIX = "model.fix"
    MODEL_FOLLOW = "model.follow"

    LEDGER_EXPORT = "ledger.export"
    LEDGER_AUDIT = "ledger.audit"
    AUDIT_EXPORT = "audit.export"


@contextmanager
def asked_from(address: str) -> Iterator[None]:
    """What is recorded inside the block was asked for from this address."""
    before = _asking.set(address)
    try:
        yield
    finally:
        _asking.reset(before)


def record(
    actor: Account | None, verb: str, target: Any = None, *, reason: str = "", **facts: Any
) -> AuditEvent:
    """Keep an act. Without an actor it was the worker, a command or the donor's key itself.

    ValueError or TypeError where the verb is unknown or a fact is secret or no plain value: that
    is a fault of ours, and the act it belongs to shall not happen.
    """
    known = actor if actor is not None and actor.pk else None
    kind, number, text = _named(target)
    event: AuditEvent = AuditEvent.objects.create(
        actor=known,
        verb=Verb(verb),
        target_kind=kind,
        target_id=number,
        target_text=text,
        reason=_cut(reason.strip(), LONGEST_REASON),
        facts={name: plain(value) for name, value in facts.items() if not _refused(name)},
        address=_asking.get(),
    )
    return event


def secret(name: str) -> bool:
    """Whether a field of this name holds what nobody may read back."""
    return any(part in name.lower() for part in SECRET)


def _refused(name: str) -> bool:
    if secret(name):
        raise ValueError(f"{name} is no fact for the audit log")
    return False


def name_people(events: Collection[AuditEvent]) -> None:
    """Set who has acted, and on whom, by the names they have now."""
    on = {int(event.target_id) for event in events if event.target_kind == _PERSON}
    wanted = on | {event.actor_id for event in events if event.actor_id}
    names = dict(Account.objects.filter(pk__in=wanted).values_list("pk", "username"))
    for event in events:
        event.actor_name = names.get(event.actor_id or 0, "")
        if event.target_kind == _PERSON:
            event.target_text = names.get(int(event.target_id), "")


def _named(target: Any) -> tuple[str, str, str]:
    if isinstance(target, Account):
        return _PERSON, str(target.pk), ""
    if isinstance(target, Model):
        return target._meta.label_lower, str(target.pk or ""), _cut(str(target), _LONGEST_TEXT)
    return "", "", _cut(str(target or ""), _LONGEST_TEXT)


def plain(value: Any) -> Any:
    """A value as JSON has it, short enough to be read."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _cut(str(value), LONGEST_REASON)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items() if not _refused(str(name))}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in [*value][:_MOST_ITEMS]]
    raise TypeError(f"{type(value).__name__} is no plain value")


def _cut(text: str, most: int) -> str:
    # Databases take no NUL in a text, and UTF-8 has no half of a pair.
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"
