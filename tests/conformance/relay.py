"""A relay on the wire: every byte goes on unchanged, every call and its answer is written down.

It stands before the gateway and before the provider, so that what was called is known from the
wire, and not from those who called or answered.
"""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import Any

import httptools

_PIECE = 65_536


@dataclass(frozen=True)
class Call:
    """One request and the head of its answer; `status` 0 when none came."""

    method: str
    target: str
    status: int = 0
    request_id: str = ""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class _Requests:
    """What the client's side of one connection says, in httptools' callbacks."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.asked: list[tuple[str, str]] = []

    def on_message_begin(self) -> None:
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers_complete(self) -> None:
        self.asked.append((self.parser.get_method().decode(), self.target.decode("latin-1")))


class _Answers:
    """The other side: each head of an answer belongs to the oldest request without one."""

    def __init__(self, requests: _Requests, calls: list[Call]) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.requests, self.calls, self.id = requests, calls, ""

    def on_message_begin(self) -> None:
        self.id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self.id = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200 and self.requests.asked:
            method, target = self.requests.asked.pop(0)
            self.calls.append(Call(method, target, status, self.id))


@dataclass
class Relay:
    """`with Relay(port) as relay:` listens on `relay.port` in a thread of its own."""

    target: int
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """What the wire had that is no HTTP; nothing was counted from there on."""

    def __enter__(self) -> "Relay":
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise OSError("the relay could not listen on the loopback")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._end, running = asyncio.Event(), set[asyncio.Task[None]]()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            running.add(task)
            task.add_done_callback(running.discard)

        server = await asyncio.start_server(accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._end.wait()
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = _Requests()
        answers = _Answers(requests, self.calls)
        other: asyncio.StreamWriter | None = None
        try:
            there, other = await asyncio.open_connection("127.0.0.1", self.target)
            ends = [
                asyncio.ensure_future(self._pump(reader, other, requests.parser)),
                asyncio.ensure_future(self._pump(there, writer, answers.parser)),
            ]
            # Whoever leaves first, the other is told at once: so a client's hanging up arrives.
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        except OSError:
            pass  # nobody listens there; the client sees its connection close
        finally:
            self.calls += [Call(method, target) for method, target in requests.asked]
            for each in (writer, other):
                if each is not None:
                    with contextlib.suppress(OSError, RuntimeError):
                        each.close()

    async def _pump(
        self, source: asyncio.StreamReader, drain: asyncio.StreamWriter, parser: Any
    ) -> None:
        readable = True
        with contextlib.suppress(OSError):
            while data := await source.read(_PIECE):
                if readable:
                    try:
                        parser.feed_data(data)
                    except httptools.HttpParserError as error:
                        self.unread.append(f"{error}: {data[:60]!r}")
                        readable = False
                drain.write(data)
                await drain.drain()
