"""Imports go down only (DESIGN §2): a small test instead of a big rule book."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {
    "bsod.lib": 0,
    "accounts": 1,
    "accounts.keys": 1,
    "proxy.providers": 1,
    "quotas": 2,
    "proxy": 2,
    "proxy.gateway": 3,
    "proxy.donations": 3,
    "promos": 3,
    "bsod": 4,
}
# On one floor nobody knows the other, but for these: keys belong to accounts.
NEIGHBOURS = {("accounts.keys", "accounts")}


def unit_of(module: str) -> str | None:
    """The longest package of ours a module lies in."""
    inside = [unit for unit in FLOORS if module == unit or module.startswith(f"{unit}.")]
    return max(inside, key=len, default=None)


def modules() -> list[Path]:
    tops = sorted({unit.split(".")[0] for unit in FLOORS})
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def climbing() -> list[str]:
    found = []
    for path in modules():
        here = unit_of(name_of(path))
        assert here is not None
        for target in imports(path):
            there = unit_of(target)
            if there is None or there == here or (here, there) in NEIGHBOURS:
                continue
            if FLOORS[there] >= FLOORS[here]:
                found.append(f"{name_of(path)} imports {target}")
    return found


def test_imports_go_down_only() -> None:
    assert climbing() == []


def test_every_package_of_ours_stands_on_a_floor() -> None:
    packages = {path.parent for path in modules() if path.name == "__init__.py"}
    homeless = [
        package for package in packages if unit_of(name_of(package / "__init__.py")) is None
    ]
    assert homeless == []


@pytest.mark.parametrize(
    ("here", "there", "allowed"),
    [
        ("proxy.gateway.app", "proxy.pool", True),
        ("quotas.draw", "proxy.pool", False),
        ("bsod.lib.http", "accounts.models", False),
        ("proxy.providers.openai", "proxy.models", False),
    ],
)
def test_the_rule_tells_up_from_down(here: str, there: str, allowed: bool) -> None:
    ours, theirs = unit_of(here), unit_of(there)
    assert ours is not None
    assert theirs is not None
    assert (FLOORS[theirs] < FLOORS[ours]) is allowed
