"""`GET /v1/models`, one model of it, and providers that an admin has locked, through a gateway."""

import json
from typing import Any

from bsod.lib.terms import ObjectKind
from proxy.models import Object, Provider
from proxy.pool import bump
from tests import kit
from tests.kit import Person, Site, Supply
from tests.rawclient import Reply, once
from tests.upstream import FaultServer, chat, error


def get(site: Site, who: Person, path: str = "/v1/models", tag: str = "") -> Reply:
    wanted = [("If-None-Match", tag)] if tag else []
    return once(site, "GET", path, [*who.auth.items(), *wanted])


def one(site: Site, who: Person, name: str) -> Any:
    return json.loads(get(site, who, f"/v1/models/{name}").body)


def lock(supplied: Supply, text: str) -> None:
    Provider.objects.filter(pk=supplied.provider.pk).update(lock_text=text)
    bump()


def test_the_list_is_sent_once_to_whoever_has_it(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, context_window=4_000)
    first = get(site, alice)
    tag = first.header("etag")
    assert tag
    assert first.header("cache-control") == "private, no-cache"
    listed = {row["id"]: row for row in json.loads(first.body)["data"]}
    assert list(listed) == sorted(listed)
    assert listed[supplied.model] == one(site, alice, supplied.model)
    assert listed[supplied.model]["available"] is True
    for wanted in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = get(site, alice, tag=wanted)
        assert (again.status, again.body, again.header("etag")) == (304, b"", tag)
        assert again.header("content-length") is None
        assert again.header("access-control-allow-origin") == "*"
    assert get(site, alice, tag='"other"').status == 200
    assert {get(site, alice).header("etag") for _ in range(6)} == {tag}, "of every worker"


def test_a_change_makes_another_list(site: Site, up: FaultServer, alice: Person) -> None:
    tag = get(site, alice).header("etag") or ""
    supplied = kit.supply(up)
    changed = get(site, alice, tag=tag)
    assert changed.status == 200
    assert supplied.model.encode() in changed.body


def test_one_model_is_found_by_any_spelling_and_is_conditional_too(
    site: Site, up: FaultServer, alice: Person
) -> None:
    name = kit.unique("vendor/Name-4.5")
    kit.supply(up, model=name)
    for asked in (name, name.replace("/", "%2F"), name.lower().replace("-", "_")):
        assert one(site, alice, asked)["id"] == name
    reply = get(site, alice, f"/v1/models/{name}")
    assert get(site, alice, f"/v1/models/{name}", reply.header("etag") or "").status == 304


def test_what_is_not_there_is_told_with_what_is_near(
    site: Site, up: FaultServer, alice: Person
) -> None:
    name = kit.unique("quite-a-rare-name")
    kit.supply(up, model=name)
    reply = get(site, alice, f"/v1/models/{name}x")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        404, "model_not_found", "model",
    )  # fmt: skip
    assert reply.error["near"][0] == name
    assert name in reply.error["message"]
    refused = site.post(
        alice, {"model": f"{name}x", "messages": [{"role": "user", "content": "x"}]}
    )
    assert refused.json()["error"]["near"][0] == name


def test_a_fine_tuned_model_is_its_owners_alone(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied = kit.supply(up)
    name = f"ft:gpt-4o:acme::{kit.unique('x')}"
    Object.objects.create(
        account=alice.account, provider=supplied.provider, key=supplied.key_row(),
        kind=ObjectKind.MODEL, upstream_id=name,
    )  # fmt: skip
    get(site, alice)  # the pool is read again

    mine = one(site, alice, name)

    assert (mine["id"], mine["owned_by"], mine["available"]) == (name, supplied.provider.slug, True)
    assert mine["pricing"]["credits_per_1k_input"] == 84
    theirs = get(site, bob, f"/v1/models/{name}")
    nobodys = get(site, bob, f"/v1/models/{name}x")
    assert (theirs.status, nobodys.status) == (404, 404)
    assert theirs.error | {"message": ""} == nobodys.error | {"message": ""}
    assert name.encode() not in get(site, alice).body


def test_a_model_whose_keys_have_died_says_so(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    up.default = error(401)
    assert site.chat(alice, supplied).status_code == 503
    shown = kit.eventually(
        lambda: (now := one(site, alice, supplied.model))["available"] is False and now
    )
    assert shown["reason"] == "all api keys died"


def test_a_locked_provider_is_asked_for_nothing_and_says_why(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied, text = kit.supply(up), "Closed until Monday, says the admin."
    lock(supplied, text)

    refused = site.chat(alice, supplied)

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "upstream_unavailable"
    assert refused.json()["error"]["message"] == text
    assert int(refused.headers["retry-after"]) > 0
    assert up.seen == []
    shown = one(site, alice, supplied.model)
    assert (shown["available"], shown["reason"]) == (False, text)
    assert alice.closed()[0].amount == 0
    lock(supplied, "")
    up.default = chat()
    assert site.chat(alice, supplied).status_code == 200
    assert one(site, alice, supplied.model)["reason"] is None
    assert kit.ledger_adds_up(alice)


def test_another_provider_of_the_model_takes_over(
    site: Site, up: FaultServer, alice: Person
) -> None:
    locked = kit.supply(up)
    free = kit.supply(up, model=locked.model)
    lock(locked, "Closed.")
    up.default = chat()
    for _ in range(3):
        assert site.chat(alice, locked).status_code == 200
    assert {seen.key for seen in up.seen} == set(free.keys)
    assert one(site, alice, locked.model)["available"] is True
