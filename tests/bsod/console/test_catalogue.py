"""The console's reading of the catalogue: kept while it is true, and a large one is read aside."""

import pytest
from django.db import transaction

from bsod import poolview
from bsod.console import catalogue
from proxy.pool import bump
from proxy.snapshot import readings
from tests import kit
from tests.upstream import FaultServer

pytestmark = pytest.mark.once


def test_what_has_not_changed_is_not_read_again(up: FaultServer) -> None:
    kit.supply(up)
    first = catalogue.snapshot()
    assert catalogue.snapshot() is first


def test_a_change_of_a_small_catalogue_is_seen_at_once(up: FaultServer) -> None:
    catalogue.snapshot()
    assert kit.supply(up).model in catalogue.snapshot().models


def test_nobody_waits_for_a_large_catalogue_who_has_just_seen_it(
    up: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "LARGE", 0)
    before = catalogue.snapshot()
    with poolview._lock:  # as long as somebody reads
        supplied = kit.supply(up)
        assert catalogue.snapshot() is before
    assert kit.eventually(lambda: supplied.model in catalogue.snapshot().models)


def test_what_was_true_long_ago_is_not_shown(
    up: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "LARGE", 0)
    monkeypatch.setattr(catalogue, "OLD", 0.0)
    catalogue.snapshot()
    assert kit.supply(up).model in catalogue.snapshot().models


def test_what_a_transaction_has_not_committed_is_not_the_processs_pool(up: FaultServer) -> None:
    kit.supply(up)
    poolview.current()
    with transaction.atomic():
        bump()
        mine = poolview.current()
        transaction.set_rollback(True)
    assert readings._last is not mine
    assert poolview.current() is readings._last
