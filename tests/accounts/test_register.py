"""Registering and forgotten passwords: by mail, and without telling anybody who has an account."""

import pytest
import requests
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.test import override_settings

from accounts.adapter import Adapter
from accounts.forms import Register
from accounts.models import Account
from bsod.lib import clock
from tests import kit
from tests.accounts.door import Visitor, link, mails, member, path_of, said, text_of
from tests.bsod.browser import PASSWORD, errors
from tests.kit import Site

pytestmark = pytest.mark.once  # about pages and mail, not about the database

FRESH = "a horse of another colour"


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return Visitor(site)


def register(visitor: Visitor, name: str, address: str, **more: str) -> requests.Response:
    return visitor.post("/register/", username=name, email=address, password1=FRESH, **more)


def test_a_registered_address_is_confirmed_and_then_its_owner_is_in(visitor: Visitor) -> None:
    name = kit.unique("dora")
    address = f"{name}@mail.example"
    visitor.session.headers["Host"] = visitor.url.removeprefix("http://").replace(
        "127.0.0.1", "localhost"
    )
    sent = register(visitor, name, address, next="/access/")
    assert sent.headers["Location"] == "/confirm-email/", errors(sent)
    dora = Account.objects.get(username=name)
    assert (dora.plan_id, dora.is_staff, dora.email) == ("free", False, address)
    assert not visitor.signed_in
    place = path_of(link(address))
    assert not EmailAddress.objects.get(user=dora).verified, "a look at the link confirms nothing"
    page = visitor.get(place)
    assert name in page.text
    assert not visitor.signed_in
    confirmed = visitor.post(place)
    assert confirmed.headers["Location"] == "/access/"
    assert visitor.signed_in
    assert visitor.get(place).status_code == 400 or "Confirm" in visitor.get(place).text
    assert PASSWORD not in str(mails(address)[-1])


def test_an_address_that_is_taken_is_answered_alike_and_its_owner_is_told(
    site: Site, visitor: Visitor
) -> None:
    bob = member("bob", mail=True)
    fresh = kit.unique("dora")
    other = Visitor(site)
    new = register(other, fresh, f"{fresh}@mail.example")
    taken = register(visitor, kit.unique("dora"), bob.email.upper())
    assert (taken.status_code, taken.headers["Location"]) == (302, new.headers["Location"])
    pages = {said(each.get("/confirm-email/")) for each in (other, visitor)}
    assert len(pages) == 1
    assert Account.objects.filter(email=bob.email).count() == 1
    assert "There is one already." in mails(bob.email)[-1].get_content()
    for status in (302, 429):  # once a minute
        for each in (other, visitor):
            again = each.post("/confirm-email/again/", found_on="/confirm-email/")
            assert again.status_code == status
        pages = {said(each.get("/confirm-email/")) for each in (other, visitor)}
        assert ["Sent once more." in page for page in pages] == [status == 302]
    assert len(mails(bob.email)) == len(mails(f"{fresh}@mail.example")) == 2


def test_nobody_is_in_before_the_address_is_confirmed(site: Site, visitor: Visitor) -> None:
    name = kit.unique("dora")
    register(visitor, name, f"{name}@mail.example")
    elsewhere = Visitor(site)
    assert elsewhere.enter(name, FRESH).headers["Location"] == "/confirm-email/"
    assert not elsewhere.signed_in
    assert len(mails(f"{name}@mail.example")) == 2
    assert elsewhere.post(path_of(link(f"{name}@mail.example"))).status_code == 302
    assert elsewhere.signed_in


def test_what_is_wrong_is_said_beside_it_and_what_was_typed_stays(visitor: Visitor) -> None:
    bob = member("bob")
    answer = visitor.post(
        "/register/", username=bob.username.upper(), email="no address", password1="123"
    )
    assert answer.status_code == 200
    assert "This name is taken." in errors(answer)
    assert "valid email" in errors(answer)
    assert "too short" in errors(answer)
    assert f'value="{bob.username.upper()}"' in answer.text
    assert 'value="no address"' in answer.text
    assert 'value="123"' not in answer.text
    assert answer.text.count('aria-invalid="true"') == 3


def test_nobody_makes_himself_more_than_a_guest(visitor: Visitor) -> None:
    name = kit.unique("dora")
    register(visitor, name, f"{name}@mail.example", is_staff="on", is_superuser="on", plan="pro",
             plan_id="pro", is_active="on", terms_accepted_at="2000-01-01")  # fmt: skip
    dora = Account.objects.get(username=name)
    assert (dora.is_staff, dora.is_superuser, dora.plan_id) == (False, False, "free")
    assert dora.terms_accepted_at is None


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 65, "a b", "a@b.example", "-ab", "ab-", "a\0b", "a\u202eb", "Admin", "ＡＤＭＩＮ",
     "deleted-7", "Deleted-x", "<b>x</b>", "a/b/c"],
)  # fmt: skip
def test_names_that_mislead_cannot_be_had(name: str) -> None:
    with pytest.raises(ValidationError):
        Adapter().clean_username(name)


def test_a_page_may_ask_whether_a_name_is_free(visitor: Visitor) -> None:
    bob = member("bob")
    free = visitor.get(f"/register/name/?username={kit.unique('free')}")
    assert free.json() == {"free": True, "text": "available"}
    taken = visitor.get(f"/register/name/?username={bob.username.upper()}")
    assert taken.json() == {"free": False, "text": "This name is taken."}


@override_settings(TERMS_URL="https://example.org/terms")
def test_terms_are_accepted_where_there_are_any() -> None:
    name = kit.unique("dora")
    asked = {"username": name, "email": f"{name}@mail.example", "password1": FRESH}
    assert list(Register(asked).errors) == ["accept"]
    form = Register(asked | {"accept": "on"})
    assert form.is_valid(), form.errors
    dora = member("dora")
    form.signup(None, dora)
    assert dora.terms_accepted_at is not None
    assert abs((clock.now() - dora.terms_accepted_at).total_seconds()) < 60


# ---- forgotten passwords


def test_a_new_password_by_mail_works_once_and_ends_every_session(
    site: Site, visitor: Visitor
) -> None:
    bob = member("bob", mail=True)
    thief = Visitor(site).sit(bob)
    asked = visitor.post("/forgot-password/", email=bob.email.upper())
    assert asked.headers["Location"] == "/forgot-password/sent/"
    url = link(bob.email)
    assert url.startswith(f"{site.url}/forgot-password/")
    form = visitor.get(path_of(url)).headers["Location"]
    assert form.endswith("-set-password/"), "the key leaves the address bar"
    assert "too short" in errors(visitor.post(form, password1="123"))
    done = visitor.post(form, password1=FRESH)
    assert done.headers["Location"] == "/forgot-password/done/"
    assert not thief.signed_in
    assert not visitor.signed_in, "a mailbox alone is not a sign-in"
    assert Visitor(site).get(path_of(url)).status_code == 400
    bob.refresh_from_db()
    assert bob.check_password(FRESH)
    assert "was changed" in mails(bob.email)[-1].get_content()


def test_asking_tells_nobody_who_has_an_account(site: Site, visitor: Visitor) -> None:
    bob = member("bob", mail=True)
    nobody = f"{kit.unique('nobody')}@mail.example"
    other = Visitor(site)
    answers = [visitor.post("/forgot-password/", email=bob.email),
               other.post("/forgot-password/", email=nobody)]  # fmt: skip
    assert {(a.status_code, a.headers["Location"]) for a in answers} == {
        (302, "/forgot-password/sent/")
    }
    assert len({said(each.get("/forgot-password/sent/")) for each in (visitor, other)}) == 1
    assert "No account has this address." in mails(nobody)[-1].get_content()
    statuses = [Visitor(site).post("/forgot-password/", email=bob.email.upper()).status_code
                for _ in range(3)]  # fmt: skip
    assert statuses == [302, 302, 429], "three an hour, from wherever"
    assert len(mails(bob.email)) == 3


def test_a_link_of_somebody_else_or_none_at_all_is_refused(visitor: Visitor) -> None:
    bob, eve = member("bob", mail=True), member("eve", mail=True)
    visitor.post("/forgot-password/", email=eve.email)
    place = path_of(link(eve.email))
    uid, _, key = place.removeprefix("/forgot-password/").strip("/").partition("-")
    mine = visitor.get(place)
    assert mine.status_code == 302
    swapped = f"/forgot-password/{bob.pk:x}-{key}/"
    for wrong in (swapped, f"/forgot-password/{uid}-{key}x/", "/forgot-password/zz-1/",
                  "/forgot-password/zzzzzzzzzzzzz-1-2/", "/confirm-email/nonsense/"):  # fmt: skip
        answer = visitor.get(wrong)
        assert answer.status_code == 400, wrong
        assert "does not work any more" in text_of(answer)
    token = visitor.session.cookies["csrf"]
    posted = visitor.session.post(
        f"{visitor.url}/confirm-email/nonsense/", data={"csrfmiddlewaretoken": token}, timeout=20
    )
    assert posted.status_code in (400, 403)
