"""One run through a gateway, and what the wire and the ledger have to say about it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from tests.conformance import install, servers, suite
from tests.conformance.compare import Results
from tests.conformance.install import CannotRun, Installed
from tests.conformance.relay import Call, Relay
from tests.conformance.suite import Result


@dataclass(frozen=True)
class Through:
    results: Results
    calls: list[Call]
    """Between the client and the gateway."""
    upstream: list[Call]
    """Between the gateway and the mock, once the suite had begun."""
    unread: list[str]
    ledger: dict[str, Any]
    audit: str
    audited: bool


def go_through(run: str, there: Installed, files: Sequence[str], mock: int, logs: Path) -> Through:
    """A gateway of its own for each run: an object belongs to whoever made it first, and the
    mock gives the same ids to everybody. Once it has stopped, its ledger is final."""
    with tempfile.TemporaryDirectory(prefix="bsod-conformance-") as folder, Relay(mock) as behind:
        with (
            servers.gateway(
                behind.url, Path(folder), logs / f"{run}-gateway.log", operator=run == "operator"
            ) as gateway,
            Relay(gateway.port) as before,
        ):
            probes = len(behind.calls)
            results = suite.run(run, there, files, logs, url=f"{before.url}/v1", key=gateway.key)
        told = logs / f"{run}-calls.json"
        told.write_text(json.dumps([astuple(call) for call in before.calls]))
        audit = _ours(gateway, "manage.py", "audit_ledger")
        counted = _ours(gateway, "-m", "tests.conformance.ledger", str(told))
    if counted.returncode:
        raise CannotRun(f"the ledger could not be read:\n{counted.stderr}")
    ledger = json.loads(counted.stdout)
    return Through(
        _routed(results, ledger["nowhere"]), before.calls, behind.calls[probes:],
        before.unread + behind.unread, ledger, (audit.stdout + audit.stderr).strip(),
        audit.returncode == 0,
    )  # fmt: skip


def _routed(results: Results, nowhere: Sequence[str]) -> dict[str, Result]:
    """A 404 because there is no such route refuses nobody anything: it must not pass for that."""
    return {
        test: replace(result, status=None) if result.request_id in nowhere else result
        for test, result in results.items()
    }


def _ours(gateway: servers.Gateway, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command], cwd=install.ROOT, env=dict(gateway.environment),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
