"""A call for a response, as a chat completion: instructions, items, tools, format, reasoning.

What a provider would have to keep, or to do by itself between two words (hosted tools), no chat
can ask for: it is refused by name. What changes nothing about an answer is left out.
"""

from collections.abc import Mapping
from typing import Any

from bsod.lib import clock
from proxy.providers.base import Asked, Refused
from proxy.providers.bridging.counts import tier_of
from proxy.providers.bridging.turns import messages_of
from proxy.providers.reading import dicts

# What only a provider that keeps answers, or its own workers, can do: refused unless empty.
_STATEFUL = {
    "previous_response_id": "It keeps no earlier response: send the whole conversation as 'input'.",
    "conversation": "It keeps no conversation: send the whole of it as 'input'.",
    "background": "It cannot answer in the background.",
    "prompt": "It knows no stored prompts: send 'instructions' and 'input'.",
    "context_management": "It does not compact a conversation by itself.",
    "moderation": "It does not moderate by itself.",
}
# Translated below, or without a meaning for one answer that is not kept.
_OURS = frozenset(_STATEFUL) | {
    "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
    "include", "top_logprobs", "store", "stream_options", "truncation", "metadata", "n",
    "max_tool_calls", "background_options", "access_programs", "image",
    "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
}  # fmt: skip
_LOGPROBS = "message.output_text.logprobs"


def chat_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the chat. Raises Refused."""
    for name, why in _STATEFUL.items():
        if body.get(name):
            raise Refused(name, f"This model does not do '{name}'. {why}")
    if body.get("n") not in (None, 1):
        raise Refused("n", "A response has one answer: leave 'n' out.")
    if not isinstance(body.get("metadata"), dict | None):
        raise Refused("metadata", "'metadata' must be an object.")
    chat = {name: value for name, value in body.items() if name not in _OURS and value is not None}
    chat["messages"] = messages_of(body.get("instructions"), body.get("input"))
    return {**chat, **_tools(body), **_reasoning(body), **_format(body), **_logprobs(body)}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    choice, mode = body.get("tool_choice"), body.get("tool_choice")
    tools = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(_list(body, "tools"))]
    if isinstance(choice, dict):
        mode, names = _choice(choice)
        if names is not None:
            # The same as offering no others, which every server understands.
            tools = [tool for tool in tools if tool[tool["type"]]["name"] in names]
    if not tools:
        if mode not in (None, "auto", "none"):
            raise Refused("tool_choice", "'tool_choice' names no tool of 'tools'.")
        return {}
    found: dict[str, Any] = {"tools": tools}
    if mode is not None:
        found["tool_choice"] = mode
    if body.get("parallel_tool_calls") is not None:
        found["parallel_tool_calls"] = body["parallel_tool_calls"]
    return found


def _tool(tool: Any, place: str) -> dict[str, Any]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in ("function", "custom"):
        raise Refused(
            f"{place}.type",
            f"This model has functions of yours only; its provider runs no '{str(kind)[:64]}'.",
        )
    if not isinstance(tool.get("name"), str):
        raise Refused(f"{place}.name", "A tool must have a name.")
    names = ("name", "description", "parameters", "strict")
    if kind == "function":
        return {"type": kind, kind: {n: tool[n] for n in names if tool.get(n) is not None}}
    custom = {n: tool[n] for n in ("name", "description") if tool.get(n) is not None}
    given = tool.get("format")
    if isinstance(given, dict):
        inner = {name: value for name, value in given.items() if name != "type"}
        kept = {"type": given.get("type"), "grammar": inner} if inner else given
        custom["format"] = kept
    return {"type": kind, kind: custom}


def _choice(choice: Mapping[str, Any]) -> tuple[Any, set[Any] | None]:
    """The choice as a chat has it; and the names of the tools that may be chosen, if not all."""
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return {"type": kind, kind: {"name": choice.get("name")}}, None
    if kind == "allowed_tools":
        named = [tool.get("name") for tool in dicts(choice.get("tools"))]
        return choice.get("mode", "auto"), {name for name in named if isinstance(name, str)}
    raise Refused("tool_choice", f"This model has no tool of the type '{str(kind)[:64]}'.")


def _reasoning(body: Mapping[str, Any]) -> dict[str, Any]:
    asked = body.get("reasoning")
    if asked is None:
        return {}
    if not isinstance(asked, dict):
        raise Refused("reasoning", "'reasoning' must be an object.")
    if asked.get("mode") not in (None, "standard"):
        raise Refused("reasoning.mode", "This model has the mode 'standard' only.")
    effort = asked.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def _format(body: Mapping[str, Any]) -> dict[str, Any]:
    text = body.get("text")
    if text is None:
        return {}
    if not isinstance(text, dict):
        raise Refused("text", "'text' must be an object.")
    found: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        found["verbosity"] = text["verbosity"]
    given = text.get("format")
    kind = given.get("type") if isinstance(given, dict) else "text" if given is None else None
    if kind == "json_object":
        found["response_format"] = {"type": kind}
    elif kind == "json_schema":
        assert isinstance(given, dict)
        if not isinstance(given.get("name"), str) or not isinstance(given.get("schema"), dict):
            raise Refused("text.format", "A json_schema has a 'name' and a 'schema'.")
        schema = {name: value for name, value in given.items() if name != "type"}
        found["response_format"] = {"type": kind, kind: schema}
    elif kind != "text":
        raise Refused("text.format", "'format' must be text, json_object or json_schema.")
    return found


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any]:
    top = body.get("top_logprobs")
    if not top and _LOGPROBS not in _list(body, "include"):
        return {}
    return {"logprobs": True} if top is None else {"logprobs": True, "top_logprobs": top}


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list | None):
        raise Refused(name, f"'{name}' must be a list.")
    return value or []


def echo(asked: Asked) -> dict[str, Any]:
    """What a response repeats of its call, and that nobody keeps it."""
    body = asked.body
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    return {
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": asked.limit,
        "max_tool_calls": None,
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": None,
        "service_tier": tier_of(body.get("service_tier")) or "auto",
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": {"type": "text"}, **_known(text)},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": body.get("top_p"),
        "truncation": "disabled",
        "user": None,
    }


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def made_at(value: Any) -> int:
    """When an answer was made, as its provider says, or now."""
    return value if type(value) is int else int(clock.now().timestamp())
