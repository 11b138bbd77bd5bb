"""The ground floor's small pieces: ids, moments, the clock, what a raw cursor gives."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from django.db import connection

from accounts.models import Account
from bsod.lib import clock, ids, sql
from tests.kit import Person

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[3]
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def number(text: str) -> int:
    value = 0
    for letter in text:
        value = value * 32 + CROCKFORD.index(letter)
    return value


def test_an_id_is_a_ulid_that_tells_its_moment() -> None:
    before = time.time_ns() // 1_000_000
    made = ids.ulid()
    after = time.time_ns() // 1_000_000

    assert re.fullmatch(rf"[0-7][{CROCKFORD}]{{25}}", made)
    assert before <= number(made) >> 80 <= after


def test_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    first = ids.ulid()
    time.sleep(0.002)
    assert first < ids.ulid()


def test_ids_made_in_one_millisecond_differ() -> None:
    assert len({ids.ulid() for _ in range(5000)}) == 5000


def test_a_day_is_utc_wherever_the_moment_was_written() -> None:
    night = datetime(2026, 11, 21, 1, 30, tzinfo=timezone(timedelta(hours=3)))
    assert clock.day_of(night) == "2026-11-20"
    assert clock.end_of_day("2026-11-20") == datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("day", ["2024-02-28", "2024-02-29", "2026-12-31", "2026-03-29"])
def test_a_day_ends_where_the_next_begins(day: str) -> None:
    ends = clock.end_of_day(day)
    assert clock.day_of(ends - timedelta(microseconds=1)) == day
    assert clock.day_of(ends) > day


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 21, 10, 0, 0, 0, UTC),
        datetime(2026, 11, 21, 10, 0, 0, 1, UTC),
        datetime(2026, 11, 21, 13, 30, 0, 5, timezone(timedelta(hours=3, minutes=30))),
    ],
)
def test_a_moment_survives_the_hot_statements(alice: Person, moment: datetime) -> None:
    """Written with a stamp, read back raw and by the ORM: the same moment, aware."""
    with connection.cursor() as cursor:
        row = (sql.stamp(moment), alice.account.pk)
        cursor.execute(sql.update(Account, ("plan_expires_at",)), row)
        cursor.execute(
            f"SELECT {sql.column(Account, 'plan_expires_at')} FROM {sql.table(Account)} "
            f"WHERE {sql.column(Account, 'id')} = %s",
            [alice.account.pk],
        )
        raw = sql.moment(cursor.fetchone()[0])
    assert raw == moment
    assert raw is not None
    assert raw.tzinfo is not None
    assert Account.objects.get(pk=alice.account.pk).plan_expires_at == moment
    # What the ORM compares is what the stamp has written, fraction or none.
    assert Account.objects.filter(pk=alice.account.pk, plan_expires_at=moment).exists()


def test_no_moment_is_none() -> None:
    assert sql.moment(None) is None
    assert sql.stamp(None) is None


def test_a_column_that_is_renamed_breaks_the_statement() -> None:
    with pytest.raises(Exception, match="no field named"):
        sql.column(Account, "planned")


PROGRAM = """
import asyncio, sys
from bsod.lib.steps import step

@step("work")
def work(n):
    print(n, flush=True)

@step("other")
def other():
    print("other", flush=True)

@step("awaited")
async def awaited():
    print("awaited", flush=True)
    return 5

for n in range(3):
    other()
    work(n)
assert asyncio.run(awaited()) == 5
"""


def run_with(kill_at: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env={**os.environ, "KILL_AT": kill_at},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("kill_at", "printed"),
    [
        ("work:before", ["other"]),
        ("work:after", ["other", "0"]),
        ("work:before:3", ["other", "0", "other", "1", "other"]),
        ("awaited:before", ["other", "0", "other", "1", "other", "2"]),
        ("awaited:after:1", ["other", "0", "other", "1", "other", "2", "awaited"]),
    ],
)
def test_a_process_dies_at_the_moment_it_was_told(kill_at: str, printed: list[str]) -> None:
    assert run_with(kill_at) == (-signal.SIGKILL, printed)


@pytest.mark.parametrize("kill_at", ["", "work:before:9", "nothing:after"])
def test_a_process_lives_when_its_moment_does_not_come(kill_at: str) -> None:
    code, printed = run_with(kill_at)
    assert code == 0
    assert printed[-1] == "awaited"


def test_stored_json_is_parsed_alike_on_both_databases(alice: Person) -> None:
    from accounts.keys.models import ApiKey

    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {sql.columns(ApiKey, ('permissions', 'caps'))} FROM {sql.table(ApiKey)} "
            f"WHERE {sql.column(ApiKey, 'id')} = %s",
            [alice.key.pk],
        )
        permissions, caps = cursor.fetchone()
    assert sql.parsed(permissions) == alice.key.permissions
    assert sql.parsed(caps) == {} == json.loads(caps)
