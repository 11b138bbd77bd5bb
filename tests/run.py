"""`make test`: the whole suite on SQLite and on PostgreSQL, side by side.

Arguments go to pytest; `--only sqlite` or `--only postgresql` runs one database. Each run has a
DATA_DIR of its own. What SQLite prints comes as it runs, what PostgreSQL prints comes after it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.databases import postgresql

ROOT = Path(__file__).resolve().parent.parent


def start(data_dir: str, args: list[str], database_url: str | None) -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    env |= {"DATA_DIR": data_dir, "PYTHONUNBUFFERED": "1"}
    if database_url:
        env["DATABASE_URL"] = database_url
    command = [sys.executable, "-m", "pytest", *args]
    output = subprocess.PIPE if database_url else None
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=output, stderr=subprocess.STDOUT
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options, args = parser.parse_known_args()
    began, codes = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="bsod-test-") as folder:
        if options.only == "sqlite":
            codes["SQLite"] = start(folder, args, None).wait()
        else:
            with postgresql() as url:
                codes = _both(folder, args, url, lite=options.only is None)
    for name, code in codes.items():
        print(f"{name}: {'passed' if code == 0 else f'FAILED (exit {code})'}")
    print(f"{time.monotonic() - began:.0f} s in all")
    return max(codes.values())


def _both(folder: str, args: list[str], url: str, *, lite: bool) -> dict[str, int]:
    """Both databases at once: each run keeps about one core busy."""
    for name in ("sqlite", "postgresql"):
        Path(folder, name).mkdir()
    other = start(f"{folder}/postgresql", args, url)
    codes = {}
    if lite:
        print("== SQLite", flush=True)
        codes["SQLite"] = start(f"{folder}/sqlite", args, None).wait()
    print("== PostgreSQL", flush=True)
    assert other.stdout is not None
    for line in other.stdout:
        print(line, end="", flush=True)
    codes["PostgreSQL"] = other.wait()
    return codes


if __name__ == "__main__":
    sys.exit(main())
