"""Anthropic's messages, whole and streamed, as chat completions.

The laws are those of `proxy/providers/chat.py`. Nothing of a stream goes on before there is
something to say: an answer that fails right behind its head may still come from another key. Its
usage counts only when it is final; of a stream that was cut, what was delivered is estimated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bsod.lib import clock
from proxy.providers.base import Asked, Malformed, UpstreamFault
from proxy.providers.chat import ChatStream, ChatWhole
from proxy.providers.events import name_of
from proxy.providers.reading import counts, object_of, usage_of, written
from proxy.providers.sse import payload

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_TIERS = {"standard": "default", "priority": "priority"}


class MessageWhole(ChatWhole):
    """A message in one JSON body."""

    def whole(self, data: bytes) -> None:
        reply = completion(object_of(data), self.asked.model if self._rename else "")
        self._note(reply, "message")
        self._raw = written(reply)
        self._reply = reply


@dataclass(slots=True)
class _Block:
    """A block of a message that is being streamed."""

    kind: str
    start: int
    """Where its text begins in the whole text."""
    call: int = -1
    given: Any = None
    """A tool's input, where it came with the block."""
    begun: bool = False
    citations: list[Any] = field(default_factory=list)


class MessageStream(ChatStream):
    """A message as a stream of named events."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._blocks: dict[Any, _Block] = {}
        self._stated: dict[str, Any] = {}
        self._said: dict[str, Any] | None = None
        self._calls = self._length = 0
        self._greeted = self._thought = False

    def whole(self, data: bytes) -> bytes:
        reply = completion(object_of(data), self.asked.model if self._rename else "")
        (choice,) = reply["choices"]
        self._begin(reply)
        out = self._chunk(self._as_delta(choice)["delta"], choice["finish_reason"])
        self._count(reply.get("usage"))
        self._done = True
        return out

    def _event(self, event: bytes) -> bytes:
        text = payload(event)
        if text is None or self._done:
            return b""
        value = self._parse(text)
        if value is None:
            return b""
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else name_of(event)
        if kind == "error" or ("error" in value and not kind):
            raise UpstreamFault
        read = _EVENTS.get(kind)
        if read is None:
            return b""
        if not self._begun and read is not MessageStream._start:
            raise Malformed("an event before the message has begun")
        return read(self, value)

    def _start(self, value: dict[str, Any]) -> bytes:
        message = value.get("message")
        if not isinstance(message, dict):
            raise Malformed("the stream begins without a message")
        self._state(message.get("usage"))
        self._begin(_head(message, self.asked.model if self._rename else ""))
        return b""

    def _begin(self, head: Mapping[str, Any]) -> None:
        self._begun = True
        self._head = {name: head[name] for name in _HEAD if name in head}

    def _block_start(self, value: dict[str, Any]) -> bytes:
        given = value.get("content_block")
        given = given if isinstance(given, dict) else {}
        block = _Block(str(given.get("type")), self._length)
        self._blocks[_place(value)] = block
        if block.kind == "tool_use":
            block.call, block.given = self._calls, given.get("input")
            self._calls += 1
            function = {"name": given.get("name"), "arguments": ""}
            return self._call(
                block, {"id": given.get("id"), "type": "function", "function": function}
            )
        if block.kind == "text":
            return self._text(given.get("text"))
        return self._thoughts(block, given.get("thinking")) if block.kind == "thinking" else b""

    def _block_delta(self, value: dict[str, Any]) -> bytes:
        block = self._blocks.setdefault(_place(value), _Block("", self._length))
        delta = value.get("delta")
        if not isinstance(delta, dict):
            return b""
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text(delta.get("text"))
        if kind == "thinking_delta":
            return self._thoughts(block, delta.get("thinking"))
        if kind == "input_json_delta" and block.call >= 0:
            piece = delta.get("partial_json")
            if isinstance(piece, str) and piece:
                block.begun = True
                return self._call(block, {"function": {"arguments": piece}})
        if kind == "citations_delta":
            block.citations.append(delta.get("citation"))
        return b""

    def _block_stop(self, value: dict[str, Any]) -> bytes:
        block = self._blocks.pop(_place(value), None)
        if block is None:
            return b""
        if block.call >= 0 and not block.begun:
            # A tool without arguments is called with none at all; JSON has at least an object.
            return self._call(block, {"function": {"arguments": _arguments(block.given)}})
        cited = cited_in(block.citations, block.start, self._length)
        return self._say(cited) if cited else b""

    def _text(self, text: Any) -> bytes:
        if not isinstance(text, str) or not text:
            return b""
        self._length += len(text)
        return self._say({"content": text})

    def _thoughts(self, block: _Block, text: Any) -> bytes:
        if not isinstance(text, str) or not text:
            return b""
        between = "\n\n" if self._thought and not block.begun else ""
        self._thought = block.begun = True
        return self._say({"reasoning_content": between + text})

    def _call(self, block: _Block, call: dict[str, Any]) -> bytes:
        return self._say({"tool_calls": [{"index": block.call, **call}]})

    def _end(self, value: dict[str, Any]) -> bytes:
        """Why the message ends, and what all of it has used."""
        self._state(value.get("usage"))
        delta = value.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        if not isinstance(delta.get("stop_reason"), str):
            return b""
        refused = refusal_of(delta)
        out = self._say({"refusal": refused} if refused else {}, finish_of(delta))
        self._count(usage_in(self._stated))
        return out

    def _stop(self, value: dict[str, Any]) -> bytes:
        if not self._finished:
            raise Malformed("the message has no reason to end")
        self._done = True
        return b""

    def _state(self, usage: Any) -> None:
        """Counts are cumulative: what is stated later counts, what is not said again stays."""
        if isinstance(usage, dict):
            self._stated |= {name: count for name, count in usage.items() if count is not None}

    def _count(self, said: dict[str, Any] | None) -> None:
        self.usage = usage_of(said)
        self._said = said if self.usage else None
        if self._said and self.asked.wants_usage:
            self._last = {**self._head, "object": self.object_name, "choices": [], "usage": said}

    def _usage_block(self) -> dict[str, Any]:
        return self._said or super()._usage_block()

    def _say(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        """A chunk; before the first one, who speaks."""
        hello = b""
        if not self._greeted:
            self._greeted = True
            hello = self._chunk({"role": "assistant", "content": "", "refusal": None})
        return hello + self._chunk(delta, finish)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._head, "object": self.object_name, "choices": [choice]}
        if self.asked.wants_usage:
            chunk["usage"] = None
        self._note(chunk, "delta")
        return b"data: " + written(chunk) + b"\n\n"


_EVENTS: dict[str, Callable[[MessageStream, dict[str, Any]], bytes]] = {
    "message_start": MessageStream._start,
    "content_block_start": MessageStream._block_start,
    "content_block_delta": MessageStream._block_delta,
    "content_block_stop": MessageStream._block_stop,
    "message_delta": MessageStream._end,
    "message_stop": MessageStream._stop,
}
_HEAD = ("id", "created", "model", "service_tier")


def _place(value: Mapping[str, Any]) -> int:
    place = value.get("index")
    return place if type(place) is int else -1


def completion(message: dict[str, Any], name: str) -> dict[str, Any]:
    """A whole message as a chat completion; `name`: the model's name, where it is another than
    the provider's. Raises Malformed."""
    blocks = message.get("content")
    if not isinstance(blocks, list) or not isinstance(message.get("stop_reason"), str):
        raise Malformed("the reply is no message")
    said = _said([block for block in blocks if isinstance(block, dict)])
    said["refusal"] = refusal_of(message)
    usage = message.get("usage")
    counted = usage_in(usage) if isinstance(usage, dict) else None
    return {
        **_head(message, name),
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_of(message)}
        ],
        **({"usage": counted} if counted else {}),
    }


def _said(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """The blocks of a message as one."""
    text, thoughts = "", []
    calls: list[dict[str, Any]] = []
    cited: dict[str, Any] = {}
    for block in blocks:
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            start, text = len(text), text + block["text"]
            for where, notes in cited_in(block.get("citations"), start, len(text)).items():
                cited.setdefault(where, []).extend(notes)
        elif kind == "thinking" and isinstance(block.get("thinking"), str):
            thoughts.append(block["thinking"])
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": _arguments(block.get("input"))}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
    thought = "\n\n".join(filter(None, thoughts))
    return {
        "role": "assistant",
        "content": text or None,
        **({"reasoning_content": thought} if thought else {}),
        **({"tool_calls": calls} if calls else {}),
        **cited,
    }


def _head(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a completion and each of its chunks begin with."""
    head: dict[str, Any] = {
        "id": str(message.get("id") or "msg"),
        "created": int(clock.now().timestamp()),
        "model": name or str(message.get("model") or ""),
    }
    usage = message.get("usage")
    tier = usage.get("service_tier") if isinstance(usage, dict) else None
    if isinstance(tier, str) and tier in _TIERS:
        head["service_tier"] = _TIERS[tier]
    return head


def _arguments(given: Any) -> str:
    """A tool's input as text. Raises Malformed."""
    return written(given if isinstance(given, dict) else {}).decode()


def finish_of(ended: Mapping[str, Any]) -> str:
    return FINISH.get(ended["stop_reason"], "stop")


def refusal_of(ended: Mapping[str, Any]) -> str | None:
    """Why the model's answer was held back, in words, where they are given."""
    details = ended.get("stop_details")
    text = details.get("explanation") if isinstance(details, dict) else None
    refused = ended.get("stop_reason") == "refusal"
    return text if refused and isinstance(text, str) and text else None


def cited_in(citations: Any, start: int, end: int) -> dict[str, list[Any]]:
    """What a text is taken from: pages as OpenAI's annotations, all else as it was said."""
    found: dict[str, list[Any]] = {}
    for cited in citations if isinstance(citations, list) else ():
        if not isinstance(cited, dict):
            continue
        if isinstance(cited.get("url"), str):
            title = cited.get("title")
            link = {"url": cited["url"], "title": title if isinstance(title, str) else ""}
            span = {"start_index": start, "end_index": end}
            note = {"type": "url_citation", "url_citation": {**link, **span}}
            found.setdefault("annotations", []).append(note)
        else:
            found.setdefault("citations", []).append(cited)
    return found


def usage_in(stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """Usage as OpenAI states it: what was read from a cache or written into one is prompt too."""
    fresh, output = stated.get("input_tokens"), stated.get("output_tokens")
    if not counts(fresh) or not counts(output):
        return None
    kept, made = stated.get("cache_read_input_tokens"), stated.get("cache_creation_input_tokens")
    cached, stored = kept if counts(kept) else 0, made if counts(made) else 0
    prompt = fresh + cached + stored
    details = stated.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": stored},
        "completion_tokens_details": {"reasoning_tokens": thought if counts(thought) else 0},
    }
