"""Numbers that count money, on every route that reads them: whole, within bounds, or refused by
name before anything is reserved."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Modality
from proxy.route import BodyKind, Route
from proxy.routes import ROUTES
from tests import kit
from tests.kit import Person, Site, Supply
from tests.proxy.gateway.world import BODIES, form_type, multipart, row
from tests.rawclient import JSON_TYPE, Reply, once
from tests.upstream import FaultServer, json_reply

NINES = "9" * 5_000  # more digits than Python likes to read
WRONG = ["-1", "0", "-0", "1.5", "2.0", "1e3", "1e18", '"5"', '"x"', "true", "false", "[]", "{}",
         "[1]", '""', "18446744073709551616"]  # fmt: skip
NO_JSON = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", NINES]
FORMAL = ["-1", "0", "1.5", "1e3", "NaN", "1e999", "true", "", " 1", "+1", "1_0", "\u0665", NINES]
FLAGS = ['"true"', "1", "0", "[]", "{}"]
LIMITS = ["max_tokens", "max_completion_tokens", "max_output_tokens"]

# (route, field, the first number that is too large)
COUNTS: list[tuple[str, str, int]] = [
    *[(path, name, 10_000_001) for name in LIMITS
      for path in ("/v1/chat/completions", "/v1/responses", "/v1/completions",
                   "/v1/responses/compact", "/v1/fine_tuning/alpha/graders/run")],
    *[(path, name, 129) for name in ("n", "best_of")
      for path in ("/v1/chat/completions", "/v1/completions")],
    ("/v1/images/generations", "n", 129),
    ("/v1/videos", "seconds", 3_601),
    ("/v1/threads/runs", "max_completion_tokens", 10_000_001),
    ("/v1/threads/{thread_id}/runs", "max_completion_tokens", 10_000_001),
]  # fmt: skip
FORMS = [("/v1/images/edits", "n", 129), ("/v1/images/variations", "n", 129),
         ("/v1/videos", "seconds", 3_601)]  # fmt: skip
SWITCHES = [
    *[(f"/v1/{path}", "stream") for path in ("chat/completions", "responses", "completions",
                                             "threads/runs", "images/generations")],
    ("/v1/responses", "background"), ("/v1/responses", "store"), ("/v1/chat/completions", "store"),
]  # fmt: skip


@pytest.fixture
def who(database: None) -> Person:
    return kit.person("counted")


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return kit.supply(up)


def place(route: Route) -> str:
    return route.path.replace("{thread_id}", "thread_1")


def with_literal(site: Site, who: Person, path: str, model: str, name: str, literal: str) -> Reply:
    """A call whose field has a value that no encoder need have written."""
    route = row("POST", path)
    body = {"model": model, **BODIES[route.shape]}
    body.pop(name, None)
    raw = json.dumps(body)[:-1].encode() + f', "{name}": {literal}}}'.encode()
    return once(site, "POST", place(route), [*who.auth.items(), JSON_TYPE], raw)


def with_field(site: Site, who: Person, path: str, model: str, name: str, text: str) -> Reply:
    body = multipart([("model", model), ("prompt", "x"), (name, text)])
    return once(site, "POST", path, [*who.auth.items(), form_type()], body)


def nothing_happened(who: Person, up: FaultServer) -> None:
    assert (up.connections, who.entries(), who.reserved()) == (0, [], 0)


@pytest.mark.once
@pytest.mark.parametrize("path", sorted({path for path, _, _ in COUNTS}))
def test_what_is_no_count_is_400_with_its_name_and_reserves_nothing(
    site: Site, up: FaultServer, who: Person, supplied: Supply, path: str
) -> None:
    for name, beyond in [(name, beyond) for where, name, beyond in COUNTS if where == path]:
        for literal in [*WRONG, str(beyond)]:
            if name == "seconds" and literal == '"5"':
                continue  # that is how OpenAI spells it
            reply = with_literal(site, who, path, supplied.model, name, literal)
            told = (reply.status, reply.error["code"], reply.error["param"])
            assert told == (400, "invalid_value", name), (literal, reply)
            assert reply.error["type"] == "invalid_request_error"
        for literal in NO_JSON:
            reply = with_literal(site, who, path, supplied.model, name, literal)
            assert reply.status == 400, (literal[:20], reply)
            assert reply.error["code"] in ("invalid_json", "invalid_value")
    nothing_happened(who, up)


@pytest.mark.once
@pytest.mark.parametrize(("path", "name", "beyond"), FORMS)
def test_the_same_holds_for_the_fields_of_a_form(
    site: Site, up: FaultServer, who: Person, supplied: Supply, path: str, name: str, beyond: int
) -> None:
    for text in [*FORMAL, str(beyond)]:
        reply = with_field(site, who, path, supplied.model, name, text)
        told = (reply.status, reply.error["code"], reply.error["param"])
        assert told == (400, "invalid_value", name), (text[:20], reply)
    nothing_happened(who, up)


@pytest.mark.once
def test_a_number_spelt_as_a_text_beyond_all_measure_is_refused_too(
    site: Site, up: FaultServer, who: Person, supplied: Supply
) -> None:
    for text in (f'"{NINES}"', '"-4"', '"4.0"', '"\u0664"', '""'):
        reply = with_literal(site, who, "/v1/videos", supplied.model, "seconds", text)
        assert (reply.status, reply.error["param"]) == (400, "seconds"), text[:20]
    nothing_happened(who, up)


@pytest.mark.once
def test_a_switch_is_true_or_false(
    site: Site, up: FaultServer, who: Person, supplied: Supply
) -> None:
    for path, name in SWITCHES:
        for literal in FLAGS:
            reply = with_literal(site, who, path, supplied.model, name, literal)
            assert (reply.status, reply.error["param"]) == (400, name), (path, literal)
    nothing_happened(who, up)


def test_the_largest_legal_numbers_are_reserved_in_full_or_refused_in_full(
    site: Site, up: FaultServer, supplied: Supply
) -> None:
    up.default = json_reply({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]})
    who = kit.person("many", caps={"text.base": 13_000, "image": 127, "video.other": 1})
    pictures = kit.supply(up, modality=Modality.IMAGE)
    asked: list[tuple[str, dict[str, Any], int]] = [
        ("/v1/completions", {"n": 100, "max_tokens": 100}, 200),
        ("/v1/completions", {"n": 128, "max_tokens": 102}, 429),
        ("/v1/completions", {"best_of": 128, "max_tokens": 10_000_000}, 429),
        ("/v1/responses", {"max_output_tokens": 10_000_000}, 429),
        ("/v1/images/generations", {"n": 128, "model": pictures.model}, 429),
    ]
    for path, fields, status in asked:
        body = {"model": supplied.model, **BODIES[row("POST", path).shape], **fields}
        reply = site.post(who, body, path)
        assert reply.status_code == status, (path, reply.text)
        if status == 429:
            quota = reply.json()["error"]["quota"]
            assert quota["needed"] > quota["left"] >= 0
    (entry,) = who.closed()
    assert 10_000 < entry.estimate < 10_010, "a hundred choices of a hundred tokens"
    assert 0 < entry.amount < 10
    assert up.count() == 1
    assert kit.ledger_adds_up(who)


@pytest.mark.once
def test_every_route_that_reads_a_count_is_in_these_tables() -> None:
    """A new shape that spends must say here what it reads."""
    tested = {path for path, *_ in (*COUNTS, *FORMS)}
    shapes = {row("POST", path).shape for path in tested}
    silent = {
        "/v1/embeddings", "/v1/moderations", "/v1/audio/speech", "/v1/audio/transcriptions",
        "/v1/audio/translations", "/v1/files", "/v1/uploads", "/v1/batches",
        "/v1/fine_tuning/jobs",
    }  # fmt: skip
    spending = {route.path for route in ROUTES if route.spends and route.body is not BodyKind.NONE}
    assert {path for path in spending if row("POST", path).shape not in shapes} == silent
