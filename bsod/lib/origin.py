"""Where a base URL points, and the bytes of a request to it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base URL points."""

    tls: bool
    host: str
    port: int
    path: str
    authority: str
    """The Host header."""


@lru_cache(maxsize=1024)
def origin(base_url: str) -> Origin:
    """Parse a provider's base URL. ValueError when it is none."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a base URL begins with http:// or https:// and names a host")
    tls = parts.scheme == "https"
    host = parts.hostname.encode("idna").decode() if ":" not in parts.hostname else parts.hostname
    named = f"[{host}]" if ":" in host else host
    authority = f"{named}:{parts.port}" if parts.port else named
    return Origin(tls, host, parts.port or (443 if tls else 80), parts.path.rstrip("/"), authority)


def request(
    method: str, where: Origin, target: str, headers: Mapping[str, str], length: int | None,
    proxy: str,
) -> bytes:  # fmt: skip
    """The head of a request. A line break in a header would be a second request: refused."""
    path = f"{where.path}{target}"
    if proxy:
        path = f"http://{where.authority}{path}"
    lines = [f"{method} {path} HTTP/1.1", f"host: {where.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"content-length: {length}")
    if proxy:
        lines += proxy_login(proxy)
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header holds a line break")
    return text.encode("latin-1") + b"\r\n\r\n"


def proxy_login(proxy: str) -> list[str]:
    parts = urlsplit(proxy)
    if not parts.username:
        return []
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return [f"proxy-authorization: Basic {base64.b64encode(login).decode()}"]
