"""A worker that has just begun: what its first visitors would wait for is there before them."""

import asyncio
import gc
import sys
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.test import override_settings

from bsod import warming
from bsod.warming import PAGES, look, warm

pytestmark = pytest.mark.once


def test_the_pages_it_looks_at_are_there() -> None:
    pages = ASGIHandler()
    assert [asyncio.run(look(pages, path)) for path in PAGES] == [200] * len(PAGES)


def test_behind_a_proxy_it_comes_as_browsers_do() -> None:
    secure = {"SECURE_SSL_REDIRECT": True, "SITE_URL": "https://127.0.0.1",
              "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}  # fmt: skip
    with override_settings(**secure):
        assert asyncio.run(look(ASGIHandler(), "/login/")) == 200


def test_everything_it_loads_is_in_order() -> None:
    assert len(list(warming._templates())) > 50
    warming._load()
    assert "bsod.urls" in sys.modules


def looked(*readiness: bool) -> list[str]:
    """The pages it asks for, while it is ready as is said here, and stays as it was last."""
    said, seen = list(readiness), []

    async def pages(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])

    def ready() -> bool:
        return said.pop(0) if len(said) > 1 else said[0]

    try:
        asyncio.run(warm(pages, ready))
    finally:
        gc.unfreeze()
    return seen


def test_it_begins_when_the_worker_is_ready_and_ends_when_that_goes_down() -> None:
    assert looked(True) == []
    with override_settings(WARM_UP=True):
        assert looked(False, True) == list(PAGES)
        assert looked(True, True, False) == [PAGES[0]]
