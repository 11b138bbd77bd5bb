"""Every fault of keys and hosts, made to happen; then many calls on a pool of which a part is dead,
limited or slow, and on one that is down: the clients notice nothing, or are told when to come
again, and nobody is asked in vain.
"""

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any
from urllib.parse import urlsplit

import pytest

from bsod.lib import clock
from proxy.failures import KINDS, RULES
from proxy.models import Model, Offer, Rest
from proxy.pool import bump
from quotas.models import Entry
from tests import faults, kit
from tests.faultlist import FAULTS, Fault
from tests.faults import SILENCE, Result, Stage
from tests.kit import Person, Site, Supply
from tests.rawclient import CHAT, chat_once
from tests.upstream import FaultServer, Reply, Seen, chat_stream, error, hang

LIMIT = 0.7  # seconds the limited key asks to be left alone
Told = tuple[int, bytes, float, int]
"""Status, body, seconds, attempts."""


@pytest.fixture(scope="module")
def taught(site: Site) -> Iterator[Supply]:
    """A provider of whose three keys another gateway has just learnt that none is of use."""
    with FaultServer() as up:
        supplied = kit.supply(up, keys=3)
        answers = (error(401), error(402), error(429, retry_after=60))
        for key, answer in zip(supplied.keys, answers, strict=True):
            up.on(answer, key=key)
        lost = chat_once(site, kit.person("first"), kit.ask(supplied))
        # One of three waits for a limit: that is no 429, now as little as for the next caller.
        assert (lost.status, lost.header("x-attempts")) == (503, "3")
        yield supplied


@pytest.fixture(scope="module")
def stage(taught: Supply) -> Iterator[Stage]:
    """A gateway that starts after that, whose silences are short."""
    with faults.stage() as on:
        yield on


@pytest.fixture(scope="module")
def late(stage: Stage) -> Site:
    return stage.site


@pytest.fixture(scope="module")
def results(stage: Stage) -> dict[str, Result]:
    return {result.fault.name: result for result in faults.run(stage, FAULTS)}


def test_what_one_process_has_learnt_holds_for_all_and_right_after_a_start(
    site: Site, taught: Supply, late: Site, alice: Person
) -> None:
    for running in (late, site, site, site):
        reply = chat_once(running, alice, kit.ask(taught))
        assert (reply.status, reply.error["code"]) == (503, "upstream_unavailable")
        assert int(reply.header("retry-after") or 0) <= 4, "the first to be probed decides"
    assert taught.up.count() == 3


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_ends_as_the_matrix_says(results: dict[str, Result], fault: Fault) -> None:
    assert results[fault.name].differs == []


def test_every_kind_of_failure_happens_in_the_matrix(results: dict[str, Result]) -> None:
    assert {fault.kind for fault in FAULTS} - {""} == {kind.name for kind in KINDS}
    for kind in KINDS:
        rule = RULES.get(kind.blame)
        told = [results[fault.name].found.pool for fault in FAULTS if fault.kind == kind.name]
        if rule is None:
            assert set(told) == {"nothing"}, kind
        elif rule.in_a_row == 1:
            assert any(f"{rule.scope} rests, {rule.reason}, " in pool for pool in told), kind
        else:
            assert any("in a row" in pool for pool in told), kind


def crowd(site: Site, people: Sequence[Person], body: Any, calls: int) -> list[Told]:
    """So many calls in all, each person's one after another on a connection of his own."""
    data = json.dumps(body).encode()

    turns = iter(range(calls))

    def one(who: Person) -> list[Told]:
        place = urlsplit(site.url)
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        headers = {**who.auth, "Content-Type": "application/json"}
        told = []
        for _ in turns:
            began = time.monotonic()
            line.request("POST", CHAT, data, headers)
            reply = line.getresponse()
            read = reply.read()
            tried = int(reply.getheader("x-attempts") or 0)
            told.append((reply.status, read, time.monotonic() - began, tried))
        line.close()
        return told

    with ThreadPoolExecutor(len(people)) as threads:
        return [one for part in threads.map(one, people) for one in part]


class Limited:
    """A key that is limited from its first call on, for LIMIT seconds; then it is well."""

    def __init__(self) -> None:
        self.until = 0.0
        self.early = self.late = 0

    def __call__(self, _: Seen) -> Reply:
        now = time.monotonic()
        if not self.until:
            self.until = now + LIMIT
            return error(429, retry_after=LIMIT)
        if now < self.until:
            self.early += 1
            return error(429, retry_after=self.until - now)
        self.late += 1
        return chat_stream()


def test_a_dead_a_limited_and_a_slow_key_of_four_are_not_noticed_by_a_thousand_calls(
    late: Site, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=4)
    good, dead, limited, slow = supplied.keys
    limit = Limited()
    up.default = chat_stream()
    up.on(error(401, "no"), key=dead)
    up.on(limit, key=limited)
    up.on(hang(), key=slow)

    people = [kit.person("many") for _ in range(10)]
    # One first: three tries are all a call has, and a gateway that knows no key has bad luck in it.
    ask = kit.ask(supplied, stream=True)
    told = crowd(late, people[:1], ask, 1) + crowd(late, people, ask, 999)

    assert Counter(status for status, *_ in told) == {200: 1000}
    assert [body for _, body, *_ in told if not body.endswith(b"data: [DONE]\n\n")] == []
    assert up.count(key=dead) == 1, "the first call that met it was its last"
    assert limit.early == 0, "nobody comes before its time"
    assert up.count(key=slow) <= 9, "what was on its way when it failed first, then one by one"
    assert up.count(key=good) > 500
    attempts = sorted(tried for *_, tried in told)
    assert attempts[980] == 1, "hardly anybody met a bad key"
    times = sorted(seconds for _, _, seconds, _ in told)
    # What the machine's other work adds is in the calls that met no bad key, too.
    plain = sorted(seconds for _, _, seconds, tried in told if tried == 1)
    assert times[990] - plain[len(plain) * 99 // 100] <= SILENCE
    entries = Entry.objects.filter(account__in=[who.account for who in people], kind="call")
    assert Counter(entries.values_list("state", "amount")) == {("settled", 12): 1000}
    assert [rest.reason for rest in rests(supplied, 1)] == ["auth"]


def rests(supplied: Supply, number: int) -> list[Rest]:
    return list(Rest.objects.filter(key=supplied.key_row(number)))


def test_the_limited_key_is_back_as_soon_as_its_time_is_over(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied, limit = kit.supply(up), Limited()
    up.default = limit
    ask = kit.ask(supplied, stream=True)

    first = chat_once(site, alice, ask)
    statuses = [chat_once(site, alice, ask).status for _ in range(3)]
    assert (first.status, statuses) == (429, [429] * 3)
    assert up.count() == 1
    time.sleep(max(0.0, limit.until - time.monotonic()))
    back = kit.eventually(lambda: chat_once(site, alice, ask).status == 200, 2)
    assert (back, limit.early, limit.late) == (True, 0, 1)


def returns(supplies: Iterable[Supply]) -> float:
    """Seconds to the earliest return, by the database."""
    rows = Rest.objects.filter(provider__in=[supplied.provider for supplied in supplies])
    ends = [row.until or row.probe_at for row in rows]
    assert all(ends)
    return min((end - clock.now()).total_seconds() for end in ends if end)


def test_with_all_providers_down_clients_are_told_when_and_nobody_is_stormed(
    late: Site,
) -> None:
    with FaultServer() as one, FaultServer() as two:
        supplies = [kit.supply(one, keys=2), kit.supply(two, keys=2)]
        Offer.objects.filter(provider=supplies[1].provider).update(
            model=Model.objects.get(name=supplies[0].model)
        )
        bump()
        one.stop()
        two.stop()
        people = [kit.person("many") for _ in range(12)]
        told = crowd(late, people, kit.ask(supplies[0], stream=True), 120)

        assert Counter(status for status, *_ in told) == {503: 120}
        calls = Entry.objects.filter(account__in=[who.account for who in people], kind="call")
        assert set(calls.values_list("state", "amount")) == {("released", 0)}
        tried = sum(calls.values_list("attempts", flat=True))
        assert 10 <= tried <= 30, "five in a row for each, and what was on its way"
        one.start()
        two.start()
        for who in people:
            before = returns(supplies)
            reply = chat_once(late, who, kit.ask(supplies[0]))
            after = returns(supplies)
            assert reply.error["code"] == "upstream_unavailable"
            wait = int(reply.header("retry-after") or 0)
            assert ceil(after - 0.05) <= wait <= max(1, ceil(before + 0.05))
        assert one.connections + two.connections == 0, "who rests is left alone"
