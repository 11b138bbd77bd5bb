"""Calls put in other words, through a running gateway: who is asked, what is charged, what is
refused before anything is reserved."""

import json
from typing import Any

import pytest

from proxy.models import Object
from tests import kit
from tests.kit import Person, Site, Supply
from tests.upstream import FaultServer, chat, chat_stream, error, json_reply
from tests.upstream import sse as events

RESPONSES = "/v1/responses"
FLOW = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
SAID = {"type": "message", "id": "msg_up", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}  # fmt: skip
RESPONSE = {"id": "resp_up", "object": "response", "created_at": 7, "status": "completed",
            "model": "m", "output": [SAID], "usage": FLOW}  # fmt: skip


@pytest.fixture
def chats(up: FaultServer) -> Supply:
    """A model that only chats."""
    return kit.supply(up, speaks=["chat"])


@pytest.fixture
def responds(up: FaultServer) -> Supply:
    """A model that only speaks responses."""
    return kit.supply(up, kind="openai", speaks=["responses"])


def respond(site: Site, who: Person, supplied: Supply, path: str = RESPONSES, **body: Any) -> Any:
    asked = {"model": supplied.model, "input": "Hello", "max_output_tokens": 50, **body}
    return site.post(who, asked, path, stream=bool(body.get("stream")))


def paths(up: FaultServer) -> list[str]:
    return [seen.path.removeprefix("/v1") for seen in up.seen]


def test_a_response_of_a_model_that_chats_is_charged_and_leaves_nothing(
    site: Site, chats: Supply, alice: Person
) -> None:
    chats.up.default = chat("Hi", prompt_tokens=11, completion_tokens=7)
    reply = respond(site, alice, chats)
    assert reply.status_code == 200
    value = reply.json()
    assert (value["object"], value["store"], value["model"]) == ("response", False, chats.model)
    assert value["output"][0]["content"][0]["text"] == "Hi"
    assert paths(chats.up) == ["/chat/completions"]
    assert "store" not in chats.up.seen[0].json
    entry = alice.closed()[0]
    assert (entry.amount, entry.usage_source, entry.end_reason) == (18, "upstream", "completed")
    assert not Object.objects.filter(account=alice.account).exists()
    assert site.get(alice, f"{RESPONSES}/{value['id']}").status_code == 404
    assert len(chats.up.seen) == 1, "nobody can fetch it, so nobody is asked"
    assert kit.ledger_adds_up(alice)


def test_a_stream_of_it_ends_with_what_it_cost(site: Site, chats: Supply) -> None:
    rich = kit.person("rich", plan="pro")
    chats.up.default = chat_stream(["Hel", "lo"], prompt_tokens=5, completion_tokens=2)
    told = [json.loads(data) for data in kit.sse(respond(site, rich, chats, stream=True))]
    assert [value["sequence_number"] for value in told] == list(range(len(told)))
    assert told[-1]["type"] == "response.completed"
    charged = told[-1]["response"]["yout"]["credits_charged"]
    assert rich.closed()[0].amount == charged > 0
    assert kit.ledger_adds_up(rich)


def test_a_cut_stream_ends_with_an_error_and_is_charged_for_what_came(
    site: Site, chats: Supply, alice: Person
) -> None:
    chats.up.default = chat_stream(["word "] * 8, finish=None, done=False)
    *told, last = [json.loads(data) for data in kit.sse(respond(site, alice, chats, stream=True))]
    assert last["error"]["code"] == "upstream_truncated"
    assert "response.completed" not in {value["type"] for value in told}
    entry = alice.closed()[0]
    assert (entry.end_reason, entry.state) == ("upstream_error", "settled")
    assert entry.amount > 0
    assert kit.ledger_adds_up(alice)


def test_a_key_that_fails_first_is_followed_by_another(site: Site, up: FaultServer) -> None:
    who = kit.person("who")
    supplied = kit.supply(up, keys=2, speaks=["chat"])
    up.script(error(500), chat("Hi"))
    reply = respond(site, who, supplied)
    assert (reply.status_code, reply.headers["x-attempts"]) == (200, "2")
    assert kit.ledger_adds_up(who)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_of_nobody"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_of_nobody"}]}, "input[0].type"),
    ],
)
def test_what_needs_a_provider_that_keeps_things_is_refused_and_says_who_can(
    site: Site, chats: Supply, up: FaultServer, alice: Person, body: dict[str, Any], param: str
) -> None:
    other = kit.supply(up, kind="openai", model=kit.unique("aaa"))  # the first of those named
    reply = respond(site, alice, chats, **body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    refused = reply.json()["error"]
    assert other.model in refused["models"]
    assert chats.model not in refused["models"]
    assert other.model in refused["message"]
    assert up.seen == []
    assert alice.entries() == []


def test_a_model_at_both_kinds_of_provider_goes_where_the_call_can_be_kept(
    site: Site, up: FaultServer, alice: Person
) -> None:
    keeps = kit.supply(up, kind="openai")
    kit.supply(up, kind="local", model=keeps.model)
    up.on(json_reply(RESPONSE), path_suffix="/responses")
    up.on(chat("Hi"), path_suffix="/chat/completions")
    hosted = {"tools": [{"type": "web_search"}]}
    for body in ({"store": False}, hosted):
        assert respond(site, alice, keeps, **body).json()["id"] == "resp_up"
    assert paths(up) == ["/responses", "/responses"]

    up.on(error(500), path_suffix="/responses")
    reply = respond(site, alice, keeps, store=False)
    assert reply.json()["output"][0]["content"][0]["text"] == "Hi"
    assert paths(up)[2:] == ["/responses", "/chat/completions"], "other words rather than none"

    assert respond(site, alice, keeps, **hosted).status_code == 502
    assert paths(up)[4:] == ["/responses"]
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize("path", ["input_tokens", "compact"])
def test_what_is_about_responses_is_never_put_in_other_words(
    site: Site, up: FaultServer, alice: Person, path: str
) -> None:
    supplied = kit.supply(up, kind="local")
    reply = respond(site, alice, supplied, f"{RESPONSES}/{path}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_upstream")
    assert "local" not in reply.json()["error"]["kinds"]
    assert up.seen == []


def test_a_chat_of_a_model_that_responds_is_charged_and_leaves_nothing(
    site: Site, responds: Supply, alice: Person
) -> None:
    responds.up.default = json_reply(RESPONSE)
    reply = site.chat(alice, responds)
    assert reply.json()["choices"][0]["message"]["content"] == "Hi"
    seen = responds.up.seen[0]
    assert seen.path.endswith("/responses")
    assert (seen.json["store"], seen.json["max_output_tokens"]) == (False, 50)
    assert alice.closed()[0].amount == 8
    assert not Object.objects.filter(account=alice.account).exists()
    assert kit.ledger_adds_up(alice)


def test_a_chat_stream_of_it_has_usage_for_who_asked(
    site: Site, responds: Supply, alice: Person
) -> None:
    begun = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    responds.up.default = events(
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
        {"type": "response.completed", "response": RESPONSE}, named=True, done=False,
    )  # fmt: skip
    body = kit.ask(responds, stream=True, stream_options={"include_usage": True})
    *told, mark = kit.sse(site.post(alice, body, stream=True))
    chunks = [json.loads(data) for data in told]
    assert mark == "[DONE]"
    assert [c["choices"][0]["delta"].get("content") for c in chunks[:-1]] == ["", "Hi", None]
    assert chunks[-1]["usage"]["total_tokens"] == 8
    assert alice.closed()[0].amount == 8
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize(("body", "param"), [({"n": 2}, "n"), ({"store": True}, "store"),
                                             ({"stop": "x"}, "stop")])  # fmt: skip
def test_what_no_response_can_be_asked_is_refused_before_it_costs(
    site: Site, responds: Supply, alice: Person, body: dict[str, Any], param: str
) -> None:
    reply = site.chat(alice, responds, **body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert responds.up.seen == []
    assert alice.entries() == []


def test_a_model_of_neither_kind_is_not_there(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up, speaks=["completions"])
    for reply in (site.chat(alice, supplied), respond(site, alice, supplied)):
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert up.seen == []


def test_a_server_that_knows_no_responses_is_asked_to_chat_and_remembered(
    site: Site, up: FaultServer, alice: Person
) -> None:
    """Of a compatible server nobody knows beforehand which routes it has."""
    supplied = kit.supply(up)
    up.on(json_reply({"detail": "Not Found"}, 404), path_suffix="/responses")
    up.on(chat("Hi"), path_suffix="/chat/completions")
    for _ in range(6):  # more than there are workers to learn it
        reply = respond(site, alice, supplied)
        assert (reply.status_code, reply.headers["x-attempts"]) == (200, "1")
        assert reply.json()["output"][0]["content"][0]["text"] == "Hi"
    assert paths(up).count("/chat/completions") == 6
    assert 1 <= paths(up).count("/responses") <= 2
    assert {entry.state for entry in alice.closed(6)} == {"settled"}
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("unknown_url", "unknown_url", "No such thing"),
        ("unknown_url", "model_not_found", "Nor this"),
        ("model_not_found", "", "No such thing"),
    ],
)
def test_what_is_not_found_in_either_words_is_not_found(
    site: Site, up: FaultServer, alice: Person, first: str, second: str, told: str
) -> None:
    supplied = kit.supply(up)
    up.on(error(404, "No such thing", code=first), path_suffix="/responses")
    up.on(error(404, "Nor this", code=second), path_suffix="/chat/completions")
    reply = respond(site, alice, supplied)
    assert (reply.status_code, reply.json()["error"]["message"]) == (404, told)
    assert len(up.seen) == (2 if second else 1)
    assert {entry.state for entry in alice.closed()} == {"released"}


def test_what_cannot_be_put_in_other_words_is_asked_once(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = json_reply({"detail": "Not Found"}, 404)
    assert respond(site, alice, supplied, tools=[{"type": "web_search"}]).status_code == 404
    assert paths(up) == ["/responses"]
