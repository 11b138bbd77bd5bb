"""The parts of the torture, run in one process for one database: `__main__` starts two of them."""

import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import tests.environment  # noqa: F401  # the settings of the suite, before Django reads any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")

PARTS = {
    "kill-points": "every named moment, in groups of four gateways",
    "moments": "both workers killed at random moments",
    "stopped": "a worker that stands still and goes on",
    "away": "a database that goes away for longer than anybody's patience",
    "crash": "a PostgreSQL server that loses a backend to SIGKILL",
    "machine": "the state machine",
    "big": "512 MB up and down through one worker",
    "soak": "ordinary work for a long time",
}
GROUP, BLOCK = 4, 20


def run(part: str, given: Any, say: Callable[[str], None]) -> list[str]:
    """Do a part; what was found."""
    from django.db import connection

    from tests.quotas.machine import play
    from tests.torture import big, scenes
    from tests.torture.points import all_points

    dice = random.Random(f"{given.seed} {part}")
    found: list[str] = []
    if part == "kill-points":
        points = all_points(dice)
        for at in range(0, len(points), GROUP):
            found += scenes.kill_points(points[at : at + GROUP], say)
    elif part == "moments":
        for at in range(0, given.moments, BLOCK):
            found += scenes.random_kills(min(BLOCK, given.moments - at), dice, say)
    elif part == "stopped":
        for _ in range(3):
            found += scenes.stopped_worker(dice, say)
    elif part == "away":
        for how in scenes.ways_to_be_away():
            for seconds in (5.0, 12.0):
                found += scenes.database_away(how, say, seconds)
    elif part == "crash" and connection.vendor == "postgresql":
        found += scenes.server_crash(10, dice, say)
    elif part == "machine":
        steps = play(given.steps, 2400, given.seed, say)
        found += [] if steps >= given.steps else [f"only {steps} steps in 40 minutes"]
    elif part == "big":
        found += big.run(512 * big.MB, say)
    elif part == "soak":
        found += scenes.soak(given.soak * 60, say)
    return found + _drift()


def _drift() -> list[str]:
    from quotas.audit import audit

    return [str(drift) for drift in audit().drift]


def listed() -> None:
    import django

    django.setup()
    from tests.torture.points import all_points

    for name, what in PARTS.items():
        print(f"{name:<14}{what}")
    print("\nkill points:")
    for point in all_points(random.Random(1)):
        print(f"  {point.name}:{point.when}")


def main() -> int:
    if sys.argv[1:] == ["--list"]:
        listed()
        return 0
    import django

    django.setup()
    from django.test.utils import setup_databases, teardown_databases

    database, path = sys.argv[1:]
    given = SimpleNamespace(**json.loads(os.environ["TORTURE"]))
    logging.getLogger("bsod.ledger").setLevel(logging.ERROR)
    made = setup_databases(verbosity=0, interactive=False)
    bad = 0
    for part in given.only or PARTS:
        print(f"[{database}] {part}: {PARTS[part]}", flush=True)
        began = time.monotonic()
        try:
            found = run(part, given, lambda line: print(f"[{database}]{line}", flush=True))
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        for finding in found:
            print(f"[{database}] FOUND {finding}", flush=True)
        bad += len(found)
        with open(path, "a") as file:
            print(json.dumps([part, time.monotonic() - began, found]), file=file)
    teardown_databases(made, verbosity=0)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
