"""What is somebody's is nobody else's: whichever way a stranger names it, he is told that there is
no such thing, and no provider hears of it."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from bsod.lib import clock
from bsod.lib.terms import ObjectKind, RestReason
from proxy import service
from proxy.models import Object, ProviderKey, Rest
from proxy.pool import bump
from proxy.route import NAMES
from tests import kit
from tests.kit import Site
from tests.proxy.gateway.shop import FILE, Shop, refused
from tests.proxy.gateway.world import CARRIED, alone, held, needs, operator, request, row
from tests.rawclient import Raw
from tests.upstream import FaultServer, Gate, json_reply, sse

OWNED = [route for route in CARRIED if route.owns]


@pytest.fixture
def shop(site: Site, up: FaultServer) -> Iterator[Shop]:
    with alone():
        yield Shop(site, up)


# ---- every row with an object


def test_a_stranger_finds_nothing_at_any_path_and_the_owner_is_led_to_her_key(shop: Shop) -> None:
    for route in OWNED:
        ids = shop.named(route)
        theirs = request(route, ids, "unlisted", **needs(route, shop.bob, shop.second))
        refused(theirs.send(shop.site, shop.bob), route)
        shop.nothing_said()
        hers = request(route, ids, "unlisted", **needs(route, shop.alice, shop.second))
        reply = hers.send(shop.site, shop.alice)

        assert reply.status == 200, f"{route}: {reply.body!r}"
        assert [seen.key for seen in shop.up.seen] == [shop.secret] * len(shop.up.seen)
        assert len(shop.up.seen) >= 1, route
        shop.up.reset()
        shop.up.default = shop.provider
    assert kit.ledger_adds_up()


def test_below_something_of_ones_own_nothing_of_a_strangers_is_found(shop: Shop) -> None:
    for route in OWNED:
        nested = [name for name in route.variables[1:] if name in NAMES]
        for name in nested:
            ids = {n: held(shop.bob, shop.second, NAMES.get(n, FILE)) for n in route.variables}
            ids[name] = shop.hers(NAMES[name])
            asked = request(route, ids, "unlisted", **needs(route, shop.bob, shop.second))
            reply = asked.send(shop.site, shop.bob)

            refused(reply, route)
            assert reply.error["param"] == name
    shop.nothing_said()


def test_a_stranger_finds_nothing_by_the_query_nor_in_our_own_record(shop: Shop) -> None:
    file, video, upload = shop.hers(), shop.hers(ObjectKind.VIDEO), shop.hers(ObjectKind.UPLOAD)
    for method, path in (
        ("GET", f"/v1/files?id={file}"), ("GET", f"/v1/files?id={file}&content=1"),
        ("DELETE", f"/v1/files?id={file}"), ("DELETE", f"/v1/files/?id={file}"),
        ("GET", f"/v1/videos?id={video}"), ("GET", f"/v1/videos/?id={video}&content=1"),
        ("GET", f"/v1/uploads/{upload}"), ("GET", f"/v1/index.php/files/{file}"),
        ("GET", f"/v1/index.php/videos?content=1&id={video}"),
    ):  # fmt: skip
        refused(shop.call(shop.bob, method, path), path)
    shop.nothing_said()
    assert Object.objects.filter(upstream_id__in=[file, video, upload]).count() == 3


@pytest.mark.once
def test_an_object_of_another_kind_is_not_what_the_path_names(shop: Shop) -> None:
    """Her own file is not a thread of hers: the provider would be asked for something else."""
    for route in OWNED:
        ids = shop.named(route)
        ids[route.variables[0]] = shop.hers(FILE if route.owns is not FILE else ObjectKind.THREAD)
        asked = request(route, ids, "unlisted", **needs(route, shop.alice, shop.second))
        refused(asked.send(shop.site, shop.alice), route)
    shop.nothing_said()


def test_no_list_shows_or_pages_through_what_is_a_strangers(shop: Shop) -> None:
    for route in [route for route in CARRIED if route.lists]:
        assert route.lists
        hers = {shop.hers(route.lists), held(shop.alice, shop.first, route.lists)}
        his = held(shop.bob, shop.first, route.lists)

        shown = {
            who.account.pk: shop.call(who, "GET", route.path) for who in (shop.alice, shop.bob)
        }
        seen = {who: {item["id"] for item in json.loads(reply.body)["data"]}
                for who, reply in shown.items()}  # fmt: skip
        assert seen == {shop.alice.account.pk: hers, shop.bob.account.pk: {his}}, route
        asked = {seen.path.rpartition("/")[2]: seen.key for seen in shop.up.seen}
        assert set(asked) == {*hers, his}, route
        shop.up.reset()
        shop.up.default = shop.provider
        for cursor in ("after", "before"):
            refused(shop.call(shop.bob, "GET", f"{route.path}?{cursor}={min(hers)}"), route)
        shop.nothing_said()
    upload = shop.hers(ObjectKind.UPLOAD, status="pending")
    assert upload.encode() not in shop.call(shop.bob, "GET", "/v1/uploads").body
    shop.nothing_said()


# ---- keys


def test_what_lives_on_two_keys_is_not_joined(shop: Shop) -> None:
    one, other = shop.hers(), held(shop.alice, shop.first, FILE)

    reply = shop.call(
        shop.alice, "POST", "/v1/assistants", {"file_ids": [one, other], "model": "m"}
    )

    assert (reply.status, reply.error["code"]) == (409, "object_key_mismatch")
    assert reply.error["param"] == "file_ids[1]"
    shop.nothing_said()


def test_a_key_taken_away_takes_its_objects_along_and_brings_them_back(shop: Shop) -> None:
    file = shop.hers()
    ProviderKey.objects.filter(pk=shop.second.pk).update(deleted_at=clock.now())
    bump()

    for method, path, body in (
        ("GET", f"/v1/files/{file}", None), ("DELETE", f"/v1/files/{file}", None),
        ("POST", "/v1/assistants", {"file_ids": [file], "model": "m"}),
    ):  # fmt: skip
        reply = shop.call(shop.alice, method, path, body)
        assert (reply.status, reply.error["code"]) == (410, "upstream_gone"), path
    refused(shop.call(shop.bob, "GET", f"/v1/files/{file}"), "a stranger learns nothing of it")
    assert json.loads(shop.call(shop.alice, "GET", "/v1/files").body)["data"] == []
    shop.nothing_said()

    provider = shop.supplied.provider
    service.add_provider(
        provider.slug, provider.kind, provider.base_url, [shop.secret], catch_all=True
    )
    assert shop.call(shop.alice, "GET", f"/v1/files/{file}").status == 200
    assert shop.up.seen[-1].key == shop.secret
    listed = json.loads(shop.call(shop.alice, "GET", "/v1/files").body)["data"]
    assert [item["id"] for item in listed] == [file]


def rest(key: ProviderKey, reason: RestReason, seconds: float | None) -> Rest:
    now = clock.now()
    until = None if seconds is None else now + timedelta(seconds=seconds)
    made = Rest.objects.create(
        provider=key.provider, key=key, reason=reason, until=until,
        probe_at=None if until else now + timedelta(hours=1),
    )  # fmt: skip
    bump()
    return made


@pytest.mark.parametrize(
    ("reason", "seconds", "answer"),
    [
        (RestReason.FAILURES, None, (503, "upstream_key_unavailable")),
        (RestReason.RATE_LIMIT, 60, (429, "upstream_rate_limited")),
    ],
)
def test_a_key_that_rests_is_not_replaced_for_what_it_holds(
    shop: Shop, reason: RestReason, seconds: float | None, answer: tuple[int, str]
) -> None:
    file = shop.hers()
    rest(shop.second, reason, seconds)
    naming = {"model": "unlisted", "input": [{"content": [{"file_id": file}]}]}

    for method, path, body in (
        ("GET", f"/v1/files/{file}", None), ("GET", f"/v1/files/{file}/content", None),
        ("POST", "/v1/responses", naming),
    ):  # fmt: skip
        reply = shop.call(shop.alice, method, path, body)
        assert (reply.status, reply.error["code"]) == answer, f"{path} {reply.body!r}"
        assert int(reply.header("retry-after") or 0) > 0
    shop.nothing_said()
    assert kit.ledger_adds_up(shop.alice)


def test_what_a_user_makes_goes_where_his_things_are(shop: Shop) -> None:
    shop.hers()
    for _ in range(3):
        assert shop.call(shop.alice, "POST", "/v1/assistants", {"model": "m"}).status == 200
    assert {seen.key for seen in shop.up.seen} == {shop.secret}


# ---- ids that come back


@pytest.mark.parametrize("stream", [False, True])
def test_an_id_that_is_somebody_elses_stays_his_and_costs_nothing(shop: Shop, stream: bool) -> None:
    shop.hers()
    id_ = held(shop.bob, shop.second, ObjectKind.RESPONSE)
    reply_of = {"id": id_, "object": "response", "status": "completed", "output": [],
                "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}}  # fmt: skip
    created = {"type": "response.created", "response": {**reply_of, "status": "in_progress"}}
    ended = {"type": "response.completed", "response": reply_of}
    shop.up.default = (
        sse(created, ended, named=True, done=False) if stream else json_reply(reply_of)
    )

    reply = shop.call(
        shop.alice, "POST", "/v1/responses", {"model": "unlisted", "input": "Hi", "stream": stream}
    )

    assert (reply.status, reply.error["code"]) == (502, "upstream_id_conflict")
    assert id_.encode() not in reply.body
    entry = shop.alice.closed()[0]
    assert (entry.state, entry.amount) == ("released", 0)
    assert Object.objects.get(upstream_id=id_).account_id == shop.bob.account.pk
    refused(shop.call(shop.alice, "GET", f"/v1/responses/{id_}"), "it is still his")
    assert kit.ledger_adds_up(shop.alice)


def test_a_free_create_does_not_take_a_strangers_id_either(shop: Shop) -> None:
    shop.hers()
    id_ = held(shop.bob, shop.second, ObjectKind.ASSISTANT)
    shop.up.default = json_reply({"id": id_, "object": "assistant"})

    reply = shop.call(shop.alice, "POST", "/v1/assistants", {"model": "m"})

    assert (reply.status, reply.error["code"]) == (502, "upstream_id_conflict")
    assert Object.objects.get(upstream_id=id_).account_id == shop.bob.account.pk


@pytest.mark.once
def test_what_its_owner_has_deleted_is_not_there_any_more(shop: Shop) -> None:
    for method, path in ((r.method, r.path) for r in OWNED if r.method == "DELETE"):
        route = row(method, path)
        if len(route.variables) > 1:
            continue
        ids = shop.named(route)
        asked = request(route, ids)
        assert asked.send(shop.site, shop.alice).status == 200, route
        shop.up.reset()
        shop.up.default = shop.provider
        refused(asked.send(shop.site, shop.alice), route)
        shop.nothing_said()
        assert not Object.objects.filter(upstream_id=ids[route.variables[0]]).exists()


def test_an_id_in_a_stream_is_taken_down_before_anybody_sees_it(shop: Shop) -> None:
    gate, id_ = Gate(), kit.unique("resp")
    reply_of = {"id": id_, "object": "response", "status": "in_progress", "output": []}
    shop.up.default = sse(
        gate, {"type": "response.created", "response": reply_of},
        {"type": "response.completed", "response": {**reply_of, "status": "completed"}},
        named=True, done=False,
    )  # fmt: skip
    asked = request(row("POST", "/v1/responses"), {}, "unlisted", stream=True)
    with Raw(shop.site) as raw:
        asked.begin(raw, shop.alice)
        gate.wait_for(1)
        with kit.ledger_held(shop.alice) as let_go:
            gate.open()
            raw.socket.settimeout(0.7)
            with pytest.raises(TimeoutError):
                raw.socket.recv(1)
            raw.socket.settimeout(20)
            let_go.set()
            first = raw.socket.recv(1)
            assert first == b"H"
            assert Object.objects.get(upstream_id=id_).account_id == shop.alice.account.pk


# ---- operators


def test_an_operator_reaches_everything_and_what_nobody_here_has_made(shop: Shop) -> None:
    boss, file, unknown = operator(), shop.hers(), kit.unique("file")

    assert shop.call(boss, "GET", f"/v1/files/{file}").status == 200
    assert shop.call(boss, "GET", f"/v1/files/{unknown}").status == 200
    rest(shop.first, RestReason.FAILURES, None)
    assert shop.call(boss, "GET", f"/v1/files/{unknown}").status == 200
    keys = shop.supplied.keys
    assert [seen.key for seen in shop.up.seen] == [keys[1], keys[0], keys[1]]
    # What he has looked at is not his for that.
    assert not Object.objects.filter(upstream_id=unknown).exists()
    assert Object.objects.get(upstream_id=file).account_id == shop.alice.account.pk


def test_a_member_of_staff_without_an_operators_key_is_a_stranger_too(shop: Shop) -> None:
    admin = kit.person("admin", admin=True, unlimited=True)

    refused(shop.call(admin, "GET", f"/v1/files/{shop.hers()}"), "staff")
    refused(shop.call(admin, "GET", f"/v1/files/{kit.unique('file')}"), "staff")
    shop.nothing_said()
