"""The statements of a batch find their rows by an index, however many rows there are."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import ANY

import pytest
from django.db import connection

from bsod.lib import sql
from proxy.gateway.journey import Receipt
from tests.kit import Person
from tests.quotas.desk import Clerk, admit, close, model, token

GROWING = ("quotas_balance", "quotas_entry", "quotas_pace", "quotas_usageday", "quotas_process",
           "keys_apikey", "accounts_account", "accounts_ban")  # fmt: skip


@pytest.mark.once  # PostgreSQL plans by what it has counted
def test_no_statement_of_a_batch_reads_a_whole_table(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, key, clerk = model(), token(alice.secret), Clerk()
    seen: dict[str, Sequence[Any]] = {}
    real = sql._SqliteCursor.execute

    def execute(self: sql._SqliteCursor, statement: str, values: Sequence[Any] = ()) -> Any:
        seen[statement] = values
        return real(self, statement, values)

    monkeypatch.setattr(sql._SqliteCursor, "execute", execute)
    for many in (1, 3):
        tickets = clerk.run(*(admit(key, name) for _ in range(many)))
        closes = [close(ticket, 5, 5) for ticket in tickets]
        assert [clerk.run(*closes)[-1] for _ in range(2)] == [Receipt(10, 0, ANY)] * 2
    assert len(seen) > 12
    with connection.cursor() as cursor:
        for statement, values in seen.items():
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            scans = [row[3] for row in cursor.fetchall() if row[3].startswith("SCAN")]
            assert not [scan for scan in scans if any(f" {table}" in scan for table in GROWING)]
