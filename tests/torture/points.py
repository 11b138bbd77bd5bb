"""Every kill point there is, as the marks in the code name them."""

import random
from dataclasses import dataclass

import proxy.gateway.app  # noqa: F401  # its import marks the steps of a call
from bsod.lib.steps import STEPS

ROUTINE = ("read", "admit", "relay", "close", "finish")
"""Passed by every call; the others by boots, burials and ends."""
BUSY = ("batch", "commit")
"""Passed by an idle process too: a number that only one at work comes to."""
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
        Point(name, when, _passage(name, dice))
        for name in dict.fromkeys(STEPS)
        for when in ("before", "after")
    ]


def _passage(name: str, dice: random.Random) -> int:
    if name in BUSY:
        return dice.randint(60, 150)
    return dice.randint(1, 25) if name in ROUTINE else 1
