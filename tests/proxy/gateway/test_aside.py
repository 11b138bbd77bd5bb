"""Rare questions to the database, asked beside the ledger's thread."""

import asyncio

import pytest
from django.db import InterfaceError, OperationalError

from proxy.errors import ApiError, Code
from proxy.gateway.aside import aside

pytestmark = pytest.mark.once


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_refuses_for_now_and_breaks_nothing(error: type[Exception]) -> None:
    def asked() -> None:
        raise error("terminating connection due to administrator command")

    with pytest.raises(ApiError) as refused:
        asyncio.run(aside(asked))
    assert (refused.value.code, refused.value.retry_after) == (Code.QUOTA_UNAVAILABLE, 1)
    assert "terminating" not in str(refused.value)
