"""Reading chat completions in OpenAI's shape, whole and streamed.

Bytes go on as they came wherever they can. A chunk is changed only to take out usage the client
did not ask for, or to give the answer the name the client asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import orjson

from proxy.providers import tokens
from proxy.providers.base import Asked, Malformed, TooLarge, UpstreamFault, Usage
from proxy.providers.sse import Splitter, TooLong, payload

_HEAD = ("id", "created", "model")  # what every chunk of a stream repeats
_BAD_LINES = 3  # chunks that may be no JSON before the stream is given up
_MOST_TOKENS = 10**12  # a count beyond this is a mistake, and would not fit into the ledger


class _Chat:
    """What reading a chat completion, whole or streamed, has in common."""

    def __init__(self, asked: Asked, foreign: Sequence[str] = ()) -> None:
        self.asked, self._foreign = asked, foreign
        self.usage: Usage | None = None
        self.tier: str | None = None
        self._weight = 0
        self._finished: set[int] = set()

    @property
    def produced(self) -> int:
        return tokens.of_weight(self._weight)

    def _note(self, reply: dict[str, Any], part: str) -> None:
        """Take usage, tier, finish reasons and the size of the text from a reply or chunk."""
        tier = reply.get("service_tier")
        if isinstance(tier, str):
            self.tier = tier
        usage = usage_of(reply.get("usage"))
        if usage:
            self.usage = usage
        choices = reply.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                raise Malformed("a choice is no object")
            self._weight += _weight(choice.get(part))
            if choice.get("finish_reason"):
                index = choice.get("index")
                self._finished.add(index if type(index) is int else 0)

    def _strip(self, reply: dict[str, Any]) -> bool:
        """Take out what the provider adds to the shape; whether there was any."""
        found = [name for name in self._foreign if name in reply]
        for name in found:
            del reply[name]
        return bool(found)

    def _usage_block(self) -> dict[str, int]:
        """Usage for a client that asked where the provider gave none, estimated."""
        usage = self.usage or Usage(
            tokens.of_messages(self.asked.body.get("messages")), self.produced
        )
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        }


class ChatWhole(_Chat):
    """A completion in one JSON body."""

    def whole(self, data: bytes) -> None:
        self._raw = data
        reply = _completion(data)
        self._note(reply, "message")
        renamed = self.asked.upstream_model != self.asked.model
        if renamed:
            reply["model"] = self.asked.model
        if self._strip(reply) or renamed:
            self._raw = _written(reply)
        self._reply = reply

    @property
    def complete(self) -> bool:
        return hasattr(self, "_reply")

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        if not extra:
            return self._raw
        try:
            return _written({**self._reply, **extra})
        except Malformed:
            # It has been charged by now, so it goes on as it came.
            return self._raw


class ChatStream(_Chat):
    """A completion as a stream of chunks. The usage chunk and the end wait for the close."""

    def __init__(self, asked: Asked, foreign: Sequence[str] = ()) -> None:
        super().__init__(asked, foreign)
        self._splitter = Splitter()
        self._begun = self._done = False
        self._bad = 0
        self._fault: Malformed | UpstreamFault | None = None
        self._head: dict[str, Any] = {}
        self._last: dict[str, Any] | None = None
        self._usage_sent = False
        self._rename = asked.upstream_model != asked.model

    @property
    def complete(self) -> bool:
        if self._fault:
            raise self._fault
        return self._done or len(self._finished) >= self.asked.choices

    @property
    def done(self) -> bool:
        return self._done

    def whole(self, data: bytes) -> bytes:
        reply = _completion(data)
        usage, choices = reply.pop("usage", None), reply.pop("choices")
        chunk = {**reply, "object": "chat.completion.chunk"}
        chunks = [{**chunk, "choices": [_as_delta(choice) for choice in choices]}]
        if usage:
            chunks.append({**chunk, "choices": [], "usage": usage})
        events = [b"data: " + _written(part) + b"\n\n" for part in chunks]
        return self.feed(b"".join([*events, b"data: [DONE]\n\n"]))

    def feed(self, data: bytes) -> bytes:
        if self._fault:
            raise self._fault
        try:
            events = self._splitter.feed(data)
        except TooLong:
            raise TooLarge("an event is too long") from None
        out: list[bytes] = []
        for event in events:
            try:
                out.append(self._event(event))
            except (Malformed, UpstreamFault) as fault:
                if not any(out):
                    raise
                # What came before it in the same read is delivered, and charged, first.
                self._fault = fault
                break
        return b"".join(out)

    def _event(self, event: bytes) -> bytes:
        text = payload(event)
        if text is None or self._done:
            return b""
        if text == b"[DONE]":
            if not self._begun:
                raise Malformed("the stream is empty")
            self._done = True
            return b""
        chunk = self._parse(text)
        if chunk is None:
            return b""
        if chunk.get("error"):
            raise UpstreamFault
        self._note(chunk, "delta")
        return self._pass(chunk, text)

    def _parse(self, text: bytes) -> dict[str, Any] | None:
        try:
            chunk = orjson.loads(text)
        except orjson.JSONDecodeError:
            chunk = None
        if isinstance(chunk, dict):
            return chunk
        self._bad += 1
        if not self._begun or self._bad >= _BAD_LINES:
            raise Malformed("a chunk is no JSON object")
        return None

    def _pass(self, chunk: dict[str, Any], text: bytes) -> bytes:
        """What of a chunk the client gets now."""
        if not self._begun:
            self._begun = True
            self._head = {k: chunk[k] for k in _HEAD if isinstance(chunk.get(k), str | int)}
        # Data that came in several lines is written anew: one line is one event to everybody.
        changed = self._strip(chunk) or b"\n" in text
        if self._rename and "model" in chunk:
            chunk["model"] = self.asked.model
            changed = True
        if "usage" in chunk:
            if not chunk.get("choices") and chunk["usage"]:
                if self.asked.wants_usage:
                    _written(chunk)  # now, while what cannot be written is still a fault
                    self._last = chunk
                return b""
            if self.asked.wants_usage:
                self._usage_sent = self._usage_sent or bool(chunk["usage"])
            elif not changed and text.count(b'"usage"') == 1 and b',"usage":null' in text:
                # By far the most frequent change of all: done on the bytes.
                return b"data: " + text.replace(b',"usage":null', b"") + b"\n\n"
            else:
                del chunk["usage"]
                changed = True
        return b"data: " + (_written(chunk) if changed else text) + b"\n\n"

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        last = self._last
        if last is None and (extra or (self.asked.wants_usage and not self._usage_sent)):
            last = {
                **self._head,
                "object": "chat.completion.chunk",
                "model": self.asked.model,
                "choices": [],
                "usage": self._usage_block(),
            }
        if last is None:
            return b"data: [DONE]\n\n"
        return b"data: " + orjson.dumps({**last, **(extra or {})}) + b"\n\ndata: [DONE]\n\n"


def _completion(data: bytes) -> dict[str, Any]:
    """A completion's body. Raises Malformed, UpstreamFault."""
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Malformed("the reply is no JSON") from None
    if not isinstance(reply, dict):
        raise Malformed("the reply is no object")
    if reply.get("error"):
        raise UpstreamFault
    if not isinstance(reply.get("choices"), list) or not reply["choices"]:
        raise Malformed("the reply has no choices")
    return reply


def _as_delta(choice: Any) -> Any:
    """A choice of a whole answer as the one chunk of a stream."""
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise Malformed("a choice has no message")
    delta = dict(choice["message"])
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        numbered = enumerate(call for call in calls if isinstance(call, dict))
        delta["tool_calls"] = [{"index": place, **call} for place, call in numbered]
    return {**{name: choice[name] for name in choice if name != "message"}, "delta": delta}


def _written(value: Mapping[str, Any]) -> bytes:
    """JSON again. A parser takes deeper nests than any writer."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise Malformed("nested too deep") from None


def _weight(part: Any) -> int:
    """Weight of a message or delta: what it says, thinks, refuses and calls."""
    if not isinstance(part, dict):
        return 0
    weight = tokens.weight(part.get("content"))
    if len(part) > 1 or not weight:
        for name in ("reasoning_content", "reasoning", "refusal", "function_call", "audio"):
            weight += _said(part.get(name))
        calls = part.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                weight += _said(call.get("function")) + _said(call.get("custom"))
    return weight


def _said(value: Any) -> int:
    """Weight of a text, or of the texts of a call; the bytes of a sound are none."""
    if isinstance(value, dict):
        names = ("name", "arguments", "input", "transcript")
        return sum(tokens.weight(value.get(name)) for name in names)
    return tokens.weight(value)


def usage_of(value: Any) -> Usage | None:
    """Usage as a provider states it. A negative or fractional count is no statement at all."""
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens", 0)
    if not _counts(prompt) or not _counts(completion):
        return None
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(prompt, completion, cached if _counts(cached) else 0)


def _counts(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MOST_TOKENS
