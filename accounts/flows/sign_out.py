"""End sessions of an account: one, all but the one that asks, or all.

Sessions lie in the database; `UserSession` says whose they are and where they began. Only rows of
the account itself are looked at, so that another's number finds nothing.
"""

from collections.abc import Collection

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Account
from bsod.lib import clock

MOST = 200  # sessions that are listed, the newest first


def sessions_of(account: Account) -> list[UserSession]:
    """The sessions that live, newest first. What has ended is forgotten on the way."""
    rows = list(UserSession.objects.filter(user=account).order_by("-created_at")[:MOST])
    living = set(
        Session.objects.filter(
            session_key__in=[row.session_key for row in rows], expire_date__gt=clock.now()
        ).values_list("session_key", flat=True)
    )
    gone = [row.pk for row in rows if row.session_key not in living]
    if gone:
        UserSession.objects.filter(pk__in=gone).delete()
    return [row for row in rows if row.session_key in living]


def sign_out_one(account: Account, number: int) -> bool:
    """End one session; False where the account has none of this number."""
    return _end(UserSession.objects.filter(user=account, pk=number)) > 0


def sign_out_others(account: Account, keep: str | None = None) -> int:
    """End every session but the one with this key; returns how many there were."""
    return _end(UserSession.objects.filter(user=account).exclude(session_key=keep or ""))


@transaction.atomic
def _end(rows: "QuerySet[UserSession]") -> int:
    keys: Collection[str] = list(rows.values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    UserSession.objects.filter(session_key__in=keys).delete()
    return len(keys)
