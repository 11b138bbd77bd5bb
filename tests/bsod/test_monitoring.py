"""What is counted of real calls is what /status/, /health/ and /metrics say, and nothing more."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from bsod import monitoring
from bsod.lib import clock
from proxy import figures, stats
from proxy.figures import KEY_STATES
from proxy.models import Rest, Stat
from proxy.pool import bump
from proxy.stats import Key, Step
from tests import kit
from tests.kit import Person, Site, eventually, unique
from tests.upstream import FaultServer, chat, chat_stream, error

CHAT = "POST /v1/chat/completions"


@pytest.fixture
def pages() -> Iterator[Client]:
    """The views themselves, which have kept nothing of what they said before."""
    monitoring.forget()
    yield Client(headers={"host": "localhost"})
    monitoring.forget()


def numbers(**of: str) -> dict[str, int]:
    """Requests of all time, by status."""
    found: dict[str, int] = {}
    for status, count in Stat.objects.filter(step="ever", **of).values_list("status", "count"):
        found[status] = found.get(status, 0) + count
    return found


def counted(expected: dict[str, int], **of: str) -> bool:
    assert eventually(lambda: numbers(**of) == expected), (numbers(**of), expected)
    return True


def put(route: str, provider: str = "", model: str = "", **by_status: int) -> None:
    """So many calls of 0.3 seconds, counted this minute."""
    minute = stats.beginning(Step.MINUTE, clock.now())
    counters = stats.Counters()
    for status, count in by_status.items():
        for _ in range(count):
            counters.add(Key(route, provider, model, status.removeprefix("s")), 0.3, first=0.03)
    stats.add({(minute, Key(*key)): cell for key, cell in counters.take().cells.items()})


# ---- what is counted


def test_calls_are_counted_with_their_model_their_provider_and_their_tokens(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat("Hi", prompt_tokens=11, completion_tokens=7),
              chat_stream(["Hel", "lo"], prompt_tokens=5, completion_tokens=2))  # fmt: skip
    site.chat(alice, supplied)
    site.chat(alice, supplied, stream=True)
    assert counted({"2xx": 2}, model=supplied.model)
    row = Stat.objects.get(model=supplied.model, step="ever")
    assert (row.route, row.provider) == (CHAT, supplied.provider.slug)
    assert (row.attempts, row.prompt, row.completion) == (2, 16, 9)
    assert 0 < row.first <= row.latency


def test_every_attempt_is_counted_and_whose_the_last_was(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    up.script(error(500), chat("Hi"))
    assert site.chat(alice, supplied).status_code == 200
    assert counted({"2xx": 1}, model=supplied.model, provider=supplied.provider.slug)
    assert Stat.objects.get(model=supplied.model, step="ever").attempts == 2


def test_a_stream_that_breaks_off_is_no_success(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    up.script(chat_stream(["Hel", "lo"], done=False, finish=None).cut())
    answer = site.chat(alice, supplied, stream=True)
    assert answer.status_code == 200
    assert b"upstream_truncated" in answer.content
    assert counted({"cut": 1}, model=supplied.model)


def test_a_call_for_which_there_is_no_key_counts_against_the_provider_that_had_it(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    rest(supplied.key_row(), "auth")
    assert site.chat(alice, supplied).status_code == 503
    assert counted({"5xx": 1}, model=supplied.model, provider=supplied.provider.slug)


def rest(key: Any, reason: str, until: timedelta | None = None) -> None:
    ends = {"until": clock.now() + until} if until else {"probe_at": clock.now() + timedelta(1)}
    Rest.objects.create(provider=key.provider, key=key, reason=reason, **ends)
    bump()


def test_what_a_client_makes_up_makes_no_row(site: Site, up: FaultServer, alice: Person) -> None:
    supplied, made_up = kit.supply(up), unique("made-up")
    before = numbers(route="other").get("404", 0), numbers(route=CHAT, model="other")
    assert site.get(alice, f"/v1/{made_up}").status_code == 404
    assert site.get(None, f"/status/{made_up}").status_code == 404
    assert site.post(alice, kit.ask(supplied) | {"model": made_up}).status_code == 404
    assert site.post(None, kit.ask(supplied), params={made_up: "1"}).status_code == 401
    assert eventually(lambda: numbers(route="other").get("404", 0) >= before[0] + 2)
    assert eventually(
        lambda: numbers(route=CHAT, model="other").get("404", 0) > before[1].get("404", 0)
    )
    assert eventually(lambda: numbers(route=CHAT).get("401"))
    for name in ("route", "model", "provider", "status"):
        assert not Stat.objects.filter(**{f"{name}__contains": made_up}).exists()


def test_a_catch_alls_guess_is_no_model_of_the_catalogue(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied, guessed = kit.supply(up, catch_all=True), unique("guess")
    try:
        site.post(alice, kit.ask(supplied) | {"model": guessed})
        slug = supplied.provider.slug
        assert eventually(lambda: numbers(provider=slug, model="other"))
        assert not Stat.objects.filter(model=guessed).exists()
    finally:
        supplied.provider.catch_all = False
        supplied.provider.save()
        bump()


def test_routes_of_ours_are_counted_on_both_planes(site: Site, alice: Person) -> None:
    before = {name: numbers(route=name).get("2xx", 0) for name in ("GET /balance", "GET /v1")}
    site.get(alice, "/balance/")
    site.get(None, "/v1")

    def grown() -> bool:
        return all(numbers(route=name).get("2xx", 0) > count for name, count in before.items())

    assert eventually(grown)


@pytest.mark.once
def test_what_was_counted_is_written_when_a_process_ends(
    launch: Any, up: FaultServer, alice: Person
) -> None:
    supplied, leaving = kit.supply(up), launch(1, STATS_EVERY="600")
    leaving.chat(alice, supplied)
    assert numbers(model=supplied.model) == {}
    leaving.stop()
    assert numbers(model=supplied.model) == {"2xx": 1}


def test_open_calls_and_streams_are_told_while_they_are(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.script(chat_stream(["Hel", "lo"]).hang(body=60))
    asked = site.post(alice, kit.ask(supplied, stream=True), stream=True)
    next(asked.iter_lines())
    assert eventually(lambda: min(figures.open_now(clock.now())) > 0)
    assert figures.open_now(clock.now() + timedelta(minutes=1)) == (0, 0)  # who fell silent is void
    asked.close()
    assert eventually(lambda: figures.open_now(clock.now()) == (0, 0))


# ---- what is said


def test_the_status_adds_up_what_was_counted(pages: Client) -> None:
    route, model = unique("GET /r"), unique("model")
    put(route, "up", model, s2xx=90, s5xx=8, scut=2, s404=100)
    said = pages.get("/status/").json()
    mine = next(one for one in said["by_route"] if one["route"] == route)
    assert (mine["requests"], mine["success_rate"], mine["error_rate"]) == (200, 0.9, 0.1)
    assert mine["shares"] == {"2xx": 0.45, "404": 0.5, "5xx": 0.04, "cut": 0.01}
    assert 0.2 < mine["latency_seconds"]["p50"] < mine["latency_seconds"]["p99"] <= 0.35
    assert mine["first_byte_seconds"]["p95"] <= 0.05
    assert next(one for one in said["by_model"] if one["model"] == model)["requests"] == 200
    assert said["windows"]["7d"]["requests"] >= said["windows"]["1h"]["requests"] >= 200


def test_the_counters_are_told_as_they_are(pages: Client) -> None:
    route = unique("GET /r")
    put(route, s2xx=3)
    for window in ("1h", "24h", "7d", "all"):
        said = pages.get(f"/status/raw/?window={window}").json()
        mine = next(one for one in said["counters"] if one["route"] == route)
        assert mine["count"] == mine["latency"]["count"] == sum(mine["latency"]["buckets"]) == 3
        assert mine["latency"]["sum_seconds"] == pytest.approx(0.9)
        assert len(mine["latency"]["buckets"]) == len(said["bounds_seconds"]) + 1


def test_what_is_said_holds_for_five_seconds(pages: Client) -> None:
    first = pages.get("/status/raw/")
    put(unique("GET /r"), s2xx=1)
    assert pages.get("/status/raw/").content == first.content
    assert first["Cache-Control"] == "public, max-age=5"
    monitoring.forget()
    assert pages.get("/status/raw/").content != first.content


def test_health_says_how_many_keys_are_in_which_state(pages: Client, up: FaultServer) -> None:
    supplied = kit.supply(up, keys=5)
    for number, reason in enumerate(("auth", "failures", "new")):
        rest(supplied.key_row(number), reason)
    rest(supplied.key_row(3), "rate_limit", timedelta(minutes=5))
    said = pages.get("/health/").json()
    mine = next(one for one in said["providers"] if one["provider"] == supplied.provider.slug)
    assert mine["keys"] == {**dict.fromkeys(KEY_STATES, 1), "total": 5}
    assert mine["up"]
    assert said["models"]["total"] >= said["models"]["available"] >= 1
    assert set(said["recent"]) >= {"requests", "success_rate"}


def test_a_provider_whose_keys_all_died_is_named_with_the_reason(
    pages: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=2)
    for number in (0, 1):
        rest(supplied.key_row(number), "auth")
    for path in ("/health/", "/status/"):
        said = pages.get(path).json()
        mine = next(one for one in said["providers"] if one["provider"] == supplied.provider.slug)
        assert (mine["up"], mine["reason"]) == (False, "all api keys died")
        assert abs(mine["since"] - clock.unix(clock.now())) < 60
        assert said["state"] in ("degraded", "down")
    page = pages.get("/status/", headers={"accept": "text/html"}).content.decode()
    assert "all api keys died" in page
    assert supplied.provider.slug in page


@pytest.mark.parametrize("path", ["/status/", "/status/raw/"])
def test_a_stretch_of_time_there_is_not_is_refused(pages: Client, path: str) -> None:
    answer = pages.get(path, {"window": "1y"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "window"
    assert "24h" in answer.json()["error"]["message"]


def test_nothing_of_keys_hosts_or_people_is_said_anywhere(
    site: Site, pages: Client, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    up.default = chat("a very private answer")
    site.chat(alice, supplied, user="somebody-by-name")
    rest(supplied.key_row(1), "auth")
    assert eventually(lambda: numbers(model=supplied.model))
    said = [pages.get(path).content.decode() for path in ("/status/", "/status/raw/", "/health/")]
    said.append(pages.get("/status/", headers={"accept": "text/html"}).content.decode())
    pages.force_login(kit.person(admin=True).account)
    said.append(pages.get("/metrics/").content.decode())
    key = supplied.key_row()
    never = [*supplied.keys, key.last4 + '"', key.fingerprint, up.base_url, str(up.port) + "/",
             alice.account.username, alice.secret, alice.key.public_id, "private answer",
             "somebody-by-name", "127.0.0.1"]  # fmt: skip
    for text in said:
        assert [secret for secret in never if secret in text] == []


@pytest.mark.once
@pytest.mark.parametrize("path", ["/status/x", "/status/raw/x/", "/health/x", "/metrics/x"])
def test_an_unknown_path_below_is_a_404_in_our_shape(site: Site, path: str) -> None:
    for headers in ({}, {"Accept": "text/html"}):
        answer = site.get(None, path, headers=headers)
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert site.session.options(site.url + "/status").headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.once
def test_programs_get_json_and_browsers_a_page(site: Site) -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for accept, kind in (("*/*", "json"), ("application/json", "json"), (browser, "html")):
        answer = requests.get(f"{site.url}/status/", headers={"Accept": accept}, timeout=20)
        assert kind in answer.headers["content-type"], accept
        assert "Accept" in answer.headers["vary"]
        assert answer.headers["access-control-allow-origin"] == "*"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<style|<[^>]*\sstyle=|<[^>]*\son\w+=|<script(?! src=)", answer.text)


# ---- Prometheus


def test_prometheus_reads_it_with_the_right_types_and_units(pages: Client, up: FaultServer) -> None:
    supplied = kit.supply(up)
    minute, counters = stats.beginning(Step.MINUTE, clock.now()), stats.Counters()
    key = Key(CHAT, supplied.provider.slug, supplied.model, "2xx")
    counters.add(key, 0.3, 1, 11, 7, 0.03)
    batch = stats.Counters()
    batch.add(Key(stats.LEDGER, "", "", "4"), 0.002, 3)
    for taken in (counters.take(), batch.take()):
        stats.add({(minute, Key(*key)): cell for key, cell in taken.cells.items()})
    pages.force_login(kit.person(admin=True).account)
    text = pages.get("/metrics/").content.decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}

    def of(family: Any) -> list[Any]:
        return [s for s in family.samples if s.labels.get("model") == supplied.model]

    kinds = {name: family.type for name, family in found.items()}
    assert {"bsod_requests": "counter", "bsod_tokens": "counter", "bsod_attempts": "counter",
            "bsod_request_duration_seconds": "histogram", "bsod_first_byte_seconds": "histogram",
            "bsod_ledger_batch_operations": "histogram", "bsod_open_streams": "gauge",
            "bsod_ledger_batch_duration_seconds": "histogram",
            "bsod_provider_keys": "gauge"}.items() <= kinds.items()  # fmt: skip
    assert [s.value for s in of(found["bsod_requests"])] == [1]
    tokens = {s.labels["kind"]: s.value for s in of(found["bsod_tokens"])}
    assert tokens == {"prompt": 11, "completion": 7}
    for name in ("bsod_request_duration_seconds", "bsod_ledger_batch_operations"):
        family = found[name]
        mine = of(family) or family.samples
        buckets = [s.value for s in mine if s.name.endswith("_bucket")]
        count = next(s.value for s in mine if s.name.endswith("_count"))
        assert buckets == sorted(buckets)
        assert buckets[-1] == count >= 1
    slug = supplied.provider.slug
    states = {s.labels["state"]: s.value for s in found["bsod_provider_keys"].samples
              if s.labels["provider"] == slug}  # fmt: skip
    assert states == {**dict.fromkeys(KEY_STATES, 0), "live": 1}


def test_an_admins_session_opens_the_metrics_and_nobody_elses(pages: Client) -> None:
    """Nor does a key, nor a token where none is set."""
    admin, user = kit.person(admin=True), kit.person()
    for who, status in ((user, 401), (admin, 200)):
        pages.force_login(who.account)
        assert pages.get("/metrics/").status_code == status
    pages.logout()
    for text in (user.secret, ""):
        answer = pages.get("/metrics/", headers={"authorization": f"Bearer {text}"})
        assert answer.status_code == 401
