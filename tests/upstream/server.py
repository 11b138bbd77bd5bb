"""The server itself: a thread with an event loop, and the handle that synchronous tests hold.

The port belongs to the server from its creation to `close()`: while stopped it refuses
connections, and nobody else can take it meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self

from .channel import Channel, WatchedReader
from .exchange import Exchange, Manners
from .script import Answer, Script
from .seen import Journal, Malformed, Seen
from .shapes import provider

BACKLOG = 4096


class FaultServer:
    """A provider on 127.0.0.1 that answers as told. Use as a context manager, or start and close.

    `port` 0 takes a free one. `keep_alive=False` closes after every reply; `idle_timeout` closes
    connections that wait so many seconds for a request. Of each request body `keep_body` bytes
    are kept. `send_buffer` sets the kernel's buffer of each connection, small to make
    back-pressure felt early (the kernel doubles it and has a minimum of about 4 KB).
    """

    def __init__(
        self,
        port: int = 0,
        *,
        keep_alive: bool = True,
        idle_timeout: float | None = None,
        keep_body: int = 128 << 20,
        send_buffer: int | None = None,
    ) -> None:
        self._seat = _bound(port)  # never listens; keeps the port ours while stopped
        self.port: int = self._seat.getsockname()[1]
        self.connections = 0
        """Connections accepted since the server was made."""
        self._manners = Manners(keep_alive, idle_timeout, keep_body)
        self._send_buffer = send_buffer
        self._script = Script(provider)
        self._journal = Journal()
        self._live: dict[Channel, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- life ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a provider row holds: the url with /v1."""
        return self.url + "/v1"

    def start(self) -> Self:
        """Listen; when this returns a client can connect. Harmless when running."""
        if self._loop is None:
            listener = _bound(self.port)
            listener.listen(BACKLOG)
            if self._send_buffer is not None:  # accepted sockets inherit it
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
            self._loop = asyncio.new_event_loop()
            self._halt = self._loop.create_future()
            self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
            self._thread.start()
        return self

    def stop(self, how: Literal["fin", "reset"] = "fin") -> None:
        """Drop every connection and refuse new ones until `start()`. Keeps script and journal."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._halt.set_result, how)
            self._thread.join()
            self._loop.close()
            self._loop = None

    def close(self) -> None:
        """Stop for good and give the port back."""
        self.stop()
        self._seat.close()

    def drop_connections(self, how: Literal["fin", "reset"] = "reset") -> None:
        """Cut every open connection now, as a restarting provider does; keep listening."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._drop(how), self._loop).result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None and self._journal.errors:
            raise self._journal.errors[0]

    # -- script -------------------------------------------------------------------------------

    def script(self, *replies: Answer) -> None:
        """The next requests that no rule takes get these, in order; then the default again."""
        self._script.add(replies)

    def on(
        self,
        replies: Answer | Sequence[Answer],
        *,
        path_suffix: str | None = None,
        key: str | None = None,
        method: str | None = None,
    ) -> None:
        """A rule for requests that meet all given conditions; looked at before the queue, the
        newest first. One reply answers for ever; a list gives each once and then steps aside."""
        self._script.add_rule(replies, path_suffix, key, method)

    @property
    def default(self) -> Answer:
        """What answers when no rule and no queued reply does; a Reply or a function of Seen."""
        return self._script.default

    @default.setter
    def default(self, answer: Answer) -> None:
        self._script.default = answer

    @property
    def pending(self) -> int:
        """Scripted replies that no request has taken yet."""
        return self._script.pending

    def reset(self) -> None:
        """Forget rules, queue, own default and everything seen. Connections stay open."""
        self._script.reset()
        self._journal.reset()

    # -- what happened ------------------------------------------------------------------------

    @property
    def seen(self) -> list[Seen]:
        """Every request since the last reset, in order of arrival, as it stands now."""
        return self._journal.pictures()

    @property
    def malformed(self) -> list[Malformed]:
        """Bytes that were refused as requests; a gateway should never cause one."""
        return list(self._journal.malformed)

    @property
    def errors(self) -> list[Exception]:
        """Exceptions of the test's own reply functions; leaving the `with` raises the first."""
        return list(self._journal.errors)

    def count(
        self, key: str | None = None, path_suffix: str | None = None, method: str | None = None
    ) -> int:
        """How many requests met all given conditions."""
        return len(self._journal.pictures(lambda seen: seen.matches(path_suffix, key, method)))

    def wait_for(
        self, n: int = 1, timeout: float = 5.0, where: Callable[[Seen], object] | None = None
    ) -> list[Seen]:
        """Block until `n` requests (that satisfy `where`) were seen and return them all;
        TimeoutError after `timeout` seconds. `where=lambda s: s.client_gone_at` and the like."""
        return self._journal.wait_for(n, timeout, where)

    @property
    def open_connections(self) -> int:
        """Connections open right now, idle ones included."""
        return len(self._live)

    # -- the loop's side ----------------------------------------------------------------------

    def _run(self, listener: socket.socket) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen(listener))

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._protocol, sock=listener, backlog=BACKLOG)
        how = await self._halt
        # Accept no more; but one accepted just now gets its task some turns later, and a server
        # that is closed by then would leave its socket to the collector of garbage.
        loop.remove_reader(listener)
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await self._drop(how)
            await asyncio.sleep(0)
        server.close()
        await asyncio.sleep(0)  # sockets close in the turn after

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(WatchedReader(), self._connected)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, WatchedReader)
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        channel = Channel(self.connections, reader, writer)
        self._live[channel] = task
        try:
            await Exchange(channel, self._script, self._journal, self._manners).serve()
        except asyncio.CancelledError:
            pass  # _drop() ended us, and waits
        except Exception as failure:
            self._journal.errors.append(failure)
        finally:
            channel.close()
            del self._live[channel]

    async def _drop(self, how: Literal["fin", "reset"]) -> None:
        tasks = dict(self._live)
        for channel, task in tasks.items():
            channel.farewell = how
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _bound(port: int) -> socket.socket:
    # With its protocol named: asyncio knows it for TCP then, and sends small answers at once.
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    return taken
