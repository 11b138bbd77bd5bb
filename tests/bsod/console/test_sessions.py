"""Sessions and forgotten passwords where somebody else has a hand in them: cookies as production
sets them, a session from before signing in, links made for another host, several links at once.
"""

import runpy
from http.cookies import Morsel
from pathlib import Path
from typing import Any

import pytest
from allauth.account.forms import default_token_generator as tokens
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core import mail
from django.test import Client, override_settings
from django.urls import reverse

from accounts.models import Account
from tests.accounts.door import member
from tests.bsod.browser import PASSWORD
from tests.bsod.console.addresses import browser_of
from tests.bsod.launcher import ROOT
from tests.bsod.test_settings import PRODUCTION

pytestmark = pytest.mark.once  # about sessions, not about the database

FRESH = "a horse of another colour"


def entered(client: Client, account: Account, **more: str) -> Any:
    said = {"login": account.username, "password": PASSWORD, **more}
    return client.post("/login/", said, secure=settings.PRODUCTION)


# ---- sessions


def test_a_session_from_before_signing_in_is_nobodys_afterwards() -> None:
    """Whoever has slipped somebody his own session does not come in with him."""
    bob, client = member("bob"), browser_of(None)
    client.get("/login/passkey/", HTTP_ACCEPT="application/json")
    before = client.cookies[settings.SESSION_COOKIE_NAME].value
    token = client.cookies[settings.CSRF_COOKIE_NAME].value
    assert SessionStore(before).exists(before)
    assert entered(client, bob, next="//evil.example")["Location"] == "/"
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before
    assert client.cookies[settings.CSRF_COOKIE_NAME].value != token
    assert not SessionStore(before).exists(before)
    assert client.get("/account/").status_code == 200


@pytest.fixture
def production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """All that settings say of cookies where SITE_URL begins with https://."""
    for name, value in {**PRODUCTION, "DATA_DIR": str(tmp_path), "ALLOWED_HOSTS": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    found = runpy.run_path(str(ROOT / "bsod/settings.py"))
    return {
        name: value for name, value in found.items()
        if "COOKIE" in name or name in ("PRODUCTION", "SITE_URL", "ALLOWED_HOSTS")
    }  # fmt: skip


def test_every_cookie_of_production_is_for_this_host_alone_and_safe(production: Any) -> None:
    bob = member("bob", theme="dark", language="ru")
    with override_settings(**production):
        client = Client(HTTP_HOST="api.example.org", REMOTE_ADDR="192.0.2.72")
        client.get("/login/", secure=True)
        assert entered(client, bob).status_code == 302
        client.post("/account/sessions/", {"session": "0"}, secure=True)  # leaves a message
        jar: dict[str, Morsel[str]] = dict(client.cookies)
    assert {"__Host-session", "__Host-csrf", "theme", "django_language"} <= set(jar)
    for name, cookie in jar.items():
        assert (cookie["secure"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/"), name
        assert cookie["domain"] == "", name
        # A page's script reads the theme; nothing else is for scripts.
        assert cookie["httponly"] or name in ("theme", "django_language"), name


# ---- mails


def test_nobody_has_many_mails_sent_to_somebody_by_registering_with_his_address() -> None:
    bob = member("bob", mail=True)
    spelt = (bob.email, f" {bob.email.upper()}")
    statuses = [
        browser_of(None, REMOTE_ADDR=f"198.51.100.{number}", HTTP_ACCEPT="application/json")
        .post("/register/", {"email": spelt[number % 2]})
        .status_code
        for number in range(11)
    ]
    assert statuses == [400] * 10 + [429]


# ---- forgotten passwords


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_mailed_link_leads_to_the_site_whatever_host_was_claimed(host: str) -> None:
    bob = member("bob", mail=True)
    forged = {
        "HTTP_HOST": host,
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "HTTP_FORWARDED": "host=evil.example",
        "HTTP_REFERER": "https://evil.example/",
    }
    mail.outbox.clear()
    answer = browser_of(None, **forged).post("/forgot-password/", {"email": bob.email})
    assert answer["Location"] == "/forgot-password/sent/"
    (letter,) = mail.outbox
    assert f"{settings.SITE_URL}/forgot-password/" in letter.body
    assert "evil.example" not in letter.body
    assert "localhost" not in letter.body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:x", ""])
def test_a_host_that_is_not_ours_gets_no_mail_sent(host: str) -> None:
    bob = member("bob", mail=True)
    mail.outbox.clear()
    client = browser_of(None, HTTP_HOST=host)
    assert client.post("/forgot-password/", {"email": bob.email}).status_code == 400
    assert mail.outbox == []


def link(account: Account, age: int) -> str:
    """One that was mailed so many seconds ago."""
    at = tokens._num_seconds(tokens._now()) - age
    token = tokens._make_token_with_timestamp(account, at, tokens.secret)
    parts = {"uidb36": user_pk_to_url_str(account), "key": token}
    return reverse("account_reset_password_from_key", kwargs=parts)


def test_of_several_links_one_is_used_and_all_are_spent() -> None:
    bob, eve = member("bob", mail=True), member("eve", mail=True)
    first, second, late = (
        link(bob, 600),
        link(bob, 5),
        link(bob, settings.PASSWORD_RESET_TIMEOUT + 5),
    )
    phone, desk, thief = browser_of(None), browser_of(None), browser_of(eve)
    assert desk.get(late).status_code == 400, "an hour is all it has"
    form, other = (each.get(path)["Location"] for each, path in ((phone, first), (desk, second)))
    assert thief.get(other).status_code == 400, "the page is for the browser that had the link"
    assert thief.post(other, {"password1": "x" * 30}).status_code == 400
    assert phone.post(form, {"password1": FRESH})["Location"] == "/forgot-password/done/"
    assert desk.post(other, {"password1": PASSWORD}).status_code == 400, "opened, but not used"
    for path in (first, second):
        assert browser_of(None).get(path).status_code == 400
    assert Account.objects.get(pk=bob.pk).check_password(FRESH)
