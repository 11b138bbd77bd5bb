"""A provider made of real sockets that fails on demand, for tests of the gateway.

    with FaultServer() as up:
        up.script(error(429, retry_after=1), chat("Hi"))
        up.on(error(401), key="sk-dead")
        ...                                    # point the gateway at up.base_url
        assert up.count(key="sk-dead") == 1
        up.wait_for(1, where=lambda seen: seen.client_gone_at)

The pieces, from the wire up: `wire` reads requests strictly, `seen` remembers them, `reply` says
what goes out, `shapes` and `faults` build replies, `script` chooses one, `channel` and `player`
send it, `exchange` is the life of a connection, `server` the thread around it all.
`python -m tests.upstream --port 8900` runs it by hand.
"""

from __future__ import annotations

from .faults import (
    endless_line,
    garbage,
    giant_json,
    gzip_bomb,
    hang,
    redirect,
    split_headers,
)
from .reply import Drip, Gate, Pause, Reply
from .seen import Malformed, Seen
from .server import FaultServer
from .shapes import (
    MODELS,
    PROVIDER_HEADERS,
    chat,
    chat_stream,
    error,
    gemini_error_array,
    json_reply,
    models,
    provider,
    sse,
    sse_frame,
    usage_of,
)

__all__ = [
    "MODELS",
    "PROVIDER_HEADERS",
    "Drip",
    "FaultServer",
    "Gate",
    "Malformed",
    "Pause",
    "Reply",
    "Seen",
    "chat",
    "chat_stream",
    "endless_line",
    "error",
    "garbage",
    "gemini_error_array",
    "giant_json",
    "gzip_bomb",
    "hang",
    "json_reply",
    "models",
    "provider",
    "redirect",
    "split_headers",
    "sse",
    "sse_frame",
    "usage_of",
]
