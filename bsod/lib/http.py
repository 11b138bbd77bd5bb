"""The one module that opens upstream sockets on the event loop: open, read, abort.

Redirects are never followed, bodies never decompressed, cookies never kept. What can go wrong is
two exceptions: the provider was not reached, or the exchange broke off.
"""

import ssl
from collections.abc import Mapping
from typing import Protocol

import aiohttp
from aiohttp.client_exceptions import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientSSLError,
)
from yarl import URL


class Unreachable(Exception):
    """No connection: refused, no such name, no trust, or too slow. Nothing was sent."""


class Broken(Exception):
    """The connection ended in the middle of the exchange, or what came was not HTTP."""


class Reply(Protocol):
    """A response whose headers are in and whose body is still coming."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case; of several with one name the last."""

    async def read(self) -> bytes:
        """The next bytes, as soon as there are any; b"" at the end. Raises Broken."""

    def abort(self) -> None:
        """Close the connection now: the provider sees its client leave."""

    def release(self) -> None:
        """The body has been read; the connection may be used again."""


class _AiohttpReply:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (ClientError, OSError, ssl.SSLError):
            raise Broken from None

    def abort(self) -> None:
        self._response.close()

    def release(self) -> None:
        self._response.release()


class Client:
    """A pool of connections to every provider. Open it on the loop, close it at the end."""

    def __init__(self, connect: float) -> None:
        """`connect`: seconds for name, connection and TLS together."""
        self._session = aiohttp.ClientSession(
            # Four seconds: many servers close an idle connection after five, and a request
            # must not race with that.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4, ttl_dns_cache=30),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=65_536,
            max_field_size=65_536,
            read_bufsize=65_536,
        )

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, proxy: str = ""
    ) -> Reply:
        """Send a request; returns when the response's headers are in."""
        try:
            response = await self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                proxy=proxy or None,
            )
        except (
            ClientConnectorError,
            ClientConnectorCertificateError,
            ClientSSLError,
            aiohttp.ConnectionTimeoutError,
        ):
            raise Unreachable from None
        except (ClientError, OSError, ssl.SSLError, TimeoutError):
            raise Broken from None
        return _AiohttpReply(response)

    async def close(self) -> None:
        await self._session.close()
