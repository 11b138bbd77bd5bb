"""Who a name and a password belong to. One look, one hash, whoever is asked for.

A name is a username or a mail address; one with an @ in it is taken for mail first. Whether there
is such an account, and by which of the two it was found, shows neither in the answer nor in its
time: a password is always hashed exactly once.
"""

import unicodedata
from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.internal.userkit import get_user_by_username
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest

from accounts.models import Account

_LONGEST = 254


class Backend(AuthenticationBackend):  # type: ignore[misc]  # allauth has no types
    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> Account | None:
        name = credentials.get("username") or credentials.get("email") or ""
        password = credentials.get("password")
        if not name or not password:
            return None
        account = find(str(name))
        if account is None:
            make_password(password)
            return None
        found: Account | None = self._check_password(account, password)
        return found


def find(name: str) -> Account | None:
    """The account of a username, however it is spelt, or of a mail address that is its own."""
    name = unicodedata.normalize("NFKC", name).strip()
    if not name or len(name) > _LONGEST or "\0" in name:
        return None
    looks = (_by_mail, _by_username) if "@" in name else (_by_username,)
    return next((found for look in looks if (found := look(name))), None)


def _by_username(name: str) -> Account | None:
    exact = Account.objects.filter(username=name).first()
    found: Account | None = exact or get_user_by_username(name)
    return found


def _by_mail(name: str) -> Account | None:
    """Of the account that has confirmed it, else of one that has said it or was given it."""
    mail = name.lower()
    rows = EmailAddress.objects.filter(email=mail).select_related("user")
    said = rows.order_by("-verified", "pk").first()
    if said is not None:
        owner: Account = said.user
        return owner
    return Account.objects.filter(email=mail).first()
