"""Random movements of the ledger against a model in plain Python (DESIGN §8).

`MACHINE_STEPS` and `MACHINE_SECONDS` bound a run, `MACHINE_SEED` repeats one.
"""

import logging
import os
import secrets

import pytest

from quotas.audit import audit
from tests.quotas.machine import play

STEPS = int(os.environ.get("MACHINE_STEPS", "20000"))
SECONDS = float(os.environ.get("MACHINE_SECONDS", "20"))
SEED = int(os.environ.get("MACHINE_SEED", "0")) or secrets.randbelow(10**9) + 1


@pytest.mark.timeout(SECONDS * 2 + 60)
def test_the_ledger_and_its_model_agree_after_every_step(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "bsod.ledger")  # it buries a great many processes
    with capsys.disabled():
        print()
        steps = play(STEPS, SECONDS, SEED)
    assert steps >= min(STEPS, 500), "the machine hardly moved"
    assert audit().drift == []
