"""Reading a request: its head, then its body, strictly. What comes out is a Call.

The body that goes to a provider is written anew from the parsed value, so that nobody can show us
one `model` and the provider another; a form goes on as it came, but for what must change. A fault
of the body is kept in the Call: who is asking is checked first, so that a stranger learns nothing
from it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bsod.lib import clock
from bsod.lib.terms import Shape
from proxy.errors import ApiError, Code
from proxy.gateway import forms, reading
from proxy.gateway.exchange import Exchange, too_large
from proxy.gateway.head import Head
from proxy.gateway.idempotency import mark_of, of_form, of_json
from proxy.gateway.journey import Call, Caller, Mark
from proxy.gateway.strict import strict
from proxy.matching import MODEL
from proxy.objects import Wanted
from proxy.providers.outbound import DROPPED as DROPPED
from proxy.references import form_references, references
from proxy.route import NAMES, VARIABLE, BodyKind, Route

EARLY = 65_536  # bytes of body that are read before the key has been checked
_THREAD = 1_000_000  # bytes beyond which parsing leaves the event loop
_DROPPED_QUERY = {*DROPPED, "key", "id", "content"}
_MOST_QUERY = 2_048
# Where a query says something. A model's call is its body's alone.
_QUERIED = {Shape.OBJECT, Shape.CONTENT, Shape.RUN}
_MAY_BE_EMPTY = {Shape.OBJECT, Shape.RUN}


def caller_of(head: Head) -> Caller:
    """Who claims to ask. ApiError 401 when the header cannot be a key of ours."""
    if head.token is None:
        raise bad_key()
    return Caller(head.token, head.address)


def bad_key() -> ApiError:
    """One answer for every way of not having a key: it teaches a guesser nothing."""
    return ApiError(
        Code.INVALID_API_KEY,
        "Incorrect or missing API key. Send it as 'Authorization: Bearer <key>'.",
    )


def early(route: Route, length: int | None) -> bool:
    """Whether a body may be read before the key is known to be good: a small one, and no form."""
    if route.body in (BodyKind.FORM, BodyKind.EITHER):
        return False
    return route.body is BodyKind.NONE or (length is not None and length <= EARLY)


async def read_call(
    exchange: Exchange, route: Route, params: Mapping[str, str], head: Head, caller: Caller
) -> Call:
    """Read and parse the body. The Call carries what is wrong with it."""
    base = Call(
        exchange.id,
        route,
        caller,
        clock.monotonic(),
        route.permission,
        path=_filled(route, params),
        wanted=_of_path(route, params),
        forwarded=head.forwarded,
    )
    try:
        if exchange.query and route.shape in _QUERIED:
            base = replace(base, query=_query(exchange.query))
        if head.idempotency is not None:
            base = replace(base, idempotency=mark_of(head, base))
        if route.body is BodyKind.NONE:
            return replace(base, stream=reading.streams(route, base.query))
        if _is_form(head, exchange.length, route):
            return await _read_form(base, exchange, head)
        raw = await exchange.body(route.body_limit)
        if len(raw) > _THREAD:
            return await asyncio.to_thread(understand, base, raw)
        return understand(base, raw)
    except ApiError as fault:
        # What led to it holds the whole body, and the Call lives until it has been refused.
        fault.__traceback__ = fault.__context__ = None
        return replace(base, fault=fault)


def _filled(route: Route, params: Mapping[str, str]) -> str:
    """The provider's path: a constant, and ids whose grammar was checked when they matched."""
    if not params:
        return route.upstream
    return VARIABLE.sub(lambda found: params[found[1]], route.upstream)


def _of_path(route: Route, params: Mapping[str, str]) -> tuple[Wanted, ...]:
    """The object a path begins with, and what it names below that."""
    if not route.owns:
        return ()
    return tuple(Wanted(value, NAMES[n], n) for n, value in params.items() if n in NAMES)


def _query(raw: bytes) -> str:
    """The query to send on: what it says in plain characters, but for what would choose a
    destination or a credential. ApiError 400."""
    text = raw.decode("latin-1")
    odd = any(not "!" <= letter <= "~" or letter in '"<>\\^`{|}#' for letter in text)
    if odd or len(text) > _MOST_QUERY:
        raise ApiError(Code.INVALID_REQUEST, "The query is too long, or not percent-encoded.")
    parts = [part for part in text.split("&") if part]
    return "&".join(p for p in parts if p.partition("=")[0] not in _DROPPED_QUERY)


def _is_form(head: Head, length: int | None, route: Route) -> bool:
    """Which of the two kinds of body this is. ApiError 413, 415."""
    if length is not None and length > route.body_limit:
        raise too_large(route.body_limit)
    kind = head.content_type.partition(b";")[0].strip().lower()
    form = kind == b"multipart/form-data"
    if form and route.body in (BodyKind.FORM, BodyKind.EITHER) and not head.encoded:
        return True
    json = kind in (b"application/json", b"")
    if json and route.body in (BodyKind.JSON, BodyKind.EITHER) and not head.encoded:
        return False
    wanted = {
        BodyKind.FORM: "multipart/form-data; boundary=...",
        BodyKind.EITHER: "application/json' or 'multipart/form-data; boundary=...",
    }.get(route.body, "application/json")
    raise ApiError(
        Code.UNSUPPORTED_MEDIA_TYPE,
        f"Send the body as 'Content-Type: {wanted}', without Content-Encoding.",
    )


def understand(base: Call, raw: bytes) -> Call:
    """A JSON body: fields checked, aliases and fast mode folded. Raises ApiError."""
    if not raw and base.route.shape in _MAY_BE_EMPTY:
        raw = b"{}"
    body = strict(raw)
    if not isinstance(body, dict):
        raise ApiError(Code.INVALID_JSON, "The body must be a JSON object.")
    mark = of_json(base, body)
    for name in DROPPED:
        body.pop(name, None)
    named = [Wanted(found.id, None, found.param) for found in references(body)]
    return _with(base, body, (*base.wanted, *named), mark)


async def _read_form(base: Call, exchange: Exchange, head: Head) -> Call:
    """A form: into the spool as it comes, then its plain fields like a body's."""
    form, spool, fields = await forms.take(exchange, head.content_type, base.route)
    base = replace(base, form=form, spool=spool)
    try:
        named = [Wanted(found.id, None, found.param) for found in form_references(fields)]
        mark = base.idempotency
        if mark:
            large = spool.size > _THREAD
            mark = await asyncio.to_thread(of_form, base, form) if large else of_form(base, form)
        return _with(base, reading.form_values(fields), (*base.wanted, *named), mark)
    except ApiError as fault:
        return replace(base, fault=fault)


def _with(base: Call, body: dict[str, Any], wanted: tuple[Wanted, ...], mark: Mark | None) -> Call:
    return Call(
        base.id,
        base.route,
        base.caller,
        base.began,
        base.permission,
        path=base.path,
        query=base.query,
        wanted=wanted,
        form=base.form,
        spool=base.spool,
        body=body,
        forwarded=base.forwarded,
        idempotency=mark,
        **reading.read(base.route, body),
    )


def model_grammar(name: str) -> bool:
    """Whether a name can be a model's id at all: it may end up in an upstream body or path."""
    return bool(MODEL.fullmatch(name)) and ".." not in name.split("/")
