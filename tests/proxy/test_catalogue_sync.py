"""Lists that come in: what of them reaches the catalogue's rows, and what an admin has fixed."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from bsod.lib import clock
from proxy import service
from proxy.models import Model, Offer, Provider
from proxy.pool import load
from proxy.providers.base import Listed
from proxy.rules import classify
from tests.kit import unique
from tests.proxy.rows import generation
from tests.upstream import FaultServer, json_reply

Sync = Callable[..., Model]


@pytest.fixture
def sync(up: FaultServer) -> Sync:
    """A provider's list of one model comes in; returns the model's row."""
    made: dict[str, Provider] = {}

    def run(name: str, provider: str = "one", kind: str = "compatible", **said: Any) -> Model:
        if provider not in made:
            made[provider] = Provider.objects.create(
                slug=unique("up"), kind=kind, base_url=up.base_url
            )
        service.write_catalogue(made[provider], [Listed(name, **said)], clock.now())
        return Model.objects.get(name=name)

    return run


def test_what_a_list_says_comes_from_the_wire_into_the_pool(up: FaultServer) -> None:
    name = unique("vendor/own")
    up.default = json_reply(
        {"data": [{"id": name, "context_length": 77_000, "shutdown_date": "2031-02-03",
                   "top_provider": {"max_completion_tokens": 3_000},
                   "pricing": {"prompt": "0.000003", "completion": "0.000015"}}]}
    )  # fmt: skip
    service.add_provider(unique("up"), "compatible", up.base_url, [unique("sk")])
    found = load(1).catalogue.models[name]
    assert (found.traits.context, found.traits.output) == (77_000, 3_000)
    assert (found.traits.price_in, found.traits.price_out) == (100, 500)
    assert found.shutdown == date(2031, 2, 3)


def test_only_the_fields_an_admin_has_set_are_left_alone(sync: Sync) -> None:
    name = unique("gpt-5.4")
    row = sync(name, context=10_000)
    service.fix([row.pk], {"credits_per_1k_input": 7, "tier": "base"})

    row = sync(name, context=20_000, price_in=9.0)

    assert row.fixed == ["credits_per_1k_input", "tier"]
    assert (row.credits_per_1k_input, row.tier) == (7, "base")
    assert (row.context_window, row.credits_per_1k_output) == (20_000, 500)


def test_a_field_may_be_fixed_to_nothing(sync: Sync) -> None:
    name = unique("gpt-5-pro")
    row = sync(name, kind="openai")
    assert row.speaks == ["responses"]
    service.fix([row.pk], {"speaks": None, "max_output": None})
    row = sync(name)
    assert (row.speaks, row.max_output) == (None, None)
    assert load(1).catalogue.models[name].traits.speaks is None


def test_a_model_can_be_told_to_follow_again(sync: Sync) -> None:
    name = unique("gpt-5.4")
    row = sync(name, context=10_000)
    service.fix([row.pk], {"context_window": 5, "credits_per_1k_input": 7})
    before = generation()
    service.follow([row.pk])
    row.refresh_from_db()
    ruled = classify("gpt-5.4")
    assert (row.fixed, row.context_window) == ([], 10_000), "what the list said is remembered"
    assert row.credits_per_1k_input == ruled.price_in
    assert generation() > before


def test_two_providers_of_a_model_do_not_overwrite_each_other(sync: Sync) -> None:
    name = unique("shared")
    sync(name, "one", context=50_000, price_in=1.0, price_out=2.0)
    row = sync(name, "other", context=90_000, price_in=3.0, price_out=1.0)
    assert row.context_window == 50_000
    before = generation()
    for provider, context, prices in (("one", 50_000, (1.0, 2.0)), ("other", 90_000, (3.0, 1.0))):
        sync(name, provider, context=context, price_in=prices[0], price_out=prices[1])
    row.refresh_from_db()
    assert (row.context_window, row.credits_per_1k_input, row.credits_per_1k_output) == (
        50_000, 100, 67,
    )  # fmt: skip
    assert generation() == before, "nobody is told of what has not changed"


def test_what_a_provider_said_of_a_model_goes_with_it(sync: Sync) -> None:
    name = unique("shared")
    sync(name, "one", context=50_000)
    sync(name, "other", context=90_000)
    sync(unique("else"), "one")
    assert Offer.objects.get(model__name=name, provider__slug__gt="", gone_at=None)
    assert Model.objects.get(name=name).context_window == 90_000


def test_the_day_a_model_ends_is_known_from_the_list_or_from_here(sync: Sync) -> None:
    ended = sync("o1-pro-2025-03-29", "retired", kind="openai")
    assert ended.shutdown_date == date(2026, 10, 23)
    far = date(2033, 1, 1)
    assert sync(unique("m"), "told", shutdown=far).shutdown_date == far


def test_what_somebody_has_fine_tuned_is_not_in_the_catalogue(up: FaultServer) -> None:
    mine, name = f"ft:gpt-4o:acme::{unique('x')}", unique("m")
    provider = Provider.objects.create(slug=unique("up"), kind="openai", base_url=up.base_url)
    service.write_catalogue(provider, [Listed(mine), Listed(name)], clock.now())
    models = load(1).catalogue.models
    assert name in models
    assert mine not in models


def test_a_change_while_a_list_comes_in_wins_over_it(sync: Sync) -> None:
    """The admin's word may come between the look at a row and its change."""
    name = unique("m")
    row = sync(name, context=10_000)
    Model.objects.filter(pk=row.pk).update(fixed=["context_window"], context_window=5)
    assert sync(name, context=20_000).context_window == 5


def test_the_worker_syncs_hourly() -> None:
    from bsod.management.commands.worker import SYNC_EVERY, chores

    assert timedelta(hours=1) == SYNC_EVERY
    assert "sync" in [chore.name for chore in chores()]
