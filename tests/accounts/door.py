"""People at the door: accounts with a password, browsers with and without a session, their mail.

A session is made as a browser would have it after signing in, so that only the tests of signing in
pay for a password's hash.
"""

import email
import email.policy
import html
import itertools
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import make_password

from accounts.models import Account
from accounts.service import create_account
from tests import kit
from tests.bsod.browser import PASSWORD, Browser
from tests.kit import Site

_numbers = itertools.count(1)
_LINK = re.compile(r"https?://\S+")


@cache
def _hashed() -> str:
    # As strong as any: a weaker one is written anew at the first sign-in, which ends sessions.
    return make_password(PASSWORD)


def member(name: str = "alice", *, mail: bool = False, **more: Any) -> Account:
    """Somebody who can sign in with PASSWORD, with a confirmed address where asked for."""
    account = create_account(kit.unique(name))
    address = f"{account.username}@mail.example" if mail else ""
    more = {"password": _hashed(), "email": address, **more}
    Account.objects.filter(pk=account.pk).update(**more)
    account.refresh_from_db()
    if mail:
        EmailAddress.objects.create(user=account, email=address, verified=True, primary=True)
    return account


class Visitor(Browser):
    """A browser at an address of its own."""

    def __init__(self, site: Site) -> None:
        number = next(_numbers)
        super().__init__(site, f"127.0.{2 + number // 250}.{1 + number % 250}")

    def enter(self, name: str, password: str = PASSWORD, **more: Any) -> requests.Response:
        return self.post("/login/", login=name, password=password, **more)

    @property
    def signed_in(self) -> bool:
        return self.get("/account/").status_code == 200


def said(page: requests.Response) -> str:
    """What a page says to its reader, without the form's token. How many models are up, which
    stands beside it, is another test's doing."""
    text = page.text.partition("<main")[2]
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)


def mails(address: str) -> list[Any]:
    """What was sent to an address, oldest first."""
    found = []
    for path in Path(settings.EMAIL_FILE_PATH).glob("*"):
        for part in path.read_bytes().split(b"-" * 79 + b"\n"):
            message = email.message_from_bytes(part, policy=email.policy.default)
            if message["To"] == address:
                found.append((path.stat().st_mtime_ns, message))
    return [message for _at, message in sorted(found, key=lambda pair: pair[0])]


def link(address: str) -> str:
    """The first link of the last mail to an address."""
    text = mails(address)[-1].get_content()
    found = _LINK.search(text)
    assert found, text
    return found.group()


def path_of(url: str) -> str:
    """The path of a link, which must lead to the site's own address."""
    assert urlsplit(url).hostname == "127.0.0.1", url
    return urlsplit(url).path


def text_of(page: requests.Response) -> str:
    return html.unescape(page.text)
