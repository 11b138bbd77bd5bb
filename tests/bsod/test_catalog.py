"""`GET /catalog/`: what anybody may see of it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from bsod.catalog import Pages, catalog
from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy.models import Rest
from proxy.pool import load
from proxy.showing import heads
from tests import kit
from tests.kit import Site, Supply
from tests.rawclient import Reply, once
from tests.upstream import FaultServer


def made() -> Any:
    """The page as it would be made now."""
    snapshot = load(1)
    return json.loads(catalog(snapshot, heads(snapshot)))


def entry(supplied: Supply, page: Any = None) -> Any:
    """What the page says of a provider."""
    page = page or made()
    return next(one for one in page["providers"] if one["provider"] == supplied.provider.slug)


def rest(supplied: Supply, reason: str, seconds: float, *, by_clock: bool = False) -> None:
    at = clock.now() + timedelta(seconds=seconds)
    Rest.objects.create(
        provider=supplied.provider, key=supplied.key_row(), reason=reason,
        until=at if by_clock else None, probe_at=None if by_clock else at,
    )  # fmt: skip


def test_a_provider_is_shown_with_its_models_and_their_numbers(up: FaultServer) -> None:
    supplied = kit.supply(up, context_window=4_000)
    page = made()
    shown = entry(supplied, page)
    assert {name: shown[name] for name in ("kind", "total", "available", "reason", "returns_at",
                                           "retry_after")} == {
        "kind": "compatible", "total": 1, "available": 1, "reason": None, "returns_at": None,
        "retry_after": None,
    }  # fmt: skip
    model = shown["models"][0]
    assert (model["id"], model["available"], model["context_window"]) == (
        supplied.model, True, 4_000,
    )  # fmt: skip
    assert "/v1/chat/completions" in model["endpoints"]
    assert page["object"] == "catalog"
    models = {model["id"]: model for one in page["providers"] for model in one["models"]}
    assert page["total"] == len(models)
    assert sum(one["available"] for one in page["providers"]) >= page["available"]
    slugs = [one["provider"] for one in page["providers"]]
    assert slugs == sorted(slugs)


def test_dead_keys_are_said_to_be_dead_and_when_they_are_tried_again(up: FaultServer) -> None:
    supplied = kit.supply(up)
    rest(supplied, RestReason.AUTH, 90)
    shown = entry(supplied)
    assert (shown["reason"], shown["total"], shown["available"]) == ("all api keys died", 1, 0)
    model = shown["models"][0]
    assert (model["available"], model["reason"]) == (False, "all api keys died")
    for said in (shown, model):
        assert 85 <= said["retry_after"] <= 90
        back = datetime.fromisoformat(said["returns_at"])
        assert abs((back - datetime.now(UTC)).total_seconds() - 90) < 5


def test_a_limit_is_no_death(up: FaultServer) -> None:
    supplied = kit.supply(up)
    rest(supplied, RestReason.RATE_LIMIT, 30, by_clock=True)
    shown = entry(supplied)
    assert shown["reason"] == "every api key waits for the provider's own limit"
    assert 25 <= shown["models"][0]["retry_after"] <= 30


def test_a_provider_without_keys_keeps_its_models_in_the_list(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=0)
    shown = entry(supplied)
    assert (shown["reason"], shown["total"]) == ("all api keys died", 1)
    assert shown["models"][0]["endpoints"] != []


def test_a_model_of_two_providers_counts_once_and_is_there_while_one_serves(
    up: FaultServer,
) -> None:
    one = kit.supply(up)
    before = made()
    other = kit.supply(up, model=one.model)
    rest(one, RestReason.BILLING, 60)
    page = made()
    assert (page["total"], page["available"]) == (before["total"], before["available"])
    assert entry(one, page)["models"][0]["available"] is False
    assert entry(other, page)["models"][0]["available"] is True


def test_nothing_is_told_of_keys_and_hosts(up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    rest(supplied, RestReason.AUTH, 60)
    text = json.dumps(entry(supplied))
    key = supplied.key_row()
    hidden = [*supplied.keys, key.fingerprint, key.sealed, key.uid, "127.0.0.1", "http"]
    assert [word for word in hidden if word in text] == []
    assert "key_count" not in text


def test_the_page_is_made_at_most_once_in_its_time(up: FaultServer) -> None:
    slow, fresh = Pages(3_600), Pages(0)
    first = slow.current()
    supplied = kit.supply(up)
    assert slow.current() is first
    fresh.current()
    assert supplied.model.encode() in fresh.current().body
    assert supplied.model.encode() not in slow.current().body


def test_anybody_may_read_it_and_is_told_when_it_is_the_same(site: Site) -> None:
    reply = once(site, "GET", "/catalog/")
    assert reply.status == 200
    assert reply.header("content-type") == "application/json"
    assert reply.header("cache-control") == "public, max-age=5"
    assert reply.header("access-control-allow-origin") == "*"
    assert reply.header("x-request-id")
    assert json.loads(reply.body)["object"] == "catalog"

    def again() -> Reply | None:
        """Two workers have a page each, made at moments of their own."""
        now = once(site, "GET", "/catalog")
        same = once(site, "GET", "/catalog/", [("If-None-Match", str(now.header("etag")))])
        return same if same.status == 304 else None

    same = kit.eventually(again)
    assert same.body == b""
    assert same.header("etag")
    assert same.header("access-control-allow-origin") == "*"


def test_what_lies_under_it_is_not_there_in_our_own_words(site: Site) -> None:
    for path in ("/catalog/x", "/catalog/openai/", "/catalog//"):
        reply = once(site, "GET", path)
        assert (reply.status, reply.error["type"]) == (404, "invalid_request_error"), path
    wrong = once(site, "POST", "/catalog/")
    assert (wrong.status, wrong.header("allow")) == (405, "GET, HEAD, OPTIONS")
    assert once(site, "OPTIONS", "/catalog/").status == 204
