"""The bundled small language model, served on loopback beside the gateway.

Its engine answers many faults of a caller as its own (500), counts the usage of one choice only,
and takes settings that make it eat the machine's memory. So it gets the fields listed here and
no other, and what it cannot do is refused before it is asked.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bsod.lib.terms import Service, Shape
from proxy.providers.base import Asked, Outbound, Refused, StreamReader
from proxy.providers.chat import ChatStream
from proxy.providers.openai_shape import OpenAIShape

_BOTH = frozenset(
    {
        "stream", "stream_options", "n", "temperature", "top_p", "seed", "stop",
        "frequency_penalty", "presence_penalty", "logit_bias", "user", "max_tokens",
    }
)  # fmt: skip
FIELDS = _BOTH | {
    "messages", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice",
    "parallel_tool_calls", "max_completion_tokens",
}  # fmt: skip
TEXT_FIELDS = _BOTH | {"prompt"}
_MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
_MOST_LOGPROBS = 20


class Local(OpenAIShape):
    kind = "local"
    offers = frozenset({Service.CHAT, Service.COMPLETIONS})
    foreign = ("timings",)

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request, of known fields alone. Raises Refused."""
        if asked.body.get("n") not in (None, 1):
            raise Refused("n", "This model gives one choice a call: leave 'n' out, or send 1.")
        body = _text(asked.body) if asked.shape is Shape.COMPLETION else _chat(asked.body)
        return super().prepare(replace(asked, body=body), secret)

    def stream_reader(self, asked: Asked) -> StreamReader:
        if asked.shape is Shape.CHAT:
            return _Stream(asked, self.foreign)
        return super().stream_reader(asked)


class _Stream(ChatStream):
    """The engine leaves the role out when its first token is only a part of a character; clients
    that put a message together ask who is speaking."""

    _greeted = False

    def _strip(self, reply: dict[str, Any]) -> bool:
        return super()._strip(reply) | self._greet(reply.get("choices"))

    def _greet(self, choices: Any) -> bool:
        if self._greeted or not choices:
            return False
        self._greeted = True
        delta = choices[0].get("delta")
        if not isinstance(delta, dict) or "role" in delta:
            return False
        delta["role"] = "assistant"
        return True


def _chat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a chat completion, of known fields."""
    body = {name: value for name, value in given.items() if name in FIELDS}
    _check_logprobs(body)
    _check_tools(body.get("tools"))
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refused("messages", "'messages' must be a list.")
    body["messages"] = [_message(place, message) for place, message in enumerate(messages)]
    return body


def _text(given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a text completion, of known fields. What the engine would leave undone without
    a word, or answer in another shape, is refused."""
    for name, plain in (("best_of", 1), ("echo", False), ("suffix", ""), ("logprobs", None)):
        if given.get(name) not in (None, plain):
            raise Refused(name, f"This model does not know '{name}': leave it out.")
    body = {name: value for name, value in given.items() if name in TEXT_FIELDS}
    return {**body, "prompt": _prompt(given.get("prompt"))}


def _prompt(prompt: Any) -> Any:
    """One prompt, a text or token ids: of several the engine counts the usage of one only."""
    inner = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    for one in (prompt, inner):
        if isinstance(one, str):
            return one
        if isinstance(one, list) and one and set(map(type, one)) == {int}:
            return one
    raise Refused("prompt", "This model takes one prompt a call: a text, or a list of token ids.")


def _check_logprobs(body: Mapping[str, Any]) -> None:
    if type(body.get("logprobs")) not in (bool, type(None)):
        raise Refused("logprobs", "'logprobs' must be true or false.")
    top = body.get("top_logprobs")
    if top is not None and (type(top) is not int or not 0 <= top <= _MOST_LOGPROBS):
        raise Refused("top_logprobs", f"'top_logprobs' must be 0 to {_MOST_LOGPROBS}.")


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise Refused("tools", "'tools' must be a list.")
    for place, tool in enumerate(tools):
        if not _names_function(tool):
            raise Refused(f"tools[{place}]", "A tool must be a function with a name.")
        described = tool["function"].get("description")
        if not isinstance(described, str | None):
            raise Refused(f"tools[{place}].function.description", "It must be a text.")


def _message(place: int, message: Any) -> dict[str, Any]:
    """A message of known fields, each of a shape the engine can read."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Refused(f"messages[{place}].role", "A message must be an object with a role.")
    _check_content(f"messages[{place}].content", message.get("content"))
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        raise Refused(
            f"messages[{place}].tool_calls", "A tool call must name a function and its arguments."
        )
    for name in ("name", "tool_call_id"):
        if not isinstance(message.get(name), str | None):
            raise Refused(f"messages[{place}].{name}", f"'{name}' must be a text.")
    return {
        name: value
        for name, value in message.items()
        if name == "content" or (name in _MESSAGE and value is not None)
    }


def _check_content(param: str, content: Any) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refused(param, "'content' must be a text or a list of parts.")
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise Refused(f"{param}[{place}]", "This model reads text parts only.")


def _is_call(call: Any) -> bool:
    if not _names_function(call) or not isinstance(call.get("id", ""), str):
        return False
    return isinstance(call["function"].get("arguments"), str)


def _names_function(value: Any) -> bool:
    """Whether it is `{"type": "function", "function": {"name": "…"}}`."""
    if not isinstance(value, dict) or value.get("type") != "function":
        return False
    function = value.get("function")
    return isinstance(function, dict) and isinstance(function.get("name"), str)
