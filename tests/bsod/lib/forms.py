"""Forms as bytes, and what becomes of them."""

from typing import Any

from bsod.lib.multipart import Form, FormReader
from bsod.lib.spool import Spool

TYPE = b"multipart/form-data; boundary=B0"


def part(name: str, content: bytes = b"", filename: str | None = None, *lines: str) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = "\r\n".join([f'Content-Disposition: form-data; name="{name}"{named}', *lines])
    return head.encode() + b"\r\n\r\n" + content


def form(*parts: bytes, end: bytes = b"--B0--\r\n") -> bytes:
    return b"".join(b"--B0\r\n" + each + b"\r\n" for each in parts) + end


def read(spool: Spool, data: bytes, kind: bytes = TYPE, **limits: Any) -> Form:
    reader = FormReader(kind, spool, **limits)
    for start in range(0, len(data), 7_001):
        reader.feed(data[start : start + 7_001])
    return reader.finish()


def sent(form: Form, **how: Any) -> bytes:
    body = form.body(**how)
    data = b"".join(body.chunks())
    assert len(data) == body.length
    return data
