"""Two workers, one database, many clients at one moment: never a unit too many, never one lost."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from accounts.keys.service import create_key, revoke
from accounts.models import Ban, Plan
from bsod.lib import clock
from bsod.lib.terms import Bucket, Modality
from quotas import meter
from quotas.models import Balance
from tests import kit
from tests.kit import Person, Site, Supply
from tests.rawclient import Raw
from tests.torture import load
from tests.torture.load import LIMIT, Load, findings, together
from tests.upstream import FaultServer, Gate, Reply, chat, json_reply, sse, usage_of


def plan(cap: int, bucket: str = "text.base") -> str:
    """A plan with so many units a day, and nothing else in the way."""
    made = Plan.objects.create(
        slug=kit.unique("plan"), caps={bucket: cap}, open_calls=500, requests_per_minute=10**5
    )
    return made.slug


def estimate(site: Site, supplied: Supply, up: FaultServer) -> int:
    """What a call reserves; from here on its answer states just that as its usage."""
    who = kit.person("prober")
    site.chat(who, supplied, max_tokens=LIMIT)
    reserved = who.closed()[0].estimate
    up.default = chat("Hi", prompt_tokens=reserved - LIMIT, completion_tokens=LIMIT)
    return reserved


def ask(site: Site, who: Person, supplied: Supply) -> requests.Response:
    """On a connection of its own, so that either worker may get it."""
    with contextlib.closing(requests.Session()) as session:
        return session.post(
            f"{site.url}/v1/chat/completions",
            json=kit.ask(supplied, max_tokens=LIMIT), headers=who.auth, timeout=30,
        )  # fmt: skip


def test_a_quota_runs_dry_under_sixty_four_connections(
    site: Site, up: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "OTHERS", 0)
    supplied, cap = kit.supply(up), 6_000
    reserved = estimate(site, supplied, up)
    up.default = chat("Hi", prompt_tokens=11, completion_tokens=9)
    who = kit.person("dry", plan=plan(cap))
    with Load([int(site.url.rpartition(":")[2])], [who], supplied, clients=64, streams=0) as crowd:
        kit.eventually(lambda: cap - who.used() < reserved, 60, 0.2)
    while ask(site, who, supplied).status_code == 200:
        pass
    assert {told.status for told in crowd.told} == {200, 429}
    assert {told.code for told in crowd.told if told.status == 429} == {"quota_exceeded"}
    assert findings(crowd) == []
    entries = who.closed()
    assert {entry.state for entry in entries} == {"settled"}
    assert who.used() == 20 * len(entries) == sum(entry.amount for entry in entries)
    assert cap - reserved < who.used() <= cap
    assert who.reserved() == 0


def test_fifty_requests_at_once_against_a_balance_for_ten(site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up)
    reserved = estimate(site, supplied, up)
    who = kit.person("ten", plan=plan(10 * reserved))
    statuses = Counter(together(50, lambda: ask(site, who, supplied).status_code))
    assert statuses == {200: 10, 429: 40}
    assert len(who.closed(10)) == 10
    assert (who.used(), who.reserved()) == (10 * reserved, 0)


def test_images_asked_for_at_once_are_as_many_as_there_are(site: Site, up: FaultServer) -> None:
    """Four at a time against a cap of ten and a promo of seven: four calls of seventeen units."""
    supplied = kit.supply(up, modality=Modality.IMAGE)
    up.default = json_reply({"created": 1, "data": [{"url": "x"}] * 4})
    who = kit.person("painter", plan=plan(10, "image"))
    promo = meter.grant(who.account, Bucket.IMAGE, 7, clock.now() + timedelta(hours=1))

    def draw() -> int:
        body = {"model": supplied.model, "prompt": "x", "n": 4}
        url = f"{site.url}/v1/images/generations"
        return requests.post(url, json=body, headers=who.auth, timeout=30).status_code

    assert Counter(together(30, draw)) == {200: 4, 429: 26}
    assert {entry.amount for entry in who.closed(4)} == {4}
    rows = {row.period is None: row for row in Balance.objects.filter(account=who.account)}
    assert (rows[False].used, rows[True].used, rows[True].pk) == (10, 6, promo.pk)
    assert kit.ledger_adds_up(who)


def test_two_hundred_streams_of_one_key_leave_the_others_alone(site: Site, up: FaultServer) -> None:
    """Its plan allows a hundred open calls (A29)."""
    supplied, gate = kit.supply(up), Gate()
    flood, other = kit.person("flood"), kit.person("other")
    up.default = held_stream(gate)
    crowd = [Raw(site) for _ in range(200)]
    for raw in crowd:
        raw.chat(flood, kit.ask(supplied, stream=True, max_tokens=5))
    gate.wait_for(100, 20)

    served = [ask(site, flood, supplied).status_code for _ in range(4)]
    up.script(chat())
    assert ask(site, other, supplied).status_code == 200

    assert set(served) == {429}
    gate.open()
    answers: Counter[str] = Counter()
    for raw in crowd:
        reply = raw.reply()
        code = reply.error["code"] if reply.status == 429 else "whole"
        answers[code] += 1
        if code == "concurrency":
            assert 1 <= int(reply.header("retry-after") or 0) <= 5
            assert reply.header("x-should-retry") != "false", "it is worth another try"
        else:
            assert reply.body.endswith(b"data: [DONE]\n\n")
        raw.leave()
    assert answers == {"whole": 100, "concurrency": 100}
    assert len(flood.closed(100)) == 100
    up.script(chat())
    assert ask(site, flood, supplied).status_code == 200
    assert kit.ledger_adds_up(flood)


def test_cap_promo_and_key_cap_hold_together(site: Site, up: FaultServer) -> None:
    """Five calls from the day's cap, then from the promo; the key allows nine in all."""
    supplied = kit.supply(up)
    reserved = estimate(site, supplied, up)
    who = kit.person("three", plan=plan(5 * reserved), caps={"text.base": 9 * reserved})
    promo = meter.grant(who.account, Bucket.TEXT_BASE, 7 * reserved)
    statuses = Counter(together(30, lambda: ask(site, who, supplied).status_code))
    assert statuses == {200: 9, 429: 21}
    refused = ask(site, who, supplied).json()["error"]["quota"]
    assert (refused["limit"], refused["left"]) == ("key", 0)
    who.closed(9)
    rows = {(row.owner, row.period is None): row for row in _balances(who)}
    assert rows["user", False].used == 5 * reserved
    assert rows["user", True].used == 4 * reserved
    assert rows["user", True].pk == promo.pk
    assert rows[f"key:{who.key.pk}", False].used == 9 * reserved
    other = Person(who.account, *create_key(who.account, "other"))
    assert Counter(together(9, lambda: ask(site, other, supplied).status_code)) == {200: 3, 429: 6}
    assert kit.ledger_adds_up(who)


def _balances(who: Person) -> list[Balance]:
    return list(Balance.objects.filter(account=who.account, bucket="text.base"))


def held_stream(gate: Gate) -> Reply:
    """A stream of 11 tokens that stops after its first words until the gate is opened."""
    head = {"id": "held", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    words = {"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return sse(
        {**head, "choices": [words]},
        gate,
        {**head, "choices": [end]},
        {**head, "choices": [], "usage": usage_of(5, 6)},
    )


def everywhere(site: Site, who: Person, supplied: Supply) -> set[int]:
    """The statuses of requests enough that both workers have answered some."""
    return set(together(16, lambda: ask(site, who, supplied).status_code))


def test_a_revoked_key_is_refused_by_every_worker_at_once(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("revoked")
    other = Person(who.account, *create_key(who.account, "other"))
    assert everywhere(site, who, supplied) == {200}
    revoke(who.key)
    calls = up.count()
    assert everywhere(site, who, supplied) == {401}
    assert up.count() == calls
    assert everywhere(site, other, supplied) == {200}


def test_a_banned_user_is_refused_by_every_worker_at_once(site: Site, up: FaultServer) -> None:
    supplied, who = kit.supply(up), kit.person("banned")
    assert everywhere(site, who, supplied) == {200}
    gate = Gate()
    up.script(held_stream(gate))
    stream: Any = site.post(who, kit.ask(supplied, stream=True), stream=True)
    ban = Ban.objects.create(account=who.account, reason="testing")
    calls = up.count()
    assert everywhere(site, who, supplied) == {403}
    assert up.count() == calls
    gate.open()
    assert kit.sse(stream)[-1] == "[DONE]", "a ban ends no stream that runs"
    Ban.objects.filter(pk=ban.pk).update(lifted_at=clock.now())
    assert everywhere(site, who, supplied) == {200}


@dataclass
class Shifted:
    """A gateway whose wall clock is the test's."""

    site: Site
    file: Path

    def now(self, moment: str) -> None:
        self.file.write_text(f"{moment}+00:00")


@pytest.fixture(scope="module")
def shifted(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shifted]:
    file = tmp_path_factory.mktemp("clock") / "now"
    file.write_text("2031-03-04T12:00:00+00:00")
    shift = {"SHIFT_FILE": str(file), "PYTHONPATH": str(Path(__file__).parent / "shifted")}
    running = kit.launch(1, **shift)
    yield Shifted(running, file)
    running.stop(9)


def test_a_stream_stays_on_the_day_it_began(shifted: Shifted, up: FaultServer) -> None:
    shifted.now("2031-03-04T23:59:59")
    site, supplied, who, gate = shifted.site, kit.supply(up), kit.person("owl"), Gate()
    up.script(held_stream(gate))
    stream: Any = site.post(who, kit.ask(supplied, stream=True), stream=True)
    shifted.now("2031-03-05T00:00:01")
    assert site.chat(who, supplied).status_code == 200
    gate.open()
    assert kit.sse(stream)[-1] == "[DONE]"
    first, second = who.closed(2)
    assert (first.day, second.day) == ("2031-03-04", "2031-03-05")
    used = {row.period: (row.used, row.reserved) for row in _balances(who)}
    assert used == {"2031-03-04": (11, 0), "2031-03-05": (second.amount, 0)}
    assert first.closed_at
    assert first.created_at < first.closed_at


def test_a_clock_that_steps_back_an_hour_gives_nobody_a_day_twice(
    shifted: Shifted, up: FaultServer
) -> None:
    """Over midnight and back: each day has its own cap, once, whatever the order of the days."""
    site, supplied, gate = shifted.site, kit.supply(up), Gate()
    shifted.now("2031-06-30T12:00:00")
    reserved = estimate(site, supplied, up)
    who = kit.person("traveller", plan=plan(2 * reserved))
    up.script(held_stream(gate))
    shifted.now("2031-07-01T00:30:00")
    stream: Any = site.post(who, kit.ask(supplied, stream=True, max_tokens=LIMIT), stream=True)

    shifted.now("2031-06-30T23:30:00")
    assert [site.chat(who, supplied, max_tokens=LIMIT).status_code for _ in range(3)] == [
        200, 200, 429,
    ]  # fmt: skip
    gate.open()
    assert kit.sse(stream)[-1] == "[DONE]"
    shifted.now("2031-07-01T00:31:00")
    assert [site.chat(who, supplied, max_tokens=LIMIT).status_code for _ in range(2)] == [200, 429]
    shifted.now("2031-06-30T23:59:00")
    late = site.chat(who, supplied, max_tokens=LIMIT)

    assert (late.status_code, late.json()["error"]["quota"]["left"]) == (429, 0)
    assert int(late.headers["retry-after"]) == 60
    days = Counter(entry.day for entry in who.closed(4))
    assert days == {"2031-06-30": 2, "2031-07-01": 2}
    used = {row.period: (row.used, row.reserved) for row in _balances(who)}
    assert used == {"2031-06-30": (2 * reserved, 0), "2031-07-01": (reserved + 11, 0)}
    assert kit.ledger_adds_up(who)


def test_a_key_cap_that_is_lifted_binds_no_more_on_the_same_day(
    site: Site, up: FaultServer
) -> None:
    supplied = kit.supply(up)
    up.default = chat("Hi", prompt_tokens=30, completion_tokens=30)
    capped = kit.person("capped", caps={"text.base": 100})
    assert site.chat(capped, supplied, max_tokens=20).status_code == 200
    assert site.chat(capped, supplied, max_tokens=90).status_code == 429
    capped.key.caps = {}
    capped.key.save()
    assert site.get(capped, "/balance/").json()["daily_limits"]["text.base"] == 500_000
    assert site.chat(capped, supplied, max_tokens=90).status_code == 200
    assert kit.ledger_adds_up(capped)
