"""Short ways to say a call and a stream, for the tests of adapters and readers."""

import json
import tempfile
from pathlib import Path
from typing import Any

from bsod.lib.multipart import Form, FormReader
from bsod.lib.spool import Spool
from proxy.providers.base import Asked, WholeReader
from proxy.providers.chat import ChatStream
from proxy.providers.readers import whole_reader


def asked(**more: Any) -> Asked:
    values: dict[str, Any] = {
        "path": "chat/completions",
        "body": {"messages": [{"role": "user", "content": "Hi"}]},
        "stream": True,
        "upstream_model": "m",
        "model": "m",
        "limit": 50,
        "choices": 1,
        "wants_usage": False,
        "user": "an-opaque-hash",
    }
    return Asked(**values | more)


def event(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


def chunk(text: str | None = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of one choice; `delta` and `index` may be given among the rest."""
    delta = more.pop("delta", {} if text is None else {"content": text})
    choice = {"index": more.pop("index", 0), "delta": delta, "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return {**head, "choices": [choice], **more}


def usage(prompt: Any = 5, completion: Any = 2, **more: Any) -> dict[str, Any]:
    total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 7}
    return {**total, **more}


def final(**more: Any) -> dict[str, Any]:
    """The extra chunk that carries usage."""
    return {**chunk(), "choices": [], "usage": usage(), **more}


def said(out: bytes) -> list[Any]:
    """The events a client gets, parsed; `[DONE]` stays a string."""
    found = []
    for part in out.split(b"\n\n"):
        if part:
            assert part.startswith(b"data: ")
            assert b"\n" not in part, "one line is one event"
            text = part[6:].decode()
            found.append(text if text == "[DONE]" else json.loads(text))
    return found


def played(reader: ChatStream, *events: Any, size: int | None = None) -> list[Any]:
    """Feed events, whole or `size` bytes at a time; everything the client got before the end."""
    data = b"".join(item if isinstance(item, bytes) else event(item) for item in events)
    step = size or len(data) or 1
    out = b"".join(reader.feed(data[at : at + step]) for at in range(0, len(data), step))
    return said(out)


def named(name: str, value: Any) -> bytes:
    """An event with a name, as responses, runs and media have them."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


def typed(name: str, **more: Any) -> bytes:
    """The same, its name in its data too."""
    return named(name, {"type": name, **more})


def heard(out: bytes) -> list[tuple[str, Any]]:
    """Named events a client gets: the name, and the parsed data."""
    found = []
    for part in out.split(b"\n\n"):
        if part:
            name, data = part.split(b"\n")
            assert name.startswith(b"event: ")
            assert data.startswith(b"data: ")
            text = data[6:].decode()
            found.append((name[7:].decode(), text if text == "[DONE]" else json.loads(text)))
    return found


def read_whole(call: Asked, reply: Any) -> WholeReader:
    """The reader of a whole answer, fed."""
    reader = whole_reader(call)
    reader.whole(reply if isinstance(reply, bytes) else json.dumps(reply).encode())
    return reader


def form_of(boundary: bytes, *parts: bytes) -> Form:
    """A form of parts that are written out, heads and all."""
    spool = Spool(Path(tempfile.gettempdir()))
    reader = FormReader(b"multipart/form-data; boundary=" + boundary, spool)
    reader.feed(form_bytes(boundary, *parts))
    return reader.finish()


def form_bytes(boundary: bytes, *parts: bytes) -> bytes:
    lines = [b"--%b\r\n%b\r\n" % (boundary, part) for part in parts]
    return b"".join([*lines, b"--%b--\r\n" % boundary])


def field(name: str, value: str, more: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return (head + value).encode()
