"""`make torture`: everything the sample of `make test` leaves out, on both databases at once.

    python -m tests.torture                        # all of it, under an hour
    python -m tests.torture --only kill-points     # a part; may be repeated
    python -m tests.torture --database sqlite --only soak --soak 30
    python -m tests.torture --list                 # the parts and the kill points

The exit code is not 0 when anything was found.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DATABASES = ("sqlite", "postgresql")


def arguments() -> argparse.Namespace:
    from tests.torture.parts import PARTS

    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", action="append", choices=list(PARTS), help="a part; repeatable")
    parser.add_argument("--database", choices=DATABASES, help="one database instead of both")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9) + 1)
    parser.add_argument("--moments", type=int, default=200, help="random moments of death")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the state machine")
    parser.add_argument("--soak", type=float, default=5.0, help="minutes")
    parser.add_argument(
        "--list", action="store_true", help="show parts and kill points, do nothing"
    )
    return parser.parse_args()


def start(
    name: str, folder: str, url: str | None, given: argparse.Namespace
) -> "subprocess.Popen[bytes]":
    data = Path(folder, name)
    data.mkdir()
    env = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    env |= {"DATA_DIR": str(data), "PYTHONUNBUFFERED": "1", "TORTURE": json.dumps(vars(given))}
    if url:
        env["DATABASE_URL"] = url
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.torture.parts",
        name,
        str(data / "said"),
    ]
    return subprocess.Popen(command, cwd=ROOT, env=env)


def main() -> int:
    given = arguments()
    if given.list:
        return subprocess.call([sys.executable, "-m", "tests.torture.parts", "--list"], cwd=ROOT)
    from tests.databases import postgresql

    print(f"torture: --seed {given.seed}", flush=True)
    began, wanted = time.monotonic(), [given.database] if given.database else list(DATABASES)
    with tempfile.TemporaryDirectory(prefix="bsod-torture-") as folder:
        Path(folder).chmod(0o755)
        if "postgresql" in wanted:
            with postgresql() as url:
                urls = {"postgresql": url}
                running = {name: start(name, folder, urls.get(name), given) for name in wanted}
                codes = [process.wait() for process in running.values()]
        else:
            codes = [start("sqlite", folder, None, given).wait()]
        table(folder, wanted)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes in all")
    # Whoever was killed has a code below 0, which is no less a failure.
    return max(map(abs, codes))


def table(folder: str, names: list[str]) -> None:
    print(f"\n{'database':<12}{'part':<14}{'seconds':>8}  findings")
    for name in names:
        path = Path(folder, name, "said")
        lines = path.read_text().splitlines() if path.exists() else []
        for part, seconds, found in map(json.loads, lines):
            print(f"{name:<12}{part:<14}{seconds:>8.0f}  {len(found) or 'none'}")
            for finding in found[:10]:
                print(f"{'':<12}  {finding}")
        if not lines:
            print(f"{name:<12}did not finish a single part")


if __name__ == "__main__":
    sys.exit(main())
