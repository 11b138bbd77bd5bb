"""A provider that speaks Anthropic, added and probed as an operator does it."""

import pytest

from bsod.lib.terms import Blame
from proxy import probe, service
from proxy.models import Offer
from tests import kit
from tests.upstream import FaultServer, json_reply
from tests.upstream.anthropic import answer, refusal, text

pytestmark = pytest.mark.once


def test_its_list_is_read_and_its_keys_are_proven(up: FaultServer) -> None:
    name = kit.unique("claude-sonnet-4-6")
    row = {"type": "model", "id": name, "display_name": "Claude", "created_at": "2026-02-04"}
    up.on(json_reply({"data": [row], "has_more": False}), path_suffix="/models", method="GET")
    up.on(answer(text("Hi")), path_suffix="/messages", method="POST")
    secret = kit.unique("sk-ant-api03")

    added = service.add_provider(kit.unique("claude"), "anthropic", up.base_url, [secret])

    ((key, found),) = added.findings
    assert (found.blame, added.models) == (Blame.NOBODY, 1)
    assert Offer.objects.get(provider=added.provider).upstream_id == name
    (seen,) = up.seen
    assert (seen.target.partition(b"?")[2], seen.key) == (b"limit=1000", secret)
    assert probe.call(key).blame is Blame.NOBODY
    assert up.seen[1].json["max_tokens"] == 16
    up.on(refusal(401, "authentication_error", "invalid x-api-key"), path_suffix="/messages")
    assert probe.call(key).blame is Blame.AUTH
