"""What all readers of replies share: what they have found, counts that can be believed, and JSON
that is changed in place.

Bytes go on as they came wherever they can: a body is written anew only where a change does not
fit into the text it came in.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

import orjson

from proxy.providers import tokens
from proxy.providers.base import Asked, Found, Malformed, UpstreamFault, Usage

MOST_TOKENS = 10**12  # a count beyond this is a mistake, and would not fit into the ledger
_MODEL = re.compile(rb'"model"(\s*:\s*)"(?:[^"\\]|\\.)*"')


class Reading:
    """What is known of a reply so far."""

    units: int | None = None
    shown = 0
    preview = False

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.usage: Usage | None = None
        self.tier: str | None = None
        self.found: list[Found] = []
        self.state: Mapping[str, Any] | None = None
        self._weight = 0
        self._rename = bool(asked.model) and asked.upstream_model not in ("", asked.model)
        """The client called the model by another name than the provider does."""

    @property
    def produced(self) -> int:
        return tokens.of_weight(self._weight)

    def _take_tier(self, reply: Mapping[str, Any]) -> None:
        tier = reply.get("service_tier")
        if isinstance(tier, str):
            self.tier = tier


def counts(value: Any) -> TypeGuard[int]:
    """Whether it can be a number of tokens."""
    return type(value) is int and 0 <= value <= MOST_TOKENS


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def usage_of(value: Any) -> Usage | None:
    """Usage as chat completions state it. A negative or fractional count is no statement at all."""
    return _usage(value, "prompt_tokens", "completion_tokens", "prompt_tokens_details")


def flow_of(value: Any) -> Usage | None:
    """Usage as responses, images and transcriptions state it."""
    return _usage(value, "input_tokens", "output_tokens", "input_tokens_details")


def _usage(value: Any, prompts: str, completions: str, more: str) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get(prompts), value.get(completions, 0)
    if not counts(prompt):
        return None
    if completions not in value and counts(total := value.get("total_tokens")):
        completion = total - prompt  # of embeddings nothing; but whoever answers may leave it out
    if not counts(completion):
        return None
    details = value.get(more)
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(prompt, completion, cached if counts(cached) else 0)


def object_of(data: bytes) -> dict[str, Any]:
    """The object a body is. Raises Malformed, UpstreamFault."""
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Malformed("the reply is no JSON") from None
    if not isinstance(reply, dict):
        raise Malformed("the reply is no object")
    # A job that failed has an `error` too, but it has an id with it.
    if reply.get("error") and "id" not in reply and "object" not in reply:
        raise UpstreamFault
    return reply


def written(value: Mapping[str, Any]) -> bytes:
    """JSON again. A parser takes deeper nests than any writer."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise Malformed("nested too deep") from None


def renamed(raw: bytes, reply: dict[str, Any], model: str) -> bytes:
    """A body, and its parsed value, with the name of its model changed. Raises Malformed."""
    reply["model"] = model
    # Where it can be nothing else, the name is changed in the text, and numbers stay as written.
    if raw.count(b'"model"') == 1 and (found := _MODEL.search(raw)):
        name = b'"model"' + found[1] + orjson.dumps(model)
        return raw[: found.start()] + name + raw[found.end() :]
    return written(reply)


def extended(raw: bytes, reply: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """A body with fields added to its object. Raises Malformed."""
    if not reply or extra.keys() & reply.keys():
        return written({**reply, **extra})
    return raw.rstrip()[:-1] + b"," + written(extra)[1:]
