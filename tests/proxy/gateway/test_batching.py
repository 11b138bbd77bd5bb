"""Batches on the wire, before they are admitted: their input is read, and that has its bounds."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from bsod.lib.terms import ObjectKind
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.world import held
from tests.upstream import FaultServer, Gate, Reply, Seen, json_reply

pytestmark = pytest.mark.once
MANY = 6


def test_a_key_has_few_inputs_read_at_a_time_and_others_do_not_wait_for_it(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied, gate = kit.supply(up), Gate()
    asked = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
             "body": kit.ask(supplied)}  # fmt: skip
    line = Reply(200, (), json.dumps(asked).encode())
    up.on(line, path_suffix="/content")
    up.on(_refused, path_suffix="/batches")
    hers, his = (held(who, supplied.key_row(), ObjectKind.FILE) for who in (alice, bob))
    up.on(line.but(delay_headers=gate), path_suffix=f"{hers}/content")

    def create(who: Person) -> int:
        url = f"{site.url}/v1/batches"
        file = hers if who is alice else his
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
        return requests.post(url, json=body, headers=who.auth, timeout=20).status_code

    with ThreadPoolExecutor(MANY) as pool:
        answers = [pool.submit(create, alice) for _ in range(MANY)]
        gate.wait_for(2)
        assert create(bob) == 200
        assert up.count(path_suffix=f"{hers}/content") <= 2 * len(site.workers())
        gate.open()
        assert [answer.result() for answer in answers] == [200] * MANY

    alice.closed(MANY)
    assert kit.ledger_adds_up(alice)


def _refused(seen: Seen) -> Reply:
    """A batch that has ended before it began."""
    return json_reply({"id": kit.unique("batch"), "object": "batch", "status": "failed"})
