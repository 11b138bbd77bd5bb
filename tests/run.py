"""`make test`: the whole suite on SQLite and on PostgreSQL, side by side.

What is about the database runs on either; what is not (marked `once`) is shared out, file by file,
between the two runs beside SQLite. Three at once keep two cores busy, and a fourth only makes them
slower. Arguments go to pytest; `--only sqlite` or `--only postgresql` is one run of one database.
Each has a DATA_DIR of its own. What the first run prints comes as it runs, what the others print
comes after it.
"""

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.databases import postgresql

ROOT = Path(__file__).resolve().parent.parent


PACKAGES = ("accounts", "bsod", "promos", "proxy", "quotas", "tests")
# Compiled anew at each of a hundred starts, our own code is a third of what a start costs.
UNWANTED = ("DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
SAID = "pytest.log"
NOTHING_TO_RUN = 5  # pytest's exit code when no test was chosen


class Part(NamedTuple):
    """A run of pytest: its name, what it chooses, and its database; None: SQLite."""

    name: str
    chosen: tuple[str, ...]
    database_url: str | None = None


def start(data: Path, args: list[str], part: Part, *, shown: bool) -> "subprocess.Popen[bytes]":
    data.mkdir()
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    env |= {"DATA_DIR": str(data), "PYTHONUNBUFFERED": "1"}
    env["SUITE_TEMPLATE"] = str(data.parent / "template.sqlite3")
    env["SUITE_TAKEN"] = str(data.parent / "taken")
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
    for name in PACKAGES:
        compileall.compile_dir(ROOT / name, quiet=2)
    with tempfile.TemporaryDirectory(prefix="bsod-test-") as folder:
        if options.only == "sqlite":
            codes = run(Path(folder), args, [Part("SQLite", ())])
        else:
            with postgresql() as url:
                parts = [Part("PostgreSQL", (), url)]
                if options.only is None:
                    parts.append(Part("SQLite", ()))
                    parts.append(Part("no database", ("-m", "once")))
                codes = run(Path(folder), args, parts)
    for name, code in codes.items():
        print(f"{name}: {_said(code)}")
    print(f"{time.monotonic() - began:.0f} s in all")
    # Whoever was killed has a code below 0, which is no less a failure.
    ran = [abs(code) for code in codes.values() if code != NOTHING_TO_RUN]
    return max(ran, default=NOTHING_TO_RUN)


def run(folder: Path, args: list[str], parts: list[Part]) -> dict[str, int]:
    """All parts at once; the exit code of each."""
    (folder / "taken").mkdir()
    places = [folder / part.name.replace(" ", "-") for part in parts]
    running = [
        start(place, args, part, shown=part is parts[0])
        for place, part in zip(places, parts, strict=True)
    ]
    codes = {}
    print(f"== {parts[0].name}", flush=True)
    for place, part, process in zip(places, parts, running, strict=True):
        codes[part.name] = process.wait()
        if part is not parts[0]:
            print(
                f"== {part.name}", (place / SAID).read_text(errors="replace"), sep="\n", flush=True
            )
    return codes


def _said(code: int) -> str:
    return {0: "passed", NOTHING_TO_RUN: "nothing to run"}.get(code, f"FAILED (exit {code})")


if __name__ == "__main__":
    sys.exit(main())
