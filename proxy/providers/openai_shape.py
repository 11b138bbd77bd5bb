"""Everything that speaks OpenAI's own shape: what is sent, whose fault a refusal is, model lists.

What goes out is put together in `outbound.py`, how its answers are read is in `readers.py`, what
its refusals say in `refusals.py`.
"""

from collections.abc import Mapping
from typing import Any

from bsod.lib.terms import Blame, Service
from proxy.providers import readers
from proxy.providers.base import (
    Asked,
    Listed,
    Malformed,
    Outbound,
    StreamReader,
    Verdict,
    WholeReader,
)
from proxy.providers.listing import listed
from proxy.providers.outbound import content, headers, sealed
from proxy.providers.refusals import about_the_request, error_of, limit_wait, redact, spent


class OpenAIShape:
    """The base of every adapter whose provider answers in OpenAI's shape."""

    kind = "compatible"
    offers: frozenset[Service] = frozenset(Service)
    """The one table of what this kind of provider can be asked for."""
    limit_field = "max_tokens"
    """The one spelling of a chat's output limit this kind of provider understands."""
    foreign: tuple[str, ...] = ()
    """Fields it adds to its answers that no client of OpenAI expects: they are taken out."""

    def serves(self, service: Service) -> bool:
        return service in self.offers

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request for one attempt."""
        body, kind = content(asked, self.limit_field)
        target = f"/{asked.path}?{asked.query}" if asked.query else f"/{asked.path}"
        return Outbound(asked.method, target, headers(asked, kind, secret), body)

    def stream_reader(self, asked: Asked) -> StreamReader:
        return readers.stream_reader(asked, self.foreign)

    def whole_reader(self, asked: Asked) -> WholeReader:
        return readers.whole_reader(asked, self.foreign)

    def list_models(self, secret: str) -> Outbound:
        sent = {"accept": "application/json", "user-agent": "bsod"}
        return Outbound("GET", "/models", sealed(sent, "", secret), b"")

    def catalog(self, payload: Any) -> list[Listed]:
        """The models of a list, or of a bare array of models; Malformed when it is neither."""
        rows = payload.get("data") if isinstance(payload, dict) else payload
        if not isinstance(rows, list):
            raise Malformed("the model list has no data")
        return [found for row in rows if (found := listed(row))]

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        """Whose fault a reply other than 2xx is (SPEC §5, SECURITY §3.4)."""
        said = error_of(head)
        if status == 429:
            wait = limit_wait(said, headers)
            return Verdict(Blame.BILLING) if spent(said, wait) else Verdict(Blame.RATE_LIMIT, wait)
        if status == 401:
            return Verdict(Blame.AUTH)
        if status == 402 or (status == 403 and not about_the_request(said)):
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
