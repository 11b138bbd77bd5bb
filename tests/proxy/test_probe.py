"""Asking a provider whether a key works: from canned answers, and from a server that misbehaves."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from cryptography.fernet import Fernet
from django.test import override_settings

from bsod.lib.terms import Blame, RestReason
from proxy import probe
from proxy.models import ProviderKey
from proxy.probe import Finding
from proxy.providers.base import Listed
from tests import kit
from tests.kit import Supply
from tests.upstream import (
    Drip,
    FaultServer,
    Pause,
    Reply,
    chat_stream,
    error,
    garbage,
    giant_json,
    models,
    redirect,
    sse,
)

pytestmark = pytest.mark.once

NOBODY, AUTH, BILLING, FAILURE, CONNECT = (
    Blame.NOBODY, Blame.AUTH, Blame.BILLING, Blame.FAILURE, Blame.CONNECT,
)  # fmt: skip
URL = "https://models.example.com/v1"


@pytest.fixture
def canned() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of time, short."""
    monkeypatch.setattr(probe, "_SILENCE", 0.3)
    monkeypatch.setattr(probe, "_LONGEST", 0.6)


def far(up: FaultServer, kind: str = "compatible", **more: Any) -> tuple[Supply, ProviderKey]:
    """A provider somewhere else: `responses` answers for it."""
    supplied = kit.supply(up, kind=kind, base_url=more.pop("url", URL), **more)
    return supplied, supplied.key_row()


def near(up: FaultServer) -> ProviderKey:
    return kit.supply(up).key_row()


# ---- the list


def test_a_list_is_asked_for_with_the_key_and_read(
    up: FaultServer, canned: responses.RequestsMock
) -> None:
    canned.get(f"{URL}/models", json={"data": [{"id": "a"}, {"id": "models/b"}]})
    supplied, key = far(up)
    assert probe.list_models(key) == Finding(NOBODY, "answers", [Listed("a"), Listed("models/b")])
    sent = canned.calls[0].request.headers
    assert sent["authorization"] == f"Bearer {supplied.keys[0]}"
    assert "Cookie" not in sent


@pytest.mark.parametrize(
    ("status", "body", "blame", "works"),
    [
        (200, "[]", NOBODY, True),
        (200, "<html>welcome</html>", NOBODY, True),
        (200, "", NOBODY, True),
        (200, '{"object":"list"}', NOBODY, True),
        (404, "", NOBODY, True),
        (405, "", NOBODY, True),
        (401, "", AUTH, False),
        (403, "", BILLING, False),
        (402, "", BILLING, False),
        (429, "", Blame.RATE_LIMIT, True),
        (429, '{"error":{"code":"insufficient_quota"}}', BILLING, False),
        (500, "", FAILURE, False),
        (503, "<html>", FAILURE, False),
        (301, "", FAILURE, False),
    ],
)
def test_what_a_list_or_its_refusal_says_of_the_key(
    up: FaultServer, canned: responses.RequestsMock, status: int, body: str, blame: Blame,
    works: bool,
) -> None:  # fmt: skip
    canned.get(f"{URL}/models", status=status, body=body)
    found = probe.list_models(far(up)[1])
    assert (found.blame, found.works) == (blame, works)
    assert found.models in (None, [])


@pytest.mark.parametrize(
    "fault",
    [
        requests.ConnectionError("refused"), requests.Timeout("slow"),
        requests.exceptions.SSLError("untrusted"), requests.exceptions.InvalidURL("odd"),
        OSError("down"),
    ],
)  # fmt: skip
def test_a_provider_that_cannot_be_reached_is_to_blame_itself(
    up: FaultServer, canned: responses.RequestsMock, fault: Exception
) -> None:
    canned.get(f"{URL}/models", body=fault)
    assert probe.list_models(far(up)[1]) == Finding(CONNECT, "cannot be reached")


def test_a_wait_is_kept(up: FaultServer, canned: responses.RequestsMock) -> None:
    canned.get(f"{URL}/models", status=429, headers={"Retry-After": "9"})
    assert probe.list_models(far(up)[1]).wait == 9


def test_no_proxy_and_no_credentials_of_the_environment_are_used(
    up: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer() as trap:
        monkeypatch.setenv("HTTP_PROXY", trap.url)
        monkeypatch.setenv("http_proxy", trap.url)
        assert probe.list_models(near(up)).works
        assert trap.seen == []
    assert len(up.seen) == 1


def test_a_providers_own_proxy_is_used(up: FaultServer) -> None:
    with FaultServer() as proxy:
        supplied = kit.supply(up)
        supplied.provider.proxy_url = proxy.url
        supplied.provider.save()
        assert probe.list_models(supplied.key_row()).works
        assert [seen.target for seen in proxy.seen] == [f"{up.base_url}/models".encode()]
    assert up.seen == []


# ---- a call


def test_a_call_is_for_the_cheapest_text_model_and_streamed_to_its_end(up: FaultServer) -> None:
    supplied = kit.supply(up, credits_per_1k_output=900)
    cheap = kit.unique("cheap")
    found = kit.Model.objects.create(name=cheap, credits_per_1k_output=1)
    kit.Offer.objects.create(model=found, provider=supplied.provider, upstream_id=f"up/{cheap}")
    picture = kit.Model.objects.create(name=kit.unique("picture"), modality="image")
    kit.Offer.objects.create(model=picture, provider=supplied.provider, upstream_id="p")

    assert probe.call(supplied.key_row()) == Finding(NOBODY, "answers")

    (seen,) = up.seen
    body = seen.json
    assert (body["model"], body["stream"], body["max_tokens"]) == (f"up/{cheap}", True, 16)
    assert kit.eventually(lambda: seen.finished)


def test_a_key_without_text_models_is_asked_for_its_list(up: FaultServer) -> None:
    key = kit.supply(up, modality="image").key_row()
    assert probe.call(key).models is not None
    assert up.seen[0].path.endswith("/models")


@pytest.mark.parametrize(
    ("reply", "blame"),
    [
        (chat_stream(), NOBODY),
        (chat_stream(done=False), NOBODY),
        (chat_stream(usage="never", framing="close"), NOBODY),
        (chat_stream(broken_lines=1), NOBODY),
        (chat_stream(finish=None, done=False), FAILURE),
        (chat_stream().cut(body=150), FAILURE),
        (chat_stream().cut(body=150, how="fin"), FAILURE),
        (chat_stream(done=False, finish=None, framing="close"), FAILURE),
        (sse({"error": {"message": "boom"}}), FAILURE),
        (sse(), FAILURE),
        (sse(b"data: \xff\xfe\n\n"), FAILURE),
        (Reply(200, body=b""), FAILURE),
        (Reply(200, body=b"<html>"), FAILURE),
        (giant_json(20 << 20), FAILURE),
        (error(401), AUTH),
        (error(429, code="insufficient_quota"), BILLING),
        (error(429, retry_after=3), Blame.RATE_LIMIT),
        (error(404), NOBODY),
        (error(500), FAILURE),
        (error(500).cut(body=5), FAILURE),
        (error(401).cut(body=5), AUTH),
        (garbage(), CONNECT),
        (Reply().cut(head=0), CONNECT),
    ],
)
def test_only_a_proper_end_proves_a_call(up: FaultServer, reply: Reply, blame: Blame) -> None:
    up.default = reply
    assert probe.call(near(up)).blame is blame


@pytest.mark.parametrize("path", [probe.list_models, probe.call])
def test_a_redirect_is_not_followed_nor_read(up: FaultServer, path: Any) -> None:
    """Not even one whose body has no end."""
    with FaultServer() as elsewhere:
        endless = Reply(
            302, (("Location", elsewhere.base_url + "/models"),),
            body=lambda _: iter(lambda: b"x" * 65_536, b""), framing="chunked",
        )  # fmt: skip
        for reply in (redirect(elsewhere.base_url + "/models"), endless):
            up.default = reply
            began = time.monotonic()
            assert path(near(up)).blame is FAILURE
            assert time.monotonic() - began < 10
        assert elsewhere.seen == []


@pytest.mark.parametrize("path", [probe.list_models, probe.call])
@pytest.mark.parametrize(
    "reply",
    [
        Reply().hang(head=0),
        models(["a"]).hang(body=10),
        models(["a"] * 500).but(drip=Drip(20, 0.05)),
        chat_stream().hang(body=40),
        sse(*[x for _ in range(40) for x in (b": wait\n\n", Pause(0.1))], done=False),
    ],
    ids=["silent", "list stops", "list drips", "stream stops", "comments only"],
)
def test_a_probe_ends_in_time_however_slow_the_provider(
    up: FaultServer, quick: None, path: Any, reply: Reply
) -> None:
    up.default = reply
    began = time.monotonic()
    assert not path(near(up)).works
    assert time.monotonic() - began < 3


def test_the_size_of_a_list_is_limited(up: FaultServer) -> None:
    up.default = giant_json(200 << 20)
    assert probe.list_models(near(up)).blame is FAILURE
    assert up.seen[0].sent_bytes < 40 << 20


# ---- what cannot even be asked


@pytest.mark.parametrize("sealed", ["", "sk-in-the-clear"])
def test_a_secret_that_does_not_open_is_sent_nowhere(up: FaultServer, sealed: str) -> None:
    key = near(up)
    key.sealed = sealed
    for found in (probe.list_models(key), probe.call(key)):
        assert (found.blame, found.works) == (FAILURE, False)
        assert "VAULT_KEYS" in found.note
    assert up.seen == []


def test_a_lost_vault_key_breaks_no_probe(up: FaultServer) -> None:
    key = near(up)
    with override_settings(VAULT_KEYS=[Fernet.generate_key().decode()]):
        assert not probe.list_models(key).works
    assert probe.list_models(key).works


def test_a_kind_nobody_knows_breaks_no_probe(up: FaultServer) -> None:
    key = near(up)
    key.provider.kind = "nobody-knows"
    assert probe.list_models(key).blame is FAILURE
    assert up.seen == []


@pytest.mark.parametrize(
    ("reason", "path"),
    [
        (RestReason.NEW, "/models"),
        (RestReason.UNREACHABLE, "/models"),
        (RestReason.FAILURES, "/chat/completions"),
        (RestReason.AUTH, "/chat/completions"),
        (RestReason.BILLING, "/chat/completions"),
    ],
)
def test_a_key_is_asked_what_its_rest_is_about(
    up: FaultServer, reason: RestReason, path: str
) -> None:
    """A list proves neither money nor, at some providers, the key."""
    assert probe.ask(near(up), reason).works
    assert up.seen[0].path.endswith(path)


def test_nothing_of_a_probe_names_the_secret(
    up: FaultServer, canned: responses.RequestsMock
) -> None:
    supplied, key = far(up)
    canned.get(re.compile(".*"), status=401, json={"error": {"message": supplied.keys[0]}})
    assert supplied.keys[0] not in json.dumps(str(probe.list_models(key)))
