"""Beside the ledger's thread: rare questions to the database, each on a connection of its own."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from proxy.gateway.admission import quota_unavailable

Value = TypeVar("Value")


async def aside(work: Callable[[], Value]) -> Value:
    """Run something that uses the database in a thread that keeps no connection. ApiError 503
    when the database is away."""

    def run() -> Value:
        try:
            return work()
        except Error:
            raise quota_unavailable() from None
        finally:
            connection.close()

    return await asyncio.to_thread(run)
