"""A pytest plugin given to OpenAI's suite with `-p`: whose key it uses, and what became of it.

Runs inside that suite's own environment, where nothing of this project is on the path. The archive
itself is never edited.
"""

import json
import os
import sys
from pathlib import Path

import pytest

KEY = os.environ.get("CONFORMANCE_KEY", "")
RESULTS = Path(os.environ["CONFORMANCE_RESULTS"])
WORKER = "PYTEST_XDIST_WORKER" in os.environ
LONGEST = 400

_phases: dict[str, list[pytest.TestReport]] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """The suite's keys are constants of its conftest; its fixtures read them when they run."""
    if not KEY:
        return
    conftest = sys.modules.get("tests.conftest")
    if not hasattr(conftest, "api_key"):
        # xdist's controller collects nothing.
        if WORKER or session.items:
            raise pytest.UsageError("tests/conftest.py has no api_key: the suite has changed")
        return
    conftest.api_key = KEY
    conftest.admin_api_key = KEY


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What was raised goes along with the report, from the process that saw it."""
    report = yield
    if call.excinfo is not None and report.outcome == "failed":
        error = call.excinfo.value
        first = (str(error).strip() or repr(error)).splitlines()[0][:LONGEST]
        told = [getattr(error, "status_code", None), getattr(error, "request_id", None) or ""]
        report.user_properties.append(("error", [type(error).__name__, first, *told]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line a test, once all of it is over; only where all reports come together."""
    if WORKER:
        return
    phases = _phases.setdefault(report.nodeid, [])
    phases.append(report)
    if report.when != "teardown":
        return
    del _phases[report.nodeid]
    outcomes = [phase.outcome for phase in phases]
    outcome = next((bad for bad in ("failed", "skipped") if bad in outcomes), "passed")
    errors = [value for phase in phases for name, value in phase.user_properties if name == "error"]
    name, first, status, request_id = errors[0] if errors else ("", "", None, "")
    line = {"test": report.nodeid, "outcome": outcome, "error": name, "first": first,
            "status": status, "request_id": request_id}  # fmt: skip
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
