"""Tokens without a tokenizer: the byte rule of SPEC §3, and prices by kind for what is no text.

ASCII bytes / 3 + other bytes / 2. It errs upwards on prose in every script measured; what was
really used is known at the close.
"""

from typing import Any

# A part that is no text is priced by its kind, never by the bytes of its encoding.
PARTS = {
    "image_url": 1_100,
    "input_image": 1_100,
    "input_audio": 1_500,
    "file": 4_000,
    "input_file": 4_000,
}
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
        fixed = PARTS.get(kind) if isinstance(kind, str) else None
        if fixed is not None:
            return fixed
        return sum(of_text(key) + of_value(item) for key, item in value.items())
    return 0 if value is None else 1


def of_messages(messages: Any) -> int:
    """Estimated tokens of a chat: every message's own strings, and its framing."""
    if not isinstance(messages, list):
        return of_value(messages)
    return sum(_EACH + _of_message(message) for message in messages)


def _of_message(message: Any) -> int:
    if not isinstance(message, dict):
        return of_value(message)
    return sum(of_value(item) for item in message.values())
