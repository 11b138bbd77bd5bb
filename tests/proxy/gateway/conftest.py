"""Fixtures of the gateway's tests on the wire.

Both exchanges are held to one suite: the tests of BOTH run over the fast lane and over ASGI. A
header whose name holds an underscore means nothing to anybody, but it is not plain: the lane hands
such a request over.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import kit, rawclient
from tests.kit import Person, Site
from tests.rawclient import CHAT, chat_once, once
from tests.upstream import FaultServer

BOTH = {"test_chat", "test_streaming", "test_stream_ends", "test_leaving",
        "test_headers", "test_bodies"}  # fmt: skip
# They take seconds, and what takes them lies behind the exchange.
ONCE = {
    "test_hanging_in_the_middle_is_a_timeout_charged_for_what_came",
    "test_a_call_that_is_not_streamed_times_out_once",
    "test_a_stream_has_a_longest_time_however_lively_it_is",
    "test_failover_goes_on_after_a_comment_and_a_last_failure_is_an_event_in_the_200",
    "test_marks_split_over_reads_are_still_marks",
    "test_beyond_a_hundred_such_calls_the_next_is_cancelled_and_pays_its_prompt",
    "test_large_bodies_are_capped_and_do_not_fill_the_memory",
    "test_what_a_provider_sends_too_much_of_is_refused_and_costs_nothing",
}
ODD = ("X_Odd", "1")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in BOTH and metafunc.function.__name__ not in ONCE:
        metafunc.parametrize("exchange", ["lane", "asgi"], indirect=True)


@pytest.fixture(autouse=True)
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who carries the test's requests: the fast lane or ASGI, where the test is for both."""
    if not hasattr(request, "param"):
        yield
        return
    site: Site = request.getfixturevalue("site")
    site.session.close()  # a connection that was handed over once stays so
    if request.param == "asgi":
        monkeypatch.setattr(rawclient, "also", [ODD])
        monkeypatch.setitem(site.session.headers, *ODD)
    answer = once(site, "POST", CHAT, body=b"{}")
    assert answer.status == 401
    assert (answer.header("server") is None) is (request.param == "lane")
    yield
    site.session.close()


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
