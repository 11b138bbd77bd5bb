"""Second factors: codes of an app, recovery codes, passkeys. What is kept of them is sealed."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from cryptography.fernet import Fernet
from django.conf import settings
from django.test import override_settings

from accounts.factors import Factors, NewPasskey, SignInPasskey, reseal
from bsod.lib.vault import VaultError
from tests import kit
from tests.accounts.door import Visitor, mails, member, text_of
from tests.bsod.browser import PASSWORD, errors
from tests.bsod.chromium import Page, browser
from tests.kit import Site

pytestmark = pytest.mark.once  # about factors, not about the database

_SECRET = re.compile(r'<code class="code"[^>]*>([A-Z2-7]{32})</code>')
_CODES = re.compile(r"<li><code>(\d{8})</code></li>")


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return Visitor(site)


def code(secret: str, ahead: int = 0) -> str:
    """What the app shows now, or some periods on."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + ahead))


def test_an_app_is_set_up_and_its_codes_are_shown_once(visitor: Visitor) -> None:
    bob = member("bob", mail=True)
    visitor.sit(bob, again=True)
    page = visitor.get("/account/security/app/")
    assert "data:image/svg+xml" in page.text
    token = visitor.session.cookies["csrf"]
    secret = _found(_SECRET, page)

    def confirm(typed: str) -> requests.Response:
        return visitor.session.post(
            f"{visitor.url}/account/security/app/", timeout=20, allow_redirects=False,
            data={"code": typed}, headers={"X-CSRFToken": token},
        )  # fmt: skip

    assert "Wrong or used code" in errors(confirm("000000"))
    first = code(secret)
    assert confirm(first).headers["Location"] == "/account/security/codes/"
    shown = _CODES.findall(visitor.get("/account/security/codes/").text)
    assert len(set(shown)) == 10
    again = visitor.get("/account/security/codes/").text
    assert not _CODES.findall(again)
    assert "10 codes are left" in again
    assert visitor.get("/account/security/codes/file/").status_code == 403
    assert "Wrong or used code" in errors(visitor.post("/account/again/code/", code=first))
    kept = json.dumps(list(Authenticator.objects.filter(user=bob).values_list("data", flat=True)))
    assert secret not in kept
    assert not any(each in kept for each in shown)
    assert "asks for a code" in mails(bob.email)[-1].get_content()
    for path in ("/account/security/", "/account/", "/account/security/passkeys/"):
        assert visitor.get(path).status_code == 200


def _found(pattern: re.Pattern[str], page: requests.Response) -> str:
    found = pattern.search(page.text)
    assert found, page.text
    return found.group(1)


def test_a_password_alone_lets_nobody_in_and_a_code_works_once(
    site: Site, visitor: Visitor
) -> None:
    bob = member("bob")
    secret = kit.arm(bob)
    asked = visitor.enter(bob.username, next="/access/")
    assert asked.headers["Location"] == "/login/second/"
    assert not visitor.signed_in
    assert "Wrong or used code" in errors(visitor.post("/login/second/", code="12345678"))
    now = code(secret)
    assert visitor.post("/login/second/", code=now).headers["Location"] == "/access/"
    assert visitor.signed_in
    other = Visitor(site)
    other.enter(bob.username)
    assert "Wrong or used code" in errors(other.post("/login/second/", code=now))
    assert not other.signed_in
    tries = [other.post("/login/second/", code="000000").status_code for _ in range(3)]
    assert tries == [200, 200, 429], "a new session buys no new tries"


def test_a_recovery_code_stands_in_for_a_lost_app_once(site: Site) -> None:
    bob = member("bob")
    kit.arm(bob)
    sitting = Visitor(site).sit(bob, again=True)
    sitting.post("/account/security/codes/new/")
    spare = _CODES.findall(sitting.get("/account/security/codes/").text)[3]
    for _, gets_in in ((1, True), (2, False)):
        visitor = Visitor(site)
        visitor.enter(bob.username)
        visitor.post("/login/second/", code=spare)
        assert visitor.signed_in is gets_in


def test_switching_off_asks_again_first_and_tells_by_mail(site: Site) -> None:
    bob = member("bob", mail=True)
    kit.arm(bob)
    visitor = Visitor(site).sit(bob)
    off = "/account/security/app/off/"
    assert visitor.get(off).headers["Location"].startswith("/account/again/?next=")
    visitor = Visitor(site).sit(bob, again=True)
    assert visitor.post(off).status_code == 302
    assert not Authenticator.objects.filter(user=bob).exists(), "no codes without a factor"
    assert "does not ask" in mails(bob.email)[-1].get_content()


def test_factors_move_to_a_new_vault_key() -> None:
    bob = member("bob")
    secret = kit.arm(bob)
    row = Authenticator.objects.get(user=bob)
    lost = member("eve")
    broken = Authenticator.objects.create(user=lost, type="totp", data={"secret": "damaged"})
    fresh = Fernet.generate_key().decode()
    with override_settings(VAULT_KEYS=[fresh, *settings.VAULT_KEYS]):
        assert f"second factor {broken.pk}" in reseal()[1]
    row.refresh_from_db()
    with override_settings(VAULT_KEYS=[fresh]):
        assert Factors().decrypt(row.data["secret"]) == secret
    with pytest.raises(VaultError):
        Factors().decrypt(row.data["secret"])
    broken.delete()
    with override_settings(VAULT_KEYS=[*settings.VAULT_KEYS, fresh]):
        reseal()


@pytest.mark.parametrize(
    "sent",
    ["", "{", "[]", "1", "null", '"x"', "{}", '{"id": 1, "response": []}',
     '{"id":"AA","rawId":"AA","type":"public-key","response":{"userHandle":null}}',
     '{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"AA",'
     '"authenticatorData":"AA","signature":"AA","userHandle":"AA"}}',
     "[" * 50_000, '"' + "x" * 200_000 + '"'],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_passkey_is_a_wrong_one_and_no_fault_of_ours(
    visitor: Visitor, sent: str
) -> None:
    assert not SignInPasskey({"credential": sent}).is_valid()
    assert not NewPasskey({"credential": sent}, user=member()).is_valid()


def test_a_forged_passkey_gets_nobody_in(visitor: Visitor) -> None:
    answer = visitor.post(
        "/login/passkey/", found_on="/login/", credential='{"id":"AA","response":{}}'
    )
    assert answer.headers["Location"] == "/login/"
    assert "Wrong" in text_of(visitor.get("/login/"))
    assert not visitor.signed_in


# ---- in a browser


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    with browser() as chromium:
        tab = chromium.page()
        tab.shape(1440, 900)
        tab.do("WebAuthn.enable")
        traits: Any = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
                       "hasUserVerification": True, "isUserVerified": True,
                       "automaticPresenceSimulation": True}  # fmt: skip
        tab.do("WebAuthn.addVirtualAuthenticator", options=traits)
        yield tab


def press(page: Page, selector: str) -> None:
    page.loaded = False
    page.js(f"document.querySelector({selector!r}).click()")
    page.chromium.until(lambda: page.loaded)


def test_a_passkey_is_made_and_signs_in_alone(site: Site, page: Page) -> None:
    bob = member("bob")
    home = site.url.replace("127.0.0.1", "localhost")
    sitting = Visitor(site).sit(bob, again=True)
    page.do("Network.setCookie", name="session", value=sitting.session.cookies["session"], url=home)
    page.open(f"{home}/account/security/passkeys/add/")
    page.js("document.getElementById('id_name').focus()")
    page.submit()
    assert page.js("location.pathname") == "/account/security/codes/", page.js(
        "document.querySelector('main').innerText"
    )
    assert Authenticator.objects.filter(user=bob, type="webauthn").count() == 1
    page.open(f"{home}/account/security/passkeys/add/")
    page.js("document.querySelector('[data-passkey-start]').click()")
    said = "document.querySelector('[data-passkey-said]').innerText"
    assert kit.eventually(lambda: "has a passkey" in page.js(said))
    page.do("Network.clearBrowserCookies")
    page.open(f"{home}/login/?next=/account/")
    press(page, "[data-passkey-start]")
    assert page.js("location.pathname") == "/account/"
    assert bob.username in page.js("document.querySelector('main').innerText")
    assert page.problems == []
    assert [url for url in page.asked if not url.startswith((home, "data:"))] == []


def test_forms_help_without_getting_in_the_way(site: Site, page: Page) -> None:
    page.open(f"{site.url}/login/")
    assert page.js("document.querySelector('[data-passkey-start]')") is None, "an address, no name"
    page.open(f"{site.url}/register/")
    page.js("document.getElementById('id_username').focus()")
    page.type(kit.unique("free"))
    page.js("document.getElementById('id_password1').focus()")
    page.type(PASSWORD)
    assert page.js("document.querySelector('.strength').dataset.level") == "3"
    told = "document.querySelector('[data-free]').textContent"
    look = f"const look = () => {told} ? done({told}) : setTimeout(look, 30); look();"
    assert page.js(f"new Promise(done => {{ {look} }})") == "available"
    page.js("document.querySelector('[data-peek]').click()")
    assert page.js("document.getElementById('id_password1').type") == "text"
    assert page.problems == []
    page.scripts(False)
    page.open(f"{site.url}/login/")
    bob = member("bob")
    page.js("document.getElementById('id_login').focus()")
    page.type(bob.username)
    page.press("Tab")
    page.press("Tab")
    page.type(PASSWORD)
    page.submit()
    assert page.js("location.pathname") == "/"
