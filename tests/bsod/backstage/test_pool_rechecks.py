"""`POST /admin/recheck-keys/` and its buttons: keys are asked how they are, and never twice."""

from typing import Any

import pytest
from django.test import Client

from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy import rechecks, rests
from proxy.models import Rest
from tests import kit
from tests.bsod.backstage.poolside import KEYS, PROVIDERS, act, helper, superuser
from tests.proxy.rows import reasons
from tests.upstream import FaultServer, chat_stream, error

pytestmark = pytest.mark.once  # pages; who asks twice at once is tested on both (test_tending)


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return superuser()


def recheck(client: Client, body: Any) -> Any:
    return client.post("/admin/recheck-keys/", body, "application/json")


def test_a_few_keys_are_asked_while_one_waits_and_the_pool_learns(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=2)
    good, bad = supplied.key_row(0), supplied.key_row(1)
    rests.begin(good.provider_id, good.pk, RestReason.FAILURES, clock.now())
    up.default = chat_stream()
    up.on(error(401), key=supplied.keys[1])
    answer = recheck(root, {"provider": supplied.provider.slug})
    assert answer.status_code == 200
    told = answer.json()
    assert [(one["key"], one["works"], one["said"]) for one in told["probed"]] == [
        (good.pk, True, "answers"), (bad.pk, False, "refuses (401)"),
    ]  # fmt: skip
    assert (told["scheduled"], told["waiting"]) == (0, 0)
    assert reasons(supplied.provider) == ["auth"], "the good one is back, the bad one rests"
    assert supplied.keys[0] not in answer.content.decode()
    good.refresh_from_db()
    assert (good.probe_note, good.asked_at) == ("answers", None)


def test_many_keys_are_asked_by_the_worker_and_a_second_click_does_nothing(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=rechecks.AT_ONCE + 2)
    there = supplied.provider
    up.default = chat_stream()
    first = recheck(root, {"provider": there.slug}).json()
    again = recheck(root, {"keys": [key.pk for key in there.keys.all()]}).json()
    count = rechecks.AT_ONCE + 2
    assert (first["scheduled"], first["probed"], up.seen) == (count, [], [])
    assert (again["scheduled"], again["waiting"]) == (0, count)
    assert "being asked" in root.get(f"{KEYS}?provider__id__exact={there.pk}").content.decode()
    assert rechecks.ask_due(clock.now()) >= count
    assert len(up.seen) == count
    assert set(there.keys.values_list("probe_note", "asked_at")) == {("answers", None)}
    assert rechecks.ask_due(clock.now()) == 0


def test_what_rests_can_be_asked_from_its_own_list(root: Client, up: FaultServer) -> None:
    whole, one = kit.supply(up, keys=2), kit.supply(up, keys=2)
    rests.begin(whole.provider.pk, None, RestReason.UNREACHABLE, clock.now())
    rests.begin(one.provider.pk, one.key_row(1).pk, RestReason.FAILURES, clock.now())
    up.default = chat_stream()
    found = Rest.objects.filter(provider__in=[whole.provider, one.provider])
    assert "switched on" in act(root, "/admin/proxy/rest/", "end", *found)
    told = act(root, "/admin/proxy/rest/", "recheck", *found)
    asked = {str(request.header("authorization")).split()[-1] for request in up.seen}
    assert asked == {whole.keys[0], one.keys[1]}
    assert told.count("answers") == 2
    assert not found.all().exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"keys": []}, 400), ({"keys": [True]}, 400), ({"keys": {"a": 1}}, 400),
     ({"keys": [10**17]}, 404), ({"keys": ["x"]}, 404), ({"provider": "nobody-here"}, 404),
     ({"provider": "all", "keys": [1]}, 400), ({"provider": 5}, 400), ({"sk": "x"}, 400),
     ({"action": "wipe", "provider": "all"}, 400), ([], 400)],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_and_nobody_is_asked(
    root: Client, up: FaultServer, body: Any, status: int
) -> None:
    answer = recheck(root, body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert up.seen == []


def test_who_may_not_change_keys_asks_none(up: FaultServer) -> None:
    key = kit.supply(up).key_row()
    looker = helper("view_providerkey")
    assert recheck(looker, {"keys": [key.pk]}).status_code == 403
    assert looker.get(KEYS).status_code == 200
    looker.post(KEYS, {"action": "switch_off", "_selected_action": [str(key.pk)], "reason": "x"})
    assert looker.post(f"{KEYS}{key.pk}/delete/", {"post": "yes", "reason": "x"}).status_code == 403
    assert looker.get(f"{PROVIDERS}add/").status_code == 403
    assert reasons(key.provider) == []
    assert up.seen == []
