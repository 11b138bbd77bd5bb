"""The front door on the wire: which route answers, what is refused before one, in which shape."""

import json
import re

import pytest

from tests import kit
from tests.kit import Person, Site
from tests.rawclient import CHAT, JSON_TYPE, Raw, Reply, chat_once, once
from tests.upstream import FaultServer

pytestmark = pytest.mark.once

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


def is_refusal(reply: Reply, status: int, code: str) -> bool:
    assert (reply.status, reply.error["code"]) == (status, code), reply
    assert ULID.fullmatch(reply.header("x-request-id") or "")
    assert reply.header("access-control-allow-origin") == "*"
    return True


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/index.php", "/v1/index.php/"])
def test_the_root_needs_no_key_and_lists_the_routes(site: Site, path: str) -> None:
    reply = once(site, "GET", path)

    assert reply.status == 200
    listed = {(row["method"], row["path"]) for row in json.loads(reply.body)["endpoints"]}
    assert {("POST", CHAT), ("GET", "/v1/models")} <= listed


@pytest.mark.parametrize("path", [CHAT, CHAT + "/", "/v1/index.php/chat/completions",
                                  "/v1/index.php/chat/completions/"])  # fmt: skip
def test_a_call_is_served_under_every_spelling_of_its_path(
    site: Site, up: FaultServer, alice: Person, path: str
) -> None:
    supplied = kit.supply(up)

    reply = site.post(alice, kit.ask(supplied), path)

    assert reply.status_code == 200
    assert [seen.target for seen in up.seen] == [b"/v1/chat/completions"]
    assert alice.closed()[0].route == CHAT


def test_the_catalogue_is_served_under_every_spelling_and_only_to_keys(
    site: Site, up: FaultServer, alice: Person
) -> None:
    model = kit.supply(up, model=kit.unique("vendor/some.model")).model

    for path in ("/v1/models", "/v1/models/", "/v1/index.php/models"):
        assert is_refusal(once(site, "GET", path), 401, "invalid_api_key")
        rows = site.get(alice, path).json()["data"]
        assert model in {row["id"] for row in rows}
    for name in (model, model.replace("/", "%2F"), model.upper(), model + "/"):
        for root in ("/v1/models/", "/v1/index.php/models/"):
            found = site.get(alice, root + name)
            assert (found.status_code, found.json()["id"]) == (200, model)
    assert up.connections == 0


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/files/../models", 404), ("/v1/%2e%2e/v1/models", 404), ("/v1/./models", 404),
        ("/v1//models", 404), ("/v1/models//", 404), ("/v1/models/..", 404),
        ("/v1/models/%2e%2e", 404), ("/v1/models/..%2f..%2fx", 404), ("/v1/models/%2E%2E%2Fx", 404),
        ("/v1/models/%252e%252e", 404), ("/v1/models/%00", 404), ("/v1/models/x%00y", 404),
        ("/v1/models/a;b", 404), ("/v1/models/a%23b", 404), ("/v1/models/a%3Fb", 404),
        ("/v1/models/a\\b", 404), ("/v1/models/a%5Cb", 404), ("/v1/models/%0d%0aX:1", 404),
        ("/v1/models/" + "x" * 5000, 404), ("/v1/models/" + "%2e" * 1700, 404),
        ("/v1/chat/completions/..", 404), ("/v1/chat/%63ompletions", 404),
        ("/v1/organization/projects", 404), ("/v1/admin", 404), ("/v1/files/a/b", 404),
        ("/v1/assistants/a/b", 404), ("/catalog/unknown", 404), ("/status/x", 404),
        ("/balance/x", 404), ("/livez/x", 404),
    ],
)  # fmt: skip
def test_a_path_that_spells_no_route_is_404_in_json_and_nothing_is_called(
    site: Site, up: FaultServer, alice: Person, target: str, status: int
) -> None:
    kit.supply(up)

    for method in ("GET", "POST"):
        reply = once(site, method, target, [*alice.auth.items()], b"{}")
        assert is_refusal(reply, status, "not_found")
        assert reply.error["type"] == "invalid_request_error"
    assert up.connections == 0
    assert alice.entries() == []


@pytest.mark.parametrize("target", [b"/v1/models/a#b", b"/v1/models/a b", b"/v1/models/\xc3\xa9",
                                    b"/v1/models/\x00", b"/v1/models/\x7f"])  # fmt: skip
def test_bytes_no_target_may_hold_are_refused_before_any_route(
    site: Site, alice: Person, target: bytes
) -> None:
    reply = once(site, "GET", target, [*alice.auth.items()])

    assert reply.status in (400, 404)
    assert reply.error["type"] == "invalid_request_error"


def test_a_query_is_no_part_of_the_path(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)

    reply = site.post(alice, kit.ask(supplied), CHAT + "?model=other&x=/../y")

    assert reply.status_code == 200
    assert up.seen[0].target == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", CHAT, "GET, OPTIONS, POST"),
        ("DELETE", "/v1/index.php/chat/completions/", "GET, OPTIONS, POST"),
        ("PATCH", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/models/some-model", "DELETE, GET, HEAD, OPTIONS"),
        ("POST", "/v1", "GET, HEAD, OPTIONS"),
        ("POST", "/balance/", "GET, HEAD, OPTIONS"),
        ("PUT", "/livez", "GET, HEAD, OPTIONS"),
        ("BREW", "/v1/responses", "OPTIONS, POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    site: Site, up: FaultServer, alice: Person, method: str, path: str, allow: str
) -> None:
    reply = once(site, method, path, [*alice.auth.items(), JSON_TYPE], b"{}")

    assert is_refusal(reply, 405, "method_not_allowed")
    assert reply.header("allow") == allow
    assert reply.error["allow"] == allow.split(", ")
    assert all(word in reply.error["hint"] for word in allow.split(", "))
    assert (up.connections, alice.entries()) == (0, [])


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/v1/models/x", CHAT, "/balance/",
                                  "/v1/index.php/chat/completions", "/readyz"])  # fmt: skip
def test_a_preflight_is_answered_for_everybody_without_credentials(site: Site, path: str) -> None:
    origin = [("Origin", "null"), ("Access-Control-Request-Method", "POST"),
              ("Access-Control-Request-Headers", "authorization, x-custom")]  # fmt: skip

    with Raw(site) as raw:
        raw.ask("OPTIONS", path, origin)
        reply = raw.reply()
        raw.ask("GET", "/livez")
        assert raw.reply().status == 200, "the connection is still in step"

    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("access-control-allow-origin") == "*"
    assert reply.header("access-control-allow-credentials") is None
    allowed = [name.strip() for name in reply.values("access-control-allow-headers")[0].split(",")]
    assert {"*", "authorization"} <= set(allowed)
    assert reply.header("access-control-allow-methods") == reply.header("allow")
    assert reply.header("content-length") is None


def test_a_preflight_of_no_route_is_404(site: Site) -> None:
    assert is_refusal(once(site, "OPTIONS", "/v1/nothing"), 404, "not_found")


HEADS = [("/livez", 200), ("/health/", 200), ("/v1", 200), ("/v1/models", 401), (CHAT, 405),
         ("/v1/files", 405), ("/v1/nothing", 404)]  # fmt: skip
"""A monitor may ask so; a provider is not asked for what nobody gets."""


@pytest.mark.parametrize(("path", "status"), HEADS)
def test_head_is_answered_without_a_body(site: Site, path: str, status: int) -> None:
    with Raw(site) as raw:
        raw.ask("HEAD", path)
        reply = raw.reply(bodiless=True)
        raw.ask("GET", "/livez")
        assert raw.reply().status == 200, "the connection is still in step"

    assert reply.status == status
    assert ULID.fullmatch(reply.header("x-request-id") or "")
    assert int(reply.header("content-length") or 0) > 0, "of the body that GET would have"
    assert "no-body" not in site.log.read_text(), "the server has nothing to warn of"


def test_the_request_id_is_always_ours_and_always_another(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    theirs = [("X-Request-Id", "theirs"), ("X-Client-Request-Id", "theirs")]
    auth = [*alice.auth.items()]

    replies = [
        once(site, "GET", "/v1", theirs),
        once(site, "GET", "/v1/nothing", theirs),
        once(site, "GET", CHAT, theirs),
        once(site, "OPTIONS", CHAT, theirs),
        once(site, "GET", "/v1/models", theirs),
        once(site, "GET", "/balance/", [*auth, *theirs]),
        chat_once(site, alice, kit.ask(supplied), *theirs),
        chat_once(site, alice, kit.ask(supplied, stream=True), *theirs),
        chat_once(site, alice, b"{", *theirs),
    ]

    ids = [reply.values("x-request-id") for reply in replies]
    assert all(len(found) == 1 and ULID.fullmatch(found[0]) for found in ids), ids
    assert len({found[0] for found in ids}) == len(replies)
    assert all(b"theirs" not in reply.body for reply in replies)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost:x",
                                  "evil.example:80", "[::1"])  # fmt: skip
@pytest.mark.parametrize("path", ["/v1", "/v1/models", CHAT, "/v1/nothing", "/balance/"])
def test_a_host_that_is_not_ours_is_400_whatever_is_asked(
    site: Site, up: FaultServer, alice: Person, host: str, path: str
) -> None:
    supplied = kit.supply(up)
    body = json.dumps(kit.ask(supplied)).encode()
    method = "POST" if path == CHAT else "GET"
    headers = [("Host", host), *alice.auth.items(), JSON_TYPE]

    reply = once(site, method, path, headers, body, host=False)

    assert reply.status == 400
    assert reply.error["code"] in ("invalid_host", "invalid_request")
    assert (up.connections, alice.entries()) == (0, [])


@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/v1/nothing", "/balance/"])
def test_two_authorization_headers_are_400_whatever_they_say(
    site: Site, alice: Person, path: str
) -> None:
    method = "POST" if path == CHAT else "GET"
    twice = [*alice.auth.items(), *alice.auth.items(), JSON_TYPE]

    reply = once(site, method, path, twice, b"{}")

    assert is_refusal(reply, 400, "invalid_request")


def test_what_is_no_http_is_refused_in_the_same_shape_and_the_connection_closed(
    site: Site,
) -> None:
    broken = [
        b"GET /v1\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: x\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n",
        b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"POST /v1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\nx",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ]
    for data in broken:
        with Raw(site) as raw:
            raw.send(data)
            reply = raw.reply()
            assert reply.status in (400, 414, 431, 501), data[:60]
            assert reply.error["code"] == "invalid_request"
            assert raw.over()


def test_websockets_are_refused(site: Site, alice: Person) -> None:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
               ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
               *alice.auth.items()]  # fmt: skip

    assert once(site, "GET", "/v1/realtime", headers).status in (403, 404)
