"""`make test`: the whole suite on SQLite and on PostgreSQL, side by side.

What is about the database runs on either; what is not (marked `once`) in two halves. Three at
once, for each spends half its time waiting. Arguments go to pytest; `--only sqlite` or `--only
postgresql` is one run of one database. Each has a DATA_DIR of its own. What the first run prints
comes as it runs, what the others print comes after it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.databases import postgresql

ROOT = Path(__file__).resolve().parent.parent


SAID = "pytest.log"
NOTHING_TO_RUN = 5  # pytest's exit code when no test was chosen


AT_ONCE = 3


class Part(NamedTuple):
    """A run of pytest: its name, what it chooses, and its database; None: SQLite."""

    name: str
    chosen: tuple[str, ...]
    database_url: str | None = None
    half: str = ""


def start(data: Path, args: list[str], part: Part, *, shown: bool) -> "subprocess.Popen[bytes]":
    data.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    env |= {"DATA_DIR": str(data), "PYTHONUNBUFFERED": "1", "SUITE_HALF": part.half}
    if part.database_url:
        env["DATABASE_URL"] = part.database_url
    command = [sys.executable, "-m", "pytest", *part.chosen, *args]
    # Into a file: a pipe that nobody reads yet would hold up who writes much.
    with open(data / SAID, "wb") as said:
        output = None if shown else said
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options, args = parser.parse_known_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bsod-test-") as folder:
        if options.only == "sqlite":
            codes = run(Path(folder), args, [Part("SQLite", ())])
        else:
            with postgresql() as url:
                parts = [Part("PostgreSQL", (), url)]
                if options.only is None:
                    parts.append(Part("site", ("-m", "once"), half="bsod"))
                    parts.append(Part("SQLite", ("-m", "not once")))
                    parts.append(Part("no database", ("-m", "once"), half="-bsod"))
                codes = run(Path(folder), args, parts)
    for name, code in codes.items():
        print(f"{name}: {_said(code)}")
    print(f"{time.monotonic() - began:.0f} s in all")
    ran = [code for code in codes.values() if code != NOTHING_TO_RUN]
    return max(ran, default=NOTHING_TO_RUN)


def run(folder: Path, args: list[str], parts: list[Part]) -> dict[str, int]:
    """All parts, some at a time; the exit code of each."""
    places = {part: folder / part.name.replace(" ", "-") for part in parts}
    waiting, running = list(parts), dict[Part, "subprocess.Popen[bytes]"]()
    print(f"== {parts[0].name}", flush=True)
    while waiting or any(process.poll() is None for process in running.values()):
        busy = sum(process.poll() is None for process in running.values())
        if waiting and busy < AT_ONCE:
            part = waiting.pop(0)
            running[part] = start(places[part], args, part, shown=part is parts[0])
        else:
            time.sleep(0.2)
    for part in parts[1:]:
        said = (places[part] / SAID).read_text(errors="replace")
        print(f"== {part.name}", said, sep="\n", flush=True)
    return {part.name: process.wait() for part, process in running.items()}


def _said(code: int) -> str:
    return {0: "passed", NOTHING_TO_RUN: "nothing to run"}.get(code, f"FAILED (exit {code})")


if __name__ == "__main__":
    sys.exit(main())
