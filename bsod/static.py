"""Static files of `make run`: WhiteNoise, with answers that fit an event loop.

WhiteNoise streams a file with a synchronous iterator, which Django reads to its end before it
sends anything, and complains about. These files are small: they are handed over whole, packed once
for browsers that take that. Their addresses carry what they hold (`?v=…`; vendored files have it in
their folder's name), so that a browser may keep them for good, and asks for a new one at once.
"""

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import brotli
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware

_PACKED = ("text/", "application/javascript", "application/json", "image/svg")
_VENDORED = "vendor/"
_LEAST = 500  # bytes; below it the head is most of an answer
_FOR_GOOD = "public, max-age=31536000, immutable"


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise has no types
    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        streamed = WhiteNoiseMiddleware.serve(static_file, request)
        try:
            headers = dict(streamed.items())
            answer = HttpResponse(b"".join(streamed), status=streamed.status_code, headers=headers)
        finally:
            streamed.close()
        # Any other version would be kept under this one's address.
        name = _name(request.path_info)
        if name.startswith(_VENDORED) or request.GET.get("v") == _version(name):
            answer["Cache-Control"] = _FOR_GOOD
        return packed(request, answer)


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
    return hashlib.sha256(Path(found).read_bytes()).hexdigest()[:10]


def packed(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
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
        answer.content = _pack(answer.content, coding)
        answer["Content-Encoding"] = coding
        answer["Content-Length"] = str(len(answer.content))
    return answer


def _coding(accepted: str) -> str:
    """What a browser takes; one that says `;q=0` gets it plain."""
    said = {part.strip() for part in accepted.lower().split(",")}
    return next((coding for coding in ("br", "gzip") if coding in said), "")


@lru_cache(maxsize=256)
def _pack(content: bytes, coding: str) -> bytes:
    if coding == "br":
        return bytes(brotli.compress(content, quality=9))
    return gzip.compress(content, 9, mtime=0)
