"""How far the byte rule of the estimate is from real tokenizers, on a corpus in five scripts.

    .venv/bin/python bench/estimate.py          # prints the table of docs/metering.md
    .venv/bin/python bench/estimate.py --lines  # and the worst line of each text

The tokenizers come with LiteLLM's wheel, which the benchmark installs as a peer, pinned by hash:
OpenAI's o200k_base and cl100k_base, and the one that Anthropic has published. Nothing is fetched
at run time. 100 is the true number; the rule must not be far below, or a call reserves too little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from proxy.providers.tokens import of_text  # noqa: E402  # the path comes first

CORPUS = HERE / "corpus"
TEXTS = {
    "English": "english.txt",
    "Russian": "russian.txt",
    "Chinese": "chinese.txt",
    "Arabic": "arabic.txt",
    "Hindi": "hindi.txt",
    "Python": "code.txt",
    "JSON": "tools.json",
}
TOKENIZERS = ("o200k_base", "cl100k_base", "Claude")
# Runs in the peer's own environment: reads a list of texts, writes a list of counts for each.
COUNT = """
import json, os, sys
from pathlib import Path
import importlib.util
found = importlib.util.find_spec("litellm").submodule_search_locations[0]
folder = Path(found, "litellm_core_utils", "tokenizers")
os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
import tiktoken
from tokenizers import Tokenizer
texts = json.load(sys.stdin)
first, second = (tiktoken.get_encoding(name) for name in ("o200k_base", "cl100k_base"))
third = Tokenizer.from_file(str(folder / "anthropic_tokenizer.json"))
json.dump([
    [len(first.encode(t, disallowed_special=())) for t in texts],
    [len(second.encode(t, disallowed_special=())) for t in texts],
    [len(third.encode(t).ids) for t in texts],
], sys.stdout)
"""


class Measured(NamedTuple):
    """One text: its bytes, what the rule says, what the tokenizers do."""

    name: str
    size: int
    rule: int
    real: tuple[int, ...]

    @property
    def percent(self) -> list[int]:
        """The rule in per cent of the truth."""
        return [round(100 * self.rule / real) for real in self.real]

    def row(self) -> str:
        shown = " | ".join(f"{n} ({p} %)" for n, p in zip(self.real, self.percent, strict=True))
        return f"| {self.name} | {self.size} | {self.rule} | {shown} |"


def read(name: str) -> str:
    return (CORPUS / TEXTS[name]).read_text(encoding="utf-8")


def count(python: Path, texts: list[str]) -> list[tuple[int, ...]]:
    """Tokens of each text by each of TOKENIZERS."""
    ran = subprocess.run(
        [python, "-c", COUNT], input=json.dumps(texts), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(f"the tokenizers do not run:\n{ran.stderr}")
    return list(zip(*json.loads(ran.stdout), strict=True))


def environment() -> Path:
    """The peer's interpreter; it is installed from its lock where it is not."""
    from peers import LiteLLM
    from run import FOLDER
    from targets import Workplace
    from tools import build

    place = Workplace(FOLDER, build(FOLDER / "bin", False))
    peer = LiteLLM(place)
    peer.prepare(0)
    return peer.venv / "bin" / "python"


def measure(python: Path, names: list[str], texts: list[str]) -> list[Measured]:
    return [
        Measured(name, len(text.encode()), of_text(text), real)
        for name, text, real in zip(names, texts, count(python, texts), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", action="store_true", help="the worst line of each text too")
    lines = parser.parse_args().lines
    python = environment()
    print(f"| text | bytes | byte rule | {' | '.join(TOKENIZERS)} |")
    print("| --- " * (3 + len(TOKENIZERS)) + "|")
    for found in measure(python, list(TEXTS), [read(name) for name in TEXTS]):
        print(found.row())
    for name in TEXTS if lines else ():
        parts = [line for line in read(name).splitlines() if line.strip()]
        worst = min(measure(python, [name] * len(parts), parts), key=lambda one: min(one.percent))
        print(f"worst line: {worst.row()}")


if __name__ == "__main__":
    main()
