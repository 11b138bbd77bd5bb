"""A sample of the torture: twenty moments of death, a worker that stops, a database that goes.

`TORTURE_SEED` repeats a run; `python -m tests.torture` visits every point.
"""

import os
import random
import secrets

import pytest

from tests.torture import scenes
from tests.torture.points import all_points

SEED = int(os.environ.get("TORTURE_SEED", "0")) or secrets.randbelow(10**9) + 1
NAMED, RANDOM = 6, 14


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    print(f"TORTURE_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def test_nothing_is_lost_at_named_moments(database: None, dice: random.Random) -> None:
    assert scenes.kill_points(dice.sample(all_points(dice), NAMED)) == []


def test_nothing_is_lost_at_random_moments(database: None, dice: random.Random) -> None:
    assert scenes.random_kills(RANDOM, dice) == []


def test_a_worker_declared_dead_does_not_go_on(database: None, dice: random.Random) -> None:
    assert scenes.stopped_worker(dice) == []


def test_a_database_that_goes_away_loses_nothing(database: None, dice: random.Random) -> None:
    assert scenes.database_away(dice.choice(scenes.ways_to_be_away())) == []


def test_every_kind_of_step_has_its_kill_points() -> None:
    names = {point.name for point in all_points(random.Random(1))}
    assert names >= {
        "read", "admit", "record", "relay", "close", "finish", "batch", "commit",
        "register", "bury", "close_orphans", "close_expired", "leave", "keep", "replay",
    }  # fmt: skip
