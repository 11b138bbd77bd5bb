"""Who owns what: whose an object is, and where a call goes that names some."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from bsod.lib import clock, sql
from bsod.lib.terms import ObjectKind
from proxy import objects
from proxy.models import Job, Object, Provider, ProviderKey
from proxy.objects import Binding, Gone, Made, Mismatch, Missing, Owned, Wanted, choose
from tests import kit
from tests.kit import Person, Supply
from tests.upstream import FaultServer

FILE, THREAD, VIDEO = ObjectKind.FILE, ObjectKind.THREAD, ObjectKind.VIDEO
HOUR = timedelta(hours=1)
_rows = itertools.count(100)


@pytest.fixture
def shop(up: FaultServer) -> Supply:
    return kit.supply(up, keys=3)


@contextmanager
def desk() -> Iterator[sql.Cursor]:
    """A cursor as the ledger's batch has one."""
    with transaction.atomic(), sql.hot_cursor() as cursor:
        yield cursor


def made(who: Person, shop: Supply, id_: str, key: int = 0, kind: ObjectKind = FILE,
         data: dict[str, Any] | None = None, ends: datetime | None = None) -> Made:  # fmt: skip
    return Made(who.account.pk, shop.provider.pk, shop.key_row(key).pk, kind, id_, data or {}, ends)


def record(*rows: Made) -> set[tuple[int, str]]:
    with desk() as cursor:
        return objects.record(cursor, rows)


def read(*ids: str) -> dict[str, list[Owned]]:
    with desk() as cursor:
        return objects.read(cursor, ids)


def homes(*people: Person) -> dict[tuple[int, int], int]:
    with desk() as cursor:
        return objects.homes(cursor, [who.account.pk for who in people])


def delete(row: ProviderKey | Provider) -> None:
    type(row)._base_manager.filter(pk=row.pk).update(deleted_at=clock.now())


# ---- rows


def test_what_was_recorded_is_read_with_all_that_is_known_of_it(
    alice: Person, shop: Supply
) -> None:
    one, other, nobodys = kit.unique("file"), kit.unique("video"), kit.unique("none")
    assert (
        record(made(alice, shop, one, data={"bytes": 7}), made(alice, shop, other, 1, VIDEO))
        == set()
    )
    Job.objects.create(
        entry=kit.unique("entry")[:26], account=alice.account, provider=shop.provider,
        key=shop.key_row(1), kind=VIDEO, upstream_id=other, path="videos/x", next_at=clock.now(),
        expires_at=clock.now() + HOUR,
    )  # fmt: skip

    found = read(one, other, nobodys, "", "x" * 257, "nul\0", "é")

    assert set(found) == {one, other}
    [file], [video] = found[one], found[other]
    assert (file.account, file.provider, file.key) == (
        alice.account.pk, shop.provider.pk, shop.key_row(0).pk,
    )  # fmt: skip
    assert (file.kind, file.data, file.job, file.key_deleted) == (FILE, {"bytes": 7}, None, False)
    assert video.key == shop.key_row(1).pk
    assert video.job == Job.objects.get(upstream_id=other).entry


def test_one_row_with_two_open_jobs_is_read_once(alice: Person, shop: Supply) -> None:
    id_ = kit.unique("video")
    record(made(alice, shop, id_, kind=VIDEO))
    for _ in range(2):
        Job.objects.create(
            entry=kit.unique("e")[:26], account=alice.account, provider=shop.provider,
            key=shop.key_row(), kind=VIDEO, upstream_id=id_, path="videos/x",
            next_at=clock.now(), expires_at=clock.now() + HOUR,
        )  # fmt: skip

    assert len(read(id_)[id_]) == 1


def test_more_ids_than_one_statement_takes_are_read_all_the_same(
    alice: Person, shop: Supply
) -> None:
    stem = kit.unique("many")
    ids = [f"{stem}-{n}" for n in range(1500)]
    row = made(alice, shop, stem)
    record(*(replace(row, upstream_id=id_) for id_ in ids))

    assert set(read(*ids)) == set(ids)
    with desk() as cursor:
        objects.forget(cursor, [(row.key, id_) for id_ in ids])
    assert read(*ids) == {}


def test_an_id_stays_the_first_ones_on_its_key_and_is_free_on_another(
    alice: Person, bob: Person, shop: Supply
) -> None:
    id_, fresh = kit.unique("file"), kit.unique("file")
    record(made(alice, shop, id_, data={"bytes": 1}))

    taken = record(made(bob, shop, fresh), made(bob, shop, id_, data={"bytes": 2}))

    assert taken == {(shop.key_row().pk, id_)}
    [row] = read(id_)[id_]
    assert (row.account, row.data) == (alice.account.pk, {"bytes": 1})
    assert [row.account for row in read(fresh)[fresh]] == [bob.account.pk]
    assert record(made(bob, shop, id_, key=1)) == set()
    assert {row.account for row in read(id_)[id_]} == {alice.account.pk, bob.account.pk}


def test_of_two_who_are_given_one_id_in_one_batch_the_first_has_it(
    alice: Person, bob: Person, shop: Supply
) -> None:
    id_ = kit.unique("file")

    taken = record(made(alice, shop, id_), made(bob, shop, id_))

    assert taken == {(shop.key_row().pk, id_)}
    assert [row.account for row in read(id_)[id_]] == [alice.account.pk]


def test_what_is_learnt_later_is_laid_over_what_was_known(alice: Person, shop: Supply) -> None:
    id_, ends = kit.unique("upload"), clock.now() + HOUR
    record(made(alice, shop, id_, kind=ObjectKind.UPLOAD, data={"bytes": 7, "status": "pending"}))

    again = (
        made(alice, shop, id_, data={"status": "completed", "bytes": None}, ends=ends),
        made(alice, shop, id_, data={"file": "file-1"}),
    )
    assert record(*again) == set()
    assert record(made(alice, shop, id_)) == set()

    row = Object.objects.get(upstream_id=id_)
    assert row.data == {"bytes": 7, "status": "completed", "file": "file-1"}
    assert row.kind == ObjectKind.UPLOAD
    assert row.expires_at == ends


def test_what_is_over_is_not_there_and_the_purge_takes_it_and_nothing_else(
    alice: Person, shop: Supply
) -> None:
    now = clock.now()
    over, later, ever = (kit.unique("file") for _ in range(3))
    record(made(alice, shop, over, ends=now - HOUR), made(alice, shop, later, 1, ends=now + HOUR),
           made(alice, shop, ever, 1))  # fmt: skip

    assert set(read(over, later, ever)) == {later, ever}
    assert homes(alice) == {(alice.account.pk, shop.provider.pk): shop.key_row(1).pk}
    assert objects.purge_expired(now) >= 1

    left = Object.objects.filter(account=alice.account)
    assert {row.upstream_id for row in left} == {later, ever}


def test_what_is_gone_upstream_is_forgotten_on_its_key_alone(alice: Person, shop: Supply) -> None:
    id_, other = kit.unique("file"), kit.unique("file")
    record(made(alice, shop, id_), made(alice, shop, id_, 1), made(alice, shop, other))

    with desk() as cursor:
        objects.forget(cursor, [(shop.key_row(0).pk, id_), (shop.key_row(2).pk, other)])
        objects.forget(cursor, [])

    assert [row.key for row in read(id_)[id_]] == [shop.key_row(1).pk]
    assert other in read(other)


# ---- homes


def test_home_is_the_key_of_the_oldest_living_object_at_each_provider(
    alice: Person, bob: Person, up: FaultServer, shop: Supply
) -> None:
    second = kit.supply(up, keys=2)
    for place, key in ((shop, 1), (shop, 0), (second, 1)):
        record(made(alice, place, kit.unique("file"), key))
    record(made(bob, shop, kit.unique("file"), 2))
    mine, his = alice.account.pk, bob.account.pk

    assert homes(alice, bob) == {
        (mine, shop.provider.pk): shop.key_row(1).pk,
        (mine, second.provider.pk): second.key_row(1).pk,
        (his, shop.provider.pk): shop.key_row(2).pk,
    }
    delete(shop.key_row(1))
    delete(second.provider)
    assert homes(alice) == {(mine, shop.provider.pk): shop.key_row(0).pk}
    delete(shop.key_row(0))
    assert homes(alice) == {}
    assert homes() == {}


# ---- choosing


def own(id_: str, key: int = 1, account: int = 7, row: int = 0, kind: str = FILE,
        deleted: bool = False) -> Owned:  # fmt: skip
    return Owned(row or next(_rows), account, key // 10, key, kind, id_, deleted)


def known(*rows: Owned) -> dict[str, list[Owned]]:
    found: dict[str, list[Owned]] = {}
    for row in rows:
        found.setdefault(row.upstream_id, []).append(row)
    return found


def want(*ids: str, kind: ObjectKind | None = None) -> list[Wanted]:
    return [Wanted(id_, kind, f"at.{id_}") for id_ in ids]


def bound(chosen: object) -> tuple[int, Sequence[str]]:
    assert isinstance(chosen, Binding)
    return chosen.key, [row.upstream_id for row in chosen.owned]


@pytest.mark.once
def test_only_the_callers_own_objects_exist() -> None:
    rows = known(own("a"), own("b", account=8), own("c"))

    assert bound(choose(rows, 7, want("a", "c", "a"))) == (1, ["a", "c"])
    assert choose(rows, 7, want("a", "b", "none")) == Missing("b", "at.b")
    assert choose(rows, 8, want("a")) == Missing("a", "at.a")
    assert choose({}, 7, want("none")) == Missing("none", "at.none")
    assert choose(rows, 7, []) is None


@pytest.mark.once
def test_an_object_of_another_kind_does_not_exist_where_a_kind_is_asked_for() -> None:
    rows = known(own("a", kind=FILE))

    assert choose(rows, 7, want("a", kind=THREAD)) == Missing("a", "at.a")
    assert bound(choose(rows, 7, want("a", kind=FILE))) == (1, ["a"])


@pytest.mark.once
def test_objects_of_two_keys_do_not_go_together() -> None:
    rows = known(own("a", key=1), own("b", key=2), own("c", key=3, deleted=True))

    assert choose(rows, 7, want("a", "b")) == Mismatch("b", "at.b")
    assert choose(rows, 7, want("a", "b", "none")) == Missing("none", "at.none")
    assert choose(rows, 7, want("a", "b", "c")) == Gone("c", "at.c")


@pytest.mark.once
def test_an_id_on_several_keys_goes_where_all_the_others_are() -> None:
    rows = known(own("a", key=11, row=1), own("a", key=12, row=5), own("b", key=11, row=2),
                 own("c", key=13, row=9), own("c", key=12, row=3, deleted=True),
                 own("d", key=14, row=4, deleted=True), own("d", key=11, row=3))  # fmt: skip

    assert bound(choose(rows, 7, want("a"))) == (12, ["a"])  # the newest
    assert bound(choose(rows, 7, want("a", "b"))) == (11, ["a", "b"])
    assert bound(choose(rows, 7, want("d", "a"))) == (11, ["d", "a"])  # one lives
    assert choose(rows, 7, want("a", "c")) == Mismatch("c", "at.c")


@pytest.mark.once
def test_an_operator_names_anybodys_objects_and_unknown_ones() -> None:
    rows = known(own("a", key=11, account=8, row=9), own("a", key=12, row=1), own("b", 11, 8))

    assert bound(choose(rows, 7, want("b", "unknown"), operator=True)) == (11, ["b"])
    assert bound(choose(rows, 7, want("a"), operator=True)) == (12, ["a"])  # his own first
    assert choose(rows, 7, want("unknown"), operator=True) is None
    gone = known(own("a", account=8, deleted=True))
    assert choose(gone, 7, want("a"), operator=True) == Gone("a", "at.a")


def test_what_a_deleted_key_held_is_gone_and_comes_back_with_it(
    alice: Person, up: FaultServer
) -> None:
    place, id_ = kit.supply(up, keys=2), kit.unique("file")
    record(made(alice, place, id_))
    delete(place.key_row())

    assert choose(read(id_), alice.account.pk, want(id_)) == Gone(id_, f"at.{id_}")

    ProviderKey.objects.filter(pk=place.key_row().pk).update(deleted_at=None)
    assert bound(choose(read(id_), alice.account.pk, want(id_))) == (place.key_row().pk, [id_])
    delete(place.provider)
    assert choose(read(id_), alice.account.pk, want(id_)) == Gone(id_, f"at.{id_}")


# ---- plans


@pytest.mark.once  # PostgreSQL plans by what it has counted
def test_every_statement_finds_its_rows_by_an_index(
    alice: Person, bob: Person, shop: Supply, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Sequence[Any]] = {}
    real = sql._SqliteCursor.execute

    def execute(self: sql._SqliteCursor, statement: str, values: Sequence[Any] = ()) -> Any:
        seen[statement] = values
        return real(self, statement, values)

    monkeypatch.setattr(sql._SqliteCursor, "execute", execute)
    ids = [kit.unique("file") for _ in range(5)]
    for some in (ids[:1], ids):
        record(*(made(alice, shop, id_) for id_ in some))
        read(*some)
        homes(*[alice, bob][: len(some)])
        with desk() as cursor:
            objects.forget(cursor, [(shop.key_row().pk, id_) for id_ in some])
    assert len(seen) == 8
    with connection.cursor() as cursor:
        for statement, values in seen.items():
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plan = [row[3] for row in cursor.fetchall()]
            scans = [step for step in plan if step.startswith("SCAN")]
            assert not [s for s in scans if "proxy_object" in s or "_job" in s or "key" in s], plan
            assert not [step for step in plan if "TEMP B-TREE" in step], plan
