"""Reading chat completions in OpenAI's shape, whole and streamed.

Bytes go on as they came wherever they can. A chunk is changed only to take out usage the client
did not ask for, or to give the answer the name the client asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from proxy.providers import tokens
from proxy.providers.base import Asked, Malformed, UpstreamFault, Usage
from proxy.providers.events import Cutter
from proxy.providers.harvest import harvest
from proxy.providers.reading import Reading, usage_of, written
from proxy.providers.sse import payload

_HEAD = ("id", "created", "model")  # what every chunk of a stream repeats


class Choices(Reading):
    """What reading a completion, whole or streamed, has in common."""

    def __init__(self, asked: Asked, foreign: Sequence[str] = ()) -> None:
        super().__init__(asked)
        self._foreign = foreign
        self._finished: set[int] = set()

    def _note(self, reply: dict[str, Any], part: str) -> None:
        """Take usage, tier, finish reasons and the size of the text from a reply or chunk."""
        tier = reply.get("service_tier")
        if isinstance(tier, str):
            self.tier = tier
        stated = reply.get("usage")
        if stated and (usage := usage_of(stated)):
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

    def _keep(self, reply: dict[str, Any]) -> None:
        """Note the id of a completion that the provider stores, which it does when asked to."""
        if self.asked.creates and self.asked.body.get("store") is True:
            self.found += harvest(self.asked.creates, reply)

    def _usage_block(self) -> dict[str, int]:
        """Usage for a client that asked where the provider gave none, estimated."""
        usage = self.usage or Usage(
            tokens.of_prompt(self.asked.shape, self.asked.body), self.produced
        )
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        }


class ChatWhole(Choices):
    """A completion in one JSON body."""

    def whole(self, data: bytes) -> None:
        self._raw = data
        reply = _completion(data)
        self._note(reply, "message")
        self._keep(reply)
        if self._rename:
            reply["model"] = self.asked.model
        if self._strip(reply) or self._rename:
            self._raw = written(reply)
        self._reply = reply

    @property
    def complete(self) -> bool:
        return hasattr(self, "_reply")

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        if not extra:
            return self._raw
        try:
            return written({**self._reply, **extra})
        except Malformed:
            # It has been charged by now, so it goes on as it came.
            return self._raw


class ChatStream(Choices, Cutter):
    """A completion as a stream of chunks. The usage chunk and the end wait for the close."""

    passes_json = False
    object_name = "chat.completion.chunk"

    def __init__(self, asked: Asked, foreign: Sequence[str] = ()) -> None:
        Choices.__init__(self, asked, foreign)
        Cutter.__init__(self)
        self._done = False
        self._head: dict[str, Any] = {}
        self._last: dict[str, Any] | None = None
        self._usage_sent = False

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
        chunk = {**reply, "object": self.object_name}
        chunks = [{**chunk, "choices": [self._as_delta(choice) for choice in choices]}]
        if usage:
            chunks.append({**chunk, "choices": [], "usage": usage})
        events = [b"data: " + written(part) + b"\n\n" for part in chunks]
        return self.feed(b"".join([*events, b"data: [DONE]\n\n"]))

    def _as_delta(self, choice: Any) -> Any:
        """A choice of a whole answer as the one chunk of a stream."""
        return _as_delta(choice)

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

    def _pass(self, chunk: dict[str, Any], text: bytes) -> bytes:
        """What of a chunk the client gets now."""
        if not self._begun:
            self._begun = True
            self._keep(chunk)
            self._head = {k: chunk[k] for k in _HEAD if isinstance(chunk.get(k), str | int)}
        # Data that came in several lines is written anew: one line is one event to everybody.
        changed = self._strip(chunk) or b"\n" in text
        if self._rename and "model" in chunk:
            chunk["model"] = self.asked.model
            changed = True
        if "usage" in chunk:
            if not chunk.get("choices") and chunk["usage"]:
                if self.asked.wants_usage:
                    written(chunk)  # now, while what cannot be written is still a fault
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
        return b"data: " + (written(chunk) if changed else text) + b"\n\n"

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        last = self._last
        if last is None and (extra or (self.asked.wants_usage and not self._usage_sent)):
            last = {
                **self._head,
                "object": self.object_name,
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
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise Malformed("a choice has no message")
    delta = dict(choice["message"])
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        numbered = enumerate(call for call in calls if isinstance(call, dict))
        delta["tool_calls"] = [{"index": place, **call} for place, call in numbered]
    return {**{name: choice[name] for name in choice if name != "message"}, "delta": delta}


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
