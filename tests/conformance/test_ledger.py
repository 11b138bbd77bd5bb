"""The count of calls against the ledger finds an answer without its entry, and the reverse."""

from bsod.lib import clock, ids
from quotas.models import Entry
from tests import kit
from tests.conformance.ledger import findings
from tests.conformance.relay import Call

CHAT = "/v1/chat/completions"


def entered() -> str:
    row = Entry.objects.create(
        id=ids.ulid(), account=kit.person().account, bucket="text.base",
        day=clock.day_of(clock.now()), state="released",
    )  # fmt: skip
    return row.id


def test_an_answer_of_a_route_that_costs_is_lost_without_its_entry() -> None:
    calls = [
        Call("POST", CHAT, 200, "no entry has this id"),
        Call("POST", CHAT, 400, "refused before anything was drawn"),
        Call("GET", "/v1/models?x=1", 200, "free"),
        Call("GET", "/v1/nothing", 404, "nowhere"),
        Call("POST", CHAT),
    ]
    found = findings(calls)
    assert found["lost"] == [f"200 POST {CHAT} no entry has this id"]
    assert found["counted"] == {
        "refused": 2, "of them 400": 1, "of them 404": 1, "free": 1, "never answered": 1,
    }  # fmt: skip
    assert found["unrouted"] == {"404 GET /v1/nothing": 1}
    assert found["nowhere"] == ["nowhere"]


def test_every_entry_is_of_one_call_that_was_seen() -> None:
    seen, unseen = entered(), entered()
    found = findings([Call("POST", CHAT, 200, seen)])
    assert found["lost"] == []
    assert found["counted"] == {"entered": 1}
    assert unseen in found["unseen"]
    assert seen not in found["unseen"]
    twice = findings([Call("POST", CHAT, 200, seen), Call("POST", CHAT, 200, seen)])
    assert twice["lost"] == [f"two calls under one entry: {seen}"]
