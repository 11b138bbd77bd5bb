"""What is somebody's is nobody else's, and nobody makes himself more than he is: asked of every
address of the console. Whoever adds one says here which objects it takes, or that it takes none.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import models
from django.utils.html import escape

from accounts.keys.models import ApiKey
from accounts.models import Account
from bsod.lib import clock, ids
from bsod.lib.terms import ObjectKind, Permission
from proxy.donations import service
from proxy.donations.models import Donation
from proxy.models import Object
from quotas.models import Balance, Entry
from tests import kit
from tests.bsod.console.addresses import (
    PROGRAMS,
    THROUGH_THE_GATEWAY,
    addresses,
    browser_of,
    shape_of,
)
from tests.bsod.console.seat import TOKEN
from tests.kit import Person, Site
from tests.upstream import FaultServer

pytestmark = pytest.mark.once  # about pages, not about the database

Body = dict[str, Any]
ASKS: tuple[tuple[int, str, Body | None], ...] = (
    (404, "/access/{key}/", None),
    (404, "/access/?key={key}", None),
    (404, "/key-action/", {"id": "{key}", "action": "change", "name": "mine"}),
    (404, "/key-action/", {"id": "{key}", "action": "rotate"}),
    (404, "/key-action/", {"id": "{key}", "action": "revoke"}),
    (404, "/support/{donation}/", None),
    (404, "/support/{donation}/withdraw/", None),
    (404, "/donation-action/", {"id": "{donation}", "action": "change", "daily_cap": 1}),
    (404, "/donation-action/", {"id": "{donation}", "action": "pause"}),
    (404, "/donation-action/", {"id": "{donation}", "action": "resume"}),
    (404, "/donation-action/", {"id": "{donation}", "action": "withdraw"}),
    (404, "/usage/?key={key}", None),
    (404, "/usage/?format=csv&by=key&key={key}", None),
    (200, "/usage/?before={entry}", None),  # a place in one's own calls
    (404, "/playground/receipt/?id={entry}", None),
    (404, "/playground/video-status/?id={film}", None),
    (404, "/playground/video-status/?content=1&id={film}", None),
    (404, "/account/security/passkeys/{passkey}/edit/", None),
    (404, "/account/security/passkeys/{passkey}/edit/", {"name": "mine"}),
    (404, "/account/security/passkeys/{passkey}/remove/", None),
    (404, "/account/security/passkeys/{passkey}/remove/", {}),
    (302, "/account/sessions/", {"session": "{session}"}),  # back to the list, and a message
)  # fmt: skip
"""What is asked of each object, and what a stranger gets; with a body it is a POST."""
NOTHING = """
/ /access/ /access/new/ /create-key/ /support/ /donate-key/ /models/ /docs/ /docs/api/
/docs/<slug>/ /llms.txt /manifest.webmanifest /favicon.ico /robots.txt
/login/ /login/second/ /login/passkey/ /login/inactive/
/logout/ /register/ /register/name/ /confirm-email/ /confirm-email/again/ /forgot-password/
/forgot-password/sent/ /forgot-password/done/ /preferences/ /account/ /account/again/
/account/again/code/ /account/again/passkey/ /account/email/ /account/password/
/account/password/first/ /account/security/ /account/security/app/ /account/security/app/off/
/account/security/codes/ /account/security/codes/new/ /account/security/codes/file/
/account/security/passkeys/ /account/security/passkeys/add/ /account/gone/ /account/export/
/account/delete/ /playground/ /playground/catalog/ /playground/quota/ /playground/submit/
/redeem-code/
"""
"""These take nobody's objects."""
ELSEWHERE = {
    "/confirm-email/<key>/", "/forgot-password/<uidb36>-<key>/",  # secrets: tests/accounts
    "/playground/run/", "/playground/live-session/",  # as /v1: tests/proxy/gateway
    *PROGRAMS,
}  # fmt: skip


def test_every_address_is_asked_for_the_objects_it_takes() -> None:
    asked = {shape_of(path.format(**dict.fromkeys(ABSENT, "1"))) for _, path, _body in ASKS}
    placed = asked | ELSEWHERE | set(NOTHING.split())
    assert {one.shape for one in addresses()} == placed, "a new address has its place in this file"


# ---- somebody else's


ABSENT = {"key": 10**12, "donation": "0" * 26, "entry": "", "film": "video-nobodys",
          "passkey": 10**12, "session": 10**12}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estate:
    """All that an account can have, and that has an id."""

    account: Account
    ids: Body
    rows: list[models.Model]

    def as_it_is(self) -> list[Body]:
        return [type(row).objects.filter(pk=row.pk).values().get() for row in self.rows]  # type: ignore[attr-defined]  # as every model


def passkey_of(account: Account) -> Authenticator:
    data = {"name": "phone", "credential": {}}
    row: Authenticator = Authenticator.objects.create(user=account, type="webauthn", data=data)
    return row


@pytest.fixture
def hers(up: FaultServer, alice: Person) -> Estate:
    supplied, account = kit.supply(up), alice.account
    donation = service.submit(account, supplied.provider.slug, kit.unique("sk-x"), consent=True)
    day = clock.day_of(clock.now())
    entry = Entry.objects.create(
        id=ids.ulid(), account=account, api_key=alice.key, bucket="image", day=day,
        state="settled", model="m", route="/v1/images/generations",
    )  # fmt: skip
    film = Object.objects.create(
        account=account, provider=supplied.provider, key=supplied.key_row(),
        kind=ObjectKind.VIDEO, upstream_id=kit.unique("video"),
    )  # fmt: skip
    kit.session_of(account)
    session = UserSession.objects.get(user=account)
    passkey = passkey_of(account)
    found = {"key": alice.key.pk, "donation": donation.uid, "entry": entry.id,
             "film": film.upstream_id, "passkey": passkey.pk, "session": session.pk}  # fmt: skip
    return Estate(account, found, [alice.key, donation, entry, film, passkey, session])


class Hand:
    """A browser's session with the gateway, for a person's scripts and forms alike."""

    def __init__(self, site: Site, account: Account) -> None:
        self.url, self.session = site.url, requests.Session()
        self.session.cookies[settings.SESSION_COOKIE_NAME] = kit.session_of(account, again=True)
        self.session.cookies[settings.CSRF_COOKIE_NAME] = TOKEN

    def asks(self, path: str, body: Body | None, which: Body, kind: str) -> requests.Response:
        """`kind`: how the body goes, and what is wanted in return."""
        head = {"Accept": kind, "X-CSRFToken": TOKEN}
        said = None if body is None else {
            name: which[text[1:-1]] if text in FIELDS else text for name, text in body.items()
        }  # fmt: skip
        form: Body = {"json": said} if kind == JSON else {"data": said}
        return self.session.request(
            "GET" if body is None else "POST", self.url + path.format(**which), headers=head,
            allow_redirects=False, timeout=20, **({} if body is None else form),
        )  # fmt: skip


HTML, JSON = "text/html", "application/json"
FIELDS = {f"{{{name}}}" for name in ABSENT}
SCRIPTED = ("/key-action/", "/support/", "/donation-action/")
"""A page for people, and JSON for their scripts."""
_CHANGING = re.compile(r'value="\w{64}"|[0-9A-HJKMNP-TV-Z]{26}|\d\d:\d\d(:\d\d)?|video-[\w-]+')


def told(answer: requests.Response) -> tuple[int, str, str]:
    """What an answer says but for what was asked, and when."""
    asked = answer.request.path_url
    text = answer.text.replace(quote(asked, safe=""), "~").replace(escape(asked), "~")
    return answer.status_code, answer.headers.get("Location", ""), _CHANGING.sub("~", text)


def test_what_is_somebody_elses_is_answered_like_what_does_not_exist(
    site: Site, hers: Estate, bob: Person
) -> None:
    before = hers.as_it_is()
    his, her = Hand(site, bob.account), Hand(site, hers.account)
    absent = ABSENT | {"entry": hers.ids["entry"][:-1] + "0"}
    asks = [(*ask, kind) for ask in ASKS for kind in (HTML, JSON)
            if kind == HTML or ask[1].startswith(SCRIPTED)]  # fmt: skip
    for status, path, body, kind in asks:
        found = his.asks(path, body, hers.ids, kind)
        assert found.status_code == status, (path, body, kind, found.text)
        gone = his.asks(path, body, absent, kind)
        assert told(found) == told(gone), (path, body, kind)
    assert hers.as_it_is() == before
    for _status, path, body in ASKS:
        if "film" not in path:  # there is none at the provider
            assert her.asks(path, body, hers.ids, HTML).status_code != 404, (path, body)


# ---- more than one is


MORE: Body = {
    "is_staff": "on", "is_superuser": "on", "is_active": "", "tier": "pro", "plan": "pro",
    "plan_id": "pro", "quota": "999999", "credits": "999999", "account": "1", "user": "1",
    "user_permissions": "1", "groups": "1", "unlimited": "on", "operator": "on", "console": "on",
    "trusted_objects": "on", "donor": "1", "state": "approved", "approved": "on", "used": "0",
    "granted": "999999", "email_verified": "on", "verified": "on", "primary": "on",
    "date_joined": "2000-01-01", "last_login": "2000-01-01", "public_id": "x", "digest": "x",
}  # fmt: skip
"""What nobody may say of himself, nor of what is his."""
SCRIPTS = ("/create-key/", "/key-action/", "/donate-key/", "/donation-action/")
ENDS = ("/logout/", "/account/security/passkeys/<pk>/remove/")
SAID = ("is_staff", "plan", "account", "unlimited")


def said_of(hers: Estate, supplied: str) -> dict[str, list[Body]]:
    """What each address is to be told beside it, where it is to do anything at all."""
    lent = {"provider": supplied, "consent": "on", "action": "submit"}
    return {
        "/create-key/": [{"name": "x", "permissions": "images"}],
        "/key-action/": [{"id": hers.ids["key"], "action": "change", "name": "y"},
                         {"id": hers.ids["key"], "action": "rotate"}],
        "/donate-key/": [lent | {"key": kit.unique("sk-given")}],
        "/donation-action/": [{"id": hers.ids["donation"], "action": "change", "daily_cap": "5"},
                              {"id": hers.ids["donation"], "action": "pause"}],
        "/preferences/": [{"language": "en", "theme": "dark"}],
        "/account/email/": [{"email": f"{kit.unique('new')}@mail.example", "action_add": ""}],
        "/account/security/passkeys/<pk>/edit/": [{"name": "tablet"}],
    }  # fmt: skip


def power(account: Account) -> list[Any]:
    """All that says what an account and its keys may do, and what they have."""
    own = ("plan_id", "plan_expires_at", "is_staff", "is_superuser", "is_active", "username",
           "password", "date_joined", "last_login")  # fmt: skip
    kept: list[Any] = list(Account.objects.filter(pk=account.pk).values_list(*own))
    kept += Account.objects.filter(pk=account.pk).values_list("user_permissions", "groups")
    kept += [EmailAddress.objects.filter(user=account, verified=True).count()]
    kept += Balance.objects.filter(account=account).values_list("bucket", "granted", "used")
    keys = ApiKey.objects.filter(account=account)
    kept += [
        any(getattr(key, name) for key in keys for name in ("unlimited", "operator", "console"))
    ]
    given = Donation.objects.filter(donor=account)
    kept += [{(one.state, one.trusted_objects, one.donor_id) for one in given}]
    return kept


def test_no_form_and_no_script_makes_anybody_more_than_he_is(hers: Estate, bob: Person) -> None:
    before, browser = power(hers.account), browser_of(hers.account)
    slug = Donation.objects.get(uid=hers.ids["donation"]).provider.slug
    keys, bobs = ApiKey.objects.filter(account=hers.account), power(bob.account)
    for one in addresses():
        if one.shape in (*PROGRAMS, *THROUGH_THE_GATEWAY, *ENDS):
            continue
        path = one.path.replace("passkeys/1/", f"passkeys/{hers.ids['passkey']}/")
        for body in said_of(hers, slug).get(one.shape, [{}]):
            answer = browser.post(path, MORE | {"user": bob.account.pk} | body)
            assert answer.status_code < 500, one.shape
            assert power(hers.account) == before, (one.shape, body)
            if body:
                assert answer.status_code in (200, 302), (one.shape, answer.status_code)
    assert keys.count() == 3, "they did what they are for"
    assert all(set(key.permissions) <= set(Permission) for key in keys)
    for shape in SCRIPTS:
        for name in SAID:
            said = said_of(hers, slug)[shape][0] | {name: True}
            refused = browser.post(shape, said, content_type=JSON, HTTP_ACCEPT=JSON)
            assert refused.status_code == 400, (shape, name)
    assert power(hers.account) == before
    assert power(bob.account) == bobs
