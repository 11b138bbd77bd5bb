"""The mock upstream in Python, for machines without a C compiler: see mock.c, it is the same.

Many times slower than mock.c, so a result made with it says ``"fallback": true``: it may be the
mock that was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from typing import Any

from wire import GoneError, Head, read_body, read_head, reply

STREAM = re.compile(rb'"stream"\s*:\s*true')
USAGE = re.compile(rb'"include_usage"\s*:\s*true')
CHUNK: dict[str, Any] = {
    "id": "chatcmpl-bench",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "bench-model",
}


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


class Mock:
    """What was asked on the command line, the prebuilt answers, the counters."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.chunks: int = args.chunks
        self.interval: float = args.interval_ms / 1000
        self.stats: Counter[str] = Counter()
        self.answer = reply("200 OK", self.answer_body(args.answer_bytes))
        rows = [
            {"id": name, "object": "model", "created": 1700000000, "owned_by": "bench"}
            for name in args.models.split(",")
        ]
        self.listing = reply("200 OK", json.dumps({"object": "list", "data": rows}).encode())

    @staticmethod
    def answer_body(size: int) -> bytes:
        """A chat completion with ``size`` bytes of text."""
        message = {"role": "assistant", "content": ("lorem " * (size // 6 + 1))[:size]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32}
        body = {**CHUNK, "object": "chat.completion", "choices": [choice], "usage": usage}
        return json.dumps(body, separators=(",", ":")).encode()

    def content(self, number: int, usage: bool) -> bytes:
        """The event of one content chunk, stamped now."""
        text = f"ns:{time.clock_gettime_ns(time.CLOCK_MONOTONIC):019d} "
        delta = {"content": text} if number else {"role": "assistant", "content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return event({**CHUNK, "choices": [choice], **({"usage": None} if usage else {})})

    def ending(self, usage: bool) -> bytes:
        """What follows the last content: the finish, the usage when asked for, the mark."""
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        last = event({**CHUNK, "choices": [choice], **({"usage": None} if usage else {})})
        if usage:
            total = {"prompt_tokens": 12, "completion_tokens": self.chunks}
            total["total_tokens"] = self.chunks + 12
            last += event({**CHUNK, "choices": [], "usage": total})
        return last + b"data: [DONE]\n\n"

    async def stream(self, writer: asyncio.StreamWriter, usage: bool, raw: bool) -> None:
        """Send the chunks of one stream, each at its time."""

        def put(data: bytes) -> None:
            writer.write(data if raw else b"%x\r\n%s\r\n" % (len(data), data))

        self.stats["streams"] += 1
        framing = "" if raw else "Transfer-Encoding: chunked\r\n"
        version = "HTTP/1.0" if raw else "HTTP/1.1"
        head = f"{version} 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n"
        writer.write(head.encode())
        due = time.monotonic()
        for number in range(self.chunks):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += self.interval
            put(self.content(number, usage))
            self.stats["chunks"] += 1
            await writer.drain()
        put(self.ending(usage))
        writer.write(b"" if raw else b"0\r\n\r\n")
        await writer.drain()
        self.stats["streams_done"] += 1

    async def completion(self, head: Head, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer a chat completion; whether the connection goes on."""
        self.stats["requests"] += 1
        self.stats["bytes_in"] += len(body)
        raw = head.first[-1] == "HTTP/1.0"
        if STREAM.search(body):
            try:
                await self.stream(writer, bool(USAGE.search(body)), raw)
            except OSError:
                self.stats["streams_aborted"] += 1
                raise
        else:
            writer.write(self.answer)
            raw = False
        self.stats["answered"] += 1
        return not raw

    def other(self, method: str, path: str) -> bytes:
        """The answer to everything but completions."""
        if method == "GET" and path.endswith("/models"):
            return self.listing
        if method == "GET" and path.endswith("/__stats"):
            names = "connections requests answered not_found streams streams_done"
            names += " streams_aborted chunks bytes_in"
            counts = {name: self.stats[name] for name in names.split()}
            return reply("200 OK", json.dumps({**counts, "fallback": True}).encode())
        self.stats["not_found"] += 1
        return reply("404 Not Found", b'{"error":{"message":"no such route","type":"mock"}}')

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        self.stats["connections"] += 1
        going = True
        try:
            while going:
                head = await read_head(reader)
                body = await read_body(reader, head)
                method, path = head.first[0], head.first[1].split("?")[0]
                going = not head.closes()
                if method == "POST" and path.endswith("/chat/completions"):
                    going = await self.completion(head, body, writer) and going
                else:
                    writer.write(self.other(method, path))
                await writer.drain()
        except (GoneError, OSError):
            pass
        finally:
            writer.close()


async def main() -> None:
    """Serve until killed, an hour at most."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--interval-ms", type=int, default=100)
    parser.add_argument("--answer-bytes", type=int, default=400)
    parser.add_argument("--models", default="bench-model")
    args = parser.parse_args()
    mock = Mock(args)
    server = await asyncio.start_server(mock.serve, args.host, args.port, backlog=4096)
    async with server:
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main())
