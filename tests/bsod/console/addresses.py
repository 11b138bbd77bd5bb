"""Every address outside the admin, as the URLconf has it: what holds for all is asked of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from accounts.models import Account
from tests import kit
from tests.bsod.console.seat import TOKEN

PARTS = {"number": "1", "uid": "0" * 26, "slug": "connect", "pk": "1", "uidb36": "1",
         "key": "1-nonsense"}  # fmt: skip
"""Something for each part of a path, which nobody has. Whoever adds a part gives it one here."""
PROGRAMS = ("/balance/", "/key-info/", "/catalog/", "/status/", "/status/raw/", "/health/",
            "/metrics/")  # fmt: skip
"""For the bearer of a key or for anybody; their methods are decided by the route table."""
THROUGH_THE_GATEWAY = ("/playground/run/", "/playground/live-session/", "/playground/video-status/")
"""These need a gateway around them, and have their tests in `test_playground.py`."""
_PART = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Address:
    shape: str
    """As the URLconf spells it: `/access/<number>/`."""
    path: str


@cache
def addresses() -> tuple[Address, ...]:
    return tuple(_all(get_resolver().url_patterns))


def _all(patterns: Any, before: str = "") -> Iterator[Address]:
    for one in patterns:
        route = before + str(one.pattern)
        if route.startswith("admin/"):
            continue
        if isinstance(one, URLResolver):
            yield from _all(one.url_patterns, route)
        elif isinstance(one, URLPattern):
            shape = _shape(route)
            yield Address(shape, _PART.sub(lambda part: PARTS[part[1]], shape))


def shape_of(path: str) -> str:
    """Which of them a path is."""
    return _shape(resolve(path.partition("?")[0]).route)


def _shape(route: str) -> str:
    return _PART.sub(r"<\1>", simplify_regex(route))


def browser_of(account: Account | None, **more: Any) -> Client:
    """A browser in this very process, at an address of its own. Who it is has just said his
    password once more."""
    more = {
        "HTTP_HOST": "127.0.0.1",
        "HTTP_ACCEPT": "text/html",
        "REMOTE_ADDR": "192.0.2.71",
    } | more
    client = Client(**more)
    client.cookies[settings.CSRF_COOKIE_NAME] = TOKEN
    if account is not None:
        client.cookies[settings.SESSION_COOKIE_NAME] = kit.session_of(account, again=True)
    return client
