"""The way into the admin: the console's sign-in, staff only, and never without a second factor."""

import re
import time
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

from accounts.models import Account, AuditEvent
from tests import kit
from tests.accounts.door import member
from tests.bsod.browser import PASSWORD

pytestmark = pytest.mark.once  # about pages and sessions, not about the database

SCRIPT: dict[str, Any] = {"HTTP_ACCEPT": "application/json"}


def code(secret: str) -> str:
    """What the app shows now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def visitor(account: Account | None = None, **more: Any) -> Client:
    client = Client(HTTP_HOST="127.0.0.1")
    if account is not None:
        client.cookies[settings.SESSION_COOKIE_NAME] = kit.session_of(account, **more)
    return client


def staff(name: str = "boss") -> Account:
    return member(name, is_staff=True, is_superuser=True)


def led(client: Client, path: str = "/admin/") -> str:
    """Where the admin's door leads, redirect by redirect."""
    answer = client.get(path)
    for _ in range(4):
        if answer.status_code != 302 or not answer["Location"].startswith("/admin/"):
            break
        answer = client.get(answer["Location"])
    return answer["Location"] if answer.status_code == 302 else str(answer.status_code)


def test_the_first_admin_signs_in_sets_up_an_app_and_is_in() -> None:
    boss, client = staff(), visitor()
    assert led(client, "/admin/quotas/entry/") == "/login/?next=%2Fadmin%2Fquotas%2Fentry%2F"
    entered = client.post(
        "/login/", {"login": boss.username, "password": PASSWORD, "next": "/admin/"}
    )
    assert entered["Location"] == "/admin/"
    assert led(client) == "/account/security/"
    assert b"The admin asks for a second factor" in client.get("/account/security/").content
    app = "/account/security/app/"
    again = client.get(app)["Location"]
    assert client.post(again, {"password": PASSWORD})["Location"] == app
    secret = re.search(r'class="code"[^>]*>([A-Z2-7]{32})<', client.get(app).content.decode())
    assert secret
    assert client.post(app, {"code": code(secret[1])}).status_code == 302
    page = client.get("/admin/")
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]
    assert page["X-Frame-Options"] == "DENY"


def test_a_session_from_before_the_factor_has_to_show_it() -> None:
    boss = staff()
    old = visitor(boss, again=True)
    secret = kit.arm(boss)
    again = led(old, "/admin/auth/group/")
    assert again == "/account/again/code/?next=%2Fadmin%2Fauth%2Fgroup%2F"
    assert old.post("/account/again/code/", {"code": "000000"}).status_code == 200
    assert led(old) == "/account/again/code/?next=%2Fadmin%2F"
    assert old.post(again, {"code": code(secret)})["Location"] == "/admin/auth/group/"
    assert led(old) == "200"
    Authenticator.objects.filter(user=boss).delete()
    assert led(old) == "/account/security/", "without a factor he is out at once"


def test_who_is_no_staff_is_told_so_and_staff_only_as_long_as_they_are() -> None:
    boss = staff()
    client = kit.staff_client(boss)
    assert led(client) == "200"
    Account.objects.filter(pk=boss.pk).update(is_staff=False)
    assert led(client) == "403"
    told = client.get("/admin/login/")
    assert b"This account has no rights in the admin." in told.content
    assert led(kit.staff_client(kit.person("alice").account)) == "403"


@pytest.mark.parametrize(
    ("who", "status", "said"),
    [("nobody", 401, "Sign in first"), ("user", 403, "no rights"), ("bare", 403, "second factor"),
     ("old", 403, "second factor")],
)  # fmt: skip
def test_a_script_is_told_in_json(who: str, status: int, said: str) -> None:
    boss = staff()
    if who == "old":
        kit.arm(boss)
    if who == "nobody":
        client = visitor()
    else:
        client = visitor(member(), factor=True) if who == "user" else visitor(boss)
    answer = client.get("/admin/login/", **SCRIPT)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True)


def test_no_api_key_opens_the_admin() -> None:
    root = kit.person("root", admin=True, unlimited=True, operator=True)
    kit.arm(root.account)
    client = Client(HTTP_HOST="127.0.0.1", headers=root.auth)
    for path in ("/admin/", "/admin/quotas/entry/", "/admin/accounts/auditevent/csv/"):
        assert led(client, path).startswith("/login/"), path
    assert client.get("/admin/login/", **SCRIPT).status_code == 401


def test_the_admins_own_door_takes_no_password_and_guessing_at_the_others_waits() -> None:
    boss, client = staff(), visitor()
    right = {"username": boss.username, "password": PASSWORD}
    answer = client.post("/admin/login/", right)
    assert answer["Location"].startswith("/login/")
    assert led(client).startswith("/login/")
    tries = [client.post("/login/?next=/admin/", {"login": boss.username, "password": ""})
             for _ in range(6)]  # fmt: skip
    assert [one.status_code for one in tries] == [200] * 5 + [429]
    assert 0 < int(tries[5]["Retry-After"]) <= 60
    assert b"Next one in" in tries[5].content


def test_a_forwarded_address_counts_for_nothing_without_a_trusted_proxy() -> None:
    client = Client(HTTP_HOST="127.0.0.1", REMOTE_ADDR="192.0.2.77")
    statuses = [
        client.post(
            "/login/", {"login": kit.unique("guess"), "password": ""},
            HTTP_X_FORWARDED_FOR=f"10.0.0.{number}",
        ).status_code
        for number in range(23)
    ]  # fmt: skip
    # The minute may turn once while we count.
    assert 429 in statuses or statuses.count(200) > 20


def test_signing_out_takes_a_post_and_passwords_change_in_the_console() -> None:
    client = kit.staff_client(staff())
    assert client.get("/admin/logout/")["Location"] == "/logout/"
    assert client.get("/admin/password_change/")["Location"] == "/account/password/"
    assert led(client) == "200"
    kept = dict(client.cookies)
    assert client.post("/admin/logout/").status_code == 302
    client.cookies[settings.SESSION_COOKIE_NAME] = kept[settings.SESSION_COOKIE_NAME].value
    assert led(client).startswith("/login/"), "the session has ended for everybody"


@pytest.mark.parametrize(
    "target", ["https://evil.example/admin/", "//evil.example/admin/", "/admin/login/", "/logout/",
               "/admin/\\evil", "javascript:alert(1)"],
)  # fmt: skip
def test_the_door_leads_nowhere_but_into_the_admin(target: str) -> None:
    client = kit.staff_client(staff())
    there = client.get("/admin/login/", {"next": target})["Location"]
    assert there in ("/admin/", "/admin/%5Cevil")


@override_settings(STAFF_SECOND_FACTOR=False)
def test_the_setting_alone_lets_staff_in_without_a_factor() -> None:
    assert led(visitor(staff())) == "200"
    assert led(visitor(member())) == "403"


def test_who_has_lost_the_factor_is_let_in_from_the_shell() -> None:
    boss = staff()
    client = kit.staff_client(boss)
    assert led(client) == "200"
    call_command("forget_factors", boss.username.upper(), reason="phone lost", stdout=StringIO())
    assert led(client).startswith("/login/")
    assert led(visitor(boss)) == "/account/security/"
    kept = AuditEvent.objects.get(verb="account.factors", target_id=boss.pk)
    assert (kept.reason, kept.actor, kept.facts) == ("phone lost", None, {"forgotten": 1})
    with pytest.raises(CommandError, match="no second factor"):
        call_command("forget_factors", boss.username, reason="again")


def test_what_the_admin_has_no_use_for_is_not_there() -> None:
    client = kit.staff_client(staff())
    for path in ("mfa/authenticator/", "account/emailaddress/", "account/emailconfirmation/",
                 "usersessions/usersession/", "search/?s=a"):  # fmt: skip
        assert client.get(f"/admin/{path}").status_code == 404, path
