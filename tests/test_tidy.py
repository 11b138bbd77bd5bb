"""The house style where a machine can see it (DESIGN §9)."""

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 400
# Written in pieces, so that this file does not find itself.
HOSTS = re.compile(
    "|".join(["py" + r"pi\.org", "pythonhost" + r"ed\.", "npm" + r"js\.(?:org|com)"])
)
MACHINE = re.compile(r"(?<![\w.])/(?:ro" + r"ot|ho" + r"me|wo" + r"rk)/[a-z]")
EXCUSE = re.compile(r"#\s*(?:type: ignore\[[\w-]+\]|noqa: [A-Z]+\d+)")


def tracked() -> list[Path]:
    """Files that are or would be in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and "migrations" not in path.parts]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def lengths() -> dict[str, int]:
    """Lines of every function of the product."""
    found = {}
    for path in python_files():
        if path.relative_to(ROOT).parts[0] in ("tests", "bench"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                found[place] = node.end_lineno - node.lineno + 1
    return found


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in python_files()
        if (count := path.read_text().count("\n")) > LONGEST_FILE
    }
    assert long == {}


def test_functions_stay_short() -> None:
    found = lengths()
    ordered = sorted(found.values())
    longest = sorted(found.items(), key=lambda item: -item[1])[:5]
    assert statistics.median(ordered) <= 10
    assert ordered[int(len(ordered) * 0.95)] <= 45, longest
    assert ordered[-1] <= 60, longest


def test_every_module_tells_its_story() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
        if path.name != "apps.py"
    ]
    assert silent == []


@pytest.mark.parametrize("pattern", [HOSTS, MACHINE], ids=["registry", "machine"])
def test_nothing_names_a_registry_or_a_machine(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts()
        if (match := pattern.search(text))
    ]
    assert found == []


def test_every_excuse_gives_its_reason() -> None:
    """A silenced check says why on the same line."""
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := EXCUSE.search(line)) and "#" not in line[match.end() :]
    ]
    assert bare == []


def test_locks_pin_every_package_by_hash() -> None:
    locks = list((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        pins = re.findall(r"^[a-z0-9][\w.-]*(?:\[[\w,-]+\])?==", text, re.M)
        assert pins, lock
        assert text.count("--hash=sha256:") >= len(pins), lock
