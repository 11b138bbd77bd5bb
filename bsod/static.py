"""Static files of `make run`: WhiteNoise, with answers that fit an event loop.

WhiteNoise streams a file with a synchronous iterator, which Django reads to its end before it
sends anything, and complains about. These files are small: they are handed over whole, packed once
for browsers that take that. Their addresses carry what they hold (`?v=…`; vendored files have it in
their folder's name), so that a browser may keep them for good, and asks for a new one at once. In
modules of ours the addresses of what they import are written the same way, when they are served:
after an upgrade a browser has all of the new ones, or all of the old. They import no circles.
"""

import gzip
import hashlib
import posixpath
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import brotli
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from whitenoise.middleware import WhiteNoiseMiddleware

_PACKED = ("text/", "application/javascript", "application/json", "image/svg")
_VENDORED = "vendor/"
_SCRIPT = ".js"
_QUALITY = 9  # of brotli: 10 takes ten times as long for a twentieth
_LEAST = 500  # bytes; below it the head is most of an answer
_LARGE = 100_000  # bytes; of a file that is as large packing harder pays: it is done once
_FOR_GOOD = "public, max-age=31536000, immutable"
_IMPORT = re.compile(rb'(\b(?:from|import) ?\(?)"(\.{1,2}/[\w./-]+\.js)"')


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise has no types
    def get_static_file(self, path: str, url: str, stat_cache: Any = None) -> Any:
        # The headers of 250 files are a tenth of a start, and few of them are ever asked for.
        return SimpleLazyObject(partial(super().get_static_file, path, url, stat_cache))

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        name = _name(request.path_info)
        if name.endswith(_SCRIPT):
            # A part would be one of what lies on the disk.
            request.META.pop("HTTP_RANGE", None)
        streamed = WhiteNoiseMiddleware.serve(static_file, request)
        try:
            headers = dict(streamed.items())
            answer = HttpResponse(b"".join(streamed), status=streamed.status_code, headers=headers)
        finally:
            streamed.close()
        if name.endswith(_SCRIPT) and answer.status_code == 200 and request.method == "GET":
            answer.content = _written(name, answer.content)
            answer["Content-Length"] = str(len(answer.content))
        # Any other version would be kept under this one's address.
        if name.startswith(_VENDORED) or request.GET.get("v") == _version(name):
            answer["Cache-Control"] = _FOR_GOOD
        return packed(request, answer, 10 if len(answer.content) > _LARGE else _QUALITY)


class Versioned(StaticFilesStorage):
    """Addresses of static files that change with what is in them."""

    def url(self, name: str | None) -> str:
        plain = super().url(name)
        version = None if (name or "").startswith(_VENDORED) else _version(name or "")
        return f"{plain}?v={version}" if version else plain


def _name(path: str) -> str:
    return path.removeprefix(StaticFilesStorage().base_url or "/static/")


@lru_cache(maxsize=1024)
def _version(name: str) -> str | None:
    found = finders.find(name)
    if not isinstance(found, str):
        return None
    return hashlib.sha256(_written(name, Path(found).read_bytes())).hexdigest()[:10]


def _written(name: str, content: bytes) -> bytes:
    """A script as it is served: its own version changes with those of what it imports."""
    if not name.endswith(_SCRIPT) or name.startswith(_VENDORED):
        return content
    return _IMPORT.sub(lambda found: _versioned(name, found), content)


def _versioned(name: str, found: re.Match[bytes]) -> bytes:
    other = posixpath.normpath(posixpath.join(posixpath.dirname(name), found[2].decode()))
    version = None if other.startswith(_VENDORED) else _version(other)
    return found[0] if version is None else b'%b"%b?v=%b"' % (found[1], found[2], version.encode())


def packed(request: HttpRequest, answer: HttpResponse, quality: int = _QUALITY) -> HttpResponse:
    """The same answer as small as this browser can take it."""
    if (
        answer.status_code != 200
        or request.method != "GET"
        or len(answer.content) < _LEAST
        or not answer.get("Content-Type", "").startswith(_PACKED)
    ):
        return answer
    answer["Vary"] = "Accept-Encoding"
    coding = _coding(request.headers.get("Accept-Encoding", ""))
    if coding:
        answer.content = _pack(answer.content, coding, quality)
        answer["Content-Encoding"] = coding
        answer["Content-Length"] = str(len(answer.content))
    return answer


def _coding(accepted: str) -> str:
    """What a browser takes; one that says `;q=0` gets it plain."""
    said = {part.strip() for part in accepted.lower().split(",")}
    return next((coding for coding in ("br", "gzip") if coding in said), "")


@lru_cache(maxsize=256)
def _pack(content: bytes, coding: str, quality: int) -> bytes:
    if coding == "br":
        return bytes(brotli.compress(content, quality=quality))
    return gzip.compress(content, 9, mtime=0)
