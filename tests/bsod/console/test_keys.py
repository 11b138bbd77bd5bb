"""The Access tab: what a person and a script can do to their own keys, and to nobody else's."""

import re
from datetime import timedelta
from typing import Any

import pytest
import requests

from accounts.keys.models import ApiKey
from accounts.keys.service import create_key
from bsod.lib import clock
from bsod.lib.terms import Permission
from tests import kit
from tests.bsod.console.seat import FORGED, Seat
from tests.kit import Person, Site
from tests.upstream import FaultServer

PAGE = {"Accept": "text/html"}
KEY = re.compile(r"bsod-[a-z0-9]{12}[\w-]{47}")


@pytest.fixture
def seat(site: Site, alice: Person) -> Seat:
    return Seat(site, alice)


def sent(seat: Seat, path: str, token: str = "t" * 32, **fields: Any) -> requests.Response:
    """A form, as a browser without scripts sends it."""
    return seat.session.post(
        seat.site.url + path, data={"csrfmiddlewaretoken": token, **fields}, headers=PAGE,
        timeout=30, allow_redirects=False,
    )  # fmt: skip


def newest(person: Person) -> ApiKey:
    found = ApiKey.objects.filter(account=person.account, console=False).order_by("-pk").first()
    assert found is not None
    return found


def test_a_key_made_with_a_form_is_shown_once_and_works(
    site: Site, seat: Seat, alice: Person, up: FaultServer
) -> None:
    answer = sent(seat, "/create-key/", **{
        "name": "notes-bot", "permissions": ["images", "balance"], "cap:text.base": "50 000",
        "requests_per_minute": "60", "allowed_models": "gpt-5.4\ngpt-5.4-mini, gpt-5.4",
        "networks": "127.0.0.0/8", "expires": "30",
    })  # fmt: skip
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/access/"
    assert not KEY.search(str(answer.headers))
    shown = seat.get("/access/", headers=PAGE)
    assert shown.headers["Cache-Control"] == "no-store"
    secret = set(KEY.findall(shown.text))
    assert len(secret) == 1
    text = secret.pop()
    assert text not in seat.get("/access/", headers=PAGE).text, "it is shown once"
    works = requests.get(
        f"{site.url}/balance/", headers={"Authorization": f"Bearer {text}"}, timeout=20
    )
    assert works.json()["key"]["name"] == "notes-bot"
    key = newest(alice)
    assert set(key.permissions) == {"images", "balance"}
    assert key.caps == {"text.base": 50_000}
    assert key.allowed_models == ["gpt-5.4", "gpt-5.4-mini"]
    assert (key.requests_per_minute, key.networks) == (60, ["127.0.0.0/8"])
    assert key.expires_at is not None
    assert timedelta(29) < key.expires_at - clock.now() <= timedelta(30)


def test_a_script_makes_changes_replaces_and_revokes_a_key(site: Site, seat: Seat) -> None:
    made = seat.post("/create-key/", {"name": "ci", "caps": {"image": 3}})
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    said = made.json()
    assert set(said["permissions"]) == set(Permission)
    act = {"id": said["id"]}
    changed = seat.post("/key-action/", act | {"action": "change", "permissions": ["balance"]})
    assert (changed.status_code, changed.json()["permissions"]) == (200, ["balance"])
    assert changed.json()["caps"] == {"image": 3}, "what was not named stays"
    assert "key" not in changed.json()
    rotated = seat.post("/key-action/", act | {"action": "rotate", "grace_hours": 1})
    fresh = rotated.json()
    assert (rotated.status_code, fresh["caps"]) == (201, {"image": 3})

    def status(text: str) -> int:
        head = {"Authorization": f"Bearer {text}"}
        return requests.get(f"{site.url}/balance/", headers=head, timeout=20).status_code

    assert (status(said["key"]), status(fresh["key"])) == (200, 200), "the grace still runs"
    gone = seat.post("/key-action/", {"id": fresh["id"], "action": "revoke"})
    assert gone.json()["revoked_at"]
    assert status(fresh["key"]) == 401, "on the next request"
    at_once = seat.post("/key-action/", act | {"action": "rotate"}).json()
    assert (status(said["key"]), status(at_once["key"])) == (401, 200)


def test_a_key_of_somebody_else_is_not_there(site: Site, seat: Seat, bob: Person) -> None:
    before = ApiKey.objects.filter(pk=bob.key.pk).values().get()
    for action in ("change", "rotate", "revoke"):
        answer = seat.post("/key-action/", {"id": bob.key.pk, "action": action, "name": "mine"})
        assert answer.status_code == 404
        assert sent(seat, "/key-action/", id=bob.key.pk, action=action).status_code == 404
    assert seat.get(f"/access/{bob.key.pk}/", headers=PAGE).status_code == 404
    assert f'id="key-{bob.key.pk}"' not in seat.get(f"/access/?key={bob.key.pk}").text
    assert ApiKey.objects.filter(pk=bob.key.pk).values().get() == before


def test_the_consoles_own_key_is_nobodys_to_touch(seat: Seat, alice: Person) -> None:
    hidden = ApiKey.objects.create(
        account=alice.account, console=True, public_id=kit.unique("c")[-12:], digest="0" * 64,
        last4="", name="console",
    )  # fmt: skip
    assert f'id="key-{hidden.pk}"' not in seat.get("/access/", headers=PAGE).text
    assert seat.post("/key-action/", {"id": hidden.pk, "action": "revoke"}).status_code == 404


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"name": "x", "unlimited": True}, "unlimited"),
        ({"name": "x", "account": 1}, "account"),
        ({"name": "x", "operator": True}, "operator"),
        ({"name": "x", "permissions": ["admin"]}, "permissions"),
        ({"name": "x", "permissions": "images"}, "permissions"),
        ({"name": "x", "caps": {"text": 1}}, "caps"),
        ({"name": "x", "caps": {"image": -1}}, "caps"),
        ({"name": "x", "caps": {"image": True}}, "caps"),
        ({"name": "x", "networks": ["everywhere"]}, "networks"),
        ({"name": "x", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": "x", "requests_per_minute": "5"}, "requests_per_minute"),
        ({"name": "x", "expires_at": "yesterday"}, "expires_at"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "\u200b"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "x", "expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
        ({"name": "x", "expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at"),
        ({"name": "x", "allowed_models": ["a\0"]}, "allowed_models"),
        ({}, "name"),
        ([], None),
    ],
)
def test_what_nobody_may_say_of_a_key_is_refused_by_its_name(
    seat: Seat, alice: Person, said: Any, param: str | None
) -> None:
    answer = seat.post("/create-key/", said)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert newest(alice).pk == alice.key.pk, "none was made"


def test_a_form_that_is_wrong_comes_back_as_it_was_filled_in(seat: Seat, alice: Person) -> None:
    answer = sent(seat, "/create-key/", **{
        "name": "<b>bot", "permissions": "images", "networks": "nowhere", "cap:image": "many",
        "expires": "date",
    })  # fmt: skip
    assert answer.status_code == 400
    assert 'value="&lt;b&gt;bot"' in answer.text
    assert ">nowhere</textarea>" in answer.text
    assert 'value="many"' in answer.text
    assert "Say on which date." in answer.text
    refused = sent(seat, "/create-key/", name="bot", networks="nowhere")
    assert "Not a network" in refused.text
    never = {"expires": "date", "expires_at": "9999-12-31T23:59-23:59"}
    assert sent(seat, "/create-key/", name="bot", **never).status_code == 400
    seat.session.cookies["django_language"] = "ru"
    hidden = sent(seat, "/create-key/", name="bot", networks="nowhere", **{"cap:video.sora2": "x"})
    assert '<details class="fold" open><summary>Лимиты видео' in hidden.text
    assert "Это не сеть: nowhere." in sent(seat, "/create-key/", name="x", networks="nowhere").text
    assert newest(alice).pk == alice.key.pk


def test_a_new_name_leaves_the_end_of_a_key_as_it_was(seat: Seat, alice: Person) -> None:
    for ends in (clock.now() + timedelta(days=2, seconds=7.25), clock.now() - timedelta(days=1)):
        key, _text = create_key(alice.account, "old", expires_at=ends)
        page = seat.get(f"/access/{key.pk}/", headers=PAGE).text
        shown = re.search(r'name="expires_at" value="([^"]+)"', page)
        assert shown
        act = {"action": "change", "id": key.pk}
        said = {"name": " by\nhand ", "expires": "date", "expires_at": shown.group(1)}
        assert sent(seat, "/key-action/", **act, **said).status_code == 302
        assert seat.post("/key-action/", act | {"open_calls": 2}).status_code == 200
        row = ApiKey.objects.get(pk=key.pk)
        assert (row.name, row.open_calls, row.expires_at) == ("by hand", 2, ends)


def test_a_form_of_another_site_does_nothing(site: Site, seat: Seat, alice: Person) -> None:
    for path, more in (("/create-key/", {"name": "x"}),
                       ("/key-action/", {"id": alice.key.pk, "action": "revoke"})):  # fmt: skip
        forged = sent(seat, path, FORGED, **more)
        assert forged.status_code == 403
        assert "This page has expired." in forged.text
        assert seat.post(path, more, FORGED).json()["error"]["code"] == "forbidden"
        assert seat.get(path, headers=PAGE).status_code == 405
    assert ApiKey.objects.get(pk=alice.key.pk).revoked_at is None
    assert newest(alice).pk == alice.key.pk


def test_a_stranger_is_told_to_sign_in(site: Site) -> None:
    stranger = requests.Session()
    stranger.cookies["csrf"] = "t" * 32
    answer = stranger.post(
        f"{site.url}/create-key/", json={"name": "x"}, headers={"X-CSRFToken": "t" * 32}, timeout=20
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_signed_in"


def test_too_many_new_keys_are_refused_with_a_time(site: Site, seat: Seat) -> None:
    answers = [seat.post("/create-key/", {}) for _ in range(30)]
    while len(answers) < 62 and answers[-1].status_code == 400:
        answers.append(seat.post("/create-key/", {}))  # a new minute may have begun meanwhile
    assert {answer.status_code for answer in answers[:-1]} == {400}
    assert answers[-1].status_code == 429
    assert answers[-1].headers["Retry-After"] == "60"
    page = sent(seat, "/create-key/", name="x")
    assert page.status_code == 429
    assert "Next one in 60 s." in page.text


def test_a_revoked_key_cannot_come_back(seat: Seat, alice: Person) -> None:
    key, _text = create_key(alice.account, "old")
    assert seat.post("/key-action/", {"id": key.pk, "action": "revoke"}).status_code == 200
    for action in ("change", "rotate"):
        answer = seat.post("/key-action/", {"id": key.pk, "action": action})
        assert answer.status_code == 400
        assert "revoked" in answer.text or "works" in answer.text
    assert ApiKey.objects.get(pk=key.pk).name == "old"
    assert "old" in seat.get("/access/?show=revoked", headers=PAGE).text
