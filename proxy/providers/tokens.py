"""Tokens without a tokenizer: the byte rule of SPEC §3, and prices by kind for what is no text.

ASCII bytes / 3 + other bytes / 2. It errs upwards, by how much is in docs/metering.md; what was
really used is known at the close.
"""

from collections.abc import Mapping
from typing import Any

from bsod.lib.terms import Shape

# A part that is no text is priced by its kind, never by the bytes of its encoding.
PARTS = {
    "image_url": 1_100,
    "input_image": 1_100,
    "input_audio": 1_500,
    "file": 4_000,
    "input_file": 4_000,
    "computer_screenshot": 1_100,
    "image_generation_call": 1_100,
}
# Where such a part keeps what it is priced for. What else it says is text like any other.
_PAYLOADS = frozenset(
    {
        "type", "id", "status", "detail", "image_url", "input_audio", "file", "file_id", "file_url",
        "file_data", "filename", "result",
    }
)  # fmt: skip
_EACH = 4  # tokens of framing around a message


def weight(text: Any) -> int:
    """Sixths of a token in a string, 0 for anything else. Pieces of a text weigh what it does."""
    if not isinstance(text, str):
        return 0
    if text.isascii():
        return 2 * len(text)
    ascii_bytes = len(text.encode("ascii", "ignore"))
    others = len(text.encode("utf-8", "surrogatepass")) - ascii_bytes
    return 2 * ascii_bytes + 3 * others


def of_weight(sixths: int) -> int:
    return -(-sixths // 6)


def of_text(text: str) -> int:
    """Estimated tokens of a string."""
    return of_weight(weight(text))


def of_value(value: Any) -> int:
    """Estimated tokens of any JSON value: its strings, keys and numbers, and its typed parts."""
    if isinstance(value, str):
        return of_text(value)
    if isinstance(value, list):
        return sum(map(of_value, value))
    if isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and kind in PARTS:
            return _of_part(kind, value)
        return sum(of_text(key) + of_value(item) for key, item in value.items())
    return 0 if value is None else 1


def _of_part(kind: str, part: Mapping[str, Any]) -> int:
    return PARTS[kind] + sum(of_value(item) for name, item in part.items() if name not in _PAYLOADS)


def of_messages(messages: Any) -> int:
    """Estimated tokens of a chat: every message's own strings, and its framing."""
    if not isinstance(messages, list):
        return of_value(messages)
    return sum(_EACH + _of_message(message) for message in messages)


def _of_message(message: Any) -> int:
    if not isinstance(message, dict):
        return of_value(message)
    kind = message.get("type")
    if isinstance(kind, str) and kind in PARTS:
        return _of_part(kind, message)
    return sum(of_value(item) for item in message.values())


# What of a body is prompt, besides what is said in turns.
_PROMPT: dict[Shape, tuple[str, ...]] = {
    Shape.CHAT: ("tools", "functions", "response_format", "prediction"),
    Shape.RESPONSE: ("instructions", "tools", "text"),
    Shape.COMPACTION: ("instructions",),
    Shape.COMPLETION: ("prompt", "suffix"),
    Shape.EMBEDDING: ("input",),
    Shape.MODERATION: ("input",),
    Shape.IMAGE: ("prompt",),
    Shape.VIDEO: ("prompt",),
    Shape.TRANSCRIPTION: ("prompt",),
    Shape.SPEECH: ("input", "instructions"),
    Shape.RUN: ("instructions", "additional_instructions", "tools"),
    Shape.GRADER: ("grader", "item", "model_sample"),
}


def of_prompt(shape: Shape, body: Mapping[str, Any]) -> int:
    """Estimated tokens of what a call of this shape asks. What its body only names, an earlier
    response or a thread, is not in it."""
    plain = sum(_of_input(body.get(name)) for name in _PROMPT.get(shape, ()) if body.get(name))
    return plain + _of_turns(shape, body)


def _of_turns(shape: Shape, body: Mapping[str, Any]) -> int:
    """Estimated tokens of what is said in turns, with their framing."""
    if shape is Shape.CHAT:
        return of_messages(body.get("messages"))
    if shape in (Shape.RESPONSE, Shape.COMPACTION):
        prompt = body.get("prompt")
        variables = prompt.get("variables") if isinstance(prompt, dict) else None
        return of_messages(body.get("input")) + of_value(variables)
    if shape is Shape.RUN:
        thread = body.get("thread")
        begun = thread.get("messages") if isinstance(thread, dict) else None
        return of_messages(begun) + of_messages(body.get("additional_messages"))
    return 0


def _of_input(value: Any) -> int:
    """Of a list of token ids each counts one; there can be millions."""
    if isinstance(value, list) and value:
        kinds = set(map(type, value))
        if kinds == {int}:
            return len(value)
        if kinds == {list}:
            return sum(map(_of_input, value))
    return of_value(value)
