"""Gemini's chat, through its OpenAI-compatible surface.

That surface refuses a body with any field it does not know (400, `Unknown name`). What says
nothing about the answer is left out; what would be an answer of another kind is refused here;
a field nobody has heard of yet goes on, and Google's own refusal names it. `extra_content`, which
holds the signatures of thoughts, passes in both directions: without one a tool's result is refused
from Gemini 3 on. Most clients of OpenAI lose it, so for them Google's own word for "unsigned" is
put in.
"""

import re
from collections.abc import Mapping
from typing import Any

from proxy.providers.base import Refused
from proxy.providers.mending import MendedStream, MendedWhole, Mender

# Neither the answer nor its meaning depends on these.
_DROPPED = frozenset(
    {
        "metadata", "seed", "user", "safety_identifier", "prompt_cache_key", "service_tier",
        "prompt_cache_retention", "verbosity", "prediction", "moderation",
    }
)  # fmt: skip
# Values that say no more than silence does. Any other is refused, for it would be disobeyed.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("auto", "none"),
}
# The same, but Google may come to know any other.
_NEEDLESS: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "tools": ([],),
}
_EFFORTS = {"xhigh": "high", "max": "high"}
# What clients send back of an answer's message, and Google does not know.
_ANSWERED = ("refusal", "annotations", "audio", "reasoning_content", "reasoning", "cache_control")
_SIGNS = re.compile(r"gemini-(?:[3-9]|\d\d|[a-z-]*latest)", re.ASCII)
# ai.google.dev/gemini-api/docs/thought-signatures, for calls that Gemini has not made itself.
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_OPENING, _CLOSING = "<thought>", "</thought>"


def chat_body(given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The body of a chat completion as Gemini takes it. Raises Refused."""
    body = {}
    for name, value in given.items():
        if value is None or name in _DROPPED:
            continue
        if name in _PLAIN:
            if value not in _PLAIN[name]:
                raise Refused(name, f"Gemini's models do not know '{name}': leave it out.")
        elif name not in _NEEDLESS or value not in _NEEDLESS[name]:
            body[name] = value
    if isinstance(effort := body.get("reasoning_effort"), str):
        body["reasoning_effort"] = _EFFORTS.get(effort, effort)
    if isinstance(options := body.get("stream_options"), dict):
        body["stream_options"] = {k: v for k, v in options.items() if k != "include_obfuscation"}
    if isinstance(messages := body.get("messages"), list):
        signs = bool(_SIGNS.search(model))
        body["messages"] = [_message(message, signs) for message in messages]
    return body


def _message(message: Any, signs: bool) -> Any:
    if not isinstance(message, dict):
        return message
    kept = {
        name: value
        for name, value in message.items()
        if name not in _ANSWERED and (value is not None or name == "content")
    }
    if kept.get("role") == "developer":
        kept["role"] = "system"
    if isinstance(content := kept.get("content"), list):
        kept["content"] = [_part(part) for part in content]
    if signs and isinstance(calls := kept.get("tool_calls"), list):
        kept["tool_calls"] = _signed(calls)
    return kept


def _signed(calls: list[Any]) -> list[Any]:
    """Of the calls of one turn the first must be signed, and only Google signs the others."""
    if not calls or any(not isinstance(it, dict) or it.get("extra_content") for it in calls):
        return calls
    return [{**calls[0], "extra_content": _UNSIGNED}, *calls[1:]]


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name != "cache_control"}


class GeminiMender(Mender):
    """Thoughts are told apart from the answer, and counted with it."""

    def usage(self, stated: dict[str, Any]) -> dict[str, Any]:
        """Google adds what was thought to the total alone."""
        told = super().usage(stated)
        prompt, completion, total = (
            told[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        )
        if not all(type(count) is int for count in (prompt, completion, total)):
            return told
        thought = total - prompt - completion
        if thought > 0:
            told["completion_tokens"] = completion + thought
            details = told.get("completion_tokens_details")
            known = details if isinstance(details, dict) else {}
            told["completion_tokens_details"] = {"reasoning_tokens": thought, **known}
        return told

    def delta(self, delta: dict[str, Any]) -> None:
        google = _google(delta.get("extra_content"))
        text = delta.get("content")
        if not google.get("thought") or not isinstance(text, str):
            return
        delta["reasoning_content"] = text.removeprefix(_OPENING).removesuffix(_CLOSING)
        del delta["content"]

    def message(self, message: dict[str, Any]) -> None:
        """In a whole message the thoughts stand before the answer, between marks."""
        text = message.get("content")
        if not self._wanted or not isinstance(text, str) or not text.startswith(_OPENING):
            return
        thoughts, closed, answer = text.removeprefix(_OPENING).partition(_CLOSING)
        if closed:
            message["reasoning_content"], message["content"] = thoughts, answer

    @property
    def _wanted(self) -> bool:
        """Whether the client asked to be shown thoughts; else such marks are a part of a text."""
        config = _google(self.asked.body.get("extra_body")).get("thinking_config")
        return isinstance(config, dict) and config.get("include_thoughts") is True


def _google(value: Any) -> Mapping[str, Any]:
    """What is Google's own of extra fields."""
    google = value.get("google") if isinstance(value, dict) else None
    return google if isinstance(google, dict) else {}


class GeminiWhole(MendedWhole):
    mender = GeminiMender


class GeminiStream(MendedStream):
    mender = GeminiMender
