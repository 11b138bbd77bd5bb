"""Headers in both directions: what a provider sees of a client, and a client of a provider."""

from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site
from tests.rawclient import CHAT, Reply, chat_once, once
from tests.upstream import (
    FaultServer,
    chat,
    chat_stream,
    error,
    redirect,
    split_headers,
)

pytestmark = pytest.mark.once

# What a provider may see, in lower case; the values it may see are below.
ALLOWED = {
    "host", "content-length", "content-type", "authorization", "user-agent", "accept-encoding",
    "accept", "openai-beta", "x-stainless-helper-method", "accept-language", "range",
    "x-client-request-id",
}  # fmt: skip
OURS = {
    "content-type", "content-length", "transfer-encoding", "cache-control", "x-accel-buffering",
    "date", "server", "connection", "x-request-id", "access-control-allow-origin",
    "openai-version", "openai-processing-ms", "x-gateway-overhead-ms", "x-attempts",
    "x-quota-bucket", "x-quota-remaining", "x-quota-reset", "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "retry-after", "x-should-retry",
}  # fmt: skip


def test_a_provider_sees_its_own_key_and_an_allow_list_of_headers_only(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    passed = {
        "accept": "application/json, text/event-stream", "accept-language": "ru",
        "openai-beta": "assistants=v2", "x-stainless-helper-method": "stream", "range": "bytes=0-",
    }  # fmt: skip
    hostile = {
        "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4", "X-Real-IP": "1.2.3.4",
        "X-Api-Key": "theirs", "Api-Key": "theirs", "X-Goog-Api-Key": "theirs",
        "OpenAI-Organization": "org-theirs", "OpenAI-Project": "proj_theirs", "Cookie": "a=theirs",
        "User-Agent": "theirs/1", "Referer": "https://theirs.example", "Origin": "https://theirs",
        "X-Stainless-Lang": "theirs", "X-Custom": "theirs", "Accept-Encoding": "gzip",
        "Proxy-Authorization": "Basic theirs", "TE": "trailers", "Trailer": "theirs",
        "X-HTTP-Method-Override": "DELETE", "Via": "1.1 theirs", "Idempotency-Key": "theirs",
        "Connection": "keep-alive, X-Custom", "Keep-Alive": "timeout=5", "HTTP2-Settings": "AAA",
        "X_Forwarded_For": "1.2.3.4", "Authorization_": "theirs", "X-Client-Request-Id": "theirs",
    }  # fmt: skip

    reply = chat_once(site, alice, kit.ask(supplied), *passed.items(), *hostile.items())

    assert reply.status == 200
    seen = up.seen[0]
    names = [name.decode().lower() for name, _ in seen.headers]
    assert set(names) <= ALLOWED
    assert len(names) == len(set(names))
    assert seen.header("authorization") == f"Bearer {supplied.keys[0]}"
    assert seen.header("accept-encoding") == "identity"
    assert seen.header("x-client-request-id") == reply.header("x-request-id")
    assert seen.header("host") == f"127.0.0.1:{up.port}"
    assert {name: seen.header(name) for name in passed} == passed
    for word in (b"theirs", b"1.2.3.4", alice.secret.encode(), alice.account.username.encode()):
        assert word not in seen.head + seen.body


def test_odd_bytes_in_a_forwarded_header_harm_nobody(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for value in (b"a\tb", b"\xff\xfe", "ю".encode(), b"x" * 20_000, b""):
        assert chat_once(site, alice, kit.ask(supplied), ("OpenAI-Beta", value)).status == 200
    twice = (("OpenAI-Beta", "a=1"), ("OpenAI-Beta", "b=2"))
    assert chat_once(site, alice, kit.ask(supplied), *twice).status == 200

    assert up.seen[-1].header_values("openai-beta") == ["a=1,b=2"]
    assert up.seen[1].header("openai-beta") == "\xff\xfe"


def clean(reply: Reply) -> bool:
    """Nothing of the provider's is in a reply: its headers, account, key or host."""
    names = [name for name, _ in reply.headers]
    assert set(names) <= OURS, set(names) - OURS
    assert len(names) == len(set(names))
    text = repr(reply.headers).encode() + reply.body
    for word in (b"org-upstream", b"upstream-cookie", b"req_upstream", b"9999", b"owned"):
        assert word not in text
    return True


def test_a_client_sees_no_header_of_the_provider(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    more = [("Location", "https://evil.example"), ("Set-Cookie", "owned=1"), ("X-Evil", "owned"),
            ("Strict-Transport-Security", "max-age=9"), ("Connection", "X-Evil"),
            ("Access-Control-Allow-Credentials", "true"), ("Retry-After", "9999")]  # fmt: skip
    answers: list[tuple[Any, dict[str, Any], int]] = [
        (chat().plus(*more), {}, 200),
        (chat_stream().plus(*more), {"stream": True}, 200),
        (error(400, "no").plus(*more), {}, 400),
        (error(404, "no").plus(*more), {"stream": True}, 404),
        (error(500, "no").plus(*more), {}, 502),
    ]
    for answer, body, status in answers:
        up.script(answer)
        reply = chat_once(site, alice, kit.ask(supplied, **body))
        assert reply.status == status
        assert clean(reply)
        assert reply.header("openai-version") == "2020-10-01"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
def test_a_redirect_is_never_followed(
    site: Site, up: FaultServer, alice: Person, status: int, stream: bool
) -> None:
    supplied = kit.supply(up)
    with FaultServer() as elsewhere:
        up.default = redirect(f"{elsewhere.url}/v1/chat/completions", status)
        reply = chat_once(site, alice, kit.ask(supplied, stream=stream))

        assert (reply.status, reply.error["code"]) == (502, "upstream_error")
        assert elsewhere.connections == 0
    assert reply.header("location") is None
    assert alice.closed()[0].state == "released"


def test_a_line_break_in_a_providers_header_splits_nothing(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    whole = chat("fine")
    for name in ("x-request-id", "content-type", "openai-processing-ms"):
        up.script(whole.plus((name, b"a\r\nSet-Cookie: owned=1\r\nX: y")), split_headers())
        reply = chat_once(site, alice, kit.ask(supplied))
        assert reply.status in (200, 502)
        assert clean(reply)
        assert clean(chat_once(site, alice, kit.ask(supplied)))


def test_a_second_reply_nobody_asked_for_is_nobodys_answer(
    site: Site, up: FaultServer, alice: Person
) -> None:
    """Response splitting: what follows an answer on its connection is dropped with it."""
    supplied = kit.supply(up)
    forged = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    up.default = chat("honest")
    for tail in (forged + b'{"a":"b"}', forged[:30], b"garbage\r\n\r\n", b"\x00" * 100):
        up.script(chat("first").but(tail=tail))
        answers = [site.chat(alice, supplied).json() for _ in range(4)]
        texts = [answer["choices"][0]["message"]["content"] for answer in answers]
        assert texts == ["first", "honest", "honest", "honest"]


def test_an_early_hint_is_passed_over(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    up.script(chat("after").but(before=b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))

    assert site.chat(alice, supplied).json()["choices"][0]["message"]["content"] == "after"


def test_endless_headers_of_a_provider_are_its_failure(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for headers in ([("X-Big", "x" * 20_000_000)], [(f"X-{n}", "x" * 500) for n in range(2_000)]):
        up.script(chat().plus(*headers))
        reply = chat_once(site, alice, kit.ask(supplied))
        assert (reply.status, reply.error["type"]) == (502, "upstream_error")
    assert {entry.state for entry in alice.closed(2)} == {"released"}


def test_the_clients_address_is_its_sockets_unless_a_trusted_hop_says_otherwise(
    site: Site, launch: Any
) -> None:
    behind_one = launch(1, TRUSTED_PROXIES="1")
    local = kit.person("local", networks=["127.0.0.0/8"])
    remote = kit.person("remote", networks=["203.0.113.0/24"])

    def status(where: Site, who: Person, *headers: tuple[str, str]) -> list[int]:
        paths = ("/v1/models", "/balance/")
        return [once(where, "GET", p, [*who.auth.items(), *headers]).status for p in paths]

    claims = [("X-Forwarded-For", "203.0.113.9"), ("X-Real-IP", "203.0.113.9"),
              ("Forwarded", "for=203.0.113.9"), ("X_Forwarded_For", "203.0.113.9"),
              ("X-Forwarded-Host", "evil.example"), ("X-Client-IP", "203.0.113.9")]  # fmt: skip
    for claim in claims:
        assert status(site, remote, claim) == [403, 403], claim
        assert status(site, local, claim) == [200, 200], claim
    for claim in claims[1:]:
        assert status(behind_one, remote, claim) == [403, 403], claim
    forwarded = "X-Forwarded-For"
    for value, allowed in {
        "203.0.113.9": True,
        "127.0.0.1, 203.0.113.9": True,
        "203.0.113.9, 198.51.100.1": False,
        "203.0.113.9, nonsense": False,
        "203.0.113.9,": True,
        "": False,
    }.items():
        assert status(behind_one, remote, (forwarded, value)) == [200 if allowed else 403] * 2
    lines = [(forwarded, "203.0.113.9"), (forwarded, "198.51.100.1")]
    assert status(behind_one, remote, *lines) == [403, 403], "the last line is the last hop's"
    assert status(behind_one, remote, *lines[::-1]) == [200, 200]


def test_limits_shown_in_headers_are_ours(site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up)
    who = kit.person("shown", caps={"text.base": 2_000}, requests_per_minute=7)
    up.default = chat(prompt_tokens=4, completion_tokens=6)

    first, second = (chat_once(site, who, kit.ask(supplied)) for _ in range(2))

    assert first.header("x-quota-bucket") == "text.base"
    assert first.header("x-quota-remaining") == str(2_000 - 10)
    assert second.header("x-quota-remaining") == str(2_000 - 20)
    up.script(error(400))
    refused = chat_once(site, who, kit.ask(supplied))
    assert refused.header("x-quota-remaining") == str(2_000 - 20), "nothing is held for it any more"
    assert first.header("x-ratelimit-limit-tokens") == "2000"
    assert first.header("x-ratelimit-remaining-tokens") == first.header("x-quota-remaining")
    assert first.header("x-ratelimit-limit-requests") == "7"
    left = [int(r.header("x-ratelimit-remaining-requests") or -1) for r in (first, second)]
    assert left == [6, 5]
    assert 0 < int(first.header("x-quota-reset") or 0) <= 86_400
    assert (first.header("x-ratelimit-reset-tokens") or "").endswith("s")
    assert first.header("x-attempts") == "1"
    assert float(first.header("x-gateway-overhead-ms") or -1) >= 0
    unlimited = kit.person("unlimited", unlimited=True)
    free = chat_once(site, unlimited, kit.ask(supplied))
    names = {name for name, _ in free.headers}
    assert "x-quota-remaining" not in names
    assert "x-ratelimit-limit-requests" not in names
    assert free.header("x-quota-bucket") == "text.base"


def test_the_target_of_a_call_is_the_same_whatever_the_client_says(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, model=kit.unique("a/b.c"))
    reply = once(
        site, "POST", CHAT + "/?x=y#z".replace("#z", ""),
        [*alice.auth.items(), ("Content-Type", "application/json"),
         ("X-HTTP-Method-Override", "GET"), ("X-Original-URL", "/v1/models"),
         ("X-Rewrite-Url", "/admin/")],
        b'{"model":"%s","messages":[{"role":"user","content":"x"}]}' % supplied.model.encode(),
    )  # fmt: skip

    assert reply.status == 200
    assert [(seen.method, seen.target) for seen in up.seen] == [("POST", b"/v1/chat/completions")]
