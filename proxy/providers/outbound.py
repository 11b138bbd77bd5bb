"""What goes out to a provider: the body of a call, whatever its kind, and the headers it needs.

JSON is written anew from what was parsed, so that nobody can show us one `model` and the provider
another. A form goes on byte for byte, but for the fields that have to change.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from bsod.lib.multipart import BadForm
from bsod.lib.spool import Body
from bsod.lib.terms import Shape
from proxy.providers.base import Asked, Refused

# Fields that would choose a destination or a credential (SECURITY §3.1): never forwarded.
DROPPED = (
    "api_base", "base_url", "api_key", "extra_headers", "extra_query", "organization", "project",
    "fallbacks",
)  # fmt: skip
BETA = "assistants=v2"
_LIMITS = {
    Shape.COMPLETION: "max_tokens",
    Shape.RESPONSE: "max_output_tokens",
    Shape.RUN: "max_completion_tokens",
}
_WHO = ("user", "safety_identifier")
_JSON = "application/json"
# Calls that have no body; of any other an empty object is one.
_BARE = ("/cancel", "/pause", "/resume")
# Where the provider takes nothing but forms, and we take JSON too.
_FORMS_ONLY = ("videos", "videos/edits", "videos/extensions")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)


class Content(NamedTuple):
    """A body and its type; b"" and "" when there is none."""

    body: bytes | Body
    kind: str


def content(asked: Asked, chat_limit: str) -> Content:
    """The body of a call. Raises Refused."""
    if asked.form is not None:
        return _form(asked)
    if asked.method not in ("POST", "PATCH", "PUT"):
        return Content(b"", "")
    body = _json(asked, chat_limit)
    if not body and asked.path.endswith(_BARE):
        return Content(b"", "")
    if asked.path in _FORMS_ONLY:
        return as_form(body)
    return Content(orjson.dumps(body), _JSON)


def headers(asked: Asked, kind: str, secret: str) -> dict[str, str]:
    """What the client sent of the headers that go on, and ours."""
    sent = {"accept": _JSON, "user-agent": "bsod", **dict(asked.headers)}
    if asked.request_id:
        # Ours, and never the client's own: that one may name him.
        sent["x-client-request-id"] = asked.request_id
    if asked.beta and "assistants=" not in sent.get("openai-beta", ""):
        theirs = sent.get("openai-beta")
        sent["openai-beta"] = f"{theirs}, {BETA}" if theirs else BETA
    return sealed(sent, kind, secret)


def sealed(sent: Mapping[str, str], kind: str, secret: str) -> dict[str, str]:
    """Headers with those that are never the client's."""
    ours = {"accept-encoding": "identity", "authorization": f"Bearer {secret}"}
    return {**sent, **ours, **({"content-type": kind} if kind else {})}


def _json(asked: Asked, chat_limit: str) -> dict[str, Any]:
    body = {**asked.body}
    if asked.upstream_model:
        body["model"] = asked.upstream_model
    if asked.limit is not None:
        limit = chat_limit if asked.shape is Shape.CHAT else _LIMITS.get(asked.shape)
        if limit:
            body[limit] = asked.limit
    for name in _WHO:
        if name in body:
            body[name] = asked.user
    if asked.stream and asked.shape in (Shape.CHAT, Shape.COMPLETION):
        options = dict(body.pop("stream_options", None) or {})
        options.pop("include_usage", None)
        if asked.ask_usage:
            options["include_usage"] = True
        if options:
            body["stream_options"] = options
    return body


def _form(asked: Asked) -> Content:
    form = asked.form
    assert form is not None
    names = {part.name for part in form.parts}
    replaced = {name: asked.user for name in _WHO if name in names}
    model = asked.upstream_model
    if model and (asked.body.get("model") != model or "model" in form.repeated):
        replaced["model"] = model
    # `extra_headers[x]` is how a form spells what is inside of it.
    dropped = {name for name in names if name.partition("[")[0] in DROPPED}
    try:
        body = form.body(replace=replaced, drop=dropped, rename_files=True)
    except BadForm as fault:
        raise Refused("model", str(fault)) from None
    return Content(body, form.content_type)


def as_form(body: Mapping[str, Any]) -> Content:
    """A JSON object as multipart/form-data, its fields as OpenAI's own clients write them:
    `video[id]` for what is in an object, `ids[]` for what is in a list. Raises Refused."""
    fields = [(name, value.encode()) for name, value in _fields(body)]
    marks = hashlib.blake2b(digest_size=24)
    for name, data in fields:
        marks.update(b"%d %b %d " % (len(name), name.encode(), len(data)))
        marks.update(data)
    # What is a digest of all values is in none of them.
    boundary = b"bsod-" + marks.hexdigest().encode()
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary, name.encode(), data)
        for name, data in fields
    ]
    return Content(
        b"".join([*parts, b"--", boundary, b"--\r\n"]),
        f"multipart/form-data; boundary={boundary.decode()}",
    )


def _fields(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in body.items():
        if not _NAME.fullmatch(name):
            raise Refused("body", "A field's name may hold letters, digits, '_', '.' and '-' only.")
        yield from _flat(name, value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not _NAME.fullmatch(key):
                raise Refused(name, f"'{name}' has a field whose name cannot be sent.")
            yield from _flat(f"{name}[{key}]", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(f"{name}[]", inner)
    elif isinstance(value, str):
        yield name, value
    elif value is not None:
        yield name, orjson.dumps(value).decode()
