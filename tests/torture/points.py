"""Every kill point there is, as the marks in the code name them."""

import random
from dataclasses import dataclass

import proxy.gateway.app  # noqa: F401  # its import marks the steps of a call
from bsod.lib.steps import STEPS

ROUTINE = ("read", "admit", "relay", "close", "finish", "batch", "commit")
"""Passed by every call; the others by boots, burials and ends."""
WORKERS = ("close_expired",)
"""Passed by `manage.py worker` alone."""


@dataclass(frozen=True)
class Point:
    name: str
    when: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.name}:{self.when}:{self.nth}"


def all_points(dice: random.Random) -> list[Point]:
    """Before and after each step and commit; which passage of a busy one is left to the dice."""
    return [
        Point(name, when, dice.randint(1, 25) if name in ROUTINE else 1)
        for name in dict.fromkeys(STEPS)
        for when in ("before", "after")
    ]
