"""A chat completion through a running gateway: what the client gets, what the ledger says."""

import json

from tests import kit
from tests.kit import Person, Site, sse
from tests.upstream import FaultServer, chat, chat_stream


def test_a_plain_call_is_answered_and_charged_from_usage(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat("Hi there", prompt_tokens=11, completion_tokens=7)

    response = site.chat(alice, supplied)

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hi there"
    assert response.json()["model"] == supplied.model
    entry = alice.closed()[0]
    assert (entry.state, entry.end_reason, entry.usage_source) == (
        "settled",
        "completed",
        "upstream",
    )
    assert (entry.amount, entry.prompt_tokens, entry.completion_tokens) == (18, 11, 7)
    assert entry.id == response.headers["x-request-id"]
    assert alice.used() == 18
    assert kit.ledger_adds_up(alice)


def test_a_stream_arrives_whole_and_without_the_usage_nobody_asked_for(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat_stream(["Hel", "lo"], prompt_tokens=5, completion_tokens=2)

    response = site.post(alice, kit.ask(supplied, stream=True), stream=True)

    events = sse(response)
    assert events[-1] == "[DONE]"
    assert events.count("[DONE]") == 1
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == "Hello"
    assert not any("usage" in chunk for chunk in chunks)
    assert up.seen[0].json["stream_options"] == {"include_usage": True}
    assert alice.closed()[0].amount == 7
    assert kit.ledger_adds_up(alice)
