"""Asking a provider, outside the event loop, whether a key works and which models it opens.

`requests` and `sseclient`, one call at a time, always with time limits, never following a
redirect. A key that rested because its calls failed is asked for a real answer of one token,
streamed to its end: a model list would not show that calls still break.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import requests
import sseclient
import urllib3
from django.conf import settings

from bsod.lib.terms import Blame
from proxy.models import Offer, Provider, ProviderKey
from proxy.pool import vault
from proxy.providers.base import Adapter, Asked, Malformed, Outbound, UpstreamFault
from proxy.providers.registry import ADAPTERS

_READ = 30.0  # seconds of silence a probe accepts
_MOST = 8_000_000  # bytes of a model list


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found. `models` is None where no list was asked for or given."""

    blame: Blame
    note: str
    models: list[str] | None = None
    wait: float | None = None

    @property
    def works(self) -> bool:
        """The key is good for calls; one that is only rate-limited is."""
        return self.blame in (Blame.NOBODY, Blame.RATE_LIMIT)


def list_models(key: ProviderKey) -> Finding:
    """Ask for the model list with this key."""
    adapter = ADAPTERS[key.provider.kind]
    secret = vault().open(key.uid, key.sealed)
    try:
        with _send(key.provider, adapter.list_models(secret)) as reply:
            body = _body(reply)
            if not 200 <= reply.status_code < 300:
                return _judged(adapter, reply, body)
            return Finding(Blame.NOBODY, "answers", adapter.catalog(orjson.loads(body)))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        return Finding(Blame.CONNECT, "cannot be reached")
    except (ValueError, Malformed):
        return Finding(Blame.NOBODY, "answers, but gives no model list")


def call(key: ProviderKey) -> Finding:
    """Ask for one token, streamed; falls back to the list where the key offers no text model."""
    offer = (
        Offer.objects.filter(provider=key.provider_id, gone_at=None, model__modality="text")
        .select_related("model")
        .order_by("model__credits_per_1k_output")
        .first()
    )
    if offer is None:
        return list_models(key)
    adapter = ADAPTERS[key.provider.kind]
    asked = Asked(
        path="chat/completions",
        body={"messages": [{"role": "user", "content": "Hi"}], "stream": True},
        stream=True,
        upstream_model=offer.upstream_id,
        model=offer.upstream_id,
        limit=16,
        choices=1,
        wants_usage=False,
    )
    try:
        with _send(
            key.provider, adapter.prepare(asked, vault().open(key.uid, key.sealed))
        ) as reply:
            if not 200 <= reply.status_code < 300:
                return _judged(adapter, reply, _body(reply))
            return _read_stream(adapter, asked, reply)
    except (requests.RequestException, OSError):
        return Finding(Blame.CONNECT, "cannot be reached")
    except (Malformed, UpstreamFault, urllib3.exceptions.HTTPError):
        return Finding(Blame.FAILURE, "answers with something that makes no sense")


def _read_stream(adapter: Adapter, asked: Asked, reply: requests.Response) -> Finding:
    """Only a proper end proves a stream: a cut one raises nothing in either library."""
    reader = adapter.stream_reader(asked)
    for event in sseclient.SSEClient(_bytes(reply)).events():
        reader.feed(b"data: " + event.data.encode().replace(b"\n", b"\ndata: ") + b"\n\n")
    if reader.complete:
        return Finding(Blame.NOBODY, "answers")
    return Finding(Blame.FAILURE, "breaks off while answering")


def _bytes(reply: requests.Response) -> Iterator[bytes]:
    # read1 hands over what has come; iter_content would wait for a full buffer.
    while data := reply.raw.read1(65_536):
        yield data


def _body(reply: requests.Response) -> bytes:
    body = b""
    for part in _bytes(reply):
        body += part
        if len(body) > _MOST:
            raise Malformed("the list is too long")
    return body


def _judged(adapter: Adapter, reply: requests.Response, body: bytes) -> Finding:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    verdict = adapter.judge(reply.status_code, headers, body)
    if verdict.blame is Blame.CLIENT:
        # It knows the key and refuses the question (no list, no such model): the key is good.
        return Finding(Blame.NOBODY, f"answers ({reply.status_code})")
    return Finding(verdict.blame, f"refuses ({reply.status_code})", wait=verdict.wait)


def _send(provider: Provider, out: Outbound) -> requests.Response:
    proxies = {"http": provider.proxy_url, "https": provider.proxy_url}
    with requests.Session() as session:
        # Neither proxies nor credentials of the environment: only what the provider's row says.
        session.trust_env = False
        return session.request(
            out.method,
            provider.base_url.rstrip("/") + out.target,
            headers=dict(out.headers),
            data=out.body or None,
            timeout=(settings.CONNECT_TIMEOUT, _READ),
            allow_redirects=False,
            stream=True,
            proxies=proxies if provider.proxy_url else None,
        )


def ask(key: ProviderKey, reason: str) -> Finding:
    """The probe that fits the reason of a rest."""
    return call(key) if reason == "failures" else list_models(key)
