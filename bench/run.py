"""``make bench``: our gateway beside the floor and other gateways, on this machine, as ratios.

Everything stays on 127.0.0.1 and under ``.bench/``; every loop is bounded; whatever was started is
stopped, also on Ctrl-C. Exit 0: every bar holds. 1: one does not, the page says which and by how
much. 2: something could not be run at all.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from machine import describe, fsync_p50_ms
from measure import FULL, INTERVAL_MS, QUICK, Bench, Plan, scenarios, write_bodies
from peers import PEERS, default_peers
from proc import Process, StartError, Supervisor, clean_env, cores, free_port, wait_http
from report import Row, bars, ledger_bars, medians, page
from targets import ROOT, Floor, Ours, Target, Workplace, chat
from tools import Tools, build

FOLDER = ROOT / ".bench"
FAILURES = (StartError, OSError, ValueError, subprocess.TimeoutExpired)
FALLBACK_STREAMS = 200  # what the tools in Python can carry on one core


class Results:
    """The rows of this run, written to ``.bench/results.jsonl`` as they come."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.form = plan.form

    def write(self, kind: str, row: Row) -> None:
        """Append one line."""
        whole = {"kind": kind, "when": self.when, "form": self.form, **row}
        with self.path.open("a") as out:
            out.write(json.dumps(whole) + "\n")
        if kind == "row":
            self.rows.append(whole)

    def worst(self, name: str) -> float:
        """The highest of a field that says how much the machine was disturbed."""
        return float(max((row[name] for row in self.rows if name in row), default=0.0))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Two runs at once would measure each other."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StartError("another bench is running") from exc
        yield


def say(text: str) -> None:
    """Progress, kept apart from the page."""
    print(text, file=sys.stderr, flush=True)


def start_mock(tools: Tools, plan: Plan, supervisor: Supervisor) -> tuple[Process, int]:
    """The upstream of everybody, for the whole run."""
    port = free_port()
    command = [*tools.mock, "--port", str(port), "--chunks", str(plan.chunks)]
    command += ["--interval-ms", str(INTERVAL_MS)]
    process = supervisor.start("mock", command, cores()[0], clean_env(FOLDER / "home"))
    wait_http(process, port, "/v1/models", 10)
    return process, port


@contextlib.contextmanager
def optional(target: Target, lost: dict[str, str]) -> Iterator[None]:
    """A peer that fails is left out and named on the page; the floor and ours must work."""
    try:
        yield
    except FAILURES as exc:
        if target.name not in PEERS:
            raise
        lost[target.name] = str(exc)
        say(f"{target.name} is left out: {exc}")


def one_round(
    bench: Bench, target: Target, number: int, supervisor: Supervisor, results: Results
) -> None:
    """Start a target, ask everything of it, stop it."""
    last = number == bench.plan.rounds
    gateway = target.start(supervisor)
    try:
        chat(gateway)
        results.write(
            "row", {"target": target.name, "round": number, "scenario": "probe", "answered": 1}
        )
        for name, scenario in scenarios(bench, target.name, last).items():
            say(f"round {number}/{bench.plan.rounds}  {target.name:8} {name}")
            row = {"target": target.name, "round": number, "scenario": name, **scenario(gateway)}
            results.write("row", row)
            if gateway.process.dead():
                raise StartError(
                    f"{target.name} died in `{name}`, {gateway.process.how_it_ended()}"
                )
    finally:
        supervisor.stop(gateway.process)


def check_ledger(ours: Ours, rows: list[Row]) -> Row:
    """The ledger's own check, and its entries against the answers that were counted."""
    mine = [row for row in rows if row["target"] == "ours"]
    return {
        "audit": ours.audit(),
        "entries": ours.entries() - ours.entries_before,
        "answered": sum(row["answered"] for row in mine),
        "unclear": sum(row.get("unclear", 0) for row in mine),
    }


def summarise(results: Results, plan: Plan, more: Row, targets: list[Target]) -> Row:
    """The last line of a run: medians, bars, and everything they depend on."""
    over = medians(results.rows)
    names = [target.name for target in targets]
    found = bars(over, more["fsync_ms"], plan.form == "quick", names)
    found += ledger_bars(more["ledger"]) if "ledger" in more else []
    summary = {
        "rounds": plan.rounds,
        "streams": plan.streams,
        "targets": names,
        "versions": {target.name: target.version for target in targets},
        "machine": describe(),
        "medians": over,
        "bars": [bar.row() for bar in found],
        "lines": [bar.line() for bar in found],
        "passed": all(bar.passed for bar in found),
        **{name: results.worst(name) for name in ("others_percent", "steal_percent", "loadavg")},
        **more,
    }
    results.write("summary", summary)
    return {"when": results.when, "form": plan.form, **summary}


def measure(args: argparse.Namespace, plan: Plan, place: Workplace) -> Row:
    """The whole run."""
    results = Results(FOLDER / "results.jsonl", plan)
    ours = Ours(place)
    everyone: list[Target] = [Floor(place), ours, *(PEERS[name](place) for name in args.peers)]
    targets = [target for target in everyone if not args.only or target.name in args.only]
    more: dict[str, Any] = {"fallback": place.tools.fallback, "lost": {}}
    with Supervisor(FOLDER / "logs") as supervisor:
        mock, port = start_mock(place.tools, plan, supervisor)
        bench = Bench(place.tools, plan, mock, port, write_bodies(place.own("bodies")))
        for target in targets:
            say(f"setting up {target.name}")
            with optional(target, more["lost"]):
                target.prepare(port)
        more["fsync_ms"] = fsync_p50_ms(ours.data if ours in targets else FOLDER)
        for number in range(1, plan.rounds + 1):
            for target in targets:
                if target.name not in more["lost"]:
                    with optional(target, more["lost"]):
                        one_round(bench, target, number, supervisor, results)
        if ours in targets:
            more["ledger"] = check_ledger(ours, results.rows)
            if all(bar.passed for bar in ledger_bars(more["ledger"])):
                ours.clean()  # else it is kept, to be looked at, until the next run
    return summarise(results, plan, more, targets)


def names(text: str) -> list[str]:
    """A comma-separated list."""
    return [name for name in text.split(",") if name]


def options() -> argparse.Namespace:
    """The command line."""
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        default=quick,
        help="ours and the floor, under a minute, bars at 0.6 of the aim",
    )
    parser.add_argument("--peers", type=names, help=f"some of {','.join(PEERS)}")
    parser.add_argument("--only", type=names, help="some of floor,ours,<peers>")
    parser.add_argument("--rounds", type=int, help="instead of the form's own number")
    parser.add_argument("--fallback", action="store_true", help="the Python tools")
    args = parser.parse_args()
    if args.peers is None:
        args.peers = [] if args.quick else default_peers()
    if unknown := [name for name in args.peers if name not in PEERS]:
        parser.error(f"no such peer: {', '.join(unknown)}")
    return args


def on_term(number: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that everything is stopped."""
    raise KeyboardInterrupt


def main() -> int:
    """Run, print the page, say by the exit whether the bars hold."""
    args = options()
    signal.signal(signal.SIGTERM, on_term)
    plan = QUICK if args.quick else FULL
    if args.rounds:
        plan = replace(plan, rounds=args.rounds)
    FOLDER.mkdir(exist_ok=True)
    try:
        with alone(FOLDER / "lock"):
            place = Workplace(FOLDER, build(FOLDER / "bin", args.fallback))
            if place.tools.fallback:
                plan = replace(plan, streams=FALLBACK_STREAMS)
            summary = measure(args, plan, place)
    except KeyboardInterrupt:
        say("interrupted; everything that was started is stopped")
        return 130
    except FAILURES as exc:
        say(f"bench could not run: {exc}")
        return 2
    print(page(summary))
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
