"""The worker class: gunicorn's own ASGI worker with the fast lane before it and nine things set
right.

- It listens with a backlog of 100 whatever gunicorn's setting says; ours is the setting's.
- A client that leaves while we wait for it to read would leave the writer waiting for ever.
- A client that never ends its first head would be kept for ever.
- At SIGTERM idle connections are closed at once and calls get `DRAIN_SECONDS` to end.
- What is no HTTP is refused in the API's own shape.
- A request refused before its body was read: closing at once would make the client's kernel
  throw our answer away, so what still comes is taken for a moment and dropped.
- A body that comes one byte at a time would hold its connection for days: it must come at a
  minimum rate. While we do not read (256 KB wait for the application) nobody is blamed.
- An application can break its answer off, so that no client takes it for whole.
- What a client has sent ahead before it left is dropped, where it would end as an exception.
"""

import asyncio
import weakref
from collections.abc import Iterable
from typing import Any

import gunicorn.workers.gasgi as gasgi
import orjson
from gunicorn.asgi.protocol import ASGIProtocol

from bsod.lib import ids
from proxy.errors import ApiError, Code
from proxy.gateway.exchange import ABORT, reset

LINGER = 2.0  # seconds
HEAD = 10.0  # seconds a first head may take
RATE = 500  # bytes a second of a body
GRACE = 30.0  # seconds of that rate a body may lag behind; at most half the server's timeout


class Protocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    body_bytes = 0
    """Of all requests of the connection."""
    _pace: "_Pace | None" = None

    def connection_made(self, transport: Any) -> None:
        self.worker.protocols.add(self)
        super().connection_made(transport)
        if self._request_ready:
            # gunicorn would wait for the end of a first head for ever.
            patience = min(HEAD, self._keepalive or HEAD)
            self._keepalive_handle = self.worker.loop.call_later(patience, self._keepalive_timeout)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        receiver = self._body_receiver
        if receiver is not None and not receiver._complete and self._pace is None:
            self._pace = _Pace(self)

    def _feed_callback_parser(self, data: bytes) -> bool:
        # What was sent ahead by a client that has left since: his transport has no address any
        # more, and says so with an exception.
        return not self.transport.is_closing() and super()._feed_callback_parser(data)

    def _on_body(self, chunk: bytes) -> None:
        self.body_bytes += len(chunk)
        super()._on_body(chunk)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._pace:
            self._pace.timer.cancel()
        super().connection_lost(exc)
        if self._flow_control:
            # Nobody will make this transport writable again: let the writer find out.
            self._flow_control.resume_writing()

    def close_if_idle(self) -> None:
        if self._awaiting_request:
            self._keepalive_timeout()

    def abort(self) -> None:
        if not self._closed:
            self._closed: bool = True
            reset(self.transport)

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._build_http_scope(request, sockname, peername)
        scope["extensions"] = {**scope.get("extensions", {}), ABORT: self.abort}
        return scope

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        # Decided when an answer begins: what is unread then cannot be told from a next request.
        receiver = self._body_receiver
        unread = receiver is not None and not receiver._complete
        return unread or super()._will_close(request, response_requires_close)

    def _close_transport(self) -> None:
        receiver = self._body_receiver
        if receiver is None or receiver._complete or self.transport.is_closing():
            super()._close_transport()
            return
        self._closed = True
        self._callback_parser = None  # whatever comes now is read by nobody
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._resume_reading()
        self.worker.loop.call_later(LINGER, self.transport.close)

    def _send_error_response(
        self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        code = Code.INTERNAL_ERROR if status == 500 else Code.INVALID_REQUEST
        body = orjson.dumps(ApiError(code, message).body())
        lines = [
            f"HTTP/1.1 {status} {self._get_reason_phrase(status)}",
            *(f"{name}: {value}" for name, value in extra_headers),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"x-request-id: {ids.ulid()}",
            "access-control-allow-origin: *",
            "Connection: close",
        ]
        self._safe_write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


class _Pace:
    """Whether the bodies of a connection come fast enough. One timer: it looks, no chunk re-arms
    it. A body has credit for some seconds; each second costs it, and its bytes earn it back."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._grace = min(GRACE, (protocol.cfg.timeout or 2 * GRACE) / 2)
        self._receiver = protocol._body_receiver
        self._credit, self._seen = self._grace * RATE, protocol.body_bytes
        self._wait()

    def _wait(self) -> None:
        self.timer = self._protocol.worker.loop.call_later(self._grace / 6, self._look)

    def _look(self) -> None:
        protocol, full = self._protocol, self._grace * RATE
        receiver = protocol._body_receiver
        if receiver is None or receiver._complete or protocol._closed:
            protocol._pace = None
            return
        came, self._seen = protocol.body_bytes - self._seen, protocol.body_bytes
        ours = protocol._reading_paused or receiver.expect_continue
        if ours or receiver is not self._receiver:
            self._receiver, self._credit = receiver, full
        self._credit = min(full, self._credit + came) - full / 6
        if self._credit >= 0:
            self._wait()
            return
        # As gunicorn ends the wait for a body that stands still: the application hears that its
        # client is gone, and answers 408.
        receiver._body_wait_expired = True
        receiver._wake_waiter()


def _connect(worker: "Worker") -> asyncio.Protocol:
    """The lane speaks no TLS, keeps connections and logs no access: who asks gunicorn for
    something else gets it from gunicorn."""
    if worker.cfg.is_ssl or not worker.cfg.keepalive or worker.log.access_log_enabled:
        return Protocol(worker)
    lane: asyncio.Protocol = worker.asgi.lane(worker, Protocol)
    return lane


# The worker makes its protocols by this name.
gasgi.ASGIProtocol = _connect


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.protocols: weakref.WeakSet[Any] = weakref.WeakSet()

    def handle_exit_signal(self) -> None:
        super().handle_exit_signal()
        self.asgi.drain()
        self._close_idle()

    def notify(self) -> None:
        # Called once a second from the loop, first when the listeners are up.
        super().notify()
        if not getattr(self, "_listening", False):
            self._listening = True
            for listener in self.sockets:
                listener.sock.listen(self.cfg.backlog)

    def _close_idle(self) -> None:
        for protocol in list(self.protocols):
            protocol.close_if_idle()
        if self.nr_conns:
            self.loop.call_later(0.2, self._close_idle)
