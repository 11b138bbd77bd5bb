"""Signing in to the console: who gets in, what is told to whom, where it leads, how it ends."""

from datetime import timedelta

import pytest
import requests
from allauth.usersessions.models import UserSession
from django.contrib.auth.hashers import MD5PasswordHasher, make_password
from django.test import override_settings

from accounts.adapter import Adapter
from accounts.backend import Backend
from accounts.models import Account, Ban
from bsod.lib import clock
from tests import kit
from tests.accounts.door import Visitor, member, said, text_of
from tests.bsod.browser import PASSWORD, errors
from tests.kit import Site

pytestmark = pytest.mark.once  # about pages and sessions, not about the database


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return Visitor(site)


def test_a_sign_in_gets_a_new_session_in_a_safe_cookie(visitor: Visitor) -> None:
    bob = member("bob", theme="dark", language="ru")
    visitor.session.cookies.set("session", "x" * 32, domain="127.0.0.1")
    answer = visitor.enter(f" {bob.username.upper()} ", next="/access/")
    assert answer.status_code == 302, errors(answer)
    assert answer.headers["Location"] == "/access/"
    cookies = answer.headers["Set-Cookie"]
    assert "session=xxxx" not in cookies
    assert "session=" in cookies
    assert "HttpOnly" in cookies
    assert visitor.signed_in
    assert visitor.session.cookies["theme"] == "dark", "the account's own choice comes along"
    assert visitor.session.cookies["django_language"] == "ru"
    assert UserSession.objects.get(user=bob).session_key == visitor.session.cookies["session"]
    page = visitor.get("/account/")
    assert "no-store" in page.headers["Cache-Control"]


def test_a_mail_address_signs_in_too_and_a_wrong_one_is_told_nothing(
    site: Site, visitor: Visitor
) -> None:
    bob = member("bob", mail=True)
    nobody = kit.unique("nobody")
    answers = []
    for name in (bob.username, bob.email, nobody, f"{nobody}@mail.example"):
        answer = Visitor(site).enter(name, "wrong")
        assert answer.status_code == 200
        answers.append(said(answer).replace(name, "NAME"))
    assert len(set(answers)) == 1, "who exists is nobody's business"
    assert "Wrong name or password." in answers[0]
    assert visitor.enter(bob.email.upper()).status_code == 302
    assert visitor.signed_in


class Counting(MD5PasswordHasher):
    """A quick hasher that counts what it is asked for."""

    algorithm = "counting"
    asked = 0

    def encode(self, password: str, salt: str) -> str:
        type(self).asked += 1
        return super().encode(password, salt)


@override_settings(PASSWORD_HASHERS=[f"{__name__}.Counting"])
def test_a_password_is_hashed_once_whoever_is_asked_for() -> None:
    bob, none = member("bob", mail=True), member("carol")
    Account.objects.filter(pk=bob.pk).update(password=make_password(PASSWORD))
    Account.objects.filter(pk=none.pk).update(password="!unusable")
    odd = ("no-such-name", "nobody@mail.example", "a\0b", "x" * 300)
    for name in (bob.username, bob.email, none.username, *odd):
        Counting.asked = 0
        assert Backend().authenticate(None, username=name, password="wrong") is None
        assert Counting.asked == 1, name
    assert Backend().authenticate(None, username=bob.email, password=PASSWORD) == bob


def test_a_name_that_looks_like_anothers_mail_takes_nothing_from_him() -> None:
    bob = member("bob", mail=True)
    member("eve", username=bob.email)
    found = Backend().authenticate(None, email=bob.email, password=PASSWORD)
    assert found == bob


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "https:evil.example", "\\evil.example", "/\\evil",
     "javascript:alert(1)", "evil.example", "http:///evil", "\t//evil", "", "/ok\n//evil"],
)  # fmt: skip
def test_no_form_sends_anybody_elsewhere(target: str) -> None:
    assert not Adapter().is_safe_url(target)


def test_whoever_is_in_already_goes_on_and_only_to_paths_of_ours(visitor: Visitor) -> None:
    visitor.sit(member())
    assert visitor.get("/login/?next=/usage/").headers["Location"] == "/usage/"
    assert visitor.get("/login/?next=//evil.example").headers["Location"] == "/"
    assert visitor.get(f"/login/?next={visitor.url}/usage/").headers["Location"] == "/"


def test_a_sixth_try_at_one_name_waits_however_it_is_spelt(site: Site, visitor: Visitor) -> None:
    bob = member("bob")
    spelt = bob.username.replace("b", "ｂ")
    for name in (bob.username, f" {bob.username}", spelt, bob.username.upper(), bob.username):
        assert visitor.enter(name, "").status_code == 200
    refused = Visitor(site).enter(bob.username)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert f"Next one in {refused.headers['Retry-After']} s." in text_of(refused)
    assert "session" not in refused.headers.get("Set-Cookie", "")
    script = visitor.session.post(
        f"{site.url}/login/", data={"login": bob.username},
        headers={"Accept": "application/json", "X-CSRFToken": visitor.session.cookies["csrf"]},
    )  # fmt: skip
    assert script.json()["error"]["code"] == "rate_limit_exceeded"


def test_many_names_from_one_address_wait_too(visitor: Visitor) -> None:
    statuses = [visitor.enter(kit.unique("guess"), "").status_code for _ in range(21)]
    # The minute may turn once while we count.
    assert 429 in statuses or visitor.enter(kit.unique("guess"), "").status_code == 429
    assert statuses[:5] == [200] * 5


def test_a_ban_is_told_after_the_password_and_to_nobody_else(site: Site, visitor: Visitor) -> None:
    bob = member("bob")
    sitting = Visitor(site).sit(bob)
    assert sitting.signed_in
    until = clock.now() + timedelta(days=3)
    Ban.objects.create(account=bob, reason="short", until=clock.now() + timedelta(hours=1))
    Ban.objects.create(account=bob, reason="<i>spam</i>", until=until)
    Ban.objects.create(account=bob, reason="old", until=clock.now() - timedelta(1))
    assert "spam" not in visitor.enter(bob.username, "wrong").text
    told = visitor.enter(bob.username)
    assert told.status_code == 403
    assert "&lt;i&gt;spam" in told.text
    assert f"{until:%Y-%m-%d %H:%M}" in told.text
    assert not visitor.signed_in
    ended = sitting.session.get(f"{site.url}/account/", headers={"Accept": "application/json"})
    assert ended.status_code == 403
    assert ended.json()["error"]["code"] == "account_banned"
    assert ended.json()["error"]["ban"]["reason"] == "<i>spam</i>"
    Ban.objects.filter(account=bob).update(lifted_at=clock.now())
    assert not sitting.signed_in, "the session that was ended stays so"


def test_an_account_that_is_switched_off_does_not_get_in(visitor: Visitor) -> None:
    bob = member("bob", is_active=False)
    assert visitor.enter(bob.username).headers["Location"] == "/login/inactive/"
    assert not visitor.signed_in


def test_signing_out_takes_a_post_and_ends_the_session_for_everybody(visitor: Visitor) -> None:
    visitor.sit(member())
    copied = requests.cookies.cookiejar_from_dict(visitor.session.cookies.get_dict())
    assert visitor.get("/logout/").status_code == 200
    assert visitor.signed_in, "looking at the page signs nobody out"
    assert visitor.post("/logout/").status_code == 302
    visitor.session.cookies = copied
    assert not visitor.signed_in


def test_strangers_are_sent_to_sign_in_and_come_back(visitor: Visitor) -> None:
    for path in ("/account/", "/account/sessions/", "/account/delete/", "/account/security/"):
        answer = visitor.get(path)
        assert answer.headers["Location"] == f"/login/?next={path}"
