"""What is counted reaches its rows, once, from however many processes at a time."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection

from proxy import histogram, stats
from proxy.histogram import BOUNDS, BUCKETS
from proxy.models import Busy, Stat
from proxy.stats import Counters, Key, Step, Taken, Writer
from tests.kit import unique

NOON = datetime(2026, 11, 21, 12, 34, 56, 789, tzinfo=UTC)


def cell(count: int = 1) -> list[int]:
    numbers = [0] * stats.WIDTH
    numbers[0], numbers[stats.LATENCY] = count, count
    return numbers


def key(status: str = "2xx") -> Key:
    return Key(unique("GET /r"), "up", "model", status)


def rows(of: Key) -> dict[str, Stat]:
    return {row.step: row for row in Stat.objects.filter(route=of.route, status=of.status)}


def test_a_call_is_in_its_minute_its_hour_its_day_and_all_time() -> None:
    counters, what = Counters(), key()
    counters.add(what, 0.3, attempts=2, prompt=10, completion=20, first=0.04)
    counters.add(what, 400.0)
    Writer("p").write(Taken(NOON, counters.take().cells))
    found = rows(what)
    assert {step: row.at for step, row in found.items()} == {
        "minute": NOON.replace(second=0, microsecond=0),
        "hour": NOON.replace(minute=0, second=0, microsecond=0),
        "day": NOON.replace(hour=0, minute=0, second=0, microsecond=0),
        "ever": stats.beginning(Step.EVER, NOON),
    }
    for row in found.values():
        assert (row.count, row.attempts, row.prompt, row.completion) == (2, 2, 10, 20)
        assert (row.latency, row.first) == (400_300_000, 40_000)
        latency = [getattr(row, name) for name in histogram.names("latency")]
        assert latency == [int(n in (histogram.bucket(0.3), BUCKETS - 1)) for n in range(BUCKETS)]
        assert sum(getattr(row, name) for name in histogram.names("first")) == 1


def test_what_was_taken_is_not_counted_again() -> None:
    counters, what = Counters(), key()
    counters.add(what, 0.1)
    assert [*counters.take().cells] == [what]
    assert counters.take().cells == {}


def test_many_processes_add_to_the_same_rows() -> None:
    what = [key() for _ in range(30)]  # more than one transaction, more than one statement
    given = {name: cell(3) for name in what}

    def one() -> None:
        writer = Writer(unique("p"))
        for _ in range(2):
            writer.write(Taken(NOON, given))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {rows(name)[step].count for name in what for step in Step} == {24}


def test_an_hour_over_two_minutes_is_one_row() -> None:
    writer, what = Writer("p"), key()
    later = NOON + timedelta(minutes=5)
    stats.add({(stats.beginning(Step.MINUTE, when), what): cell() for when in (NOON, later)})
    writer.write(Taken(later, {what: cell()}))
    assert Stat.objects.filter(route=what.route, step=Step.MINUTE).count() == 2
    assert rows(what)["hour"].count == rows(what)["ever"].count == 3


def test_what_a_database_that_is_away_did_not_take_is_added_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, what, ways = Writer("p"), key(), connection.ensure_connection
    writer.batches.append((3, 0.01))

    def away() -> None:
        raise DatabaseError("it is away")

    with monkeypatch.context() as broken:
        broken.setattr(connection, "ensure_connection", away)
        connection.close()
        writer.write(Taken(NOON, {what: cell()}))
        writer.write(Taken(NOON, {what: cell(2)}))
    assert connection.ensure_connection == ways
    assert rows(what) == {}
    assert len([r for r in caplog.records if "wait for the database" in r.message]) == 1
    writer.write(Taken(NOON + timedelta(minutes=1), {what: cell(4)}))
    assert rows(what)["ever"].count == 7
    assert Stat.objects.get(route=what.route, step="minute", at=NOON.replace(
        second=0, microsecond=0)).count == 3  # fmt: skip


def test_what_is_kept_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "MOST_KEPT", 10)
    monkeypatch.setattr(connection, "ensure_connection", _raise)
    connection.close()
    writer = Writer("p")
    for number in range(30):
        writer.write(Taken(NOON + timedelta(minutes=number), {Key("r", "", "", "2xx"): cell()}))
    kept = [minute for minute, _ in writer._kept]
    assert kept == [
        stats.beginning(Step.MINUTE, NOON + timedelta(minutes=n)) for n in range(20, 30)
    ]


def _raise() -> None:
    raise DatabaseError("it is away")


def test_a_ledgers_batches_are_counted_by_size() -> None:
    before = {row.status: row.attempts for row in Stat.objects.filter(route="ledger", step="ever")}
    writer = Writer("p")
    writer.batches.extend([(1, 0.001), (3, 0.002), (256, 0.02)])
    writer.write(Taken(NOON, {}))
    after = {row.status: row.attempts for row in Stat.objects.filter(route="ledger", step="ever")}
    # Others' batches are counted beside them.
    for status, operations in (("1", 1), ("4", 3), ("256", 256)):
        assert after[status] >= before.get(status, 0) + operations


def test_what_a_process_has_open_is_said_while_it_has_something() -> None:
    name = unique("p")
    writer = Writer(name)
    writer.write(Taken(NOON, {}))
    assert not Busy.objects.filter(process=name).exists()
    writer.write(Taken(NOON, {}, calls=3, streams=2))
    assert Busy.objects.get(process=name).streams == 2
    writer.write(Taken(NOON, {}))
    assert Busy.objects.get(process=name).calls == 0
    writer.write(Taken(NOON, {}, calls=1))
    writer.leave()
    assert not Busy.objects.filter(process=name).exists()


def test_minutes_live_two_days_hours_ninety_and_the_sum_for_ever() -> None:
    what, now = key(), datetime(2001, 6, 1, tzinfo=UTC)  # older than anything of anybody else's
    for age in (timedelta(days=1), timedelta(days=3), timedelta(days=91), timedelta(days=401)):
        stats.add({(now - age, what): cell()})
    assert stats.purge(now) >= 3
    left = sorted(Stat.objects.filter(route=what.route).values_list("step", flat=True))
    assert left == ["day", "day", "day", "ever", "hour", "hour", "minute"]
    assert rows(what)["ever"].count == 4


@pytest.mark.once
def test_a_quantile_lies_within_the_bucket_it_was_counted_in() -> None:
    counts = [0] * BUCKETS
    assert histogram.quantile(counts, 0.5) is None
    for seconds in (0.3, 0.3, 0.3, 7.0):
        counts[histogram.bucket(seconds)] += 1
    half, most = histogram.quantile(counts, 0.5), histogram.quantile(counts, 0.99)
    assert half is not None
    assert most is not None
    assert 0.2 < half <= 0.35
    assert 5.0 < most <= 10.0
    counts[-1] = 1000
    assert histogram.quantile(counts, 0.99) == BOUNDS[-1]


@pytest.mark.once
@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "2xx"), (204, "2xx"), (304, "3xx"), (400, "4xx"), (401, "401"), (404, "404"),
     (429, "429"), (503, "5xx"), (0, "gone")],
)  # fmt: skip
def test_what_a_status_counts_as(status: int, said: str) -> None:
    assert stats.status_class(status) == said
