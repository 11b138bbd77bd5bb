"""What a provider says was used: believed when it can be, and never charged beyond what is left."""

from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site
from tests.rawclient import chat_once
from tests.upstream import FaultServer, chat, chat_stream

BOTH = pytest.mark.parametrize("stream", [False, True])


USAGES: dict[str, tuple[Any, str, int | None]] = {
    "absent": ("absent", "estimated", None),
    "null": ("null", "estimated", None),
    "zero": ("zero", "upstream", 0),
    "negative": ({"prompt_tokens": -5, "completion_tokens": 7}, "estimated", None),
    "words": ({"prompt_tokens": "5", "completion_tokens": 7}, "estimated", None),
    "fraction": ({"prompt_tokens": 5.5, "completion_tokens": 7}, "estimated", None),
    "list": ([], "estimated", None),
    "true": ({"prompt_tokens": True, "completion_tokens": 7}, "estimated", None),
    "beyond the ledger": ({"prompt_tokens": 2**63, "completion_tokens": 2**64}, "estimated", None),
    "more than reserved": ({"prompt_tokens": 300, "completion_tokens": 9_000}, "upstream", 9_300),
    "no output": ({"prompt_tokens": 40}, "upstream", 40),
}


@BOTH
@pytest.mark.parametrize("name", USAGES)
def test_usage_is_believed_when_it_can_be_and_estimated_when_not(
    site: Site, up: FaultServer, alice: Person, name: str, stream: bool
) -> None:
    usage, source, amount = USAGES[name]
    supplied = kit.supply(up)
    names = {"absent": "never", "null": "never"}
    whole = usage if not isinstance(usage, list) else {"completion_tokens": []}
    streamed = names.get(usage, usage) if isinstance(usage, str) else whole
    up.default = chat_stream(["x" * 30], usage=streamed) if stream else chat("x" * 30, usage=whole)

    reply = chat_once(site, alice, kit.ask(supplied, stream=stream))

    assert reply.status == 200
    entry = alice.closed()[0]
    assert entry.usage_source == source
    if amount is None:
        assert (entry.completion_tokens or 0) >= 10
        amount = (entry.prompt_tokens or 0) + (entry.completion_tokens or 0)
    assert (entry.amount, entry.shortfall, alice.used()) == (amount, 0, amount)
    assert kit.ledger_adds_up(alice)


@BOTH
def test_an_overrun_takes_what_is_left_and_records_the_rest(
    site: Site, up: FaultServer, stream: bool
) -> None:
    who = kit.person("over", caps={"text.base": 1_000})
    supplied = kit.supply(up)
    usage = {"prompt_tokens": 9, "completion_tokens": 10**9}
    up.default = chat_stream(usage=usage) if stream else chat(usage=usage)

    assert chat_once(site, who, kit.ask(supplied, stream=stream)).status == 200

    entry = who.closed()[0]
    assert (entry.amount, entry.shortfall) == (1_000, 10**9 + 9 - 1_000)
    assert (who.used(), entry.state) == (1_000, "settled")
    after = chat_once(site, who, kit.ask(supplied))
    assert (after.status, after.error["code"]) == (429, "quota_exceeded")
    assert after.error["quota"]["left"] == 0
    assert up.count() == 1
    assert kit.ledger_adds_up(who)
