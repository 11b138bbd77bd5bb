"""The playground's routes: whoever is signed in calls models, and pays for it as with a key."""

import json
import time

import pytest
import requests

from accounts.keys.models import ApiKey
from bsod.lib.terms import Modality
from tests import kit
from tests.bsod.console.seat import FORGED, Seat
from tests.kit import Person, Site
from tests.proxy.gateway.studio import studio
from tests.upstream import FaultServer, Pause, chat, error, hang, sse, sse_frame

RUN = "/playground/run/?endpoint=chat/completions"
LIVE = "/playground/live-session/?endpoint=chat/completions"


@pytest.fixture
def seat(site: Site, alice: Person) -> Seat:
    return Seat(site, alice)


def test_a_call_is_answered_and_billed_under_the_hidden_key(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat("Hello.", prompt_tokens=9, completion_tokens=3))
    answer = seat.post(RUN, kit.ask(supplied))
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    (entry,) = alice.closed()
    hidden = ApiKey.objects.get(account=alice.account, console=True)
    assert (entry.amount, entry.api_key_id) == (12, hidden.pk)
    assert entry.id == answer.headers["X-Request-Id"]
    assert kit.ledger_adds_up(alice)


def test_every_call_goes_by_the_same_key(seat: Seat, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    up.default = chat("Hello.")
    for _ in range(3):
        assert seat.post(RUN, kit.ask(supplied)).status_code == 200
    assert ApiKey.objects.filter(account=alice.account, console=True).count() == 1


def test_a_live_session_streams_as_it_comes(seat: Seat, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    said = [
        sse_frame({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": end}]})
        for word, end in (("one ", None), ("two ", None), ("three", "stop"))
    ]
    up.script(sse(said[0], Pause(0.2), said[1], Pause(0.2), said[2]))
    began = time.monotonic()
    with seat.post(LIVE, kit.ask(supplied), stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines(chunk_size=1)
        came = [time.monotonic() - began for line in lines if b'"content"' in line]
    assert came[-1] - came[0] > 0.2, "the first word came before the last was said"
    assert alice.closed()[0].end_reason == "completed"


def test_stopping_a_live_session_stops_the_provider_and_pays_for_what_was_said(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    delta = {"choices": [{"index": 0, "delta": {"content": "a" * 30}, "finish_reason": None}]}
    up.script(sse(sse_frame(delta), done=False).hang())
    answer = seat.post(LIVE, kit.ask(supplied, max_tokens=5_000), stream=True)
    next(answer.iter_content(64))
    answer.close()
    seat.session.close()
    up.wait_for(1, 5, where=lambda seen: seen.client_gone_at)
    (entry,) = alice.closed()
    assert (entry.state, entry.end_reason) == ("settled", "client_gone")
    assert 10 < entry.amount < 60


def test_a_refusal_has_the_apis_shape_and_costs_nothing(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(error(400, "no such thing"))
    answer = seat.post(RUN, kit.ask(supplied))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "upstream_refused"
    wrong = seat.post(RUN, kit.ask(supplied, n=-1))
    assert wrong.json()["error"]["param"] == "n"
    assert [entry.amount for entry in alice.closed()] == [0]


@pytest.mark.parametrize("path", [RUN, LIVE])
def test_nothing_is_done_for_strangers_or_forged_requests(
    site: Site, seat: Seat, up: FaultServer, alice: Person, path: str
) -> None:
    supplied = kit.supply(up)
    before = up.count()
    assert seat.post(path, kit.ask(supplied), token=FORGED).json()["error"]["code"] == "csrf_failed"
    assert seat.post(path, kit.ask(supplied), token="").status_code == 403
    seat.store.delete()
    said = seat.post(path, kit.ask(supplied))
    assert (said.status_code, said.json()["error"]["code"]) == (401, "not_signed_in")
    bearer = requests.post(site.url + path, json=kit.ask(supplied), headers=alice.auth, timeout=9)
    assert bearer.status_code == 403, "a key is no session"
    assert (up.count(), alice.entries()) == (before, [])


@pytest.mark.parametrize(
    "endpoint", ["", "models", "files", "../v1/chat/completions", "chat/completions?x", "batches"]
)
def test_only_calls_of_models_are_offered(seat: Seat, endpoint: str) -> None:
    answer = seat.post(f"/playground/run/?endpoint={endpoint}", {"model": "m"})
    assert answer.status_code == 404
    assert "endpoint" in answer.json()["error"]["message"]


def test_a_ban_and_an_exhausted_day_are_told_as_the_api_tells_them(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    short = seat.post(RUN, kit.ask(supplied, max_tokens=600_000))
    assert short.json()["error"]["code"] in ("quota_exceeded", "invalid_value")
    alice.account.bans.create(reason="spam")
    banned = seat.post(RUN, kit.ask(supplied))
    assert banned.json()["error"]["code"] == "account_banned"


def test_a_form_goes_through_to_its_last_byte(seat: Seat, up: FaultServer, alice: Person) -> None:
    supplied = studio(up, Modality.IMAGE)
    picture = b"\x89PNG" + bytes(range(256)) * 2_000
    answer = seat.post(
        "/playground/run/?endpoint=images/edits",
        data={"model": supplied.model, "prompt": "a hat"},
        files={"image": ("cat.png", picture, "image/png")},
    )
    assert answer.status_code == 200, answer.text
    assert picture in up.seen[-1].body
    assert alice.closed()[0].bucket == "image"


def test_what_the_provider_leaves_hanging_is_cut_when_the_browser_leaves(
    seat: Seat, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(hang())
    with pytest.raises(requests.Timeout):
        seat.session.post(
            # Less than a second: then the first comment would begin an answer.
            seat.site.url + LIVE, json=kit.ask(supplied), timeout=0.5,
            headers={"X-CSRFToken": "t" * 32},
        )  # fmt: skip
    seat.session.close()
    assert [entry.amount for entry in alice.closed()] == [0]


def test_a_film_is_followed_and_fetched_by_its_owner_alone(
    site: Site, seat: Seat, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied = studio(up, Modality.VIDEO, "sora-2")
    made = seat.post(
        "/playground/run/?endpoint=videos", {"model": supplied.model, "prompt": "rain"}
    )
    assert made.status_code == 200, made.text
    id_ = made.json()["id"]
    status = seat.get(f"/playground/video-status/?id={id_}")
    assert (status.status_code, status.json()["id"]) == (200, id_)
    listed = seat.get("/playground/video-status/").json()
    assert [film["id"] for film in listed["data"]] == [id_]
    assert seat.get(f"/playground/video-status/?id={id_}&content=1").status_code == 200
    stranger = Seat(site, bob)
    assert stranger.get(f"/playground/video-status/?id={id_}").status_code == 404
    assert json.loads(stranger.get("/playground/video-status/").text)["data"] == []
