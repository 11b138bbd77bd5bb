"""The items of a response's input, as the messages of a chat.

A chat has the calls of one turn in one message, and their outputs right behind it: items that
follow each other are put together. What a provider would have to look up is refused.
"""

import re
from collections.abc import Callable
from typing import Any

from proxy.providers.base import Refused
from proxy.providers.bridging.parts import for_chat

# Thoughts go back under the name the provider told them by: our own ids say which it was. Without
# that nobody knows whether it may be told of them at all.
THOUGHT = re.compile(r"rs_(reasoning_content|reasoning)_[0-9a-z]", re.ASCII)
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
Message = dict[str, Any]


def messages_of(instructions: Any, given: Any) -> list[Message]:
    """The whole conversation. Raises Refused."""
    turns = _Turns()
    if instructions is not None:
        if not isinstance(instructions, str):
            raise Refused("instructions", "'instructions' must be a text.")
        turns.messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        turns.messages.append({"role": "user", "content": given})
    elif isinstance(given, list):
        for place, item in enumerate(given):
            turns.add(item, f"input[{place}]")
    else:
        raise Refused("input", "'input' must be a text or a list of items.")
    if not turns.messages:
        raise Refused("input", "'input' must not be empty.")
    return turns.messages


class _Turns:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._thought: tuple[str, str] | None = None

    def add(self, item: Any, place: str) -> None:
        if not isinstance(item, dict):
            raise Refused(place, "An item must be an object.")
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        known = _ITEMS.get(kind) if isinstance(kind, str) else None
        if known is None:
            why = "It keeps no items: send them whole." if kind == "item_reference" else ""
            raise Refused(
                f"{place}.type", f"This model takes no item '{str(kind)[:64]}'. {why}".rstrip()
            )
        known(self, item, place)

    def message(self, item: Message, place: str) -> None:
        role = _ROLES.get(str(item.get("role")))
        if role is None:
            raise Refused(f"{place}.role", "'role' must be user, assistant, system or developer.")
        content = for_chat(item.get("content"), f"{place}.content")
        if content is None:
            raise Refused(f"{place}.content", "A message must have a content.")
        if role == "assistant" and self._calling() and self.messages[-1]["content"] is None:
            self.messages[-1]["content"] = content  # said behind its calls, in the same turn
        elif role == "assistant":
            self._append({"role": role, "content": content})
        else:
            self._thought = None
            self.messages.append({"role": role, "content": content})

    def called(self, item: Message, place: str) -> None:
        kind, said = _CALLS[item["type"]]
        for name in ("call_id", "name", said):
            if not isinstance(item.get(name), str):
                raise Refused(f"{place}.{name}", f"'{name}' must be a text.")
        call = {"id": item["call_id"], "type": kind,
                kind: {"name": item["name"], said: item[said]}}  # fmt: skip
        if "extra_content" in item:
            call["extra_content"] = item["extra_content"]  # a provider's signature of it
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant":
            last = self._append({"role": "assistant", "content": None})
        last.setdefault("tool_calls", []).append(call)

    def output(self, item: Message, place: str) -> None:
        if not isinstance(item.get("call_id"), str):
            raise Refused(f"{place}.call_id", "'call_id' must be a text.")
        content = for_chat(item.get("output"), f"{place}.output")
        if content is None:
            raise Refused(f"{place}.output", "An output must have a content.")
        self._thought = None
        self.messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})

    def thought(self, item: Message, place: str) -> None:
        """Only what a chat has told may be told to a chat: sealed thoughts are another's."""
        ours = THOUGHT.match(str(item.get("id")))
        parts = item.get("content")
        if ours and isinstance(parts, list):
            texts = [part.get("text") for part in parts if isinstance(part, dict)]
            self._thought = ours[1], "".join(text for text in texts if isinstance(text, str))

    def _append(self, message: Message) -> Message:
        """A message of the model's, with what it thought before."""
        if self._thought:
            name, text = self._thought
            message[name] = text
            self._thought = None
        self.messages.append(message)
        return message

    def _calling(self) -> bool:
        return bool(self.messages) and "tool_calls" in self.messages[-1]


_CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
_ITEMS: dict[str, Callable[[_Turns, Message, str], None]] = {
    "message": _Turns.message,
    "function_call": _Turns.called,
    "custom_tool_call": _Turns.called,
    "function_call_output": _Turns.output,
    "custom_tool_call_output": _Turns.output,
    "reasoning": _Turns.thought,
}
