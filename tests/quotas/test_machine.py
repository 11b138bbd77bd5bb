"""Random movements of the ledger against a model in plain Python (DESIGN §8).

`MACHINE_STEPS` and `MACHINE_SECONDS` bound a run, `MACHINE_SEED` repeats one.
"""

import os
import secrets
import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from quotas.audit import audit
from tests.quotas.machine import Machine

STEPS = int(os.environ.get("MACHINE_STEPS", "20000"))
SECONDS = float(os.environ.get("MACHINE_SECONDS", "40"))
SEED = int(os.environ.get("MACHINE_SEED", "0")) or secrets.randbelow(10**9) + 1

BOUNDS = settings(
    max_examples=10,
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.mark.timeout(SECONDS * 2 + 60)
def test_the_ledger_and_its_model_agree_after_every_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    began, runs, done = time.monotonic(), 0, Machine.steps
    try:
        while Machine.steps - done < STEPS and time.monotonic() - began < SECONDS:
            run_state_machine_as_test(seed(SEED + runs)(Machine), settings=BOUNDS)
            runs += 1
    finally:
        with capsys.disabled():
            spent = time.monotonic() - began
            print(f"\nmachine: {Machine.steps - done} steps, {spent:.0f} s, "
                  f"MACHINE_SEED={SEED} (run {runs})")  # fmt: skip
    assert Machine.steps - done >= min(STEPS, 500), "the machine hardly moved"
    assert audit().drift == []
