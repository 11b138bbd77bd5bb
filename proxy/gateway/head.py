"""What the headers of a request say. Nothing of a key's secret stays in it but its proof."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from accounts.keys.tokens import Token, parse
from proxy.errors import ApiError, Code

Headers = Iterable[tuple[bytes, bytes]]
FORWARDED = {
    b"accept": "accept",
    b"range": "range",
    b"openai-beta": "openai-beta",
    b"x-stainless-helper-method": "x-stainless-helper-method",
    b"accept-language": "accept-language",
}


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers say. Every header that matters may appear once."""

    token: Token | None
    """None: there is no key, or none that could be ours."""
    content_type: bytes
    encoded: bool
    forwarded: tuple[tuple[str, str], ...]
    address: str
    idempotency: bytes | None = None
    """The value of Idempotency-Key, as it was sent."""
    if_none_match: str = ""
    """The tags of what the client has already."""
    client_id: str = ""
    """The client's own name for the request, where it is harmless. It goes to the log alone."""


def read_head(headers: Headers, peer: str) -> Head:
    """The head of a request: header names in lower case, the peer's address.

    ApiError 400: a header twice, or a host that is not ours.
    """
    known: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in known and name in _ONCE:
            raise ApiError(Code.INVALID_REQUEST, f"The header {name.decode()} may appear once.")
        # A list header (X-Forwarded-For) may come in several lines: they are one list.
        known[name] = known[name] + b"," + value if name in known else value
    if not _host_is_ours(known.get(b"host", b"")):
        raise ApiError(Code.INVALID_HOST, "The Host header names no host of this site.")
    return Head(
        _token(known.get(b"authorization", b"")),
        known.get(b"content-type", b""),
        known.get(b"content-encoding", b"identity").lower() != b"identity",
        tuple(
            (FORWARDED[name], value.decode("latin-1"))
            for name, value in known.items()
            if name in FORWARDED
        ),
        address_of(peer, known.get(b"x-forwarded-for", b"")),
        known.get(b"idempotency-key"),
        known.get(b"if-none-match", b"").decode("latin-1"),
        _harmless(known.get(b"x-client-request-id", b"")),
    )


_ONCE = {
    b"authorization", b"host", b"content-type", b"content-length", b"content-encoding",
    b"idempotency-key",
}  # fmt: skip


_HARMLESS = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def _harmless(name: bytes) -> str:
    return name.decode() if name and _HARMLESS.fullmatch(name) else ""


def _token(authorization: bytes) -> Token | None:
    scheme, _, text = authorization.decode("latin-1").partition(" ")
    return parse(text.strip()) if scheme.lower() == "bearer" else None


@lru_cache(maxsize=256)
def _host_is_ours(value: bytes) -> bool:
    domain, _ = split_domain_port(value.decode("latin-1"))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def address_of(peer: str, forwarded: bytes) -> str:
    """The client's address: the peer's, or what TRUSTED_PROXIES hops say of it."""
    hops = settings.TRUSTED_PROXIES
    claimed = [part.strip() for part in forwarded.decode("latin-1").split(",") if part.strip()]
    return claimed[-hops] if hops and len(claimed) >= hops else peer
