"""The worker class: gunicorn's own ASGI worker with the fast lane before it and six things set
right.

- It listens with a backlog of 100 whatever gunicorn's setting says; ours is the setting's.
- A client that leaves while we wait for it to read would leave the writer waiting for ever.
- A client that never ends its first head would be kept for ever.
- At SIGTERM idle connections are closed at once and calls get `DRAIN_SECONDS` to end.
- What is no HTTP is refused in the API's own shape.
- A request refused before its body was read: closing at once would make the client's kernel
  throw our answer away, so what still comes is taken for a moment and dropped.
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

LINGER = 2.0  # seconds
HEAD = 10.0  # seconds a first head may take


class Protocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    def connection_made(self, transport: Any) -> None:
        self.worker.protocols.add(self)
        super().connection_made(transport)
        if self._request_ready:
            # gunicorn would wait for the end of a first head for ever.
            patience = min(HEAD, self._keepalive or HEAD)
            self._keepalive_handle = self.worker.loop.call_later(patience, self._keepalive_timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._flow_control:
            # Nobody will make this transport writable again: let the writer find out.
            self._flow_control.resume_writing()

    def close_if_idle(self) -> None:
        if self._awaiting_request:
            self._keepalive_timeout()

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
        self._closed: bool = True
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
