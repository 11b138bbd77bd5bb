"""`GET /v1/openapi.json` and the namespace summaries: the route table as an OpenAPI 3.1 document.

Printed from the rows alone. What we do not read of a body is the provider's business and stays
open: `additionalProperties` is true everywhere.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import orjson
from django.conf import settings
from django.utils.translation import override

from bsod.lib.terms import ObjectKind, Shape
from proxy import docs, fields, matching
from proxy.errors import ERRORS, Code
from proxy.route import IDEMPOTENCY_KEY, NAMES, BodyKind, ReplyKind, Route
from proxy.routes import ROUTES

JSON, FORM, EVENTS = "application/json", "multipart/form-data", "text/event-stream"
CSV = "text/csv"
_PAGING: tuple[dict[str, Any], ...] = (
    {"name": "limit", "description": "How many.", "schema": {"type": "integer", "minimum": 0}},
    {"name": "after", "description": "Begin behind this object.", "schema": {"type": "string"}},
    {"name": "before", "description": "End before this object.", "schema": {"type": "string"}},
    {"name": "order", "description": "By creation.", "schema": {"enum": ["asc", "desc"]}},
)
_ONCE = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "description": "Names one request for 24 hours: asked again, it is given the same answer and "
    "charged once.",
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}
_DAY = {"type": "string", "format": "date"}
_USAGE: tuple[dict[str, Any], ...] = (
    {
        "name": "by",
        "description": "What a row is of: any of `day`, `model`, `key`, with commas; `day` if left "
        "out. Rows are always of one `bucket`, too.",
        "schema": {"type": "string", "default": "day"},
    },
    {"name": "from", "description": "The first day, UTC; 30 days if left out.", "schema": _DAY},
    {"name": "to", "description": "The last day, itself included.", "schema": _DAY},
    {"name": "key", "description": "Of one key: its id or name.", "schema": {"type": "string"}},
    {"name": "model", "description": "Of one model.", "schema": {"type": "string"}},
    {
        "name": "format",
        "description": "Goes before what `Accept` says.",
        "schema": {"enum": ["json", "csv"]},
    },
)
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": True,
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ABOUT = """An OpenAI-compatible API: the official SDKs work with another `base_url`. Every path \
also answers with a trailing slash and under `/v1/index.php`. `x-bucket` says what a call draws \
on; on a plan that pays with credits such a call costs credits instead."""


def document(routes: Iterable[Route], base_url: str) -> dict[str, Any]:
    """The OpenAPI document of some rows, as asked for at `base_url`."""
    rows = list(routes)
    with override("en"):
        groups = docs.grouped(rows)
        refused = sorted({(ERRORS[code].status, code) for r in rows for code in docs.refusals(r)})
        return {
            "openapi": "3.1.0",
            "info": {"title": "BSOD", "version": "1", "description": _ABOUT},
            "servers": [{"url": base_url.rstrip("/") or "/"}],
            "security": [{"bearer": []}],
            "tags": [{"name": group, "description": docs.title(group)} for group in groups],
            "paths": _paths(row for group in groups.values() for row in group),
            "components": {
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
                "schemas": {"Error": _ERROR},
                "responses": _refused(rows),
            },
            "x-errors": [_described(code) for _status, code in refused],
        }


@cache
def body() -> bytes:
    """The answer of `GET /v1/openapi.json`."""
    return orjson.dumps(document(ROUTES, settings.SITE_URL))


def namespace(path: str) -> dict[str, Any]:
    """What there is below a path."""
    return {
        "object": "namespace",
        "path": path,
        "endpoints": [
            {"method": route.method, "path": route.path, "summary": route.summary}
            for route in ROUTES
            if route.path.startswith(f"{path}/")
        ],
    }


def _paths(routes: Iterable[Route]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(docs.shown_path(route), {})[route.method.lower()] = _operation(route)
    return paths


def _operation(route: Route) -> dict[str, Any]:
    rule = docs.object_rule(route)
    found: dict[str, Any] = {
        "operationId": docs.name(route),
        "summary": route.summary,
        "tags": [route.group],
        "parameters": _parameters(route),
        "responses": _responses(route),
        "x-bucket": docs.draws_on(route),
        "x-served-by": list(docs.servers(route)),
    }
    if rule:
        found["description"] = rule
        found["x-object"] = {
            verb: str(kind)
            for verb, kind in (
                ("creates", route.creates), ("owns", route.owns), ("lists", route.lists)
            )
            if kind
        }  # fmt: skip
    if not route.needs_key:
        found["security"] = []
    if allowed := docs.permissions(route):
        found["x-permission"] = [str(permission) for permission in allowed]
    if route.body is not BodyKind.NONE:
        found["requestBody"] = _request(route)
        found["x-body-limit"] = route.body_limit
    return found


# ---- what is asked


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [_path_id(name) for name in route.variables]
    if route.lists:
        found += [_query(one) for one in _PAGING]
    if route.reply is ReplyKind.TABLE:
        found += [_query(one) for one in _USAGE]
    if (route.method, route.path.encode()) in matching.BY_QUERY:
        found += _alias(route)
    if route.reply is ReplyKind.STREAM and route.method == "GET":
        found.append(_query({"name": "stream", "schema": {"type": "boolean"}}))
    if route.spends:
        found.append(_ONCE)
    return found


def _path_id(name: str) -> dict[str, Any]:
    model = NAMES.get(name) is ObjectKind.MODEL
    grammar = matching.MODEL.pattern if model else matching.grammar(name).pattern.decode()
    schema = {"type": "string", "pattern": f"^{grammar}$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(parameter: dict[str, Any]) -> dict[str, Any]:
    return {"in": "query", "required": False, **parameter}


def _alias(route: Route) -> list[dict[str, Any]]:
    """The older spelling of the routes of one object."""
    longer = matching.BY_QUERY[route.method, route.path.encode()].decode()
    text = f"In place of the path: the same as {route.method} {longer}" + "{id}."
    schema = {"type": "string", "pattern": f"^{matching.ID.pattern.decode()}$"}
    named = {"name": "id", "description": text, "schema": schema}
    found = [_query({**named, "required": route.local == "needs_id"})]
    if route.method == "GET":
        text = f"With `id`: the same as GET {longer}" + "{id}/content."
        found.append(_query({"name": "content", "description": text, "schema": {"enum": ["1"]}}))
    return found


def _request(route: Route) -> dict[str, Any]:
    kinds = {BodyKind.JSON: (JSON,), BodyKind.FORM: (FORM,), BodyKind.EITHER: (JSON, FORM)}
    schema = _schema(route)
    # Without a field that must be there an empty object would do.
    needed = bool(schema.get("required")) or route.body is not BodyKind.JSON
    return {
        "required": needed or route.spends,
        "content": {kind: {"schema": schema} for kind in kinds[route.body]},
    }


def _schema(route: Route) -> dict[str, Any]:
    read = fields.of(route)
    required = [field.name for field in read if field.required]
    properties = {field.name: field.schema() for field in read}
    schema = {"type": "object", "properties": properties, "additionalProperties": True}
    return schema | ({"required": required} if required else {})


# ---- what is answered


def _responses(route: Route) -> dict[str, Any]:
    anything: dict[str, Any] = {}
    content: dict[str, Any] = {JSON: {"schema": {"type": "object", "additionalProperties": True}}}
    if route.reply is ReplyKind.BYTES:
        content = {"application/octet-stream": anything}
    elif route.reply is ReplyKind.STREAM:
        content[EVENTS] = anything
    if route.shape is Shape.TRANSCRIPTION:
        content["text/plain"] = anything
    if route.reply is ReplyKind.TABLE:
        content[CSV] = anything
    found: dict[str, Any] = {"200": {"description": docs.answers(route), "content": content}}
    if route.reply is ReplyKind.BYTES and route.method == "GET":
        found["206"] = {"description": "The range asked for.", "content": content}
    for codes in _by_status(route):
        place = f"#/components/responses/{_label(codes)}"
        found[str(ERRORS[codes[0]].status)] = {"$ref": place}
    return found


def _by_status(route: Route) -> list[list[Code]]:
    found: dict[int, list[Code]] = {}
    for code in docs.refusals(route):
        found.setdefault(ERRORS[code].status, []).append(code)
    return [found[status] for status in sorted(found)]


def _label(codes: Sequence[Code]) -> str:
    """A name for what one status can mean at a route: many routes share it."""
    return ".".join([str(ERRORS[codes[0]].status), *codes])


def _refused(routes: Iterable[Route]) -> dict[str, Any]:
    found = {_label(codes): codes for route in routes for codes in _by_status(route)}
    return {
        label: {
            "description": " ".join(f"`{code}`: {ERRORS[code].meaning}" for code in codes),
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
            "x-codes": [str(code) for code in codes],
        }
        for label, codes in sorted(found.items())
    }


def _described(code: Code) -> dict[str, Any]:
    kind = ERRORS[code]
    return {
        "code": str(code), "status": kind.status, "type": kind.type, "meaning": kind.meaning
    }  # fmt: skip
