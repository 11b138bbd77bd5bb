"""The scenarios: what is asked of a running target, and what is written down about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import Moment, between
from proc import Process, cores, cpu_us, run_quietly
from targets import MODEL, UPSTREAM_KEY, Gateway, Ours
from tools import Tools

CONNECTIONS = 64
BIG_BODY = 50_000
INTERVAL_MS = 100
STREAM_GRACE_SECONDS = 30

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured. Times in seconds, the ramp in ms."""

    form: str
    rounds: int
    loop: float
    big: float
    single: float
    warmup: float
    streams: int
    chunks: int
    ramp_ms: int
    idle: float


FULL = Plan(
    "full", 3, loop=5, big=4, single=2, warmup=2, streams=1000, chunks=100, ramp_ms=2000, idle=60
)
QUICK = Plan(
    "quick",
    1,
    loop=3,
    big=2,
    single=1.5,
    warmup=0.5,
    streams=1000,
    chunks=40,
    ramp_ms=1500,
    idle=12,
)


def write_bodies(folder: Path) -> dict[str, Path]:
    """The request bodies, compact as the official SDKs send them: small, 50 KB, a stream."""
    small = {"model": MODEL, "max_tokens": 64}
    text = ("The quick brown fox jumps over the lazy dog. " * (BIG_BODY // 45 + 1))[:BIG_BODY]
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    bodies = {
        "small": {**small, "messages": [{"role": "user", "content": "Hello, how are you?"}]},
        "big": {**small, "messages": [{"role": "user", "content": text}]},
        "stream": {**small, **stream, "messages": [{"role": "user", "content": "Hello"}]},
    }
    for name, body in bodies.items():
        (folder / f"{name}.json").write_text(json.dumps(body, separators=(",", ":")))
    return {name: folder / f"{name}.json" for name in bodies}


def measured(row: Row) -> Row:
    """Without the times of what never came: a latency of 0 would pass every bar."""
    empty = not row["requests"] if row["mode"] == "closed" else not row["chunks"]
    times = [name for name in row if name.endswith(("_us", "_ms"))]
    return {name: value for name, value in row.items() if not (empty and name in times)}


def unclear(row: Row) -> int:
    """How many requests had another end than a whole 200: their entry may be there or not."""
    refused = sum(count for status, count in row["status"].items() if status != "200")
    return int(refused + row["unanswered"] + row["errors"])


@dataclass(frozen=True)
class Bench:
    """Runs the load generator against a target, and accounts for the CPU that it took."""

    tools: Tools
    plan: Plan
    mock: Process
    mock_port: int
    bodies: dict[str, Path]

    def load(self, gateway: Gateway, body: str, *words: str, timeout: float) -> Row:
        """One run of the load generator on the mock's core; adds CPU µs per answered request."""
        command = [*self.tools.load, "--port", str(gateway.port), "--path", gateway.path]
        command += ["--body", str(self.bodies[body]), *words]
        command += ["--key", gateway.key] if gateway.key else []
        for name, value in gateway.headers.items():
            command += ["--header", f"{name}: {value}"]
        before, cpu = self.moment(gateway), cpu_us(gateway.process.pid)
        row = measured(json.loads(run_quietly(command, timeout, core=cores()[0])))
        row["cpu_us"] = cpu_us(gateway.process.pid) - cpu
        if row["answered"]:
            row["cpu_us_per_request"] = round(row["cpu_us"] / row["answered"], 1)
        return row | between(before, self.moment(gateway))

    def moment(self, gateway: Gateway) -> Moment:
        """The machine's state, knowing what is ours."""
        return Moment.now([gateway.process.pid, self.mock.pid])

    def closed(self, gateway: Gateway, body: str, connections: int, seconds: float) -> Row:
        """The closed loop for ``seconds``, after a warm-up that only its answers count of."""

        def run(length: float) -> Row:
            words = ["--connections", str(connections), "--seconds", str(length)]
            return self.load(gateway, body, *words, timeout=length + 60)

        warm, row = run(self.plan.warmup), run(seconds)
        row["answered"] += warm["answered"]
        row["unclear"] = unclear(warm) + unclear(row)
        return row

    def slow_streams(self, gateway: Gateway) -> Row:
        """``plan.streams`` streams at once; adds CPU µs per relayed chunk."""
        plan = self.plan
        length = plan.chunks * INTERVAL_MS / 1000 + plan.ramp_ms / 1000
        limit = length + STREAM_GRACE_SECONDS
        words = ["--streams", str(plan.streams), "--ramp", str(plan.ramp_ms)]
        words += ["--timeout", str(limit)]
        row = self.load(gateway, "stream", *words, timeout=limit + 60)
        row["unclear"] = row["failed"]
        row["core_percent"] = round(row["cpu_us"] / row["seconds"] / 1e4, 1)
        if row["chunks"]:
            row["cpu_us_per_chunk"] = round(row["cpu_us"] / row["chunks"], 1)
        return row

    def added_latency(self, gateway: Gateway) -> Row:
        """One connection: the target's p50 minus the mock's own, asked right before; in ms."""
        direct = Gateway(self.mock, self.mock_port, UPSTREAM_KEY)
        base = self.closed(direct, "small", 1, min(1.0, self.plan.single))
        row = self.closed(gateway, "small", 1, self.plan.single)
        if "p50_us" in row:
            row["direct_p50_us"] = base["p50_us"]
            row["added_p50_ms"] = round((row["p50_us"] - base["p50_us"]) / 1000, 3)
        return row

    def idle_memory(self, gateway: Gateway) -> Row:
        """The worker's Pss after it has had nothing to do for ``plan.idle`` seconds."""
        time.sleep(self.plan.idle)
        size = Ours.worker_mb(gateway)
        found = {"pss_mb": size} if size else {}
        return {**found, "idle_seconds": self.plan.idle, "answered": 0}


def scenarios(bench: Bench, name: str, last: bool) -> dict[str, Callable[[Gateway], Row]]:
    """What is asked of a target in one round; memory and peers' streams in the last one only."""
    plan = bench.plan
    todo: dict[str, Callable[[Gateway], Row]] = {
        "loop": lambda gateway: bench.closed(gateway, "small", CONNECTIONS, plan.loop),
        "big": lambda gateway: bench.closed(gateway, "big", CONNECTIONS, plan.big),
        "single": bench.added_latency,
    }
    if name == "ours" or (last and plan.form == "full"):
        todo["streams"] = bench.slow_streams
    if name == "ours" and last:
        todo["idle"] = bench.idle_memory
    return todo
