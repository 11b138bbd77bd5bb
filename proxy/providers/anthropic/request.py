"""The body of a chat as the body of Anthropic's POST /messages.

What would change the answer and cannot be said there is refused by its name; what only helps the
provider is left out. A value that is the default anyway is not said at all: newer models refuse
the very fields.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.providers.anthropic.messages import Conversation, conversation
from proxy.providers.anthropic.tools import output_format, tool_fields
from proxy.providers.base import Asked, Refused

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:-(\d{1,2}))?(?!\d)", re.ASCII)
_NEWEST = (99, 0)
_LEAST_BUDGET = 1024  # tokens of thinking that can be asked for

_TRANSLATED = frozenset(
    {
        "model", "messages", "stream", "tools", "tool_choice", "parallel_tool_calls", "stop",
        "temperature", "top_p", "reasoning_effort", "response_format", "service_tier", "user",
        "safety_identifier", "max_tokens", "max_completion_tokens",
    }
)  # fmt: skip
_LEFT_OUT = frozenset(
    {
        "stream_options", "metadata", "seed", "prediction", "prompt_cache_key",
        "prompt_cache_retention",
    }
)  # fmt: skip
NATIVE = ("top_k", "thinking", "cache_control")
"""Fields of Anthropic's own that go on as they are."""
# Values that ask for nothing; any other is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
    "store": (False,),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "verbosity": ("medium",),
}
_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only", "flex": "standard_only"}
# How much of the output limit is for thinking, in percent, where a model wants a number.
_SHARES = {"minimal": 0, "low": 20, "medium": 50, "high": 80, "xhigh": 90, "max": 90}


def body(asked: Asked) -> bytes:
    """What to send. Raises Refused."""
    given = {name: value for name, value in asked.body.items() if value is not None}
    _check(given)
    talk = conversation(given.get("messages"))
    model = asked.upstream_model or asked.model
    most = default_limit(model) if asked.limit is None else asked.limit
    made: dict[str, Any] = {
        "model": model,
        "max_tokens": most,
        "messages": talk.turns,
        **({"system": talk.system} if talk.system else {}),
        **({"stream": True} if asked.stream else {}),
        **({"metadata": {"user_id": asked.user}} if asked.user else {}),
        **tool_fields(given, talk.called),
        **_sampling(given),
        **_thinking(given, model, most, talk),
        **{name: given[name] for name in NATIVE if name in given},
    }
    wanted = output_format(given.get("response_format"))
    if wanted:
        made["output_config"] = {**made.get("output_config", {}), "format": wanted}
    try:
        return orjson.dumps(made)
    except orjson.JSONEncodeError:
        raise Refused("messages", "The arguments of a tool call are nested too deep.") from None


def _check(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in _TRANSLATED or name in _LEFT_OUT or name in NATIVE:
            continue
        if name not in _NEUTRAL:
            raise Refused(name, f"This model does not know '{name}': leave it out.")
        if value not in _NEUTRAL[name]:
            instead = "; use 'tools'" if name.startswith("function") else ""
            raise Refused(name, f"This model cannot do what '{name}' asks: leave it out{instead}.")


def version(model: str) -> tuple[int, int]:
    """The generation in a model's id; one without is of the newest."""
    found = _VERSION.search(model.lower())
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def default_limit(model: str) -> int:
    """Output tokens to allow where nobody has said how many: the field must be there."""
    made = version(model)
    if made < (3, 5):
        return 4_096
    if made < (3, 7):
        return 8_192
    return 32_000 if "opus" in model.lower() and made < (4, 5) else 64_000


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        value = given.get(name, 1)
        if type(value) not in (int, float):
            raise Refused(name, f"'{name}' must be a number.")
        if value < 1:
            made[name] = value
    stop = given.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(item, str) for item in stops):
        raise Refused("stop", "'stop' must be a text or a list of texts.")
    if stops:
        made["stop_sequences"] = stops
    tier = given.get("service_tier")
    if tier is not None:
        if not isinstance(tier, str) or tier not in _TIERS:
            raise Refused("service_tier", f"'service_tier' must be one of {', '.join(_TIERS)}.")
        made["service_tier"] = _TIERS[tier]
    return made


def _thinking(
    given: Mapping[str, Any], model: str, most: int, talk: Conversation
) -> dict[str, Any]:
    """How hard to think. Since 4.6 a model is told a level, before that a number of tokens."""
    effort = given.get("reasoning_effort")
    if effort is None or "thinking" in given:
        return {}
    made = version(model)
    if effort == "none":
        # Older models do not think unless they are asked to.
        return {"thinking": {"type": "disabled"}} if made >= (5, 0) else {}
    if not isinstance(effort, str) or effort not in _SHARES:
        known = ", ".join(["none", *_SHARES])
        raise Refused("reasoning_effort", f"'reasoning_effort' must be one of {known}.")
    if made >= (4, 6):
        level = "low" if effort == "minimal" else effort
        level = "high" if level == "xhigh" and made < (4, 7) else level
        thinking = {"type": "adaptive", "display": "summarized"}
        return {"thinking": thinking, "output_config": {"effort": level}}
    budget = max(_LEAST_BUDGET, most * _SHARES[effort] // 100)
    # Thoughts are not kept between calls, and these models want theirs back before a tool's
    # answer: such a turn is made without.
    if budget >= most or talk.answers_tools:
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
