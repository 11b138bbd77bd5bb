"""Anthropic by its native messages API: what is asked of it, and what its refusals mean.

It offers chat alone. How a chat goes out is in `request.py`, how a message is read in `reply.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from bsod.lib import clock
from bsod.lib.terms import Blame, Service
from proxy.providers.anthropic.reply import MessageStream, MessageWhole
from proxy.providers.anthropic.request import body
from proxy.providers.base import (
    Asked,
    Listed,
    Outbound,
    Refused,
    StreamReader,
    Verdict,
    WholeReader,
)
from proxy.providers.openai_shape import OpenAIShape
from proxy.providers.outbound import headers, sealed
from proxy.providers.reading import counts
from proxy.providers.refusals import Said, error_of, wait_of

VERSION = "2023-06-01"
_NOT_SENT = ("authorization", "openai-beta")
_SPENT = ("credit balance is too low", "api usage limits", "enforced_spend_limit_reached")
_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")
_PLACE = re.compile(
    r"[`\"]?([a-z_]++(?:\.effort)?)[a-z0-9_.\[\]`\"]*+(?::| is | and | may | cannot )", re.ASCII
)
# What a refusal begins with, and the field of ours it speaks of.
_NAMES = {
    "max_tokens": "max_tokens", "messages": "messages", "metadata": "user", "model": "model",
    "output_config": "response_format", "output_config.effort": "reasoning_effort",
    "prompt": "messages", "service_tier": "service_tier", "stop_sequences": "stop",
    "system": "messages", "temperature": "temperature", "thinking": "reasoning_effort",
    "tool_choice": "tool_choice", "tools": "tools", "top_k": "top_k", "top_p": "top_p",
}  # fmt: skip
_CODES = {"prompt is too long": "context_length_exceeded", "model:": "model_not_found"}
# What names the account, beyond what is kept back of every provider's words.
_ACCOUNT = re.compile(
    r"\b(?:wrkspc|workspace|org)_[A-Za-z0-9]+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)


class Anthropic(OpenAIShape):
    kind = "anthropic"
    offers = frozenset({Service.CHAT})

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request for one attempt. Raises Refused."""
        if asked.path != "chat/completions" or asked.method != "POST":
            raise Refused("model", "This model's provider keeps no chat completions.")
        sent = headers(asked, "application/json", secret)
        return Outbound("POST", "/messages", _keyed(sent, secret), body(asked))

    def stream_reader(self, asked: Asked) -> StreamReader:
        return MessageStream(asked)

    def whole_reader(self, asked: Asked) -> WholeReader:
        return MessageWhole(asked)

    def list_models(self, secret: str) -> Outbound:
        sent = sealed({"accept": "application/json", "user-agent": "bsod"}, "", secret)
        return Outbound("GET", "/models?limit=1000", _keyed(sent, secret), b"")

    def catalog(self, payload: Any) -> list[Listed]:
        """The models of a list, with the limits it states. Raises Malformed."""
        listed = super().catalog(payload)
        rows = payload["data"] if isinstance(payload, dict) else payload
        known = {str(row.get("id")): row for row in rows if isinstance(row, dict)}
        return [
            model._replace(
                context=_limit(known[model.id].get("max_input_tokens")) or model.context,
                output=_limit(known[model.id].get("max_tokens")) or model.output,
            )
            for model in listed
        ]

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        """Whose fault a reply other than 2xx is."""
        said = error_of(head)
        if 400 <= status < 500 and _spent(said, head):
            return Verdict(Blame.BILLING)
        if status == 429 and wait_of(headers) is None:
            wait = _until_reset(headers)
            if wait is not None:
                headers = {**headers, "retry-after": f"{wait:.3f}"}
        verdict = super().judge(status, headers, head)
        if verdict.blame is not Blame.CLIENT:
            return verdict
        place = _PLACE.match(said.message)
        codes = [code for start, code in _CODES.items() if said.message.startswith(start)]
        return replace(
            verdict,
            message=_ACCOUNT.sub("…", verdict.message),
            param=_NAMES.get(place[1]) if place else None,
            code=codes[0] if codes else verdict.code,
        )


def _keyed(sent: Mapping[str, str], secret: str) -> dict[str, str]:
    """Headers with the key where Anthropic wants it."""
    kept = {name: value for name, value in sent.items() if name not in _NOT_SENT}
    return {**kept, "x-api-key": secret, "anthropic-version": VERSION}


def _limit(value: Any) -> int | None:
    return value if counts(value) and value else None


def _spent(said: Said, head: bytes) -> bool:
    """Whether the account's money, or what it may spend, is used up: that comes as a 400 too."""
    text = said.message.lower()
    spent = said.kind == "billing_error" or any(words in text for words in _SPENT)
    return spent or b"enforced_spend_limit_reached" in head


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until all limits that are used up are there again; None: it does not say."""
    names = [f"anthropic-ratelimit-{limit}" for limit in _LIMITS]
    waits = [
        _seconds(headers.get(f"{name}-reset", ""))
        for name in names
        if headers.get(f"{name}-remaining") == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(when: str) -> float | None:
    try:
        return max(0.0, (datetime.fromisoformat(when) - clock.now()).total_seconds())
    except (ValueError, TypeError):
        return None
