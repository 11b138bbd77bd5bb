"""What holds for every address of the console, whoever adds one: looking changes nothing, another
site's page is not listened to, nobody is sent elsewhere, what is a person's is not kept on the way.
"""

import re
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from django.db import connection
from django.test import Client

from proxy.routes import ROUTES
from tests import kit
from tests.accounts.door import member
from tests.bsod.console.addresses import (
    PROGRAMS,
    THROUGH_THE_GATEWAY,
    Address,
    addresses,
    browser_of,
)
from tests.bsod.console.seat import FORGED, TOKEN
from tests.kit import Site

pytestmark = pytest.mark.once  # about addresses, not about the database

ACTS = {
    "/create-key/", "/key-action/", "/donate-key/", "/donation-action/", "/redeem-code/",
    "/confirm-email/again/", "/preferences/", "/playground/submit/", "/playground/run/",
    "/playground/live-session/",
}  # fmt: skip
"""The addresses of an act and of no page."""
ANYBODYS = {"/manifest.webmanifest", "/catalog/", "/status/raw/", "/health/", "/metrics/",
            "/llms.txt", "/favicon.ico", "/robots.txt"}  # fmt: skip
"""The same for everybody, so that it may be kept."""
PART = re.compile(r"{\w+}")
ELSEWHERE = ("//evil.example/", "https://evil.example/", "https:evil.example", "\\evil.example",
             "/\\evil.example", "\t//evil.example", "javascript:alert(1)", "///evil.example",
             "http:///evil.example", "/\t/evil.example")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look at an address."""

    status: int
    headers: Any
    written: list[str]


@pytest.fixture(scope="module")
def looks(database: None) -> dict[str, Look]:
    """Each address as somebody sees it who follows a link of another site's."""
    bob = member("bob", mail=True)
    kit.arm(bob)
    browser = browser_of(bob, HTTP_ORIGIN="https://evil.example")
    here = [one for one in addresses() if one.shape != "/playground/video-status/"]
    return {one.shape: look(browser, one, at) for at, one in enumerate(here)}


def look(browser: Client, one: Address, at: int) -> Look:
    written: list[str] = []

    def seen(execute: Any, sql: str, *more: Any) -> Any:
        # A page may keep something in its session: that a secret was shown, or a challenge.
        if not sql.startswith(("SELECT", "SAVEPOINT", "RELEASE")) and "django_session" not in sql:
            written.append(sql[:80])
        return execute(sql, *more)

    with connection.execute_wrapper(seen):
        answer = browser.get(one.path, {"next": ELSEWHERE[at % len(ELSEWHERE)]})
    return Look(answer.status_code, answer.headers, written)


def test_looking_at_an_address_changes_nothing(looks: dict[str, Look]) -> None:
    assert len(looks) > 60
    assert {shape: each.written for shape, each in looks.items() if each.written} == {}
    assert {shape for shape, each in looks.items() if each.status >= 500} == set()
    assert {shape for shape, each in looks.items() if each.status == 405} == ACTS


def test_nothing_that_is_somebodys_is_kept_on_the_way(looks: dict[str, Look]) -> None:
    kept = {
        s for s, each in looks.items() if "no-store" not in each.headers.get("Cache-Control", "")
    }
    assert kept == ANYBODYS


def test_no_address_sends_anybody_elsewhere(looks: dict[str, Look]) -> None:
    """By a link, and by a form whose every field is filled in."""
    led = {shape: each.headers.get("Location", "/") for shape, each in looks.items()}
    bob = member("bob", mail=True)
    browser = browser_of(bob)
    for at, one in enumerate(takers()):
        there = ELSEWHERE[at % len(ELSEWHERE)]
        led[f"POST {one.shape}"] = browser.post(one.path, {"next": there}).get("Location", "/")
        if one.shape in ("/logout/", "/account/security/codes/new/"):
            browser = browser_of(bob)
    away = {name: there for name, there in led.items() if not there.startswith("/")}
    assert away == {}
    assert {name for name, there in led.items() if there.startswith(("//", "/\\", "/\t"))} == set()


def takers() -> list[Address]:
    """What may be posted to in this process, as a form."""
    return [one for one in addresses() if one.shape not in (*PROGRAMS, *THROUGH_THE_GATEWAY)]


def test_nothing_is_taken_from_a_page_of_another_site() -> None:
    bob = member("bob", mail=True)
    browser = browser_of(bob, enforce_csrf_checks=True, HTTP_ACCEPT="application/json")
    forged: tuple[dict[str, str], ...] = (
        {}, {"X-CSRFToken": FORGED}, {"X-CSRFToken": TOKEN, "Origin": "null"},
    )  # fmt: skip
    for one in addresses():
        if one.shape in PROGRAMS:
            continue
        for heads in forged if one.shape in ACTS else forged[:1]:
            assert browser.post(one.path, headers=heads).status_code == 403, (one.shape, heads)
    assert browser.get("/account/", HTTP_ACCEPT="text/html").status_code == 200


# ---- pages of other sites, and their scripts


def test_a_preflight_is_answered_on_every_route_and_never_with_credentials(site: Site) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization", "Cookie": "session=x"}  # fmt: skip
    for path in sorted({PART.sub("0" * 26, route.path) for route in ROUTES}):
        answer = site.session.options(site.url + path, headers=asked, timeout=20)
        assert answer.status_code == 204, path
        assert answer.headers["Access-Control-Allow-Origin"] == "*", path
        assert "Access-Control-Allow-Credentials" not in answer.headers, path


def test_no_page_of_a_session_is_for_another_sites_script(
    site: Site, looks: dict[str, Look]
) -> None:
    bearers = {f"{route.path}/" for route in ROUTES}
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for one in addresses():
        if one.shape in bearers:
            continue
        answer = site.session.options(site.url + one.path, headers=asked, allow_redirects=False)
        told = [*answer.headers, *(looks[one.shape].headers if one.shape in looks else ())]
        assert not [name for name in told if name.lower().startswith("access-control")], one.shape


def test_what_a_session_opens_is_not_for_another_sites_script_either(site: Site) -> None:
    """The routes that take a key or a session: with a key any page may ask, with a session ours."""
    asked = {"Origin": "https://evil.example", "Accept": "application/json"}
    cookie, bearer = {"Cookie": "sessionid=x"}, {"Authorization": "Bearer x"}
    cases: list[tuple[dict[str, str], str | None]] = [
        (cookie, None), ({}, "*"), (bearer, "*"), (cookie | bearer, "*")
    ]  # fmt: skip
    for path in ("/usage/", "/balance/"):
        for known, told in cases:
            answer = requests.get(site.url + path, headers=asked | known, timeout=20)
            assert answer.headers.get("Access-Control-Allow-Origin") == told, (path, known)
