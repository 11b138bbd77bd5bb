"""Lists of one's own objects: whose they are, what is shown of them, and when there is no list."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import transaction

from bsod.lib import clock, sql
from bsod.lib.terms import ObjectKind
from proxy import objects
from proxy.errors import ApiError
from proxy.gateway.page import fits, page_of
from proxy.models import Object, Provider, ProviderKey, Rest
from proxy.objects import Made
from proxy.pool import bump
from tests import kit
from tests.kit import Person, Site, Supply
from tests.upstream import FaultServer, Gate, Reply, Seen, error, json_reply

FILE, BATCH, UPLOAD = ObjectKind.FILE, ObjectKind.BATCH, ObjectKind.UPLOAD
HOUR = timedelta(hours=1)
Rows = Callable[..., list[str]]


@pytest.fixture
def shop(up: FaultServer) -> Supply:
    """A provider of two keys that shows any object it is asked for."""
    up.default = shown
    return kit.supply(up, keys=2)


def shown(seen: Seen) -> Reply:
    id_ = seen.path.rpartition("/")[2]
    return json_reply({"id": id_, "object": "thing", "purpose": "user_data"})


def own(who: Person, shop: Supply, count: int, kind: ObjectKind = FILE, key: int = 0,
        **data: Any) -> list[str]:  # fmt: skip
    """So many objects, as calls would have made them, oldest first."""
    ids = [kit.unique(str(kind)).replace("_", "-") for _ in range(count)]
    place = (who.account.pk, shop.provider.pk, shop.key_row(key).pk)
    with transaction.atomic(), sql.hot_cursor() as cursor:
        for id_ in ids:  # one by one: a batch is recorded in the order of its ids
            assert not objects.record(cursor, [Made(*place, kind, id_, data)])
    return ids


def listed(site: Site, who: Person, query: str = "", path: str = "/v1/files") -> dict[str, Any]:
    answer = site.get(who, path + query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"object", "data", "first_id", "last_id", "has_more"}
    assert found["object"] == "list"
    return found


def ids_of(found: dict[str, Any]) -> list[str]:
    ids = [item["id"] for item in found["data"]]
    assert found["first_id"] == (ids[0] if ids else None)
    assert found["last_id"] == (ids[-1] if ids else None)
    return ids


def refused(site: Site, who: Person, query: str = "", path: str = "/v1/files") -> tuple[int, str]:
    answer = site.get(who, path + query)
    return answer.status_code, answer.json()["error"]["code"]


def asked(up: FaultServer) -> list[str]:
    return [seen.path.rpartition("/")[2] for seen in up.seen]


# ---- whose


def test_a_list_shows_ones_own_objects_newest_first_and_nobody_elses(
    site: Site, alice: Person, bob: Person, shop: Supply
) -> None:
    mine, his = own(alice, shop, 3), own(bob, shop, 1)
    own(alice, shop, 1, ObjectKind.THREAD)

    assert ids_of(listed(site, alice)) == mine[::-1]
    assert not listed(site, alice)["has_more"]
    assert ids_of(listed(site, bob)) == his
    assert ids_of(listed(site, kit.person("carol"))) == []
    assert not set(asked(shop.up)) - {*mine, *his}


def test_each_object_is_asked_for_at_its_own_key(site: Site, alice: Person, shop: Supply) -> None:
    first, second = own(alice, shop, 1, key=0), own(alice, shop, 1, key=1)

    assert ids_of(listed(site, alice)) == [*second, *first]

    where = {seen.path: seen.key for seen in shop.up.seen}
    assert where == {f"/v1/files/{first[0]}": shop.keys[0], f"/v1/files/{second[0]}": shop.keys[1]}
    assert {seen.method for seen in shop.up.seen} == {"GET"}
    assert not any(seen.header("range") or seen.body for seen in shop.up.seen)


def test_an_object_whose_key_or_time_is_over_is_not_listed(
    site: Site, alice: Person, shop: Supply
) -> None:
    lost, old, kept = own(alice, shop, 1, key=1), own(alice, shop, 1), own(alice, shop, 1)
    ProviderKey.objects.filter(pk=shop.key_row(1).pk).update(deleted_at=clock.now())
    Object.objects.filter(upstream_id=old[0]).update(expires_at=clock.now() - HOUR)
    bump()

    assert ids_of(listed(site, alice)) == kept
    # Given again, the key brings back what it holds.
    ProviderKey.objects.filter(pk=shop.key_row(1).pk).update(deleted_at=None)
    bump()
    assert ids_of(listed(site, alice)) == [*kept, *lost]


# ---- pages


def test_pages_follow_one_another_by_their_cursors_without_a_gap(
    site: Site, alice: Person, shop: Supply
) -> None:
    ids = own(alice, shop, 5)

    for order, whole in (("desc", ids[::-1]), ("asc", ids)):
        seen: list[str] = []
        found = listed(site, alice, f"?limit=2&order={order}")
        while True:
            seen += ids_of(found)
            if not found["has_more"]:
                break
            found = listed(site, alice, f"?limit=2&order={order}&after={found['last_id']}")
        assert seen == whole


def test_a_page_before_a_cursor_is_the_one_next_to_it(
    site: Site, alice: Person, shop: Supply
) -> None:
    ids = own(alice, shop, 5, ObjectKind.ASSISTANT)
    path = "/v1/assistants"

    near = listed(site, alice, f"?limit=2&before={ids[0]}", path)
    first = listed(site, alice, f"?limit=9&before={ids[3]}", path)
    between = listed(site, alice, f"?after={ids[4]}&before={ids[1]}", path)
    rising = listed(site, alice, f"?order=asc&limit=2&before={ids[4]}", path)

    assert (ids_of(near), near["has_more"]) == ([ids[2], ids[1]], True)
    assert (ids_of(first), first["has_more"]) == ([ids[4]], False)
    assert ids_of(between) == [ids[3], ids[2]]
    assert ids_of(rising) == [ids[2], ids[3]]


def test_only_what_a_page_needs_is_asked_for(site: Site, alice: Person, shop: Supply) -> None:
    ids = own(alice, shop, 20)

    assert listed(site, alice, "?limit=3")["has_more"]

    assert sorted(asked(shop.up)) == sorted(ids[-4:])


def test_more_rows_than_one_look_takes_make_one_list(
    site: Site, alice: Person, shop: Supply
) -> None:
    ids = own(alice, shop, 120, UPLOAD, status="pending", created_at=0)

    found = listed(site, alice, "?limit=100", "/v1/uploads")
    rest = listed(site, alice, f"?limit=100&after={found['last_id']}", "/v1/uploads")

    assert ids_of(found) + ids_of(rest) == ids[::-1]
    assert found["has_more"]
    assert not rest["has_more"]


def test_eight_objects_are_fetched_at_a_time(site: Site, alice: Person, shop: Supply) -> None:
    own(alice, shop, 12)
    gate = Gate()
    shop.up.default = lambda seen: shown(seen).but(delay_headers=gate)
    found: list[dict[str, Any]] = []

    with kit.beside(lambda: found.append(listed(site, alice))):
        gate.wait_for(8)
        assert len(shop.up.seen) == 8
        gate.open()

    assert len(found[0]["data"]) == 12


@pytest.mark.parametrize("param", ["after", "before"])
def test_a_cursor_that_is_no_object_of_ones_own_list_is_not_found(
    site: Site, alice: Person, bob: Person, shop: Supply, param: str
) -> None:
    (his,), (thread,) = own(bob, shop, 1), own(alice, shop, 1, ObjectKind.THREAD)

    for cursor in (his, thread, "none", "%00", "x" * 300):
        answer = site.get(alice, f"/v1/files?{param}={cursor}")
        assert answer.status_code == 404, cursor
        assert answer.json()["error"]["param"] == param
    assert shop.up.seen == []


@pytest.mark.once
@pytest.mark.parametrize("query", [
    "limit=-1", "limit=101", "limit=x", "limit=1e2", "limit=%D9%A1", "order=up",
    "limit=" + "9" * 30, "&".join(f"a{n}=1" for n in range(200)),
])  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(query: str) -> None:
    with pytest.raises(ApiError) as refusal:
        page_of(query, BATCH)

    assert refusal.value.status == 400


@pytest.mark.once
def test_limits_and_orders_are_openais() -> None:
    assert page_of("", BATCH).limit == 20
    assert page_of("", FILE).limit == page_of("limit=10000", FILE).limit == 1000
    assert page_of("limit=0", ObjectKind.VIDEO).limit == 0
    assert page_of("", BATCH).newest_first
    assert not page_of("", ObjectKind.COMPLETION).newest_first
    assert page_of("purpose=&order=&after=&limit=", FILE).filters == {}


# ---- filters


def test_files_are_filtered_by_purpose_and_the_page_is_still_full(
    site: Site, alice: Person, shop: Supply
) -> None:
    def by_name(seen: Seen) -> Reply:
        id_ = seen.path.rpartition("/")[2]
        return json_reply({"id": id_, "purpose": "batch" if id_ in batch else "vision"})

    known, batch = own(alice, shop, 3, purpose="assistants"), []
    for _ in range(3):
        batch += own(alice, shop, 1)
        own(alice, shop, 5)
    shop.up.default = by_name

    found = listed(site, alice, "?purpose=batch&limit=2")

    assert ids_of(found) == batch[:0:-1]
    assert found["has_more"]
    assert not set(known) & set(asked(shop.up))


@pytest.mark.once
def test_filters_look_at_what_the_provider_shows() -> None:
    def asks(query: str, **shown: Any) -> bool:
        return fits(shown, page_of(query, ObjectKind.COMPLETION).filters)

    assert asks("model=m", model="m")
    assert not asks("model=m", model="n")
    assert asks("metadata%5Bk%5D=v&metadata[l]=", metadata={"k": "v", "l": ""})
    assert not asks("metadata[k]=v&metadata[l]=w", metadata={"k": "v"})
    assert not asks("metadata[k]=v", metadata=None)
    assert asks("metadata=null", metadata=None)
    assert not asks("metadata=null", metadata={"k": "v"})
    assert asks("unknown=1&limit=3")


# ---- what is gone, what is new


def test_what_the_provider_has_no_more_leaves_the_list_and_the_record(
    site: Site, alice: Person, shop: Supply
) -> None:
    ids = own(alice, shop, 4)
    shop.up.on(error(404, "No such File object"), path_suffix=ids[2])

    found = listed(site, alice, "?limit=2")

    assert ids_of(found) == [ids[3], ids[1]]
    assert found["has_more"]
    left = Object.objects.filter(account=alice.account).values_list("upstream_id", flat=True)
    assert set(left) == set(ids) - {ids[2]}


def test_a_page_of_some_server_that_knows_nothing_of_the_api_deletes_nothing(
    site: Site, alice: Person, shop: Supply
) -> None:
    own(alice, shop, 1)
    shop.up.default = Reply(404, (("Content-Type", "text/html"),), b"<h1>Not Found</h1>")

    assert refused(site, alice) == (502, "upstream_error")
    assert Object.objects.filter(account=alice.account).count() == 1


def test_a_batch_that_has_ended_gives_its_output_file_to_its_owner(
    site: Site, alice: Person, shop: Supply
) -> None:
    (id_,), output = own(alice, shop, 1, BATCH), kit.unique("file")
    shop.up.default = json_reply({"id": id_, "object": "batch", "output_file_id": output})

    assert ids_of(listed(site, alice, path="/v1/batches")) == [id_]

    row = Object.objects.get(upstream_id=output)
    assert (row.account_id, row.kind, row.key_id) == (alice.account.pk, FILE, shop.key_row().pk)


# ---- no list


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (error(500), 503, "upstream_key_unavailable"),
        (error(401), 503, "upstream_key_unavailable"),
        (error(429, retry_after=7), 429, "upstream_rate_limited"),
        (error(400), 502, "upstream_error"),
        (json_reply(b"{not json"), 502, "upstream_error"),
        (json_reply({"id": "x"}).cut(body=3), 503, "upstream_key_unavailable"),
    ],
)
def test_an_object_that_cannot_be_seen_makes_the_list_an_error(
    site: Site, alice: Person, shop: Supply, reply: Reply, status: int, code: str
) -> None:
    ids = own(alice, shop, 3)
    shop.up.on(reply, path_suffix=ids[1])

    answer = site.get(alice, "/v1/files")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not any(secret in answer.text for secret in shop.keys)
    assert Object.objects.filter(account=alice.account).count() == 3


def test_a_provider_that_cannot_be_reached_makes_the_list_an_error(
    site: Site, alice: Person, shop: Supply
) -> None:
    own(alice, shop, 2)
    shop.up.stop()

    assert refused(site, alice) == (503, "upstream_key_unavailable")
    assert kit.eventually(lambda: Provider.objects.get(pk=shop.provider.pk).failures) == 1


def test_a_resting_key_makes_the_list_an_error_and_is_not_asked(
    site: Site, alice: Person, shop: Supply
) -> None:
    own(alice, shop, 1)
    now = clock.now()
    rest = Rest.objects.create(
        provider=shop.provider, key=shop.key_row(), reason="failures", probe_at=now + HOUR
    )
    bump()
    assert refused(site, alice) == (503, "upstream_key_unavailable")

    Rest.objects.filter(pk=rest.pk).update(reason="rate_limit", until=now + HOUR, probe_at=None)
    bump()
    assert refused(site, alice) == (429, "upstream_rate_limited")
    assert shop.up.seen == []


def test_a_client_that_leaves_stops_the_fetching(site: Site, alice: Person, shop: Supply) -> None:
    own(alice, shop, 3)
    shop.up.default = lambda seen: shown(seen).but(delay_headers=Gate())

    with pytest.raises(requests.Timeout):
        requests.get(f"{site.url}/v1/files", headers=alice.auth, timeout=0.5)

    assert len(shop.up.wait_for(3, where=lambda seen: seen.client_gone_at)) >= 3


# ---- uploads


def test_uploads_are_shown_from_the_record_and_no_provider_is_asked(
    site: Site, alice: Person, bob: Person, shop: Supply
) -> None:
    now = clock.unix(clock.now())
    data: dict[str, Any] = {
        "bytes": 7, "purpose": "batch", "filename": "a.jsonl", "mime_type": "text/plain",
        "created_at": now, "expires_at": now + 3600,
    }  # fmt: skip
    (id_,) = own(alice, shop, 1, UPLOAD, **data, status="pending")
    (done,) = own(alice, shop, 1, UPLOAD, **data, status="completed")
    (late,) = own(alice, shop, 1, UPLOAD, **data | {"expires_at": now - 1}, status="pending")

    answer = site.get(alice, f"/v1/uploads/{id_}")

    assert answer.json() == {
        "id": id_, "object": "upload", "bytes": 7, "purpose": "batch", "filename": "a.jsonl",
        "created_at": now, "expires_at": now + 3600, "status": "pending",
    }  # fmt: skip
    found = listed(site, alice, path="/v1/uploads")
    assert ids_of(found) == [late, done, id_]
    assert [item["status"] for item in found["data"]] == ["expired", "completed", "pending"]
    assert refused(site, bob, path=f"/v1/uploads/{id_}") == (404, "not_found")
    assert shop.up.seen == []


def test_an_upload_whose_key_is_no_more_is_gone(site: Site, alice: Person, shop: Supply) -> None:
    (id_,) = own(alice, shop, 1, UPLOAD, status="pending", created_at=0)
    assert site.get(alice, f"/v1/uploads/{id_}").json()["status"] == "expired"
    ProviderKey.objects.filter(pk=shop.key_row().pk).update(deleted_at=clock.now())
    bump()

    assert refused(site, alice, path=f"/v1/uploads/{id_}") == (410, "upstream_gone")
    assert ids_of(listed(site, alice, path="/v1/uploads")) == []
