"""What the rows of the route table mean, in words.

The OpenAPI document, the reference page and `docs/api.md` say these words and no others: what is
not in the table, in `errors.py` or in an adapter is nowhere. After a change of the table:

    python -m proxy.docs        print docs/api.md again (or the file that is named)
"""

import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from django.utils.translation import gettext as _
from django.utils.translation import override

from bsod.lib.terms import Bucket, Modality, ObjectKind, Permission
from proxy.errors import ERRORS, Code
from proxy.matching import OWN
from proxy.providers.bridging.ways import could
from proxy.providers.registry import ADAPTERS
from proxy.route import BodyKind, Plane, ReplyKind, Route, megabytes
from proxy.routes import ROUTES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
# In the order of the docs; a group that is not here comes last.
ORDER = (
    "chat", "responses", "completions", "embeddings", "moderations", "images", "audio", "videos",
    "files", "uploads", "batches", "vector_stores", "fine_tuning", "assistants", "threads",
    "models", "account", "discovery", "realtime", "monitoring",
)  # fmt: skip
_TEXT = (Bucket.TEXT_BASE, Bucket.TEXT_PRO)
_DRAWS: dict[Modality, tuple[Bucket, ...]] = {
    Modality.TEXT: _TEXT,
    Modality.EMBEDDING: _TEXT,
    Modality.MODERATION: _TEXT,
    Modality.IMAGE: (Bucket.IMAGE,),
    Modality.AUDIO: (Bucket.AUDIO,),
    Modality.VIDEO: (Bucket.VIDEO_SORA2PRO, Bucket.VIDEO_SORA2, Bucket.VIDEO_OTHER),
}
_TITLES = {"vector_stores": "Vector stores", "fine_tuning": "Fine-tuning", "chat": "Chat"}


def title(group: str) -> str:
    """What a group of routes is called."""
    return _TITLES.get(group) or group.replace("_", " ").capitalize() or "Other"


def grouped(routes: Iterable[Route]) -> dict[str, list[Route]]:
    """The rows by group, in the order of the docs."""
    found: dict[str, list[Route]] = {group: [] for group in ORDER}
    for route in routes:
        found.setdefault(route.group, []).append(route)
    return {group: rows for group, rows in found.items() if rows}


def name(route: Route) -> str:
    """One word for a row: its operationId, and its anchor on the page."""
    words = re.findall(r"\w+", route.path.removeprefix("/v1"))
    return "_".join([route.method.lower(), *(words or ["root"])])


def shown_path(route: Route) -> str:
    """The path as one asks for it: Django's pages end with a slash."""
    return route.path + "/" if route.plane is Plane.DJANGO else route.path


# ---- what it costs, and who may


def draws(route: Route) -> tuple[Bucket, ...]:
    """The buckets a call may draw on; the model decides between several."""
    if not route.spends:
        return ()
    if route.bucket:
        return (route.bucket,)
    return _DRAWS[route.modality] if route.modality else ()


def chosen_by(route: Route) -> str:
    """What decides between the buckets; "": there is at most one."""
    buckets = draws(route)
    if len(buckets) < 2:
        return ""
    return _("by the model's tier") if buckets == _TEXT else _("by the model")


def draws_on(route: Route) -> str:
    """Both in words."""
    buckets = draws(route)
    if len(buckets) < 2:
        return str(buckets[0]) if buckets else _("none")
    some, last = ", ".join(buckets[:-1]), buckets[-1]
    listed = _("%(some)s or %(last)s") % {"some": some, "last": last}
    return f"{listed}, {chosen_by(route)}"


def permissions(route: Route) -> tuple[Permission, ...]:
    """What the key must be allowed; the second one only for a model of tier pro."""
    asked = (route.permission,) if route.permission else ()
    pro = Bucket.TEXT_PRO in draws(route)
    return (*asked, Permission.PRO_MODELS) if pro else asked


def permitted(route: Route) -> str:
    """The same in words."""
    if not route.needs_key:
        return _("no key needed")
    if route.permission:
        return str(route.permission)
    if permissions(route):
        return _("%(permission)s, for a pro model") % {"permission": Permission.PRO_MODELS}
    return _("any key")


# ---- what goes in and out


def takes(route: Route) -> str:
    """The request's body."""
    kinds = {
        BodyKind.JSON: "JSON",
        BodyKind.FORM: "multipart/form-data",
        BodyKind.EITHER: _("JSON or multipart/form-data"),
    }
    if not _has_body(route):
        return _("no body")
    whole, each = _("%(kind)s, up to %(size)s"), _("%(kind)s, a file up to %(size)s")
    size = megabytes(route.file_limit or route.body_limit)
    return (each if route.file_limit else whole) % {"kind": kinds[route.body], "size": size}


def answers(route: Route) -> str:
    """The reply."""
    if route.reply is ReplyKind.BYTES:
        return _("the bytes as they are; Range is passed on")
    if route.reply is ReplyKind.JSON:
        return "JSON"
    if route.reply is ReplyKind.TABLE:
        return _("JSON, or CSV with ?format=csv")
    how = "?stream=true" if route.method == "GET" else '"stream": true'
    return _("JSON, or server-sent events with %(how)s") % {"how": how}


def object_rule(route: Route) -> str:
    """Who owns what the call makes, names or lists; "": there is no object."""
    rules = []
    if route.owns:
        rules.append(
            _("The %(kind)s must be yours; anybody else's answers 404 and no provider is asked.")
            % {"kind": kind_words(route.owns)}
        )
    if route.creates:
        rules.append(
            _("The %(kind)s it makes is yours alone.") % {"kind": kind_words(route.creates)}
        )
    if route.lists:
        rules.append(_("Lists your own objects only, from our record of who owns what."))
    return " ".join(rules)


def kind_words(kind: ObjectKind) -> str:
    return _(str(kind).replace("_", " "))


def servers(route: Route) -> tuple[str, ...]:
    """The kinds of provider that serve a route; empty where no provider is asked."""
    if route.service is None:
        return ()
    return tuple(kind for kind, it in ADAPTERS.items() if could(it, route.service, route.shape))


def served_by(route: Route) -> str:
    return ", ".join(servers(route)) or _("this server")


# ---- what can be refused


def _has_body(route: Route) -> bool:
    return route.body is not BodyKind.NONE


def _json(route: Route) -> bool:
    return route.body in (BodyKind.JSON, BodyKind.EITHER)


def _names_objects(route: Route) -> bool:
    """Ids in a body are looked up like those in the path."""
    named = any(name not in OWN for name in route.variables)
    return bool(named or route.lists or (route.service and _has_body(route)))


def _names_ours(route: Route) -> bool:
    """What it names is in our own books: a call, a key."""
    return route.reply is ReplyKind.TABLE or any(name in OWN for name in route.variables)


ON_PAGES = (Code.NOT_SIGNED_IN, Code.PROMO_INVALID, Code.PROMO_REDEEMED, Code.PROMO_NEW_USERS_ONLY)
# When a code can be an answer. A code that is in no line comes from what asks a provider.
_WHEN: tuple[tuple[Callable[[Route], bool], frozenset[Code]], ...] = (
    (lambda route: True,
     frozenset({Code.INVALID_REQUEST, Code.INVALID_HOST, Code.INTERNAL_ERROR})),
    (lambda route: route.needs_key,
     frozenset({Code.INVALID_API_KEY, Code.ACCOUNT_BANNED, Code.NETWORK_NOT_ALLOWED,
                Code.QUOTA_UNAVAILABLE, Code.SHUTTING_DOWN})),
    (lambda route: bool(permissions(route)), frozenset({Code.PERMISSION_DENIED})),
    (_has_body,
     frozenset({Code.REQUEST_TOO_LARGE, Code.REQUEST_TIMEOUT, Code.UNSUPPORTED_MEDIA_TYPE,
                Code.INVALID_VALUE})),
    (lambda route: route.lists is not None, frozenset({Code.INVALID_VALUE})),
    (lambda route: route.reply is ReplyKind.TABLE, frozenset({Code.INVALID_VALUE})),
    (_names_ours, frozenset({Code.NOT_FOUND})),
    (_json, frozenset({Code.INVALID_JSON})),
    (lambda route: route.body in (BodyKind.FORM, BodyKind.EITHER), frozenset({Code.INVALID_FORM})),
    (lambda route: route.creates is not None, frozenset({Code.UPSTREAM_ID_CONFLICT})),
    (_names_objects,
     frozenset({Code.NOT_FOUND, Code.UPSTREAM_GONE, Code.UPSTREAM_KEY_UNAVAILABLE})),
    (lambda route: bool(route.service and _has_body(route)),
     frozenset({Code.OBJECT_KEY_MISMATCH})),
    (lambda route: route.modality is not None or "model" in route.variables,
     frozenset({Code.MODEL_NOT_FOUND})),
    (lambda route: route.modality is not None, frozenset({Code.MODEL_NOT_ALLOWED})),
    (lambda route: route.spends,
     frozenset({Code.RATE_LIMIT_EXCEEDED, Code.CONCURRENCY, Code.QUOTA_EXCEEDED,
                Code.INSUFFICIENT_CREDITS})),
    # Said of another method than the row's, and on pages that are no rows.
    (lambda route: False, frozenset({Code.METHOD_NOT_ALLOWED, *ON_PAGES})),
)  # fmt: skip
_PLACED = frozenset().union(*(codes for _rule, codes in _WHEN))


def refusals(route: Route) -> list[Code]:
    """The codes that can be the answer, in the order of the list of errors."""
    here = {code for rule, codes in _WHEN if rule(route) for code in codes}
    return [code for code in ERRORS if code in here or (route.service and code not in _PLACED)]


# ---- docs/api.md

_HEAD = """# The API

Every route there is, printed from the route table by `python -m proxy.docs`: a path that is not
here reaches no provider. A running site shows the same with samples at `/docs/api/`, and as an
OpenAPI document at `GET /v1/openapi.json`. Errors: [errors.md](errors.md).

Each path also answers with a trailing slash, and those under `/v1` under `/v1/index.php` too.
*Draws on* names the bucket of a call; on a plan that pays with credits such a call costs credits
instead. *Served by* names the kinds of provider that can.
"""


_COLUMNS = ("method", "path", "what it is for", "draws on", "permission", "served by")


def page(routes: Iterable[Route] = ROUTES) -> str:
    """docs/api.md, whole."""
    with override("en"):
        return "\n".join([_HEAD, *(_section(*part) for part in grouped(routes).items())])


def _section(group: str, rows: list[Route]) -> str:
    lines = [f"| {' | '.join(_cells(route))} |" for route in rows]
    head = [f"## {title(group)}", "", f"| {' | '.join(_COLUMNS)} |", "| --- " * len(_COLUMNS) + "|"]
    return "\n".join([*head, *lines, ""])


def _cells(route: Route) -> list[str]:
    return [
        route.method, f"`{shown_path(route)}`", route.summary, draws_on(route), permitted(route),
        served_by(route),
    ]  # fmt: skip


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")
    import django

    django.setup()
    made = Path(sys.argv[1]) if sys.argv[1:] else PAGE
    made.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
