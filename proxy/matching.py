"""How a request's path finds its row of the table.

`bsod/asgi.py` and the lane match a path once, on the bytes of the wire: nothing is decoded before
it has matched, so that no encoding of `..` or `/` can mean another route. A trailing slash, the
prefix `/v1/index.php` and `?id=` in place of a path's last part are the same route.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from bsod.lib.terms import ObjectKind
from proxy.route import NAMES, VARIABLE, Route
from proxy.routes import ROUTES

# A path under one of these is ours to answer in JSON even where no route matches.
NAMESPACES = (
    "/v1", "/balance", "/key-info", "/usage", "/catalog", "/status", "/health", "/metrics",
    "/livez", "/readyz",
)  # fmt: skip
ALIAS = b"/v1/index.php"
# Model ids may hold slashes and dots, but no `..` segment; checked after one decoding.
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}", re.ASCII)
ID = re.compile(rb"[A-Za-z0-9_-]{1,128}")
# What ids of our own making look like: variables that name no object of a provider.
OWN = {"request_id": re.compile(rb"[0-7][0-9A-HJKMNP-TV-Z]{25}")}  # a ULID
# Objects that are named by the query where the path names none.
BY_QUERY = {
    ("GET", b"/v1/videos"): b"/v1/videos/",
    ("GET", b"/v1/files"): b"/v1/files/",
    ("DELETE", b"/v1/files"): b"/v1/files/",
}
_ID_IN_QUERY = re.compile(rb"(?:^|&)id=([^&]*)")
_CONTENT = re.compile(rb"(?:^|&)content=1(?:&|$)")


@dataclass(frozen=True, slots=True)
class Match:
    """`route` None with `allow`: the path exists for other methods. Both empty: no such path."""

    route: Route | None
    allow: tuple[str, ...] = ()
    params: dict[str, str] = field(default_factory=dict)


_NOWHERE = Match(None)


class _Node:
    """The routes whose paths begin alike: words that may follow, or an id."""

    def __init__(self) -> None:
        self.words: dict[bytes, _Node] = {}
        self.id: tuple[str, _Node] | None = None
        self.routes: dict[str, Route] = {}
        self.allow: tuple[str, ...] = ()


def _methods(route: Route) -> tuple[str, ...]:
    """HEAD is GET without its body, which the server leaves out; monitors ask so. Not where a
    provider would be asked, and perhaps paid, for a body that nobody gets."""
    return ("GET", "HEAD") if route.method == "GET" and not route.service else (route.method,)


def _tree() -> _Node:
    root = _Node()
    for route in ROUTES:
        node = root
        for part in route.path[1:].split("/"):
            name = VARIABLE.fullmatch(part)
            if name is None:
                node = node.words.setdefault(part.encode(), _Node())
            else:
                node.id = node.id or (name[1], _Node())
                assert node.id[0] == name[1], f"{route.path} names an id otherwise than others do"
                node = node.id[1]
        for method in _methods(route):
            node.routes[method] = route
        node.allow = tuple(sorted({*node.routes, "OPTIONS"}))
    return root


_ROOT = _tree()
_EXACT = {
    route.path.encode(): {m: Match(r) for r in ROUTES if r.path == route.path for m in _methods(r)}
    for route in ROUTES
    if not route.variables
}


def ours(raw_path: bytes) -> bool:
    """Whether a path lies in a namespace that answers JSON."""
    text = raw_path.decode("latin-1")
    return any(text == space or text.startswith((f"{space}/",)) for space in NAMESPACES)


def match(method: str, raw_path: bytes, query: bytes = b"") -> Match:
    """The route of a request target's path and query, as the wire has them."""
    path = raw_path
    if path == ALIAS or path.startswith(ALIAS + b"/"):
        path = b"/v1" + path[len(ALIAS) :]
    if path.endswith(b"/") and len(path) > 1:
        path = path[:-1]
    if query and (method, path) in BY_QUERY:
        path = _by_query(method, path, query)
    known = _EXACT.get(path, {}).get(method)
    return known or _walk(method, path)


def _by_query(method: str, path: bytes, query: bytes) -> bytes:
    """`?id=` and `?id=&content=1` as the path they stand for."""
    named = _ID_IN_QUERY.search(query)
    if named is None:
        return path
    content = b"/content" if method == "GET" and _CONTENT.search(query) else b""
    # An id that is none makes a path that matches nothing, like one in the path.
    return BY_QUERY[method, path] + named[1] + content


def _walk(method: str, path: bytes) -> Match:
    node, params = _ROOT, {}
    parts = path[1:].split(b"/") if path.startswith(b"/") else []
    for place, part in enumerate(parts):
        following = node.words.get(part)
        if following is None:
            if node.id is None:
                return _NOWHERE
            name, following = node.id
            if NAMES.get(name) is ObjectKind.MODEL:
                part, following, done = _model(following, parts[place:])
            else:
                part, done = part if grammar(name).fullmatch(part) else b"", False
            if not part:
                return _NOWHERE
            params[name] = part.decode("latin-1")
            if done:
                node = following
                break
        node = following
    if not node.routes:
        return _NOWHERE
    return Match(node.routes.get(method), node.allow, params)


def grammar(name: str) -> re.Pattern[bytes]:
    """What the variable of a path may be; a model's id has a grammar of its own."""
    return OWN.get(name, ID)


def _model(node: _Node, parts: list[bytes]) -> tuple[bytes, _Node, bool]:
    """A model's id, which may take all that is left of the path; b"" when it is none."""
    whole = not node.words
    text = unquote_to_bytes(b"/".join(parts) if whole else parts[0]).decode("latin-1")
    good = MODEL.fullmatch(text) and ".." not in text.split("/")
    return (text.encode("latin-1") if good else b""), node, whole
