"""Tools, which of them may or must be called, and schemas an answer has to keep.

Anthropic holds a strict schema's shape, not its ranges: what of it cannot be enforced there is
written into the description, as its own clients do, and an object of any fields is refused,
because it could only come back empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from proxy.providers.base import Refused

_NO_PROPERTIES = {"type": "object", "properties": {}}
_RANGES = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
_OPEN = (
    "every object of a strict schema must list its 'properties', and have no others: this model "
    "cannot be held to a schema of open objects"
)


def tool_fields(body: Mapping[str, Any], called: Sequence[str]) -> dict[str, Any]:
    """`tools` and `tool_choice`. `called`: the tools named in the conversation, which must be
    there even when no more can be called. Raises Refused."""
    given = body.get("tools") or []
    if not isinstance(given, list):
        raise Refused("tools", "'tools' must be a list.")
    tools = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(given)]
    if not tools:
        known = [{"name": name, "input_schema": _NO_PROPERTIES} for name in called]
        return {"tools": known, "tool_choice": {"type": "none"}} if known else {}
    choice, allowed = _choice(body.get("tool_choice"))
    if allowed is not None:
        tools = [tool for tool in tools if tool["name"] in allowed]
    if body.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": choice} if choice else {})}


def _tool(tool: Any, where: str) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type") != "function":
        raise Refused(where, "This model takes tools of type 'function' only.")
    if not isinstance(function.get("name"), str):
        raise Refused(f"{where}.function.name", "A function must have a name.")
    schema = function.get("parameters") or _NO_PROPERTIES
    if not isinstance(schema, dict):
        raise Refused(f"{where}.function.parameters", "'parameters' must be a JSON schema.")
    made = {"name": function["name"], "input_schema": {"type": "object", **schema}}
    if isinstance(function.get("description"), str):
        made["description"] = function["description"]
    if function.get("strict") is True:
        made["strict"] = True
        made["input_schema"] = enforced(made["input_schema"], f"{where}.function.parameters")
    for holder in (tool, function):
        if isinstance(holder.get("cache_control"), dict):
            made["cache_control"] = holder["cache_control"]
    return made


_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def _choice(choice: Any) -> tuple[dict[str, Any], list[str] | None]:
    """How to choose, and the only tools to choose from; {} and None: nothing is said of it."""
    if choice is None:
        return {}, None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}, None
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "tool", "name": _name(choice)}, None
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        mode = allowed.get("mode") if isinstance(allowed, dict) else None
        tools = allowed.get("tools") if isinstance(allowed, dict) else None
        if isinstance(tools, list) and mode in ("auto", "required"):
            return {"type": _CHOICES[mode]}, [_name(tool) for tool in tools]
    raise Refused("tool_choice", "'tool_choice' must be auto, none, required, or name functions.")


def _name(value: Any) -> str:
    function = value.get("function") if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise Refused("tool_choice", "'tool_choice' must name a function of 'tools'.")
    return name


def output_format(wanted: Any) -> dict[str, Any] | None:
    """`response_format` as Anthropic has it; None for plain text. Raises Refused."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if wanted is None or kind == "text":
        return None
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise Refused(
            "response_format",
            "This model answers in JSON by a schema only: send 'response_format' of type "
            "json_schema with a schema.",
        )
    return {
        "type": "json_schema",
        "schema": enforced(schema, "response_format.json_schema.schema"),
    }


def enforced(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A schema whose shape can be held. Raises Refused."""
    made = {name: value for name, value in schema.items() if name not in _RANGES}
    if "oneOf" in made:
        made["anyOf"] = made.pop("oneOf")
    for name in ("properties", "$defs", "definitions"):
        if isinstance(made.get(name), dict):
            made[name] = {key: _inner(value, where) for key, value in made[name].items()}
    for name in ("anyOf", "allOf", "prefixItems"):
        if isinstance(made.get(name), list):
            made[name] = [_inner(value, where) for value in made[name]]
    if "items" in made:
        made["items"] = _inner(made["items"], where)
    if _is_object(made):
        closed = made.get("additionalProperties", False) is False
        if not closed or not isinstance(made.get("properties"), dict):
            raise Refused(where, f"In this schema {_OPEN}.")
        made["additionalProperties"] = False
    if isinstance(schema.get("minItems"), int) and schema["minItems"] in (0, 1):
        made["minItems"] = schema["minItems"]
    return _told(made, {n: schema[n] for n in _RANGES if n in schema and n not in made})


def _is_object(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return (
        "properties" in schema
        or kinds == "object"
        or (isinstance(kinds, list) and "object" in kinds)
    )


def _inner(value: Any, where: str) -> Any:
    return enforced(value, where) if isinstance(value, dict) else value


def _told(made: dict[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """What is not enforced is said in words."""
    if rest:
        said = made.get("description")
        more = orjson.dumps(rest).decode()
        made["description"] = f"{said}\n\n{more}" if isinstance(said, str) and said else more
    return made
