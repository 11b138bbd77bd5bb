"""Calls on donated keys, through the session's gateway and its two workers."""

import concurrent.futures
from collections import Counter
from typing import Any

import pytest
import requests

from bsod.lib import clock
from proxy.donations import service
from proxy.keydays import use
from proxy.models import KeyDay
from tests import kit
from tests.kit import Person, Site, ask
from tests.proxy.donations.gifts import approved, opened, shop
from tests.upstream import FaultServer, Gate, chat


def crowd(site: Site, who: Person, body: dict[str, Any], count: int) -> Counter[int]:
    """Statuses of so many calls at one moment, each on a connection of its own."""

    def one(_: int) -> int:
        reply = requests.post(
            f"{site.url}/v1/chat/completions", json=body, headers=who.auth, timeout=30
        )
        return reply.status_code

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(one, range(count)))


def test_a_cap_holds_exactly_over_all_workers(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = shop(up)
    row = approved(supplied, daily_cap=10)
    key = row.provider_key
    assert key
    KeyDay.objects.create(key=key, day="2020-01-01", calls=10)
    probes = up.count()
    assert crowd(site, alice, ask(supplied), 40) == {200: 10, 503: 30}
    assert up.count() - probes == 10
    assert use(key.pk, 1) == [(clock.day_of(clock.now()), 10)]
    refused = site.chat(alice, supplied)
    left = (clock.end_of_day(clock.day_of(clock.now())) - clock.now()).total_seconds()
    assert abs(int(refused.headers["Retry-After"]) - left) < 60
    # Another cap is another day's worth, for those who know of the old one too.
    service.change(row, 12, None)
    assert crowd(site, alice, ask(supplied), 6) == {200: 2, 503: 4}
    assert kit.ledger_adds_up(alice)


def test_a_spent_key_is_as_if_it_were_not_there(site: Site, up: FaultServer, bob: Person) -> None:
    supplied = shop(up, keys=1)
    row = approved(supplied, daily_cap=1)
    secret = opened(row.provider_key)  # type: ignore[arg-type]  # approved
    before = up.count(key=secret)
    for _ in range(4):
        who = kit.person()
        assert crowd(site, who, ask(supplied), 2) == {200: 2}
    assert up.count(key=secret) - before <= 1
    service.change(row, None, None)
    service.pause(row)
    assert site.chat(bob, supplied).status_code == 200
    assert up.count(key=secret) - before <= 1


@pytest.mark.once
def test_nothing_is_stored_on_a_donors_account(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = shop(up)
    row = approved(supplied)
    key = row.provider_key
    assert key
    assert site.chat(alice, supplied, store=False).status_code == 200
    assert kit.eventually(lambda: use(key.pk, 1)[0][1] == 1), "uses without a cap are counted too"
    probes = up.count()
    answer = {"model": supplied.model, "input": "Hi"}
    stored = [
        site.chat(alice, supplied, store=True),
        site.post(alice, answer, "/v1/responses"),
        site.post(alice, {**answer, "store": False, "background": True}, "/v1/responses"),
    ]
    for reply in stored:
        said = reply.json()["error"]
        assert (reply.status_code, said["code"]) == (503, "no_upstream"), said
        assert "donated" in said["message"]
    assert up.count() == probes
    service.trust(row, None, trusted=True)
    assert site.chat(alice, supplied, store=True).status_code == 200
    assert kit.ledger_adds_up(alice)


@pytest.mark.once
def test_only_what_its_donor_chose_is_asked_of_a_key(
    site: Site, up: FaultServer, alice: Person
) -> None:
    other = kit.unique("m")
    supplied = shop(up, more=(other,))
    row = approved(supplied, models=[supplied.model])
    assert site.chat(alice, supplied).status_code == 200
    assert site.chat(alice, supplied, model=other).status_code == 503
    listed = {each["id"]: each for each in site.get(alice, "/v1/models").json()["data"]}
    assert listed[supplied.model]["available"]
    assert not listed[other]["available"]
    secret, gate = opened(row.provider_key), Gate()  # type: ignore[arg-type]  # approved
    up.script(chat("Late").but(delay_headers=gate))
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        late = aside.submit(crowd, site, alice, ask(supplied), 1)
        gate.wait_for(1)
        service.withdraw(row)
        assert site.chat(alice, supplied).status_code == 503
        gate.open()
        assert late.result() == {200: 1}, "what is under way ends as it does"
    assert secret not in site.log.read_text()
