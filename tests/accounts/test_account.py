"""One's own account: what it prefers, where it is signed in, what asks for the password again."""

from urllib.parse import quote

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession

from accounts.browsers import browser_of
from tests.accounts.door import Visitor, link, mails, member, path_of, text_of
from tests.bsod.browser import PASSWORD, errors
from tests.kit import Site

pytestmark = pytest.mark.once  # about pages and sessions, not about the database

FRESH = "a horse of another colour"


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return Visitor(site)


def test_language_and_theme_are_kept_in_the_account_and_for_a_guest_here(
    site: Site, visitor: Visitor
) -> None:
    bob = member("bob")
    visitor.sit(bob)
    answer = visitor.post(
        "/preferences/", found_on="/account/", language="ru", theme="dark", next="/usage/",
        donation_notices="off",
    )  # fmt: skip
    assert answer.headers["Location"] == "/usage/"
    bob.refresh_from_db()
    assert (bob.language, bob.theme, bob.donation_notices) == ("ru", "dark", False)
    assert visitor.session.cookies["theme"] == "dark"
    assert 'lang="ru"' in visitor.get("/account/").text
    guest = Visitor(site)
    away = guest.post(
        "/preferences/", found_on="/login/", language="xx", theme="<b>", next="//evil.example"
    )
    assert away.headers["Location"] == "/"
    assert "theme" not in guest.session.cookies
    guest.post("/preferences/", found_on="/login/", language="ru")
    assert 'lang="ru"' in guest.get("/login/").text


def test_sessions_are_shown_and_ended_one_by_one_or_all(site: Site, visitor: Visitor) -> None:
    bob, eve = member("bob"), member("eve")
    visitor.sit(bob)
    phone, tablet, strange = (Visitor(site).sit(who) for who in (bob, bob, eve))
    page = visitor.get("/account/sessions/")
    assert page.text.count("Firefox, Linux") == 3
    theirs = UserSession.objects.get(user=eve)
    refused = visitor.post("/account/sessions/", session=theirs.pk)
    assert refused.status_code == 302
    assert "no such session" in text_of(visitor.get("/account/sessions/"))
    assert strange.signed_in
    mine = UserSession.objects.get(session_key=phone.session.cookies["session"])
    visitor.post("/account/sessions/", session=mine.pk)
    assert not phone.signed_in
    assert tablet.signed_in
    visitor.post("/account/sessions/", others="1")
    assert not tablet.signed_in
    assert visitor.signed_in
    for odd in ("", "x", "9" * 40, "-1", "²"):
        assert visitor.post("/account/sessions/", session=odd).status_code == 302


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140 Safari/537.36",
         "Chrome, Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Safari/604",
         "Safari, iPhone"),
        ("<b>" * 50, "<b>" * 13 + "<"),
        ("", "Unknown"),
    ],
)  # fmt: skip
def test_a_browser_is_called_what_people_call_it(agent: str, shown: str) -> None:
    assert browser_of(agent) == shown


def test_changing_the_password_ends_every_other_session(site: Site, visitor: Visitor) -> None:
    bob = member("bob", mail=True)
    visitor.sit(bob)
    other = Visitor(site).sit(bob)
    before = visitor.session.cookies["session"]
    wrong = visitor.post("/account/password/", oldpassword="no", password1=FRESH)
    assert "This is not your password." in errors(wrong)
    weak = visitor.post("/account/password/", oldpassword=PASSWORD, password1=bob.username)
    assert "similar" in errors(weak)
    done = visitor.post("/account/password/", oldpassword=PASSWORD, password1=FRESH)
    assert done.headers["Location"] == "/account/"
    assert not other.signed_in
    assert visitor.signed_in
    assert visitor.session.cookies["session"] != before, "the session that stays is a new one"
    assert "was changed" in mails(bob.email)[-1].get_content()


@pytest.mark.parametrize(
    "path",
    ["/account/delete/", "/account/export/", "/account/security/app/",
     "/account/security/passkeys/add/"],
)  # fmt: skip
def test_what_matters_asks_for_the_password_again(visitor: Visitor, path: str) -> None:
    visitor.sit(member("bob"))
    for answer in (visitor.get(path), visitor.post(path, found_on="/account/", username="x")):
        assert answer.headers["Location"] == f"/account/again/?next={quote(path, safe='')}"


def test_a_new_address_waits_for_its_link_and_the_old_one_is_told(visitor: Visitor) -> None:
    bob = member("bob", mail=True)
    old, new = bob.email, f"new-{bob.email}"
    visitor.sit(bob)
    asked = visitor.post("/account/email/", email=new.upper(), action_add="")
    assert asked.headers["Location"].startswith("/account/again/")
    wrong = visitor.post(asked.headers["Location"], password="no")
    assert "This is not your password." in errors(wrong)
    went_on = visitor.post(asked.headers["Location"], password=PASSWORD)
    assert went_on.status_code == 302, "what was typed before is not lost"
    assert new in visitor.get("/account/email/").text
    bob.refresh_from_db()
    assert bob.email == old
    visitor.post(path_of(link(new)))
    bob.refresh_from_db()
    assert bob.email == new
    assert list(EmailAddress.objects.filter(user=bob).values_list("email", "verified")) == [
        (new, True)
    ]
    assert new in mails(old)[-1].get_content()


def test_an_address_of_somebody_else_is_answered_alike_and_not_given(
    site: Site, visitor: Visitor
) -> None:
    bob, eve = member("bob", mail=True), member("eve", mail=True)
    visitor.sit(eve, again=True)
    taken = visitor.post("/account/email/", email=bob.email, action_add="")
    free = visitor.post("/account/email/", email=f"free-{bob.email}", action_add="")
    assert (taken.status_code, taken.headers["Location"]) == (
        free.status_code, free.headers["Location"],
    )  # fmt: skip
    eve.refresh_from_db()
    assert eve.email.startswith("eve")
    assert EmailAddress.objects.filter(email=bob.email, verified=True).count() == 1


def test_names_are_shown_as_text_whatever_is_in_them(visitor: Visitor) -> None:
    eve = member("eve", username="<script>alert(1)</script>" + member("x").username)
    UserSession.objects.create(user=eve, ip="::1", session_key="x" * 8 + eve.username[-6:],
                               user_agent="<img src=x onerror=alert(1)>")  # fmt: skip
    visitor.sit(eve, again=True)
    for path in ("/account/", "/account/sessions/", "/logout/", "/account/delete/"):
        page = visitor.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "script-src 'self';" in page.headers["Content-Security-Policy"]
