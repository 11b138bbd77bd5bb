"""Which objects of a provider's account a body names: each must be the caller's own (SPEC §4).

The rule goes by names, at any depth: a field `*_id` or `*_ids`, and the irregular ones below.
Where a name lies about that, it is in one of the lists here and nowhere else. What a list leaves
out is a reference: a field nobody knows yet is refused rather than let through to somebody
else's file. Pure; a body is walked without recursion.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.errors import ApiError, Code

MOST = 5000  # different ids in one body; a vector store takes 2000 files at once

# End like a reference and are none: labels that the client or the model made up, and what other
# programs of the client's call their things.
LABELS = frozenset({
    "call_id", "caller_id", "tool_call_id", "tool_use_id", "function_call_id",
    "custom_id", "connector_id", "approval_request_id",
    "client_id", "client_request_id", "correlation_id", "customer_id", "end_user_id", "event_id",
    "external_id", "request_id", "session_id", "span_id", "tenant_id", "trace_id", "user_id",
})  # fmt: skip
# Below these, names are the client's own: labels, schemas, variables of a shell, a test's data.
OPAQUE = frozenset({
    "metadata", "arguments", "parameters", "schema", "input_schema", "attributes", "env",
    "headers", "item",
})  # fmt: skip
# Strings that are ids under names that do not say so.
_PLAIN = frozenset({"training_file", "validation_file", "conversation", "container", "consent"})
# Objects that name another by their `id`: alone, or in a list.
_HOLDERS = frozenset({"conversation", "prompt", "voice", "video", "characters"})
# Items of an `input` that carry what they are about; without that, the provider looks their id up.
_CARRIED: dict[str, tuple[str, ...]] = {
    "reasoning": ("encrypted_content", "content"),
    "image_generation_call": ("result",),
}
_TUNED = "ft:"
# Most of a body's strings stand in one of these, and none of these names anything.
_COMMON = frozenset({"role", "content", "type", "text", "name", "description", "arguments"})


@dataclass(frozen=True, slots=True)
class Reference:
    """An id and the place of the body it was first found at, as `input[2].id`."""

    id: str
    param: str


class TooMany(ApiError):
    """More ids than any body needs. `param` is where the count ran out."""

    def __init__(self, param: str) -> None:
        super().__init__(
            Code.INVALID_VALUE, f"The body names more than {MOST} objects.", param=param
        )


# A place: the place around it, and the step into it. Spelt out only for what is found.
_Path = tuple[Any, str | int] | None


def references(body: Any) -> list[Reference]:
    """The objects a body names, each once. In the order they are written, but for an object's own
    fields, which come before what lies deeper. Raises TooMany."""
    found: dict[str, Reference] = {}
    # (value, its place, the field it stands in: a list's elements stand in the list's)
    todo: list[tuple[Any, _Path, str]] = [(body, None, "")]
    while todo:
        value, path, field = todo.pop()
        inner: list[tuple[Any, _Path, str]] = []
        if type(value) is dict:
            holds = "id" in value and _holds(value, field)
            for name, part in value.items():
                kind = type(part)
                if kind is str:
                    if name not in _COMMON and _is_one(name, part, holds):
                        _note(found, part, (path, name))
                elif (kind is dict or kind is list) and name not in OPAQUE:
                    inner.append((part, (path, name), name))
        elif type(value) is list:
            many = _ids(field)
            for number, part in enumerate(value):
                kind = type(part)
                if kind is dict or kind is list:
                    inner.append((part, (path, number), field))
                elif many and kind is str:
                    _note(found, part, (path, number))
        inner.reverse()
        todo += inner
    return list(found.values())


def form_references(fields: Mapping[str, Sequence[str]]) -> list[Reference]:
    """The same of a form's plain fields, whose names say where in a body they would stand:
    `video[id]`, `character_ids[]`, `input_reference[file_id]`. Raises TooMany."""
    found: dict[str, Reference] = {}
    for name, values in fields.items():
        steps = [step for step in re.split(r"[\[\].]+", name) if step and not step.isdecimal()]
        if not steps or not OPAQUE.isdisjoint(steps):
            continue
        last, holds = steps[-1], len(steps) > 1 and steps[-2] in _HOLDERS
        for value in values:
            if _ids(last) or _is_one(last, value, holds):
                _note(found, value, (None, name))
            for reference in _packed(last, value):
                _note(found, reference.id, (None, name))
    return list(found.values())


def _packed(name: str, value: str) -> Iterator[Reference]:
    """What a form's field names that is JSON itself, as some clients send objects. A prompt is
    the only text a form has, and may be what it likes."""
    if name != "prompt" and value.lstrip()[:1] in ("{", "["):
        try:
            body = orjson.loads(value)
        except orjson.JSONDecodeError:
            return
        yield from references({name: body})


def _is_one(name: str, value: str, holds: bool) -> bool:
    """Whether a string of this name is an object's id."""
    if name == "model":
        return value.startswith(_TUNED)
    return name in _PLAIN or _ids(name) or (holds and name == "id")


def _ids(name: str) -> bool:
    return name.endswith(("_id", "_ids")) and name not in LABELS


def _holds(value: dict[str, Any], field: str) -> bool:
    """Whether the `id` of this object is another's, and not just its own name."""
    kind = value.get("type")
    if kind == "item_reference" or field in _HOLDERS:
        return True
    if field != "input" or "id" not in value:
        return False
    if kind is None:  # `type` may be left out of a reference, and of a message
        return not value.get("role") or "content" not in value
    carried = _CARRIED.get(kind) if isinstance(kind, str) else None
    return carried is not None and not any(value.get(name) for name in carried)


def _note(found: dict[str, Reference], id_: str, path: _Path) -> None:
    if id_ and id_ not in found:
        found[id_] = Reference(id_, _spelt(path))
        if len(found) > MOST:
            raise TooMany(found[id_].param)


def _spelt(path: _Path) -> str:
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    return "".join(reversed(steps)).removeprefix(".")
