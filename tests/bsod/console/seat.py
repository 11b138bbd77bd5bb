"""Somebody with a session, as a browser keeps one, without the forms that lead to it."""

from typing import Any

import requests
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from accounts.models import Account
from tests.kit import Person, Site

FORGED = "x" * 32
TOKEN = "t" * 32


class Seat:
    """A browser's session of a person at a site; `token` goes with every POST."""

    def __init__(self, site: Site, person: Person) -> None:
        account = Account.objects.get(pk=person.account.pk)
        store = SessionStore()
        store[SESSION_KEY] = str(account.pk)
        store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        store[HASH_SESSION_KEY] = account.get_session_auth_hash()
        store.save()
        self.site, self.store = site, store
        self.session = requests.Session()
        self.session.cookies[settings.SESSION_COOKIE_NAME] = str(store.session_key)
        self.session.cookies[settings.CSRF_COOKIE_NAME] = TOKEN

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.session.get(self.site.url + path, timeout=30, **kwargs)

    def post(
        self, path: str, body: Any = None, token: str = TOKEN, **kwargs: Any
    ) -> requests.Response:
        headers = {"X-CSRFToken": token, **kwargs.pop("headers", {})}
        return self.session.post(
            self.site.url + path, json=body, headers=headers, timeout=30, **kwargs
        )
