"""Reading runs, whole and streamed. A run's events are told apart by their `event:` line alone,
and what they carry is the object itself."""

from collections.abc import Iterator
from typing import Any

from bsod.lib.terms import ObjectKind
from proxy.providers import tokens
from proxy.providers.base import Asked
from proxy.providers.events import EventStream, name_of
from proxy.providers.harvest import found, harvest
from proxy.providers.reading import dicts, usage_of
from proxy.providers.whole import ObjectWhole

_RUN, _STEP = "thread.run.", "thread.run.step."
_ENDED = ("requires_action", "completed", "incomplete", "failed", "cancelled", "expired")


class RunWhole(ObjectWhole):
    """A run in one JSON body: it has begun, and says how far it is."""

    def _note(self, reply: dict[str, Any]) -> None:
        super()._note(reply)
        self.usage = usage_of(reply.get("usage"))


class RunStream(EventStream):
    """A run as events, until it ends or asks for something."""

    ends = frozenset(_RUN + state for state in _ENDED)
    final = False
    mark = b"event: done\ndata: [DONE]\n\n"

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._known = False

    def _name(self, event: bytes, value: dict[str, Any]) -> str:
        return name_of(event)

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        if name.startswith(_RUN) and not name.startswith(_STEP):
            return self._note_run(value)
        if name.endswith(".delta"):
            self._weight += sum(map(tokens.weight, said(value.get("delta"))))
        elif name == "thread.created":
            self.found += found(ObjectKind.THREAD, value)
        elif name == "thread.message.created":
            self.found += found(ObjectKind.MESSAGE, value)
        return False

    def _note_run(self, run: dict[str, Any]) -> bool:
        self.state = run
        usage = usage_of(run.get("usage"))
        if usage:
            self.usage = usage
        if not self._known and self.asked.creates:
            self.found += harvest(self.asked.creates, run)
        self._known = True
        if not self._rename or not isinstance(run.get("model"), str):
            return False
        run["model"] = self.asked.model
        return True


def said(delta: Any) -> Iterator[Any]:
    """The texts in a delta of a message or of a step."""
    if not isinstance(delta, dict):
        return
    for part in dicts(delta.get("content")):
        text = part.get("text")
        yield text.get("value") if isinstance(text, dict) else part.get("refusal")
    details = delta.get("step_details")
    for call in dicts(details.get("tool_calls") if isinstance(details, dict) else None):
        for tool, field in (("function", "arguments"), ("code_interpreter", "input")):
            if isinstance(inner := call.get(tool), dict):
                yield inner.get(field)
