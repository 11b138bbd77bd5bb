"""Asking a provider, outside the event loop, whether a key works and which models it opens.

`requests` and `sseclient`, one call at a time, always within limits of time and size, never
following a redirect. A model list costs nothing, but some providers give it to anybody, and to
accounts without money. So a key whose calls were refused or failed is asked for a real answer of
a few tokens, streamed to its end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import sseclient
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from bsod.lib import clock
from bsod.lib.addresses import resolve
from bsod.lib.terms import Blame, RestReason
from bsod.lib.vault import VaultError
from proxy.models import Offer, Provider, ProviderKey
from proxy.pool import vault
from proxy.providers.base import (
    Adapter,
    Asked,
    Listed,
    Malformed,
    Outbound,
    Refused,
    UpstreamFault,
)
from proxy.providers.registry import ADAPTERS

_SILENCE = 30.0  # seconds of silence a probe accepts
_LONGEST = 60.0  # seconds a reply may take in all
_MOST = 8_000_000  # bytes of a model list or an answer
_MOST_ERROR = 65_536  # bytes of an error body that are looked at
_SENSELESS = (Malformed, UpstreamFault, ValueError, urllib3.exceptions.HTTPError)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found. `models` is None where no list was asked for or given."""

    blame: Blame
    note: str
    models: list[Listed] | None = None
    wait: float | None = None

    @property
    def works(self) -> bool:
        """The key is good for calls; one that is only rate-limited is."""
        return self.blame in (Blame.NOBODY, Blame.RATE_LIMIT)


def ask(key: ProviderKey, reason: str) -> Finding:
    """The probe that fits the reason of a rest."""
    cheap = reason in (RestReason.NEW, RestReason.UNREACHABLE)
    return list_models(key) if cheap else call(key)


def list_models(key: ProviderKey) -> Finding:
    """Ask for the model list with this key."""

    def read(adapter: Adapter, reply: requests.Response) -> Finding:
        body = b"".join(_bytes(reply))
        try:
            return Finding(Blame.NOBODY, "answers", adapter.catalog(orjson.loads(body)))
        except (ValueError, Malformed):
            return Finding(Blame.NOBODY, "answers, but gives no model list")

    return _ask(key, lambda adapter, secret: adapter.list_models(secret), read)


def call(key: ProviderKey) -> Finding:
    """Ask for a few tokens, streamed; for the list where the key offers no text model."""
    offer = (
        Offer.objects.filter(provider=key.provider_id, gone_at=None, model__modality="text")
        .order_by("model__credits_per_1k_output", "id")
        .first()
    )
    if offer is None:
        return list_models(key)
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
    return _ask(
        key,
        lambda adapter, secret: adapter.prepare(asked, secret),
        lambda adapter, reply: _read_stream(adapter, asked, reply),
    )


def _ask(
    key: ProviderKey,
    prepare: Callable[[Adapter, str], Outbound],
    read: Callable[[Adapter, requests.Response], Finding],
) -> Finding:
    """One request, and what its reply or the lack of one says."""
    adapter = ADAPTERS.get(key.provider.kind)
    if adapter is None:
        return Finding(Blame.FAILURE, "is of a kind that is not known here")
    try:
        out = prepare(adapter, vault().open(key.uid, key.sealed))
        with send(key.provider, out) as reply:
            if 200 <= reply.status_code < 300:
                return read(adapter, reply)
            return _judged(adapter, reply)
    except VaultError:
        return Finding(Blame.FAILURE, "does not open with any of VAULT_KEYS")
    except (requests.RequestException, OSError):
        return Finding(Blame.CONNECT, "cannot be reached")
    except (Refused, *_SENSELESS):
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
    """A body as it comes. Malformed when it grows too long, or takes too long."""
    ends, size = clock.monotonic() + _LONGEST, 0
    # read1 hands over what has come; iter_content would wait for a full buffer.
    while data := reply.raw.read1(65_536):
        size += len(data)
        if size > _MOST or clock.monotonic() > ends:
            raise Malformed("the reply does not end")
        yield data


def _judged(adapter: Adapter, reply: requests.Response) -> Finding:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    verdict = adapter.judge(reply.status_code, headers, _head(reply))
    if verdict.blame is Blame.CLIENT:
        # It knows the key and refuses the question (no list, no such model): the key is good.
        return Finding(Blame.NOBODY, f"answers ({reply.status_code})")
    return Finding(verdict.blame, f"refuses ({reply.status_code})", wait=verdict.wait)


def _head(reply: requests.Response) -> bytes:
    """The beginning of an error body; one that breaks off says no less."""
    head = b""
    try:
        for part in _bytes(reply):
            head += part
            if len(head) >= _MOST_ERROR:
                break
    except urllib3.exceptions.HTTPError:
        pass
    return head[:_MOST_ERROR]


class _Session(requests.Session):
    """Never looks at a redirect: `requests` reads even one that it does not follow to its end,
    however long that is."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _Adapter(HTTPAdapter):
    """Goes nowhere by a name that leads to a forbidden address."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        to = urlsplit(select_proxy(str(request.url), proxies) or str(request.url))
        resolve(to.hostname or "", to.port or (443 if to.scheme == "https" else 80))
        return super().get_connection_with_tls_context(request, verify, proxies, cert)


def send(provider: Provider, out: Outbound) -> requests.Response:
    proxies = {"http": provider.proxy_url, "https": provider.proxy_url}
    with _Session() as session:
        session.mount("http://", _Adapter())
        session.mount("https://", _Adapter())
        # Neither proxies nor credentials of the environment: only what the provider's row says.
        session.trust_env = False
        return session.request(
            out.method,
            out.under(provider.base_url) + out.target,
            headers=dict(out.headers),
            data=out.body or None,  # type: ignore[arg-type]  # bytes: no probe sends a form
            timeout=(settings.CONNECT_TIMEOUT, _SILENCE),
            allow_redirects=False,
            stream=True,
            proxies=proxies if provider.proxy_url else None,
        )
