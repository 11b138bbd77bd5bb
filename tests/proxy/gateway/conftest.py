"""Fixtures of the gateway's tests on the wire."""

from collections.abc import Callable
from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site
from tests.rawclient import chat_once
from tests.upstream import FaultServer


@pytest.fixture
def talk(site: Site, up: FaultServer, alice: Person) -> Callable[..., tuple[int, bytes]]:
    """One stream of a fresh provider: its status and body."""
    supplied = kit.supply(up)

    def call(answer: Any = None, **body: Any) -> tuple[int, bytes]:
        if answer is not None:
            up.script(answer)
        reply = chat_once(site, alice, kit.ask(supplied, stream=True, **body))
        return reply.status, reply.body

    return call
