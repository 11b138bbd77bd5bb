"""Perplexity: answers from the web, in OpenAI's shape and with more than that.

Its own fields of a request pass, and so do those of an answer: citations, search results, images,
related questions and what it adds to usage. It calls no tools, and lists no models: which there
are stands here, and a call of one token shows that a key is good for them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from bsod.lib.terms import Blame, Service, Shape
from proxy.providers.base import (
    Asked,
    Listed,
    Malformed,
    Outbound,
    Refused,
    StreamReader,
    Verdict,
    WholeReader,
)
from proxy.providers.mending import MendedStream, MendedWhole, Mender
from proxy.providers.openai_shape import OpenAIShape
from proxy.providers.outbound import sealed

_CHAT = frozenset({Service.CHAT})
MODELS = (
    Listed("sonar", 128_000, services=_CHAT),
    Listed("sonar-pro", 200_000, 8_000, services=_CHAT),
    Listed("sonar-reasoning-pro", 128_000, services=_CHAT),
    Listed("sonar-deep-research", 128_000, services=_CHAT),
)
_PROOF = {
    "model": "sonar",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 1,
    "disable_search": True,
}
# Values that ask for nothing Perplexity could not do. Any other is refused.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "audio": (),
    "modalities": (["text"],),
}
# Neither the answer nor its meaning depends on these.
_DROPPED = frozenset(
    {
        "seed", "parallel_tool_calls", "service_tier", "metadata", "prompt_cache_key",
        "prompt_cache_retention", "verbosity", "prediction", "safety_identifier",
    }
)  # fmt: skip
_EFFORTS = {"none": "minimal", "xhigh": "high", "max": "high"}


class Perplexity(OpenAIShape):
    kind = "perplexity"
    offers = _CHAT

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        if asked.shape is Shape.CHAT:
            asked = replace(asked, body=_body(asked.body))
        return super().prepare(asked, secret)

    def stream_reader(self, asked: Asked) -> StreamReader:
        return _Stream(asked) if asked.shape is Shape.CHAT else super().stream_reader(asked)

    def whole_reader(self, asked: Asked) -> WholeReader:
        return MendedWhole(asked) if asked.shape is Shape.CHAT else super().whole_reader(asked)

    def list_models(self, secret: str) -> Outbound:
        """A real call: it costs next to nothing, and nothing else proves as much."""
        sent = {"accept": "application/json", "user-agent": "bsod"}
        headers = sealed(sent, "application/json", secret)
        return Outbound("POST", "/chat/completions", headers, orjson.dumps(_PROOF))

    def catalog(self, payload: Any) -> list[Listed]:
        """What there is, to whom it has answered."""
        if not isinstance(payload, dict) or not isinstance(payload.get("choices"), list):
            raise Malformed("the reply is no completion")
        return list(MODELS)

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        # An account without credits is told 401 too, and says so.
        if status == 401 and b"insufficient_quota" in head:
            return Verdict(Blame.BILLING)
        return super().judge(status, headers, head)


def _body(given: Mapping[str, Any]) -> dict[str, Any]:
    body = {}
    for name, value in given.items():
        if value is None or name in _DROPPED:
            continue
        if name not in _PLAIN:
            body[name] = value
        elif value not in _PLAIN[name]:
            raise Refused(name, f"Perplexity's models do not know '{name}': leave it out.")
    if isinstance(effort := body.get("reasoning_effort"), str):
        body["reasoning_effort"] = _EFFORTS.get(effort, effort)
    if isinstance(messages := body.get("messages"), list):
        body["messages"] = [_message(message) for message in messages]
    return body


def _message(message: Any) -> Any:
    if isinstance(message, dict) and message.get("role") == "developer":
        return {**message, "role": "system"}
    return message


class _Mender(Mender):
    def kind_of(self, reply: dict[str, Any]) -> str:
        """Who asks for `stream_mode: concise` reads what the chunks call themselves."""
        kind = reply.get("object")
        concise = self.asked.body.get("stream_mode") == "concise"
        return kind if concise and isinstance(kind, str) else super().kind_of(reply)


class _Stream(MendedStream):
    mender = _Mender
