"""Providers, their keys and the catalogue: added, probed at once, synced."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import responses

from bsod.lib import clock
from bsod.lib.terms import Modality, RestReason, Tier
from proxy import rests, service
from proxy.models import Model, Offer, Provider, ProviderKey
from proxy.pool import load, vault
from tests import kit
from tests.kit import unique
from tests.proxy.rows import generation, reasons
from tests.upstream import FaultServer, Gate, Reply, error, json_reply, models

URL = "https://models.example.com/v1"


@pytest.fixture
def canned() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def add(up: FaultServer, *secrets: str, slug: str = "", **more: Any) -> service.Added:
    return service.add_provider(
        slug or unique("up"), "compatible", up.base_url, secrets or (unique("sk"),), **more
    )


def listed(provider: Provider) -> set[str]:
    rows = Offer.objects.filter(provider=provider, gone_at=None)
    return set(rows.values_list("model__name", flat=True))


# ---- adding


def test_a_good_key_is_live_and_its_models_are_listed(up: FaultServer) -> None:
    names = [unique("m"), unique("m")]
    up.default = models([*names, f"models/{names[0]}x"])
    before, secret = generation(), unique("sk")

    added = add(up, f" {secret}\n")

    assert added.models == 3
    assert reasons(added.provider) == []
    assert listed(added.provider) == {*names, f"{names[0]}x"}
    offer = Offer.objects.get(provider=added.provider, model__name=f"{names[0]}x")
    assert offer.upstream_id == f"models/{names[0]}x"
    key = ProviderKey.objects.get(provider=added.provider)
    assert vault().open(key.uid, key.sealed) == secret
    assert key.last4 == secret[-4:]
    assert secret not in " ".join(str(value) for value in vars(key).values())
    assert generation() > before
    assert [x.secret for x in load(1).keys[added.provider.pk]] == [secret]


def test_a_new_key_rests_until_its_probe_has_come_back(up: FaultServer) -> None:
    """While the provider is being asked the key is already known, and already rests."""
    slug, gate = unique("up"), Gate()
    up.default = models([unique("m")]).but(delay_headers=gate)
    with kit.beside(lambda: add(up, slug=slug)):
        gate.wait_for(1)
        provider = Provider.objects.get(slug=slug)
        assert reasons(provider) == ["new"]
        assert len(load(1).keys[provider.pk]) == 1
        gate.open()
    assert reasons(provider) == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (error(401), "auth"),
        (error(403), "billing"),
        (error(500), "new"),
        (Reply().cut(head=0), "new"),
        (error(429), None),
        (error(404), None),
        (Reply(200, body=b"<html>"), None),
    ],
)
def test_a_key_rests_as_its_first_probe_says(
    up: FaultServer, reply: Reply, reason: str | None
) -> None:
    up.default = reply
    added = add(up)
    assert reasons(added.provider) == ([reason] if reason else [])
    assert added.models == 0


def test_the_same_secret_twice_is_one_key(up: FaultServer) -> None:
    secret = unique("sk")
    first = add(up, secret)
    again = service.add_provider(first.provider.slug, "compatible", up.base_url, [secret, secret])
    assert again.provider.pk == first.provider.pk
    assert ProviderKey.objects.filter(provider=first.provider).count() == 1


def test_a_deleted_key_comes_back_and_is_probed_like_a_new_one(up: FaultServer) -> None:
    secret = unique("sk")
    added = add(up, secret)
    ProviderKey.objects.filter(provider=added.provider).update(deleted_at=clock.now(), sealed="")
    up.default = error(500)
    service.add_provider(added.provider.slug, "compatible", up.base_url, [secret])
    key = ProviderKey.objects.get(provider=added.provider)
    assert key.deleted_at is None
    assert vault().open(key.uid, key.sealed) == secret
    assert reasons(added.provider) == ["new"]


def test_a_secret_that_does_not_open_any_more_is_mended_by_adding_it_again(up: FaultServer) -> None:
    secret = unique("sk")
    added = add(up, secret)
    ProviderKey.objects.filter(provider=added.provider).update(sealed="damaged")
    service.add_provider(added.provider.slug, "compatible", up.base_url, [secret])
    assert [x.secret for x in load(1).keys[added.provider.pk]] == [secret]


def test_adding_again_ends_the_rests_that_the_probe_disproves(up: FaultServer) -> None:
    """A local server started anew must not stay asleep until the worker's next look."""
    secret, now = unique("sk"), clock.now()
    added = add(up, secret)
    key = ProviderKey.objects.get(provider=added.provider)
    rests.begin(added.provider.pk, None, RestReason.UNREACHABLE, now)
    rests.begin(added.provider.pk, key.pk, RestReason.AUTH, now)
    service.add_provider(added.provider.slug, "compatible", up.base_url, [secret])
    assert reasons(added.provider) == []


def test_adding_again_does_not_end_failures_that_go_on(up: FaultServer) -> None:
    secret = unique("sk")
    added = add(up, secret)
    key = ProviderKey.objects.get(provider=added.provider)
    rests.begin(added.provider.pk, key.pk, RestReason.FAILURES, clock.now())
    up.on(error(500), path_suffix="/chat/completions")
    service.add_provider(added.provider.slug, "compatible", up.base_url, [secret])
    assert reasons(added.provider) == ["failures"]


def test_a_second_key_that_lists_less_takes_nothing_away(up: FaultServer) -> None:
    a, b, second = unique("m"), unique("m"), unique("sk")
    up.default = models([a, b])
    added = add(up)
    up.on(models([a]), key=second)
    service.add_provider(added.provider.slug, "compatible", up.base_url, [second])
    assert listed(added.provider) == {a, b}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "nobody-knows"}, "There is no kind 'nobody-knows'. Kinds: .*compatible"),
        ({"slug": "two words"}, "1 to 40"),
        ({"slug": "x" * 41}, "1 to 40"),
        ({"slug": ""}, "1 to 40"),
        ({"base_url": "ftp://a.example.com"}, "must look like"),
        ({"base_url": "api.example.com/v1"}, "must look like"),
        ({"base_url": "https://"}, "must look like"),
        ({"base_url": "https:///v1"}, "must look like"),
        ({"base_url": "https://a.example.com/v1?x=1"}, "must look like"),
        ({"base_url": "https://a.example.com/v1#x"}, "must look like"),
        ({"base_url": "https://me:word@a.example.com/v1"}, "must look like"),
        ({"base_url": "https://a.example.com/v 1"}, "must look like"),
        ({"base_url": "https://a.example.com/v1\n"}, "must look like"),
        ({"base_url": "https://a.example.com:99999/v1"}, "no URL"),
        ({"base_url": "https://[::1/v1"}, "no URL"),
        ({"base_url": "https://a.example.com/" + "x" * 300}, "must look like"),
        ({"base_url": "http://169.254.169.254/v1"}, "Link-local"),
        ({"base_url": "http://2852039166/v1"}, "Link-local"),
        ({"base_url": "http://0xa9fea9fe/v1"}, "Link-local"),
        ({"base_url": "http://[::ffff:169.254.169.254]/v1"}, "Link-local"),
        ({"base_url": "http://[fe80::1]/v1"}, "Link-local"),
        ({"base_url": "http://metadata.google.internal/v1"}, "Link-local"),
        ({"secrets": [""]}, "printable ASCII"),
        ({"secrets": ["sk-good", "sk bad"]}, "printable ASCII"),
        ({"secrets": ["sk-bad\r\nX-Evil: 1"]}, "printable ASCII"),
        ({"secrets": ["ключ"]}, "printable ASCII"),
    ],
)
def test_a_provider_that_cannot_be_is_refused_and_nothing_is_stored(
    change: dict[str, Any], complaint: str
) -> None:
    slug = unique("up")
    asked = {"slug": slug, "kind": "openai", "base_url": URL, "secrets": ["sk-x"], **change}
    with pytest.raises(service.Unknown, match=complaint):
        service.add_provider(**asked)
    assert not Provider.objects.filter(slug=asked["slug"]).exists()


@pytest.mark.parametrize(
    "url", ["http://ollama:11434/v1", "http://10.0.0.5:8000", "http://[::1]:8/v1/"]
)
def test_private_hosts_are_trusted_from_the_shell(canned: responses.RequestsMock, url: str) -> None:
    canned.get(f"{url.rstrip('/')}/models", json={"data": [{"id": unique("m")}]})
    added = service.add_provider(unique("up"), "compatible", url, ["none-needed"])
    assert added.models == 1
    assert added.provider.base_url == url.rstrip("/")


# ---- the catalogue


def test_a_sync_marks_what_is_gone_and_takes_it_back_when_it_returns(up: FaultServer) -> None:
    a, b, c = unique("m"), unique("m"), unique("m")
    up.default = models([a, b])
    provider = add(up).provider
    up.default = models([b, c])
    assert service.sync_models(provider) == 2
    assert listed(provider) == {b, c}
    assert Offer.objects.get(provider=provider, model__name=a).gone_at is not None
    assert a not in load(1).catalogue.models
    up.default = models([a])
    service.sync_models(provider)
    assert listed(provider) == {a}


def test_one_providers_sync_leaves_anothers_offers_alone(up: FaultServer) -> None:
    shared = unique("m")
    up.default = models([shared])
    one, two = add(up).provider, add(up).provider
    up.default = models([unique("m")])
    service.sync_models(one)
    assert listed(two) == {shared}


def test_a_sync_asks_one_key_after_another(up: FaultServer) -> None:
    a = unique("m")
    first, second = unique("sk"), unique("sk")
    up.default = models([a])
    provider = add(up, first, second).provider
    up.on(error(401), key=first)
    assert service.sync_models(provider) == 1
    ProviderKey.objects.filter(provider=provider, last4=first[-4:]).update(sealed="damaged")
    assert service.sync_models(provider) == 1


@pytest.mark.parametrize(
    "reply", [error(500), models([]), Reply(200, body=b"{}"), json_reply([]), Reply().cut(head=0)]
)
def test_a_provider_in_trouble_does_not_empty_the_catalogue(up: FaultServer, reply: Reply) -> None:
    a = unique("m")
    up.default = models([a])
    provider = add(up).provider
    up.default = reply
    assert service.sync_models(provider) is None
    assert listed(provider) == {a}


def test_ids_nobody_could_ask_for_are_not_listed(up: FaultServer) -> None:
    good = unique("org/m:free@v1")
    up.default = models([good, "", "models/", " x", "a b", "x\0y", "ключ", "../x", "x" * 256 + "y"])
    assert listed(add(up).provider) == {good}


def test_rows_follow_the_rules_unless_an_admin_has_edited_them(up: FaultServer) -> None:
    plain, edited = unique("gpt-5.4"), unique("gpt-5.4")
    up.default = models([plain, edited])
    provider = add(up).provider
    row = Model.objects.get(name=plain)
    assert (row.modality, row.tier, row.max_output) == (Modality.TEXT, Tier.PRO, 128_000)
    mine = {"tier": Tier.BASE, "max_output": 5, "credits_per_1k_input": 1}
    Model.objects.filter(name=edited).update(fixed=sorted(mine), **mine)
    Model.objects.filter(name=plain).update(**mine)

    service.sync_models(provider)

    kept, followed = Model.objects.get(name=edited), Model.objects.get(name=plain)
    assert (kept.tier, kept.max_output, kept.credits_per_1k_input) == (Tier.BASE, 5, 1)
    assert (followed.tier, followed.max_output) == (Tier.PRO, 128_000)
    assert followed.pk == row.pk


def test_a_sync_is_due_by_the_hour_and_stamped_before_it_is_tried(up: FaultServer) -> None:
    provider = add(up).provider
    Provider.objects.exclude(pk=provider.pk).update(synced_at=clock.now() + timedelta(days=1))
    hour, now = timedelta(hours=1), clock.now()
    try:
        assert service.sync_due(now, hour) == 0
        assert service.sync_due(now + 2 * hour, hour) == 1
        up.default = error(500)
        assert service.sync_due(now + 4 * hour, hour) == 0
        up.reset()
        assert service.sync_due(now + 4 * hour, hour) == 0, "not asked at every turn"
        assert up.seen == []
    finally:
        Provider.objects.update(synced_at=clock.now())
