"""A call for a chat completion, as one for a response that nobody keeps.

Fields that both know under one name go on as they are, and so do those nobody here knows. What
a response cannot be asked for is refused where it changes the answer, and left out where not.
"""

from collections.abc import Mapping
from typing import Any

from proxy.providers.base import Refused
from proxy.providers.bridging.parts import for_response

# Refused unless it asks for nothing: what a value must be to be left out.
_CANNOT: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "store": (False,), "stop": ([], ""), "logit_bias": ({},),
    "frequency_penalty": (0,), "presence_penalty": (0,), "functions": ([],), "function_call": (),
    "audio": (), "modalities": (["text"], []), "web_search_options": (),
}  # fmt: skip
_HINTS = {
    "store": "Its answers are not kept: leave 'store' out.",
    "functions": "Use 'tools' instead.",
    "function_call": "Use 'tool_choice' instead.",
}
# Translated below, or without an effect on what is answered.
_OURS = frozenset(_CANNOT) | {
    "messages", "tools", "tool_choice", "response_format", "verbosity", "reasoning_effort",
    "reasoning", "logprobs", "seed", "prediction", "stream_options", "text", "include",
}  # fmt: skip
_NOTHING = {"type": "object", "properties": {}}  # parameters of a function that takes none
_ROLES = frozenset({"user", "assistant", "system", "developer"})


def responses_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the call for a response. Raises Refused."""
    for name, nothing in _CANNOT.items():
        value = body.get(name)
        if value is not None and value not in nothing:
            hint = _HINTS.get(name, "Leave it out, or ask another model.")
            raise Refused(name, f"This model does not do '{name}'. {hint}")
    sent = {name: value for name, value in body.items() if name not in _OURS and value is not None}
    if body.get("logprobs") is not True:
        sent.pop("top_logprobs", None)
    return {
        **sent,
        "input": _input(body.get("messages")),
        "store": False,
        **_tools(body),
        **_shaped(body),
        **_streamed(body),
    }


def _input(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise Refused("messages", "'messages' must be a list.")
    items: list[dict[str, Any]] = []
    custom: set[Any] = set()
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(message, dict):
            raise Refused(place, "A message must be an object.")
        role = message.get("role")
        if role == "tool":
            items.append(_output(message, place, custom))
        elif role in _ROLES:
            said = _said(message, place)
            items += said
            custom |= {item["call_id"] for item in said if item.get("type") == "custom_tool_call"}
        else:
            raise Refused(f"{place}.role", f"This model knows no role '{str(role)[:64]}'.")
    return items


def _said(message: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    """A message, and the calls it makes."""
    role = message["role"]
    for name in ("name", "audio", "function_call"):
        if message.get(name):
            raise Refused(f"{place}.{name}", f"This model cannot be told '{name}': leave it out.")
    items: list[dict[str, Any]] = []
    content, refusal = message.get("content"), message.get("refusal")
    if content:
        told = for_response(content, f"{place}.content", said=role == "assistant")
        items.append({"role": role, "content": told})
    elif refusal and role == "assistant":
        items.append({"role": role, "content": [{"type": "refusal", "refusal": refusal}]})
    elif role != "assistant":
        if content is None:
            raise Refused(f"{place}.content", "A message must have a content.")
        items.append({"role": role, "content": content})
    calls = message.get("tool_calls") if role == "assistant" else None
    for number, call in enumerate(calls if isinstance(calls, list) else ()):
        items.append(_call(call, f"{place}.tool_calls[{number}]"))
    return items


def _call(call: Any, place: str) -> dict[str, Any]:
    kind = call.get("type") or "function" if isinstance(call, dict) else None
    inner = call.get(kind) if isinstance(call, dict) else None
    said = {"function": "arguments", "custom": "input"}.get(str(kind))
    if said is None or not isinstance(inner, dict):
        raise Refused(place, "A tool call must name a function and its arguments.")
    values = {"call_id": call.get("id"), "name": inner.get("name"), said: inner.get(said)}
    for name, value in values.items():
        if not isinstance(value, str):
            raise Refused(f"{place}.{name}", f"'{name}' must be a text.")
    return {"type": "function_call" if kind == "function" else "custom_tool_call", **values}


def _output(message: Mapping[str, Any], place: str, custom: set[Any]) -> dict[str, Any]:
    call = message.get("tool_call_id")
    if not isinstance(call, str):
        raise Refused(f"{place}.tool_call_id", "'tool_call_id' must be a text.")
    kind = "custom_tool_call_output" if call in custom else "function_call_output"
    output = for_response(message.get("content"), f"{place}.content")
    return {"type": kind, "call_id": call, "output": output}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list | None):
        raise Refused("tools", "'tools' must be a list.")
    found: dict[str, Any] = {}
    if tools:
        found["tools"] = [_flat(tool, f"tools[{n}]") for n, tool in enumerate(tools)]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        named = allowed.get("tools") if isinstance(allowed, dict) else None
        if not isinstance(allowed, dict) or not isinstance(named, list):
            raise Refused("tool_choice.allowed_tools", "It must have a 'mode' and 'tools'.")
        found["tool_choice"] = {
            "type": "allowed_tools",
            "mode": allowed.get("mode", "auto"),
            "tools": [_chosen(tool, "tool_choice.allowed_tools.tools") for tool in named],
        }
    elif isinstance(choice, dict):
        found["tool_choice"] = _chosen(choice, "tool_choice")
    elif choice is not None:
        found["tool_choice"] = choice
    return found


def _flat(tool: Any, place: str) -> dict[str, Any]:
    chosen, inner = _chosen(tool, place), tool[tool["type"]]
    flat = {**chosen, **{name: value for name, value in inner.items() if value is not None}}
    if tool["type"] == "function":
        # A response takes a function that says nothing for a strict one; a chat does not.
        return {"parameters": dict(_NOTHING), **flat, "strict": inner.get("strict") is True}
    given = inner.get("format")
    if isinstance(given, dict) and isinstance(given.get("grammar"), dict):
        flat["format"] = {"type": given.get("type"), **given["grammar"]}
    return flat


def _chosen(tool: Any, place: str) -> dict[str, Any]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    inner = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise Refused(place, "A tool must be a function with a name.")
    return {"type": kind, "name": inner["name"]}


def _shaped(body: Mapping[str, Any]) -> dict[str, Any]:
    """Format, verbosity, effort and probabilities: each lies in an object of its own here."""
    text = dict(_object(body, "text"))
    given = _object(body, "response_format")
    if given:
        schema = given.get("json_schema")
        text["format"] = {"type": given.get("type")} | (schema if isinstance(schema, dict) else {})
    if body.get("verbosity") is not None:
        text["verbosity"] = body["verbosity"]
    reasoning = dict(_object(body, "reasoning"))
    if body.get("reasoning_effort") is not None:
        reasoning["effort"] = body["reasoning_effort"]
    include = body.get("include")
    wanted = list(include) if isinstance(include, list) else []
    if body.get("logprobs") is True:
        wanted.append("message.output_text.logprobs")
    found = {"text": text, "reasoning": reasoning, "include": wanted}
    return {name: value for name, value in found.items() if value}


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise Refused(name, f"'{name}' must be an object.")
    return value or {}


def _streamed(body: Mapping[str, Any]) -> dict[str, Any]:
    options = {**_object(body, "stream_options")}
    options.pop("include_usage", None)
    return {"stream_options": options} if options else {}
