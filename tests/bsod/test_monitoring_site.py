"""A gateway set to be watched: what its log says of calls, and who may read its metrics."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bsod.lib import clock
from proxy.models import Rest
from proxy.pool import bump
from tests import kit
from tests.kit import Person, Site, eventually
from tests.upstream import FaultServer, chat, error

pytestmark = pytest.mark.once
TOKEN = "scrape-me-with-this-token"
CHAT = "POST /v1/chat/completions"


@pytest.fixture(scope="module")
def watched(database: None) -> Iterator[Site]:
    """A gateway that writes a line for every call, and lets Prometheus in."""
    running = kit.launch(
        1, METRICS_TOKEN=TOKEN, ACCESS_LOG="all", LOG_FORMAT="json", LOG_LEVEL="INFO"
    )
    yield running
    running.stop()


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "ключ", TOKEN[:-1]])
def test_only_the_token_opens_the_metrics(watched: Site, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
    answer = watched.session.get(watched.url + "/metrics", headers=headers, timeout=20)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "bsod_" not in answer.text


def test_the_token_opens_the_metrics(watched: Site) -> None:
    answer = watched.get(None, "/metrics", headers={"Authorization": f"bearer {TOKEN}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert "bsod_open_calls" in names


# ---- the lines about calls


def test_a_call_leaves_one_line_that_says_what_the_entry_says(
    watched: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    up.script(error(500), chat("a private answer", prompt_tokens=11, completion_tokens=7))
    answer = watched.chat(alice, supplied, user="somebody-by-name",
                          messages=[{"role": "user", "content": "a private prompt"}])  # fmt: skip
    line = only_line(watched, answer.headers["x-request-id"])
    assert (line["event"], line["level"], line["logger"]) == ("call", "INFO", "bsod.access")
    assert (line["route"], line["model"], line["provider"]) == (
        CHAT, supplied.model, supplied.provider.slug,
    )  # fmt: skip
    assert (line["status"], line["attempts"], line["end"]) == (200, 2, "completed")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (11, 7)
    assert 0 < line["first_byte_ms"] <= line["ms"]
    never = ["private", "somebody", alice.secret, alice.account.username, alice.key.public_id,
             *supplied.keys, "127.0.0.1", up.base_url]  # fmt: skip
    log = watched.log.read_text()
    assert [secret for secret in never[:5] if secret in json.dumps(line)] == []
    assert [secret for secret in (*never[:3], *supplied.keys) if secret in log] == []


def only_line(site: Site, request_id: str) -> dict[str, Any]:
    def found() -> list[str]:
        return [line for line in site.log.read_text().splitlines() if request_id in line]

    assert eventually(found)
    (line,) = found()
    said: dict[str, Any] = json.loads(line)
    return said


@pytest.mark.parametrize(
    ("theirs", "logged"),
    [("build-17.a:b_c", "build-17.a:b_c"), ("two words", None), ("x" * 65, None), ('"};{"', None)],
)
def test_a_clients_own_id_is_logged_when_it_is_harmless_and_never_passed_on(
    watched: Site, up: FaultServer, alice: Person, theirs: str, logged: str | None
) -> None:
    supplied = kit.supply(up)
    headers = {"X-Client-Request-Id": theirs}
    answer = watched.post(alice, kit.ask(supplied), headers=headers)
    ours = answer.headers["x-request-id"]
    assert up.seen[-1].header("x-client-request-id") == ours
    assert only_line(watched, ours).get("client_request_id") == logged


def test_a_key_sent_as_an_id_or_in_a_query_is_not_in_the_log(
    watched: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    headers = {"X-Client-Request-Id": alice.secret[:64]}
    answer = watched.post(alice, kit.ask(supplied), headers=headers, params={"key": alice.secret})
    assert "redacted" in only_line(watched, answer.headers["x-request-id"])["client_request_id"]
    assert alice.secret[:40] not in watched.log.read_text()


def test_by_default_only_what_failed_leaves_a_line(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    good = site.chat(alice, supplied).headers["x-request-id"]
    unknown = site.get(alice, "/v1/nowhere").headers["x-request-id"]
    for key in supplied.provider.keys.all():
        ends = clock.now() + timedelta(days=1)
        Rest.objects.create(provider=key.provider, key=key, reason="auth", probe_at=ends)
    bump()
    failed = site.chat(alice, supplied).headers["x-request-id"]
    assert eventually(lambda: failed in site.log.read_text())
    log = site.log.read_text()
    assert good not in log
    assert unknown not in log
    line = next(line for line in log.splitlines() if failed in line)
    assert "WARNING bsod.access: call " in line
    assert "code=upstream_unavailable" in line
