"""When two things are wrong with a request, the refusal is the earlier one of SPEC §4."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from accounts.keys.models import ApiKey
from accounts.service import ban
from bsod.lib.terms import Bucket, Tier
from proxy.models import ProviderKey
from proxy.pool import bump
from quotas.models import Balance
from tests import kit
from tests.kit import Person, Site, Supply
from tests.rawclient import CHAT, Header, Reply, once
from tests.upstream import FaultServer


@dataclass
class Wanted:
    """A request in the making, with faults added one by one."""

    site: Site
    who: Person
    supplied: Supply
    host: str = ""
    path: str = CHAT
    method: str = "POST"
    auth: list[Header] = field(default_factory=list)
    kind: str = "application/json"
    body: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None

    def send(self) -> Reply:
        host = self.host or self.site.url.removeprefix("http://")
        headers = [("Host", host), *self.auth, ("Content-Type", self.kind)]
        data = self.raw if self.raw is not None else json.dumps(self.body).encode()
        return once(self.site, self.method, self.path, headers, data, host=False)

    def key(self, **changes: Any) -> None:
        ApiKey.objects.filter(pk=self.who.key.pk).update(**changes)


def spent(wanted: Wanted) -> None:
    wanted.key(caps={"text.pro": 3})


def no_key_left(wanted: Wanted) -> None:
    ProviderKey.objects.filter(provider=wanted.supplied.provider).delete()
    bump()


# In the order of SPEC §4: (status, code) and what makes a request be refused so.
FAULTS: list[tuple[tuple[int, str], Callable[[Wanted], None]]] = [
    ((400, "invalid_host"), lambda w: setattr(w, "host", "evil.example")),
    ((404, "not_found"), lambda w: setattr(w, "path", "/v1/nothing")),
    ((405, "method_not_allowed"), lambda w: setattr(w, "method", "PUT")),
    ((401, "invalid_api_key"), lambda w: w.auth.clear()),
    ((403, "account_banned"), lambda w: ban(w.who.account, "spam") and None),
    ((403, "network_not_allowed"), lambda w: w.key(networks=["10.0.0.0/8"])),
    ((415, "unsupported_media_type"), lambda w: setattr(w, "kind", "text/plain")),
    ((400, "invalid_json"), lambda w: setattr(w, "raw", b'{"model"')),
    ((400, "invalid_value"), lambda w: w.body.update(max_tokens=-1)),
    ((404, "model_not_found"), lambda w: w.body.update(model="no-such-model-at-all")),
    ((403, "model_not_allowed"), lambda w: w.key(allowed_models=["another"])),
    ((403, "permission_denied"), lambda w: w.key(permissions=["images"])),
    ((429, "rate_limit_exceeded"), lambda w: w.key(requests_per_minute=0)),
    ((429, "concurrency"), lambda w: w.key(open_calls=0)),
    ((429, "quota_exceeded"), spent),
    ((503, "no_upstream"), no_key_left),
]
SAME_BODY = {(400, "invalid_json"), (400, "invalid_value")}
SAME_MODEL = {(404, "model_not_found"), (403, "model_not_allowed")}


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: FAULTS[n][0][1])
def test_a_fault_is_told_before_every_later_one(site: Site, up: FaultServer, number: int) -> None:
    who = kit.person("orderly")
    wanted = Wanted(site, who, kit.supply(up, tier=Tier.PRO))
    wanted.auth = list(who.auth.items())
    wanted.body = kit.ask(wanted.supplied)
    expected, _ = FAULTS[number]

    # The last fault first, so that the request gathers all of them from `number` on.
    for _, spoil in reversed(FAULTS[number:]):
        spoil(wanted)
    reply = wanted.send()

    assert (reply.status, reply.error["code"]) == expected
    assert up.connections == 0
    assert who.reserved() == 0
    assert not Balance.objects.filter(account=who.account, used__gt=0).exists()
    calls = who.entries()
    assert [entry.state for entry in calls] == (["released"] if expected[0] == 503 else [])


def test_each_of_these_faults_alone_is_told_as_itself(site: Site, up: FaultServer) -> None:
    for expected, spoil in FAULTS:
        who = kit.person("single")
        wanted = Wanted(site, who, kit.supply(up, tier=Tier.PRO))
        wanted.auth = list(who.auth.items())
        wanted.body = kit.ask(wanted.supplied)
        spoil(wanted)

        reply = wanted.send()

        assert (reply.status, reply.error["code"]) == expected
    assert up.connections == 0


def test_no_provider_key_is_503_with_a_wait_and_costs_nothing(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=0)

    for stream in (False, True):
        reply = site.chat(alice, supplied, stream=stream)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_upstream")
        assert int(reply.headers["retry-after"]) > 0
    assert {(e.state, e.amount, e.attempts) for e in alice.closed(2)} == {("released", 0, 0)}
    assert alice.used(Bucket.TEXT_BASE) == 0
    assert kit.ledger_adds_up(alice)
