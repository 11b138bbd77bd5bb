"""Asking a provider, outside the event loop, what has become of something begun there.

One GET at the key that began it, within limits of time and size. The output of a batch is read
line by line: only its usage is added up, nothing else of it is kept.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import orjson
import requests
import urllib3

from bsod.lib import clock
from bsod.lib.terms import ObjectKind, Shape
from bsod.lib.vault import VaultError
from proxy.jobs import Tokens, usage_of
from proxy.models import Job
from proxy.pool import vault
from proxy.probe import send
from proxy.providers.base import Asked, Malformed, Refused, UpstreamFault
from proxy.providers.registry import ADAPTERS

_MOST = 64_000_000  # bytes of an object
_LONGEST = 60.0  # seconds an object may take
_MOST_FILE = 8_000_000_000  # bytes of a batch's output
_LONGEST_FILE = 600.0
_MOST_LINE = 8_000_000  # bytes of a line that is read as JSON
_TAIL = 65_536  # bytes kept of the end of a longer one
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


class Gone(Exception):
    """The provider does not know the thing any more."""


class Away(Exception):
    """Nothing could be seen. `unreachable`: nor can anything else of this provider."""

    def __init__(self, unreachable: bool = False) -> None:
        super().__init__()
        self.unreachable = unreachable


class TooMuch(Exception):
    """More bytes than are read, or for longer."""


def state(job: Job) -> dict[str, Any]:
    """The provider's object as it is now, in OpenAI's shape. Raises Gone, Away."""
    try:
        with _get(job, job.path) as reply:
            data = b"".join(_pieces(reply, _MOST, _LONGEST))
        reader = ADAPTERS[job.provider.kind].whole_reader(_asked(job, job.path))
        reader.whole(data)
    except (TooMuch, Malformed, UpstreamFault):
        raise Away from None
    if reader.state is None:
        raise Away
    return dict(reader.state)


def output_usage(job: Job, file: str) -> Tokens | None:
    """Usage of all lines of a batch's output; None: it states none, or cannot be read to its
    end. Raises Away."""
    total: Tokens | None = None
    try:
        with _get(job, f"files/{file}/content") as reply:
            for line in _lines(_pieces(reply, _MOST_FILE, _LONGEST_FILE)):
                used = line_usage(line)
                if used:
                    pairs = zip(total or (0, 0, 0), used, strict=True)
                    total = Tokens(*(old + new for old, new in pairs))
    except (Gone, TooMuch):
        return None
    return total


def line_usage(line: bytes) -> Tokens | None:
    """Usage of one line of output. Of one that is too long only the end was kept; inside of
    strings a quote is escaped, so what is found there is a field."""
    if len(line) >= _MOST_LINE:
        ends = _USAGE.findall(line, max(0, len(line) - _TAIL))
        line = b'{"response":{"body":{"usage":%b}}}' % (ends[-1] if ends else b"0")
    try:
        row = orjson.loads(line)
        return usage_of(row["response"]["body"]["usage"])
    except (ValueError, LookupError, TypeError):
        return None


@contextlib.contextmanager
def _get(job: Job, path: str) -> Iterator[requests.Response]:
    """A 2xx reply, its body still to be read. Raises Gone, Away."""
    adapter = ADAPTERS.get(job.provider.kind)
    if adapter is None:
        raise Away
    try:
        out = adapter.prepare(_asked(job, path), vault().open(job.key.uid, job.key.sealed))
        with send(job.provider, out) as reply:
            if not 200 <= reply.status_code < 300:
                raise Gone if _unknown(reply) else Away
            yield reply
    except (VaultError, Refused):
        raise Away from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        raise Away(unreachable=True) from None


def _asked(job: Job, path: str) -> Asked:
    return Asked(
        path.lstrip("/"), {}, False, "", "", None, 1, False,
        method="GET", shape=Shape.OBJECT, beta=job.kind == ObjectKind.RUN,
    )  # fmt: skip


def _unknown(reply: requests.Response) -> bool:
    """Whether it is the API that says so: any server has a page for paths it does not know."""
    if reply.status_code not in (404, 410):
        return False
    try:
        return isinstance(orjson.loads(b"".join(_pieces(reply, 65_536, _LONGEST))), dict)
    except (TooMuch, ValueError):
        return False


def _pieces(reply: requests.Response, most: int, longest: float) -> Iterator[bytes]:
    ends, size = clock.monotonic() + longest, 0
    # read1 hands over what has come; iter_content would wait for a full buffer.
    while data := reply.raw.read1(65_536):
        size += len(data)
        if size > most or clock.monotonic() > ends:
            raise TooMuch
        yield data


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines, however they were cut. Of an endless one only beginning and end are held."""
    line = bytearray()
    for data in pieces:
        *ended, begun = data.split(b"\n")
        for part in ended:
            yield bytes(line + part)
            line.clear()
        line += begun
        if len(line) > 2 * _MOST_LINE:
            del line[: len(line) - _MOST_LINE]
    yield bytes(line)
