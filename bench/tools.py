"""The measuring tools: compiled from C into ``.bench/bin``, or their Python stand-ins."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from proc import run_quietly

HERE = Path(__file__).resolve().parent
NAMES = ("mock", "load", "relay")


@dataclass(frozen=True)
class Tools:
    """The command of each tool, without its options."""

    mock: list[str]
    load: list[str]
    relay: list[str]
    fallback: bool


def stale(binary: Path, source: Path) -> bool:
    """Whether the binary is missing or older than what it is made of."""
    newest = max(source.stat().st_mtime, (HERE / "net.h").stat().st_mtime)
    return not binary.exists() or binary.stat().st_mtime < newest


def found(runner: list[str], folder: Path, suffix: str, fallback: bool) -> Tools:
    """The tools in a folder, with what runs them."""
    mock, load, relay = ([*runner, str(folder / f"{name}{suffix}")] for name in NAMES)
    return Tools(mock, load, relay, fallback)


def build(out: Path, force_fallback: bool = False) -> Tools:
    """Compile what is stale; without a compiler (or when forced), use Python and say so."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if force_fallback or not compiler:
        return found([sys.executable], HERE / "fallback", ".py", fallback=True)
    out.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        source, binary = HERE / f"{name}.c", out / name
        if stale(binary, source):
            run_quietly([compiler, "-O2", "-Wall", "-o", binary, source], timeout=120)
    return found([], out, "", fallback=False)
