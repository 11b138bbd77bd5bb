"""A chat's messages as Anthropic's turns.

What systems and developers say stands before the conversation. Turns alternate: messages of one
side in a row are one turn. Text that is only white space is left out, because it is refused there.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from proxy.providers.base import Refused

Block = dict[str, Any]
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_DATA = re.compile(
    r"data:([a-z]{1,20}/[a-z0-9.+-]{1,100})(?:;[a-z0-9=._-]{0,100}){0,4};base64,", re.I
)
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class Conversation(NamedTuple):
    system: list[Block]
    turns: list[dict[str, Any]]

    @property
    def called(self) -> list[str]:
        """Names of the tools that have been called in it, each once."""
        blocks = (block for turn in self.turns for block in turn["content"])
        return list(dict.fromkeys(b["name"] for b in blocks if b["type"] == "tool_use"))

    @property
    def answers_tools(self) -> bool:
        """Whether it ends with what tools have answered."""
        return any(block["type"] == "tool_result" for block in self.turns[-1]["content"])


def conversation(messages: Any) -> Conversation:
    """The turns of a chat. Raises Refused."""
    if not isinstance(messages, list):
        raise Refused("messages", "'messages' must be a list.")
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        side, blocks = _turn(message, where)
        if not side:
            system += blocks
        elif turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": side, "content": blocks})
    if not turns:
        raise Refused("messages", "This model needs a message of the user that says something.")
    return Conversation(system, turns)


def _turn(message: Any, where: str) -> tuple[str, list[Block]]:
    """Whose turn a message belongs to, "" for the system's, and what it says."""
    role = message.get("role") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    side, where_said = _SIDES.get(str(role)), f"{where}.content"
    if side is None:
        raise Refused(
            f"{where}.role",
            "A message's role must be system, developer, user, assistant or tool.",
        )
    if role == "tool":
        blocks = [_result(message, where)]
    elif role == "user":
        blocks = _parts(content, where_said, _SEEN)
    else:
        blocks = _parts(content, where_said, _WRITTEN)
    if role == "assistant":
        blocks += _calls(message.get("tool_calls"), f"{where}.tool_calls")
    if blocks and isinstance(message.get("cache_control"), dict):
        blocks[-1]["cache_control"] = message["cache_control"]
    return side, blocks


_SIDES = {
    "system": "", "developer": "", "user": "user", "tool": "user", "assistant": "assistant",
}  # fmt: skip
Read = Callable[[Mapping[str, Any], str], Block]


def _parts(content: Any, where: str, kinds: Mapping[str, Read]) -> list[Block]:
    if content is None:
        return []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Refused(where, "'content' must be a text or a list of parts.")
    blocks = []
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        read = kinds.get(kind) if isinstance(kind, str) else None
        if read is None:
            known = ", ".join(kinds)
            raise Refused(
                f"{where}[{place}]", f"This model takes parts of these types here: {known}."
            )
        block = read(part, f"{where}[{place}]")
        if block["type"] == "text" and not block["text"].strip():
            continue
        if isinstance(part.get("cache_control"), dict):
            block["cache_control"] = part["cache_control"]
        blocks.append(block)
    return blocks


def _text(part: Mapping[str, Any], where: str) -> Block:
    return {"type": "text", "text": _string(part, "text", where)}


def _refusal(part: Mapping[str, Any], where: str) -> Block:
    return {"type": "text", "text": _string(part, "refusal", where)}


def _picture(part: Mapping[str, Any], where: str) -> Block:
    image = part.get("image_url")
    named = image if isinstance(image, dict) else {"url": image}
    url = _string(named, "url", f"{where}.image_url")
    source = _linked(url)
    if source is None:
        kind, data = _data(url, f"{where}.image_url.url")
        kind = "image/jpeg" if kind == "image/jpg" else kind
        if kind not in _PICTURES:
            raise Refused(
                f"{where}.image_url.url", f"Pictures must be one of {', '.join(_PICTURES)}."
            )
        source = {"type": "base64", "media_type": kind, "data": data}
    return {"type": "image", "source": source}


def _file(part: Mapping[str, Any], where: str) -> Block:
    file = part.get("file")
    if not isinstance(file, dict):
        raise Refused(f"{where}.file", "'file' must be an object with 'file_data'.")
    if file.get("file_id") is not None:
        raise Refused(
            f"{where}.file.file_id", "This model reads no stored files: send 'file_data'."
        )
    block = {"type": "document", "source": _document(file, f"{where}.file")}
    if isinstance(file.get("filename"), str) and file["filename"]:
        block["title"] = file["filename"]
    if isinstance(part.get("citations"), dict):
        block["citations"] = part["citations"]
    return block


def _document(file: Mapping[str, Any], where: str) -> Block:
    linked = _linked(file.get("file_url"))
    if linked:
        return linked
    text = _string(file, "file_data", where)
    # OpenAI takes bare base64 too, and knows its kind by the file's name.
    bare = not text.startswith("data:")
    kind, data = ("application/pdf", text) if bare else _data(text, f"{where}.file_data")
    if kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": data}
    if kind.startswith("text/"):
        try:
            plain = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise Refused(f"{where}.file_data", "A text file must be UTF-8 in base64.") from None
        return {"type": "text", "media_type": "text/plain", "data": plain}
    raise Refused(f"{where}.file_data", "This model reads PDF and text files only.")


def _linked(url: Any) -> Block | None:
    """A source the provider fetches itself."""
    if isinstance(url, str) and url[:8].lower() == "https://":
        return {"type": "url", "url": url}
    return None


def _data(url: str, where: str) -> tuple[str, str]:
    """The type and the base64 of a data URL."""
    found = _DATA.match(url)
    if not found:
        raise Refused(where, "It must be an https:// URL, or a data: URL in base64.")
    return found[1].lower(), url[found.end() :]


def _string(value: Mapping[str, Any], name: str, where: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise Refused(f"{where}.{name}", f"'{name}' must be a text.")
    return text


_WRITTEN: dict[str, Read] = {"text": _text, "refusal": _refusal}
_SEEN: dict[str, Read] = {"text": _text, "image_url": _picture, "file": _file}


def _result(message: Mapping[str, Any], where: str) -> Block:
    """What a tool has answered."""
    block: Block = {
        "type": "tool_result",
        "tool_use_id": _id(_string(message, "tool_call_id", where)),
    }
    content = _parts(message.get("content"), f"{where}.content", _SEEN)
    return {**block, "content": content} if content else block


def _calls(calls: Any, where: str) -> list[Block]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise Refused(where, "'tool_calls' must be a list.")
    return [_call(call, f"{where}[{place}]") for place, call in enumerate(calls)]


def _call(call: Any, where: str) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise Refused(where, "A tool call must name a function and its arguments.")
    return {
        "type": "tool_use",
        "id": _id(_string(call, "id", where)),
        "name": _string(function, "name", f"{where}.function"),
        "input": _arguments(function, f"{where}.function"),
    }


def _arguments(function: Mapping[str, Any], where: str) -> dict[str, Any]:
    text = _string(function, "arguments", where)
    try:
        value = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise Refused(f"{where}.arguments", "'arguments' must be a JSON object, as text.")
    return value


def _id(name: str) -> str:
    """A call's id as it may be written there: other providers make ids of other letters."""
    return _ODD.sub("_", name) or "_"
