"""What stands in a message, from one shape to the other: texts, pictures, files, sounds.

A part that has no counterpart is refused by its place in the body; none is left out in silence.
"""

from collections.abc import Mapping
from typing import Any

from proxy.providers.base import Refused

_MARKS = ("cache_control", "prompt_cache_breakpoint")  # where a provider may cut its cache
_TEXTS = ("input_text", "output_text", "text", "summary_text")


def for_chat(content: Any, place: str) -> Any:
    """The content of a response's item as a chat's message has it: a text where it is one."""
    if content is None or isinstance(content, str):
        return content
    parts = [_chat_part(part, f"{place}[{n}]") for n, part in enumerate(_list(content, place))]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]  # what every server reads
    return parts


def for_response(content: Any, place: str, *, said: bool = False) -> Any:
    """The content of a chat's message as a response's item has it. `said`: by the model."""
    if isinstance(content, str):
        return content
    return [
        _response_part(part, f"{place}[{n}]", "output_text" if said else "input_text")
        for n, part in enumerate(_list(content, place))
    ]


def _list(content: Any, place: str) -> list[Any]:
    if not isinstance(content, list):
        raise Refused(place, f"'{place}' must be a text or a list of parts.")
    return content


def _chat_part(part: Any, place: str) -> dict[str, Any]:
    kind = _kind(part, place)
    if kind in _TEXTS:
        return {"type": "text", "text": _text(part, "text", place), **_marks(part)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _text(part, "refusal", place)}
    if kind == "input_image":
        if not isinstance(part.get("image_url"), str):
            raise Refused(f"{place}.image_url", "This model takes images by URL only.")
        image = {"url": part["image_url"]}
        if part.get("detail"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image, **_marks(part)}
    if kind == "input_file":
        if part.get("file_url"):
            raise Refused(f"{place}.file_url", "This model takes files by 'file_data' only.")
        return {"type": "file", "file": _file(part), **_marks(part)}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise Refused(f"{place}.type", f"This model cannot be given a part of type '{kind[:64]}'.")


def _response_part(part: Any, place: str, text: str) -> dict[str, Any]:
    kind = _kind(part, place)
    if kind in _TEXTS:
        return {"type": text, "text": _text(part, "text", place), **_marks(part)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _text(part, "refusal", place)}
    if kind == "image_url":
        image = part.get("image_url")
        given = image if isinstance(image, dict) else {"url": image}
        detail = given.get("detail") or "auto"
        return {"type": "input_image", "image_url": _text(given, "url", f"{place}.image_url"),
                "detail": detail, **_marks(part)}  # fmt: skip
    if kind == "file":
        file = part.get("file")
        if not isinstance(file, dict):
            raise Refused(f"{place}.file", "'file' must be an object.")
        return {"type": "input_file", **_file(file), **_marks(part)}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise Refused(f"{place}.type", f"This model cannot be given a part of type '{kind[:64]}'.")


def _kind(part: Any, place: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise Refused(place, f"'{place}' must be an object with a type.")
    return kind


def _text(part: Mapping[str, Any], name: str, place: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise Refused(f"{place}.{name}", f"'{name}' must be a text.")
    return text


def _file(part: Mapping[str, Any]) -> dict[str, Any]:
    names = ("file_id", "file_data", "filename")
    return {name: part[name] for name in names if part.get(name) is not None}


def _marks(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in _MARKS if name in part}
