"""The worker's look at what rests: a probe that passes ends it, any other puts the next one off."""

from datetime import timedelta

import pytest

from bsod.lib import clock
from bsod.lib.terms import RestReason
from proxy import rests, service
from proxy.models import Provider, ProviderKey, Rest
from tests import kit
from tests.kit import unique
from tests.proxy.rows import generation, reasons
from tests.upstream import FaultServer, Gate, Reply, chat_stream, error


def only_due(rest: Rest) -> None:
    """Everything else of this database waits, so that a turn of probes is this test's own."""
    later = clock.now() + timedelta(days=1)
    Rest.objects.exclude(pk=rest.pk).update(probe_at=later)
    Rest.objects.filter(pk=rest.pk).update(probe_at=clock.now() - timedelta(seconds=1))


def rested(up: FaultServer, reason: RestReason) -> tuple[Provider, Rest]:
    url = up.base_url
    provider = service.add_provider(unique("up"), "compatible", url, [unique("sk")]).provider
    key = None if reason is RestReason.UNREACHABLE else ProviderKey.objects.get(provider=provider)
    rests.begin(provider.pk, key.pk if key else None, reason, clock.now())
    rest = Rest.objects.get(provider=provider)
    only_due(rest)
    up.reset()
    return provider, rest


@pytest.mark.parametrize("reason", list(set(RestReason) - {RestReason.RATE_LIMIT}))
def test_a_probe_that_passes_ends_the_rest(up: FaultServer, reason: RestReason) -> None:
    provider, _ = rested(up, reason)
    before = generation()
    assert service.probe_due(clock.now()) == 1
    assert reasons(provider) == []
    assert generation() > before


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        (RestReason.FAILURES, chat_stream().cut(body=150, how="fin")),
        (RestReason.FAILURES, error(500)),
        (RestReason.AUTH, error(401)),
        (RestReason.BILLING, error(429, code="insufficient_quota")),
        (RestReason.UNREACHABLE, Reply().cut(head=0)),
        (RestReason.NEW, error(500)),
    ],
)
def test_a_probe_that_fails_puts_the_next_one_off(
    up: FaultServer, reason: RestReason, reply: Reply
) -> None:
    provider, rest = rested(up, reason)
    up.default = reply
    assert service.probe_due(clock.now()) == 1
    after = Rest.objects.get(provider=provider)
    assert (after.pk, after.step, after.reason) == (rest.pk, 1, str(reason))
    assert after.probe_at is not None
    assert after.probe_at > clock.now() - timedelta(seconds=1)


def test_money_that_is_gone_is_not_disproved_by_a_list(up: FaultServer) -> None:
    provider, _ = rested(up, RestReason.BILLING)
    up.on(error(429, code="insufficient_quota"), path_suffix="/chat/completions")
    service.probe_due(clock.now())
    assert reasons(provider) == ["billing"]


def test_a_provider_that_answers_at_all_is_reachable(up: FaultServer) -> None:
    provider, _ = rested(up, RestReason.UNREACHABLE)
    up.default = error(500)
    service.probe_due(clock.now())
    assert reasons(provider) == []


@pytest.mark.parametrize(("status", "reason"), [(401, "auth"), (402, "billing")])
def test_a_new_key_that_is_refused_is_shown_as_what_it_is(
    up: FaultServer, status: int, reason: str
) -> None:
    provider, _ = rested(up, RestReason.NEW)
    up.default = error(status)
    service.probe_due(clock.now())
    assert reasons(provider) == [reason]


def test_two_workers_never_ask_twice(up: FaultServer) -> None:
    rested(up, RestReason.AUTH)
    gate = Gate()
    up.default = error(401).but(delay_headers=gate)
    with kit.beside(lambda: service.probe_due(clock.now())):
        gate.wait_for(1)
        assert service.probe_due(clock.now()) == 0
        gate.open()
    assert len(up.seen) == 1


def test_what_was_deleted_is_not_probed(up: FaultServer) -> None:
    provider, rest = rested(up, RestReason.AUTH)
    ProviderKey.objects.filter(provider=provider).update(deleted_at=clock.now(), sealed="")
    assert service.probe_due(clock.now()) == 0
    ProviderKey.objects.filter(provider=provider).update(deleted_at=None)
    Provider.objects.filter(pk=provider.pk).update(deleted_at=clock.now())
    assert service.probe_due(clock.now()) == 0
    assert up.seen == []
    assert Rest.objects.filter(pk=rest.pk).exists()


def test_one_key_that_cannot_be_asked_does_not_stop_the_others(up: FaultServer) -> None:
    _, broken = rested(up, RestReason.AUTH)
    provider, _ = rested(up, RestReason.AUTH)
    assert broken.key is not None
    ProviderKey.objects.filter(pk=broken.key.pk).update(sealed="damaged")
    Rest.objects.filter(pk=broken.pk).update(probe_at=clock.now() - timedelta(minutes=1))
    assert service.probe_due(clock.now()) == 2
    assert reasons(provider) == []
    assert Rest.objects.get(pk=broken.pk).step == 1


def test_a_turn_of_probes_makes_room_for_other_chores(
    up: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TURN", -1.0)
    rested(up, RestReason.AUTH)
    assert service.probe_due(clock.now()) == 0


def test_old_limits_are_forgotten_and_nothing_else(up: FaultServer) -> None:
    supplied, now = kit.supply(up, keys=2), clock.now()
    row = {"provider": supplied.provider, "key": supplied.key_row(), "reason": "rate_limit"}
    Rest.objects.create(**row, model="old", until=now - timedelta(minutes=61))
    Rest.objects.create(**row, model="new", until=now - timedelta(minutes=59))
    Rest.objects.create(provider=supplied.provider, key=supplied.key_row(1), reason="auth")
    service.forget_old_limits(now)
    left = Rest.objects.filter(provider=supplied.provider).values_list("model", flat=True)
    assert sorted(left) == ["", "new"]
