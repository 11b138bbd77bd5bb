"""What the run needs from outside, under `.conformance/`: pinned by hash, fetched once.

OpenAI's source archive (never built: its `src` is put on the path), an environment for its suite,
and its mock. Whence, pip's and npm's own configuration decides. What was interrupted is done again.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOUSE = ROOT / ".conformance"
SPECIFICATION = "https://github.com/openai/openai-openapi"


class CannotRun(Exception):
    """Something is missing; the text says what to do."""


@dataclass(frozen=True)
class Installed:
    archive: Path
    """The unpacked source archive."""
    version: str
    python: Path
    """Of the environment that the suite runs in."""
    mock: tuple[str, ...]
    """The command that starts the mock, without its options."""


def specification() -> Path:
    """OpenAI's description of its API, which is not ours to copy."""
    given = os.environ.get("OPENAI_SPEC", "")
    if given and Path(given).is_file():
        return Path(given).resolve()
    problem = f"OPENAI_SPEC names no file: {given}" if given else "OPENAI_SPEC is not set"
    raise CannotRun(
        f"{problem}.\nThe mock answers from OpenAI's own API specification, published at\n"
        f"  {SPECIFICATION}\n"
        "Download its YAML file and run\n"
        "  make conformance OPENAI_SPEC=/path/to/openapi.yaml"
    )


def version() -> str:
    """The pinned version of OpenAI's package."""
    pin = re.search(r"^openai==(\S+)", (HERE / "source.txt").read_text(), re.M)
    assert pin, "source.txt pins no openai"
    return pin[1]


def install() -> Installed:
    HOUSE.mkdir(exist_ok=True)
    python = _environment()
    return Installed(_archive(python), version(), python, _mock())


@contextlib.contextmanager
def _made_once(place: Path, *wanted: Path) -> Iterator[bool]:
    """Yields whether there is something to do; the stamp is left when it was done."""
    stamp = place / ".made"
    now = hashlib.sha256(b"".join(path.read_bytes() for path in wanted)).hexdigest()
    done = stamp.exists() and stamp.read_text() == now
    if not done:
        shutil.rmtree(place, ignore_errors=True)
    yield not done
    if not done:
        stamp.write_text(now)


def _environment() -> Path:
    place = HOUSE / "venv"
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    with _made_once(place, HERE / "requirements.txt") as needed:
        if needed:
            say("Installing what OpenAI's suite needs (once) ...")
            _run("the suite's environment", [sys.executable, "-m", "venv", str(place)])
            _run("the suite's packages", [
                *_pip(python), "install", "--quiet", "--require-hashes",
                "--only-binary", ":all:", "-r", str(HERE / "requirements.txt"),
            ])  # fmt: skip
    return python


def _archive(python: Path) -> Path:
    place = HOUSE / f"openai-{version()}"
    with _made_once(place, HERE / "source.txt") as needed:
        if needed:
            say(f"Fetching the source archive of openai {version()} (once) ...")
            with tempfile.TemporaryDirectory(dir=HOUSE) as folder:
                # Its metadata are asked for, nothing is built: hatchling is installed by hash.
                _run("OpenAI's source archive", [
                    *_pip(python), "download", "--quiet", "--require-hashes", "--no-deps",
                    "--no-binary", ":all:", "--no-build-isolation", "--dest", folder,
                    "-r", str(HERE / "source.txt"),
                ])  # fmt: skip
                (found,) = Path(folder).glob("*.tar.gz")
                with tarfile.open(found) as tar:
                    tar.extractall(folder, filter="data")
                Path(folder, place.name).rename(place)
    return place


def _mock() -> tuple[str, ...]:
    # Node from PATH where it is new enough, else from a wheel: as the JavaScript client has it.
    from tests.sdk.house import tools

    node, npm = tools()
    place, lock = HOUSE / "mock", HERE / "node" / "package-lock.json"
    with _made_once(place, lock) as needed:
        if needed:
            say("Installing OpenAI's mock server (once) ...")
            place.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / "node" / name, place / name)
            _run("the mock", [
                *npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
            ], cwd=place, env={**os.environ, "NODE_USE_SYSTEM_CA": "1"})  # fmt: skip
    return (*node, str(place / "node_modules/@stdy/cli/steady.js"))


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check"]


def _run(what: str, command: list[str], **options: object) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, **options)  # type: ignore[call-overload]  # cwd and env
    if done.returncode:
        raise CannotRun(f"{what} could not be installed; the lines above say why.")


def say(text: str) -> None:
    print(text, flush=True)
