"""Usage and ids, from one shape to the other. The numbers are the provider's own."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from proxy.providers.base import Asked, Usage
from proxy.providers.reading import counts

_SIDES = re.compile(r"(?:prompt|completion|input|output|total)_tokens(?:_details)?$")
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})


def name_of(asked: Asked, theirs: Any) -> str:
    """What an answer's ids are made of: ours, for nobody can ask for such an answer again."""
    if asked.request_id:
        return asked.request_id.lower()
    return hashlib.blake2b(str(theirs).encode(), digest_size=12).hexdigest()


def tier_of(value: Any) -> str | None:
    """A tier as OpenAI calls them; what other providers say of theirs is the usual one."""
    if not isinstance(value, str):
        return None
    return value if value in _TIERS else "default"


def as_response(usage: Usage, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Usage as a response has it; details from what a chat has `stated`."""
    prompt, completion = _details(stated, "prompt"), _details(stated, "completion")
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": _count(prompt, "cache_write_tokens"),
        },
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": _count(completion, "reasoning_tokens")},
        "total_tokens": usage.prompt + usage.completion,
        **_more(stated),
    }


def as_chat(usage: Usage, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Usage as a chat has it; details from what a response has `stated`."""
    prompt, completion = _details(stated, "input"), _details(stated, "output")
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {**_counts(prompt), "cached_tokens": usage.cached},
        "completion_tokens_details": {
            **_counts(completion),
            "reasoning_tokens": _count(completion, "reasoning_tokens"),
        },
        **_more(stated),
    }


def _more(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider counts besides: its searches, what they cost."""
    return {name: value for name, value in stated.items() if not _SIDES.match(name)}


def _details(stated: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    found = stated.get(f"{side}_tokens_details")
    return found if isinstance(found, dict) else {}


def _counts(details: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in details.items() if counts(value)}


def _count(details: Mapping[str, Any], name: str) -> int:
    value = details.get(name)
    return value if counts(value) else 0
