"""The one table of routes. Matching, 405 and `Allow`, CORS, summaries and docs all come from it.

`bsod/asgi.py` matches a path once, on the bytes of the wire: nothing is decoded before it has
matched, so that no encoding of `..` or `/` can mean another route. A trailing slash and the
prefix `/v1/index.php` are the same route.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from bsod.lib.terms import Modality, Permission


class Plane(StrEnum):
    GATEWAY = "gateway"
    DJANGO = "django"


class BodyKind(StrEnum):
    NONE = "none"
    JSON = "json"


class ReplyKind(StrEnum):
    JSON = "json"
    STREAM = "stream"
    """JSON, or server-sent events when the body says `"stream": true`."""


class Close(StrEnum):
    """When a call's entry is closed."""

    FREE = "free"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    summary: str
    plane: Plane = Plane.GATEWAY
    needs_key: bool = True
    permission: Permission | None = None
    modality: Modality | None = None
    upstream: str = ""
    body: BodyKind = BodyKind.NONE
    body_limit: int = 0
    reply: ReplyKind = ReplyKind.JSON
    close: Close = Close.FREE
    local: str = ""
    """Name of the answer in `gateway/local.py` for a route no provider sees."""


MB = 1_000_000

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1", "What this API offers", needs_key=False, local="root"),
    Route("GET", "/v1/models", "The catalogue of models", local="models"),
    Route("GET", "/v1/models/{model}", "One model of the catalogue", local="model"),
    Route(
        "POST",
        "/v1/chat/completions",
        "A chat completion, whole or streamed",
        modality=Modality.TEXT,
        upstream="chat/completions",
        body=BodyKind.JSON,
        body_limit=32 * MB,
        reply=ReplyKind.STREAM,
        close=Close.RESPONSE,
    ),
    Route("GET", "/livez", "Whether the process answers", needs_key=False, local="livez"),
    Route("GET", "/readyz", "Whether it can take calls", needs_key=False, local="readyz"),
    Route(
        "GET",
        "/balance",
        "What the key has left",
        plane=Plane.DJANGO,
        permission=Permission.BALANCE,
    ),
    Route(
        "GET",
        "/key-info",
        "The same, under its older name",
        plane=Plane.DJANGO,
        permission=Permission.BALANCE,
    ),
)

# A path under one of these is ours to answer in JSON even where no route matches.
NAMESPACES = ("/v1", "/balance", "/key-info", "/catalog", "/status", "/health", "/livez", "/readyz")

ALIAS = b"/v1/index.php"
# Model ids may hold slashes and dots, but no `..` segment; checked after one decoding.
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}", re.ASCII)
_MODELS = b"/v1/models/"


@dataclass(frozen=True, slots=True)
class Match:
    """`route` None with `allow`: the path exists for other methods. Both empty: no such path."""

    route: Route | None
    allow: tuple[str, ...] = ()
    params: dict[str, str] = field(default_factory=dict)


_NOWHERE = Match(None)


def _index() -> tuple[dict[bytes, dict[str, Route]], dict[bytes, tuple[str, ...]]]:
    paths: dict[bytes, dict[str, Route]] = {}
    for route in ROUTES:
        paths.setdefault(route.path.encode(), {})[route.method] = route
    allow = {path: tuple(sorted({*by, "OPTIONS"})) for path, by in paths.items()}
    return paths, allow


_PATHS, _ALLOW = _index()


def ours(raw_path: bytes) -> bool:
    """Whether a path lies in a namespace that answers JSON."""
    text = raw_path.decode("latin-1")
    return any(text == space or text.startswith((f"{space}/",)) for space in NAMESPACES)


def match(method: str, raw_path: bytes) -> Match:
    """The route of a request target's path, as the wire has it."""
    path = raw_path
    if path == ALIAS or path.startswith(ALIAS + b"/"):
        path = b"/v1" + path[len(ALIAS) :]
    if path.endswith(b"/") and len(path) > 1:
        path = path[:-1]
    known = _PATHS.get(path)
    params: dict[str, str] = {}
    if known is None and path.startswith(_MODELS):
        model = _model(path[len(_MODELS) :])
        if model:
            path, params = _MODELS + b"{model}", {"model": model}
            known = _PATHS[path]
    if known is None:
        return _NOWHERE
    return Match(known.get(method), _ALLOW[path], params)


def _model(raw: bytes) -> str | None:
    text = unquote_to_bytes(raw).decode("latin-1")
    if not MODEL.fullmatch(text) or ".." in text.split("/"):
        return None
    return text
