"""The README's table, made from the latest full run in ``.bench/results.jsonl``, never by hand.

``python bench/table.py`` prints it; ``--write`` puts it into README.md, between the markers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from report import Medians, number, ratio

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".bench" / "results.jsonl"
START, END = "<!-- bench -->", "<!-- /bench -->"
COLUMNS = [
    ("requests/s", "rps"),
    ("CPU µs/request", "cpu_us"),
    ("50 KB bodies/s", "big_rps"),
    ("added p50, ms", "added_ms"),
    ("slow streams, of {streams}", "streams"),
    ("p99 chunk delay, ms", "delay_p99_ms"),
    ("CPU µs/chunk", "chunk_cpu_us"),
]


def latest(lines: list[str], form: str) -> dict[str, Any] | None:
    """The newest summary of a run of this form that measured ours beside something else."""
    for line in reversed(lines):
        row: dict[str, Any] = json.loads(line)
        if row["kind"] == "summary" and row["form"] == form and "ours" in row["medians"]:
            return row
    return None


def title(target: str, summary: dict[str, Any]) -> str:
    """A row's first cell."""
    if target == "ours":
        return "**BSOD, durable ledger**"
    return f"{target} {summary['versions'][target]}"


def cells(over: Medians, target: str) -> list[str]:
    """One row's numbers, and how many times faster ours is."""
    times = ratio(over, target, "rps")
    values = [number(over.get(target, {}).get(metric)) for _, metric in COLUMNS]
    return [*values, "" if target == "ours" else number(times)]


def markdown(summary: dict[str, Any]) -> str:
    """The table, and under it what the numbers depend on."""
    over, machine = summary["medians"], summary["machine"]
    head = ["one worker, one core", *(name.format(**summary) for name, _ in COLUMNS), "ours / it"]
    rows = [[title(name, summary), *cells(over, name)] for name in summary["targets"]]
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in [head, rule, *rows]]
    idle = number(over["ours"].get("idle_mb"))
    note = (
        f"Medians of {summary['rounds']} interleaved rounds on {summary['when'][:10]}: "
        f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}, "
        f"fsync p50 {summary['fsync_ms']} ms, others' CPU up to {summary['others_percent']} %. "
        f"64 connections; added p50 is at 1 connection; an idle worker of ours holds {idle} MB. "
        "Only ratios within one run mean something: `make bench` makes them for your machine."
    )
    return "\n".join([*lines, "", note])


def written(readme: str, table: str) -> str:
    """The README with the table between its markers."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"README.md has no {START} … {END}")
    return f"{before}{START}\n{table}\n{END}{after}"


def main() -> int:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into README.md")
    parser.add_argument("--form", default="full", choices=["full", "quick"])
    args = parser.parse_args()
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    summary = latest(lines, args.form)
    if not summary:
        print(f"no {args.form} run of ours in {RESULTS}: `make bench` first", file=sys.stderr)
        return 1
    if args.write:
        readme = ROOT / "README.md"
        readme.write_text(written(readme.read_text(), markdown(summary)))
    else:
        print(markdown(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
