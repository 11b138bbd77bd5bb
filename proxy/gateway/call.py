"""Reading a request: its head, then its body, strictly. What comes out is a Call.

The body that goes to a provider is written anew from the parsed value, so that nobody can show us
one `model` and the provider another. A fault of the body is kept in the Call: who is asking is
checked first, so that a stranger learns nothing from it.
"""

import asyncio
from typing import Any

from bsod.lib import clock
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.exchange import Exchange, too_large
from proxy.gateway.head import Head
from proxy.gateway.journey import Call, Caller
from proxy.gateway.strict import strict
from proxy.providers import tokens
from proxy.routes import MODEL, BodyKind, Route

EARLY = 65_536  # bytes of body that are read before the key has been checked
_THREAD = 1_000_000  # bytes beyond which parsing leaves the event loop
MOST_TOKENS = 10_000_000
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Fields that would choose a destination or a credential (SECURITY §3.1): never forwarded.
DROPPED = (
    "api_base", "base_url", "api_key", "extra_headers", "extra_query", "organization", "project",
    "fallbacks",
)  # fmt: skip


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


def early(length: int | None) -> bool:
    """Whether a body is small enough to be read before the key is known to be good."""
    return length is not None and length <= EARLY


async def read_call(exchange: Exchange, route: Route, head: Head, caller: Caller) -> Call:
    """Read and parse the body. The Call carries what is wrong with it."""
    began = clock.monotonic()
    base = Call(exchange.id, route, caller, began, permission=route.permission)
    if route.body is BodyKind.NONE:
        return base
    try:
        _check_head(head, exchange.length, route)
        raw = await exchange.body(route.body_limit)
        if len(raw) > _THREAD:
            return await asyncio.to_thread(understand, base, raw, head)
        return understand(base, raw, head)
    except ApiError as fault:
        # What led to it holds the whole body, and the Call lives until it has been refused.
        fault.__traceback__ = fault.__context__ = None
        return Call(exchange.id, route, caller, began, permission=route.permission, fault=fault)


def _check_head(head: Head, length: int | None, route: Route) -> None:
    if length is not None and length > route.body_limit:
        raise too_large(route.body_limit)
    kind = head.content_type.partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"") or head.encoded:
        raise ApiError(
            Code.UNSUPPORTED_MEDIA_TYPE,
            "Send the body as 'Content-Type: application/json', without Content-Encoding.",
        )


def understand(base: Call, raw: bytes, head: Head) -> Call:
    """A chat completion's body: fields checked, aliases and fast mode folded. Raises ApiError."""
    body = strict(raw)
    if not isinstance(body, dict):
        raise ApiError(Code.INVALID_JSON, "The body must be a JSON object.")
    for name in DROPPED:
        body.pop(name, None)
    model = _model(body)
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise invalid("messages", "'messages' must be a list of at least one message.")
    stream, wants_usage = _streaming(body)
    limits = [limit for name in LIMITS if (limit := _whole(body, name, MOST_TOKENS))]
    for name in LIMITS:
        body.pop(name, None)
    return Call(
        base.id,
        base.route,
        base.caller,
        base.began,
        base.permission,
        model=model,
        body=body,
        forwarded=head.forwarded,
        stream=stream,
        wants_usage=wants_usage,
        limit=min(limits, default=None),
        choices=max(_whole(body, "n", 128) or 1, _whole(body, "best_of", 128) or 1),
        fast=_fast(body),
        prompt=_prompt(body),
    )


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("model", "'model' must be the id of a model; see GET /v1/models.")
    return model


def _streaming(body: dict[str, Any]) -> tuple[bool, bool]:
    stream, options = body.get("stream"), body.get("stream_options")
    if type(stream) not in (bool, type(None)):
        raise invalid("stream", "'stream' must be true or false.")
    if options is not None and not isinstance(options, dict):
        raise invalid("stream_options", "'stream_options' must be an object.")
    wants = (options or {}).get("include_usage")
    if type(wants) not in (bool, type(None)):
        raise invalid("stream_options.include_usage", "'include_usage' must be true or false.")
    return bool(stream), bool(wants)


def _whole(body: dict[str, Any], name: str, most: int) -> int | None:
    """A positive whole number, or None when absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= most:
        raise invalid(name, f"'{name}' must be a whole number from 1 to {most}.")
    return value


def _fast(body: dict[str, Any]) -> bool:
    """Fast mode in its three spellings, forwarded as the one every provider knows."""
    asked = body.get("priority") == "fast"
    if asked:
        del body["priority"]
    if asked or body.get("service_tier") in ("priority", "fast"):
        body["service_tier"] = "priority"
        return True
    return False


def _prompt(body: dict[str, Any]) -> int:
    extras = ("tools", "functions", "response_format", "prediction")
    return tokens.of_messages(body["messages"]) + sum(
        tokens.of_value(body[name]) for name in extras if body.get(name)
    )


def model_grammar(name: str) -> bool:
    """Whether a name can be a model's id at all: it may end up in an upstream body or path."""
    return bool(MODEL.fullmatch(name)) and ".." not in name.split("/")
