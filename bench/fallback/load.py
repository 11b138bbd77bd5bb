"""The load generator in Python, for machines without a C compiler: see load.c, it is the same.

Its own cost is part of every latency it reports, so its results say ``"fallback": true``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from wire import GoneError, Head, read_body, read_chunk, read_head

DRAIN_SECONDS = 20
MAX_ERRORS = 20000


def clock() -> int:
    """The monotonic clock that all processes of a machine share, ns."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def quantile(values: list[int], q: float) -> int:
    """The q-th part's value of a sorted list, in the unit of the list; 0 of an empty one."""
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0


class Load:
    """One run: its options, its counters, its samples (ns)."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.count: Counter[str] = Counter()
        self.status: Counter[str] = Counter()
        self.latency: list[int] = []
        self.delay: list[int] = []
        self.first: list[int] = []
        self.end = 0
        self.request = self.build(Path(args.body).read_bytes())

    def build(self, body: bytes) -> bytes:
        """The bytes of the request, the same each time."""
        args = self.args
        lines = [
            f"POST {args.path} HTTP/1.1",
            f"Host: {args.host}:{args.port}",
            "Content-Type: application/json",
            "Accept: */*",
            *([f"Authorization: Bearer {args.key}"] if args.key else []),
            *args.header,
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A fresh connection to what is measured."""
        return await asyncio.open_connection(self.args.host, self.args.port, limit=1 << 25)

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Head:
        """One request of the closed loop; the answer's head."""
        began = clock()
        writer.write(self.request)
        head = await read_head(reader)
        await read_body(reader, head)
        now = clock()
        self.status[head.first[1]] += 1
        if head.first[1] == "200":
            self.count["answered"] += 1
            if now <= self.end:
                self.latency.append(now - began)
        return head

    async def loop(self) -> None:
        """One connection of the closed loop, opened anew when it breaks."""
        while clock() < self.end and self.count["errors"] <= MAX_ERRORS:
            writer = None
            try:
                reader, writer = await self.connect()
                while clock() < self.end:
                    if (await self.ask(reader, writer)).closes():
                        break
            except (GoneError, OSError):
                self.count["errors"] += 1
            except asyncio.CancelledError:
                self.count["unanswered"] += 1
                raise
            finally:
                if writer:
                    writer.close()

    async def closed(self) -> dict[str, Any]:
        """The closed-loop mode."""
        args = self.args
        self.end = clock() + int(args.seconds * 1e9)
        tasks = [asyncio.create_task(self.loop()) for _ in range(args.connections)]
        _, late = await asyncio.wait(tasks, timeout=args.seconds + DRAIN_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        times = sorted(self.latency)
        result: dict[str, Any] = {"mode": "closed", "connections": args.connections}
        result |= {"seconds": args.seconds, "requests": len(times)}
        result |= {"rps": len(times) / args.seconds}
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1)):
            result[f"{name}_us"] = quantile(times, q) / 1e3
        return result

    def line(self, line: bytes, began: int, seen: Counter[str]) -> None:
        """Take one line of a stream into account."""
        if line.startswith(b"event") and b"error" in line:
            seen["wrong"] += 1
        if not line.startswith(b"data:"):
            return
        seen["wrong"] += b'"error":' in line
        seen["done"] += b"[DONE]" in line
        self.count["usage_chunks"] += b'"usage":{' in line or b'"usage": {' in line
        at = line.find(b"ns:")
        if at < 0:
            return
        now = clock()
        self.delay.append(max(0, now - int(line[at + 3 : at + 22])))
        if not seen["content"]:
            self.first.append(now - began)
        seen["content"] += 1

    async def read_stream(self, reader: asyncio.StreamReader, head: Head, began: int) -> bool:
        """Read a stream to its end; whether it was a whole one."""
        chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        seen: Counter[str] = Counter()
        rest = b""
        while data := await (read_chunk(reader) if chunked else reader.read(65536)):
            self.count["bytes"] += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.line(line, began, seen)
        self.count["error_events"] += seen["wrong"] > 0
        return head.first[1] == "200" and seen["done"] > 0 and not seen["wrong"]

    async def one_stream(self, wait: float) -> bool:
        """Open one stream after ``wait`` seconds; whether it came whole."""
        await asyncio.sleep(wait)
        self.count["open"] += 1
        self.count["peak"] = max(self.count["peak"], self.count["open"])
        writer = None
        try:
            reader, writer = await self.connect()
            began = clock()
            writer.write(self.request)
            head = await read_head(reader)
            self.status[head.first[1]] += 1
            return await self.read_stream(reader, head, began)
        except (GoneError, OSError, ValueError, asyncio.IncompleteReadError):
            return False
        finally:
            self.count["open"] -= 1
            if writer:
                writer.close()

    async def streams(self) -> dict[str, Any]:
        """The slow-streams mode."""
        args = self.args
        began = clock()
        pause = args.ramp / 1000 / args.streams
        tasks = [asyncio.create_task(self.one_stream(i * pause)) for i in range(args.streams)]
        done, late = await asyncio.wait(tasks, timeout=args.timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        complete = sum(task.result() for task in done)
        self.count["answered"] = complete
        self.count["unanswered"] = len(late)
        result: dict[str, Any] = {"mode": "streams", "streams": args.streams}
        result |= {"seconds": (clock() - began) / 1e9, "peak": self.count["peak"]}
        result |= {"complete": complete, "failed": args.streams - complete}
        result |= {name: self.count[name] for name in ("error_events", "usage_chunks", "bytes")}
        result["chunks"] = len(self.delay)
        delay, first = sorted(self.delay), sorted(self.first)
        for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
            result[f"delay_{name}_ms"] = quantile(delay, q) / 1e6
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            result[f"first_{name}_ms"] = quantile(first, q) / 1e6
        return result

    async def run(self) -> dict[str, Any]:
        """The mode that was asked for, and what both report."""
        result = await (self.streams() if self.args.streams else self.closed())
        result["status"] = dict(self.status)
        for name in ("answered", "unanswered", "errors"):
            result[name] = self.count[name]
        return {**result, "fallback": True}


def options() -> argparse.Namespace:
    """The same options as load.c."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--key", default="")
    parser.add_argument("--body", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--ramp", type=int, default=1000)
    parser.add_argument("--timeout", type=float, default=60)
    args = parser.parse_args()
    if (args.connections > 0) == (args.streams > 0):
        parser.error("one of --connections N, --streams N")
    return args


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Load(options()).run())))
