"""What the first visitor of a worker would wait for is done before he comes.

Django loads most of what pages need when somebody asks for one: routes (on the event loop, where
all calls would wait for it), templates, words. A worker that is ready does this beside its work,
and then looks at the pages people see first as a browser would: that reads the catalogue, too.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.template.loader import get_template
from django.urls import reverse
from django.utils.translation import gettext, override

log = logging.getLogger("bsod.warming")
PAGES = ("/", "/models/", "/docs/api/", "/status/", "/login/")
_TEMPLATES = ("console", "account", "monitoring", "parts", "docs")
_PAUSE = 0.05  # seconds between two steps, in which calls have the interpreter to themselves


async def warm(pages: Any, ready: Callable[[], bool]) -> None:
    """`pages`: Django's application."""
    if not settings.WARM_UP:
        return
    try:
        while not ready():
            await asyncio.sleep(0.1)
        await asyncio.to_thread(_load)
        for path in PAGES:
            await asyncio.sleep(_PAUSE)
            if ready():
                await look(pages, path)
        # Nearly all of it stays: the collector need not walk through it again.
        gc.freeze()
    except Exception:
        log.exception("the first visitors will have to wait")


def _load() -> None:
    for language, _name in settings.LANGUAGES:
        with override(language):
            gettext("")
            reverse("account_login")
    for name in _templates():
        get_template(name)


def _templates() -> Iterator[str]:
    folder = settings.BASE_DIR / "templates"
    for part in _TEMPLATES:
        yield from (str(path.relative_to(folder)) for path in (folder / part).glob("*.html"))


async def look(pages: Any, path: str) -> int:
    """Ask for a page as a guest's browser would; its status."""
    site = urlsplit(settings.SITE_URL)
    head = {"host": site.netloc, "x-forwarded-proto": site.scheme, "accept": "text/html",
            "accept-encoding": "gzip, br"}  # fmt: skip
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": site.scheme,
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in head.items()],
        "client": ("127.0.0.1", 0), "server": (site.hostname, site.port or 0),
    }  # fmt: skip
    asked = iter([{"type": "http.request", "body": b""}])
    status = 0

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        await asyncio.Event().wait()  # it does not go away
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    await pages(scope, receive, send)
    return status
