"""Which reply a request gets: rules, then the queue, then the default; and waiting for requests."""

from __future__ import annotations

import threading

import pytest

from . import FaultServer, Reply, Seen, error, json_reply
from .conftest import Connect

pytestmark = pytest.mark.once


def test_queue_in_order_then_default(up: FaultServer, connect: Connect) -> None:
    up.default = Reply(299)
    up.script(error(500), error(529), lambda seen: json_reply({"got": seen.json}))
    client = connect()
    replies = [client.ask({"i": index}).reply() for index in range(5)]
    assert [head.split()[1] for head, _ in replies] == [b"500", b"529", b"200", b"299", b"299"]
    assert replies[2][1] == b'{"got":{"i":2}}'
    assert up.pending == 0


def test_rules_by_key_path_and_method_go_before_the_queue(
    up: FaultServer, connect: Connect
) -> None:
    up.script(Reply(201))
    up.on(error(401), key="sk-dead")
    up.on([error(429), error(503)], key="sk-dead", path_suffix="/embeddings", method="post")
    client = connect()

    def status(path: str, key: str, method: str = "POST") -> bytes:
        return client.ask({}, path, key, method).reply()[0].split()[1]

    assert status("/v1/chat/completions", "sk-dead") == b"401"
    assert status("/v1/embeddings", "sk-dead", "GET") == b"401"
    assert [status("/v1/embeddings?a", "sk-dead") for _ in range(3)] == [b"429", b"503", b"401"]
    assert status("/v1/embeddings", "sk-live") == b"201"
    assert up.count(key="sk-dead") == 5
    assert up.count(key="sk-dead", path_suffix="/embeddings", method="POST") == 3
    up.reset()
    assert status("/v1/chat/completions", "sk-dead") == b"200"
    assert up.count() == 1


def test_wait_for_wakes_up_and_says_what_is_missing(up: FaultServer, connect: Connect) -> None:
    client = connect()
    threading.Timer(0.05, client.ask, [{}]).start()
    assert len(up.wait_for(1)) == 1
    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        up.wait_for(2, timeout=0.05)


def test_a_broken_reply_function_is_not_swallowed(connect: Connect) -> None:
    def broken(seen: Seen) -> Reply:
        raise LookupError(seen.path)

    up = FaultServer().start()
    up.default = broken
    assert b" 500 " in connect(up).ask({}, "/x").reply()[0]
    with pytest.raises(LookupError, match="/x"), up:
        pass
