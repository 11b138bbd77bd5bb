"""One run of OpenAI's suite against one address, as OpenAI runs it, its archive untouched."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.install import HERE, CannotRun, Installed, say
from tests.conformance.servers import environment

# Seconds without a single result: the client's own patience is ten minutes a try.
_STALLED = 150.0
_EVERY = 500


@dataclass(frozen=True)
class Result:
    """What became of one test; `status` and `request_id` are those of the answer that the client
    raised an error about."""

    outcome: str
    error: str = ""
    first: str = ""
    status: int | None = None
    request_id: str = ""

    @property
    def why(self) -> str:
        return f"{self.error}: {self.first}" if self.error else self.outcome


MISSING = Result("missing", first="the run ended before this test did")


def run(
    title: str, there: Installed, files: Sequence[str], logs: Path, *, url: str, key: str = ""
) -> dict[str, Result]:
    """The results by the tests' names, as far as the run came."""
    results, log = logs / f"{title}.jsonl", logs / f"{title}.log"
    env = environment(
        TEST_API_BASE_URL=url, DEFER_PYDANTIC_BUILD="false", CONFORMANCE_RESULTS=str(results),
        CONFORMANCE_KEY=key, PYTHONPATH=os.pathsep.join([str(there.archive / "src"),
        str(HERE / "inside")]),
    )  # fmt: skip
    # `-n auto` and the rest are in the archive's pyproject.toml.
    command = [str(there.python), "-m", "pytest", "-q", "-p", "told", "-p", "no:cacheprovider",
               *files]  # fmt: skip
    say(f"{title}: running {len(files)} files of openai {there.version} ...")
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=there.archive, env=env, stdout=output,
                                   stderr=output, stdin=subprocess.DEVNULL,
                                   start_new_session=True)  # fmt: skip
    try:
        _watch(title, process, results)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = read(results)
    # 1: some failed. Anything else: the run itself did.
    if process.returncode not in (0, 1, -signal.SIGKILL) or not found:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise CannotRun(f"{title}: the suite did not run (exit {process.returncode}):\n{tail}")
    say(f"{title}: {len(found)} tests in {time.monotonic() - began:.0f} s")
    return found


def _watch(title: str, process: "subprocess.Popen[bytes]", results: Path) -> None:
    """Say how far it has come; end it when nothing comes any more."""
    said, seen, last = 0, 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.3)
        lines = results.read_bytes().count(b"\n") if results.exists() else 0
        if lines > seen:
            seen, last = lines, time.monotonic()
        if seen >= said + _EVERY:
            said = seen - seen % _EVERY
            bad = sum(result.outcome == "failed" for result in read(results).values())
            say(f"{title}: {seen} tests, {bad} failed")
        if time.monotonic() - last > _STALLED:
            say(f"{title}: no test has ended for {_STALLED:.0f} s; going on without the rest")
            return


def read(results: Path) -> dict[str, Result]:
    """The whole lines of a file that may still be written."""
    found: dict[str, Result] = {}
    if results.exists():
        for line in results.read_text().split("\n")[:-1]:
            row: dict[str, Any] = json.loads(line)
            test = row.pop("test")
            found[test] = Result(**row)
    return found
