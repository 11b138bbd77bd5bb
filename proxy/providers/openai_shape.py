"""Everything that speaks OpenAI's own shape: what is sent, whose fault a refusal is, model lists.

How its answers are read is in `chat.py`, what its refusals say in `refusals.py`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from bsod.lib.terms import Blame
from proxy.providers.base import (
    Asked,
    Malformed,
    Outbound,
    StreamReader,
    Verdict,
    WholeReader,
)
from proxy.providers.chat import ChatStream, ChatWhole
from proxy.providers.refusals import error_of, redact, spent, wait_of


class OpenAIShape:
    """The base of every adapter whose provider answers in OpenAI's shape."""

    kind = "compatible"
    limit_field = "max_tokens"
    """The one spelling of the output limit this kind of provider understands."""
    foreign: tuple[str, ...] = ()
    """Fields it adds to its answers that no client of OpenAI expects: they are taken out."""

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request for one attempt."""
        body = {**asked.body, "model": asked.upstream_model}
        if asked.limit is not None:
            body[self.limit_field] = asked.limit
        for name in ("user", "safety_identifier"):
            if name in body:
                body[name] = asked.user
        if asked.stream:
            options = dict(body.pop("stream_options", None) or {})
            options.pop("include_usage", None)
            if asked.ask_usage:
                options["include_usage"] = True
            if options:
                body["stream_options"] = options
        return self._request("POST", asked.path, secret, orjson.dumps(body), asked.headers)

    def _request(
        self, method: str, path: str, secret: str, body: bytes, headers: Any = ()
    ) -> Outbound:
        sent = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "bsod",
            **dict(headers),
            "authorization": f"Bearer {secret}",
        }
        if body:
            sent["content-type"] = "application/json"
        return Outbound(method, f"/{path}", sent, body)

    def stream_reader(self, asked: Asked) -> StreamReader:
        return ChatStream(asked, self.foreign)

    def whole_reader(self, asked: Asked) -> WholeReader:
        return ChatWhole(asked, self.foreign)

    def list_models(self, secret: str) -> Outbound:
        return self._request("GET", "models", secret, b"")

    def catalog(self, payload: Any) -> list[str]:
        """Model ids of a list, or of a bare array of models; Malformed when it is neither."""
        rows = payload.get("data") if isinstance(payload, dict) else payload
        if not isinstance(rows, list):
            raise Malformed("the model list has no data")
        ids = [row.get("id") for row in rows if isinstance(row, dict)]
        return [name for name in ids if isinstance(name, str) and 0 < len(name) <= 256]

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        """Whose fault a reply other than 2xx is (SPEC §5, SECURITY §3.4)."""
        said = error_of(head)
        if status == 429:
            wait = wait_of(headers)
            wait = said.wait if wait is None else wait
            return Verdict(Blame.BILLING) if spent(said, wait) else Verdict(Blame.RATE_LIMIT, wait)
        if status == 401:
            return Verdict(Blame.AUTH)
        if status in (402, 403):
            return Verdict(Blame.BILLING)
        if 400 <= status < 500 and status != 408:
            return Verdict(
                Blame.CLIENT,
                message=redact(said.message) or "The provider refused the request.",
                param=said.param,
                code=said.code,
                refuses_usage=status in (400, 422) and "stream_options" in said.message,
            )
        return Verdict(Blame.FAILURE)
