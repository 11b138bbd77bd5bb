"""Counters that many processes share: none is lost, what has expired counts for nothing."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bsod.lib.counters import CounterCache

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[3]
COUNT = """
import sys
from bsod.lib.counters import CounterCache
cache, added = CounterCache(sys.argv[1], {}), 0
sys.stdin.readline()
for _ in range(200):
    if cache.add("hits", 1, 60):
        added += 1
    else:
        cache.incr("hits")
print(added)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "counters.sqlite3")


@pytest.fixture
def cache(path: str) -> CounterCache:
    return CounterCache(path, {})


def test_eight_processes_count_exactly(path: str) -> None:
    """All begin at once on a file that does not exist yet; one of them makes the counter."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT, path], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(8)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=60) for process in processes]

    assert [error for _, error in ends] == [""] * 8
    assert sum(int(out) for out, _ in ends) == 1
    assert CounterCache(path, {}).get("hits") == 8 * 200


def test_threads_of_one_process_count_exactly(cache: CounterCache) -> None:
    cache.add("hits", 0, 60)
    threads = [
        threading.Thread(target=lambda: [cache.incr("hits") for _ in range(100)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("hits") == 400


def test_a_counter_is_added_once_while_it_lasts(cache: CounterCache) -> None:
    assert cache.add("a", 1, 60) is True
    assert cache.add("a", 5, 60) is False
    assert cache.get("a") == 1
    assert cache.incr("a", 2) == 3


def test_what_has_expired_is_not_there_and_can_be_added_again(cache: CounterCache) -> None:
    cache.add("a", 7, 0)
    assert cache.get("a") is None
    with pytest.raises(ValueError):
        cache.incr("a")
    assert cache.add("a", 1, 60) is True
    assert cache.get("a") == 1


def test_an_unknown_counter_is_no_zero(cache: CounterCache) -> None:
    assert cache.get("nobody", "default") == "default"
    with pytest.raises(ValueError):
        cache.incr("nobody")


def test_counting_does_not_prolong_a_counter(cache: CounterCache) -> None:
    cache.add("a", 1, 0.3)
    ends = time.monotonic() + 5
    while cache.get("a") is not None and time.monotonic() < ends:
        with contextlib.suppress(ValueError):
            cache.incr("a")
    assert cache.get("a") is None


def test_the_rest_of_the_cache_interface(cache: CounterCache) -> None:
    cache.set("a", 4, None)
    assert cache.get("a") == 4
    cache.set("a", 5)
    assert cache.delete("a") is True
    assert cache.delete("a") is False
    cache.set("b", 1)
    cache.clear()
    assert cache.get("b") is None


def test_what_has_expired_is_swept_away(cache: CounterCache) -> None:
    for number in range(1000):
        cache.add(f"old-{number}", 1, 0)
    rows = sqlite3.connect(cache._path).execute("SELECT COUNT(*) FROM counter").fetchone()[0]
    assert rows < 1000
