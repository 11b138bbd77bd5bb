"""What a browser may do with our pages: nothing inline, nothing from another host, nobody's frame.

A view that needs another policy sets the header itself. Pages are somebody's own, so that nothing
between us and the browser may keep them.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

CONSOLE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# unfold's scripts evaluate what stands in its own pages (Alpine) and set styles of elements; the
# hash is of the one style sheet that htmx writes into each page.
ADMIN = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; "
    "style-src 'self' 'sha256-bsV5JivYxvGywDAZ22EZJKBFip65Ng9xoJVLbBg7bdo='; "
    "style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_NAME = "Content-Security-Policy"


class ContentPolicy:
    """The middleware, for either kind of view."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._async:
            return self._later(request)
        return said(request, self.get_response(request))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        return said(request, await self.get_response(request))


def said(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if not response.get("Content-Type", "").startswith("text/html"):
        return response
    policy = ADMIN if request.path.startswith("/admin/") else CONSOLE
    response.headers.setdefault(_NAME, policy)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
