"""The decorator around every adapter: calls it can take go through as they are, others as the
request it can take, with readers that give the answer the shape that was asked for.

Nothing of such an answer is kept: the provider is not asked to store it, and no id of it is
recorded, so nobody can fetch it again.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from bsod.lib.terms import Service, Shape
from proxy.providers import readers
from proxy.providers.base import (
    Adapter,
    Asked,
    Listed,
    Outbound,
    Refused,
    StreamReader,
    Verdict,
    WholeReader,
)
from proxy.providers.bridging.chat_chunks import ChatChunks, completion_of
from proxy.providers.bridging.reading import BridgedStream, BridgedWhole
from proxy.providers.bridging.response_events import ResponseEvents, response_of
from proxy.providers.bridging.to_chat import chat_body, echo
from proxy.providers.bridging.to_responses import responses_body
from proxy.providers.bridging.ways import crosses

# Of these servers nobody knows what they offer before they are asked.
_PRESUMED = frozenset({"compatible"})


class Bridged:
    """An adapter, and what it can do in other words."""

    def __init__(self, inner: Adapter) -> None:
        self.inner, self.kind = inner, inner.kind

    def serves(self, service: Service) -> bool:
        """What its provider offers by itself."""
        return self.inner.serves(service)

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request for one attempt. Raises Refused."""
        if not crosses(self.inner, asked):
            return self.inner.prepare(asked, secret)
        if not asked.upstream_model and not asked.body.get("model"):
            raise Refused("model", "'model' must be the id of a model; see GET /v1/models.")
        put = other(asked)
        try:
            if asked.shape is Shape.RESPONSE:
                orjson.dumps({"response": {"response": echo(asked)}})
            return self.inner.prepare(put, secret)
        except orjson.JSONEncodeError:
            # In the other shape a schema lies deeper than in the body it came in.
            raise Refused("tools", "The body is nested too deep for this model.") from None

    def stream_reader(self, asked: Asked) -> StreamReader:
        if not crosses(self.inner, asked):
            return self.inner.stream_reader(asked)
        inner, shown = self.inner.stream_reader(other(asked)), _shown(asked)
        outer = readers.stream_reader(shown)
        if asked.shape is Shape.RESPONSE:
            return BridgedStream(inner, outer, ResponseEvents(shown))
        return BridgedStream(inner, outer, ChatChunks(shown))

    def whole_reader(self, asked: Asked) -> WholeReader:
        if not crosses(self.inner, asked):
            return self.inner.whole_reader(asked)
        inner, shown = self.inner.whole_reader(other(asked)), _shown(asked)
        turn = response_of if asked.shape is Shape.RESPONSE else completion_of
        return BridgedWhole(inner, readers.whole_reader(shown), shown, turn)

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        return self.inner.judge(status, headers, head)

    def list_models(self, secret: str) -> Outbound:
        return self.inner.list_models(secret)

    def catalog(self, payload: Any) -> list[Listed]:
        return self.inner.catalog(payload)


def other(asked: Asked) -> Asked:
    """The same call in the other shape. Raises Refused."""
    if asked.shape is Shape.RESPONSE:
        return replace(
            asked, shape=Shape.CHAT, path="chat/completions", body=chat_body(asked.body),
            wants_usage=True, creates=None,
        )  # fmt: skip
    return replace(
        asked, shape=Shape.RESPONSE, path="responses", body=responses_body(asked.body),
        creates=None,
    )  # fmt: skip


def refusal(shape: Shape, body: Mapping[str, Any]) -> Refused | None:
    """Why a call cannot be put in the other words; None: it can."""
    try:
        if shape is Shape.RESPONSE:
            chat_body(body)
        else:
            responses_body(body)
    except Refused as refused:
        refused.__traceback__ = None  # it holds the whole body
        return refused
    return None


def instead(adapter: Adapter, asked: Asked) -> Asked | None:
    """A call for a response in other words, for a server whose kind may or may not know that
    route. None: its kind does know it, or the call cannot be put so."""
    if adapter.kind not in _PRESUMED or asked.shape is not Shape.RESPONSE:
        return None
    if crosses(adapter, asked) or refusal(asked.shape, asked.body):
        return None
    return replace(asked, speaks=frozenset({Service.CHAT}))


def _shown(asked: Asked) -> Asked:
    """What the reader of the turned answer knows: the name is the client's, nothing is stored."""
    return replace(asked, upstream_model=asked.model, creates=None)
