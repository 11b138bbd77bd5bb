"""What a body may say: numbers that are none, two models at once, and texts that are no JSON."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Tier
from proxy.models import Stat
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import CHAT, JSON_TYPE, Raw, chat_once, memory_now, once, peak_memory
from tests.upstream import FaultServer, chat

pytestmark = pytest.mark.once

MB = 1_000_000
HUGE = "9" * 400


def with_field(supplied: kit.Supply, name: str, literal: str) -> bytes:
    """A body whose field has a value no encoder would write."""
    body = kit.ask(supplied)
    body.pop(name, None)
    return json.dumps(body)[:-1].encode() + f', "{name}": {literal}}}'.encode()


WRONG = [
    *[(name, literal) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")
      for literal in ("-1", "0", "1e18", "1000000000000000000", '"5"', "true", "2.0", "[5]", "{}",
                      "10000001", "-0", "false", "0.5", "18446744073709551616")],
    *[(name, literal) for name in ("n", "best_of")
      for literal in ("0", "-1", "129", '"3"', "2.0", "true", "1e2", "[]")],
    *[("stream", literal) for literal in ('"true"', "1", "0", '""', "[]", "{}")],
    *[("stream_options", literal) for literal in ("[]", '"x"', "true", "1")],
]  # fmt: skip


def test_a_number_that_is_none_is_400_with_its_name_and_reserves_nothing(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for name, literal in WRONG:
        reply = chat_once(site, alice, with_field(supplied, name, literal))
        assert (reply.status, reply.error["code"]) == (400, "invalid_value"), (name, literal)
        assert reply.error["param"] == name
        assert reply.error["type"] == "invalid_request_error"
    for literal in ('{"include_usage": "yes"}', '{"include_usage": 1}'):
        reply = chat_once(site, alice, with_field(supplied, "stream_options", literal))
        assert (reply.status, reply.error["param"]) == (400, "stream_options.include_usage")
    assert (up.connections, alice.entries()) == (0, [])


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", HUGE,
                                     "01", "+1", "0x10", "1_000", ".5", "5."])  # fmt: skip
def test_a_number_json_does_not_have_is_400_wherever_it_stands(
    site: Site, up: FaultServer, alice: Person, literal: str
) -> None:
    supplied = kit.supply(up)

    for name in ("max_tokens", "n", "temperature", "seed"):
        reply = chat_once(site, alice, with_field(supplied, name, literal))
        assert reply.status == 400, (name, reply)
        assert reply.error["code"] in ("invalid_json", "invalid_value")
    assert (up.connections, alice.entries()) == (0, [])


def test_a_hundred_choices_are_legal_and_reserved_a_hundred_times(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    up.default = chat("x", n=100, prompt_tokens=4, completion_tokens=500)

    assert site.chat(alice, supplied, n=100, max_tokens=50).status_code == 200

    entry = alice.closed()[0]
    assert 5000 < entry.estimate < 5050
    assert entry.amount == 504
    assert (up.seen[0].json["n"], up.seen[0].json["max_tokens"]) == (100, 50)
    refused = site.chat(alice, supplied, n=100, max_tokens=5_000)
    assert refused.status_code == 429
    assert refused.json()["error"]["quota"]["needed"] > 500_000
    assert site.chat(alice, supplied, best_of=128, max_tokens=3_907).status_code == 429
    assert up.count() == 1


def test_null_is_absent(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    nulls = dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "n", "best_of", "stream", "stream_options",
         "service_tier", "priority", "tools", "response_format")
    )  # fmt: skip

    assert site.chat(alice, supplied, **nulls).status_code == 200

    entry = alice.closed()[0]
    assert 1024 < entry.estimate < 1100
    assert "max_completion_tokens" not in up.seen[0].json


@pytest.mark.parametrize(
    ("kind", "field"), [("compatible", "max_tokens"), ("openai", "max_completion_tokens")]
)
def test_of_two_limits_the_smaller_counts_and_one_is_forwarded(
    site: Site, up: FaultServer, alice: Person, kind: str, field: str
) -> None:
    supplied = kit.supply(up, kind=kind)
    limits = [{"max_tokens": 70, "max_completion_tokens": 30, "max_output_tokens": 90},
              {"max_tokens": 20, "max_completion_tokens": None},
              {"max_tokens": None, "max_output_tokens": 40}]  # fmt: skip
    for body in limits:
        assert site.chat(alice, supplied, **body).status_code == 200

    sent = [{k: v for k, v in seen.json.items() if k.startswith("max_")} for seen in up.seen]
    assert sent == [{field: 30}, {field: 20}, {field: 40}]
    overheads = {e.estimate - n for e, n in zip(alice.closed(3), (30, 20, 40), strict=True)}
    assert len(overheads) == 1


def test_an_allow_list_is_checked_on_the_model_itself_however_it_is_spelt(
    site: Site, up: FaultServer
) -> None:
    allowed, denied = kit.supply(up), kit.supply(up, model=kit.unique("Secret.Model"))
    who = kit.person("narrow", allowed_models=[allowed.model])
    name, slug = denied.model, denied.provider.slug
    spellings = [
        name, name.upper(), name.lower(), name + ".", name.replace("-", "_"), name + "-",
        f"{slug}/{name}", f"{slug}-{name}", name.replace("-", ""), f"{name}/",
    ]  # fmt: skip
    for spelling in spellings:
        reply = site.chat(who, allowed, model=spelling)
        got = (reply.status_code, reply.json()["error"]["code"])
        assert got == (403, "model_not_allowed"), spelling
    for spelling in (f" {name}", f"{name} ", f"models/{name}", f"{name}\u200b", f"{name}\x00",
                     f"../{name}", f"x/../{name}", name.replace("e", "\u0435"),
                     "x" * 300):  # fmt: skip
        reply = site.chat(who, allowed, model=spelling)
        assert reply.status_code in (403, 404), spelling
        assert reply.json()["error"]["param"] == "model"
    for spelling in (None, "", 5, [name], {"id": name}, True):
        reply = site.chat(who, allowed, model=spelling)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")
    assert (up.connections, who.entries()) == (0, [])

    answer = site.chat(who, allowed, model=allowed.model.upper())

    assert (answer.status_code, answer.json()["model"]) == (200, allowed.model.upper())
    assert up.seen[0].json["model"] == allowed.model
    assert who.closed()[0].model == allowed.model


def test_a_key_twice_in_an_object_is_refused_at_any_depth_and_in_any_spelling(
    site: Site, up: FaultServer
) -> None:
    allowed, denied = kit.supply(up), kit.supply(up)
    who = kit.person("narrow", allowed_models=[allowed.model])
    text = json.dumps(kit.ask(allowed))[1:-1]
    escaped = '"mod\\u0065l"'
    bodies = [
        f'{{{text}, "model": "{denied.model}"}}', f'{{"model": "{denied.model}", {text}}}',
        f'{{{text}, {escaped}: "{denied.model}"}}', f'{{{text}, "model": "{allowed.model}"}}',
        f'{{{text}, "metadata": {{"a": 1, "a": 2}}}}', f'{{{text}, "tools": [{{"a":1,"a":1}}]}}',
        f'{{{text}, "max_tokens": 1, "max_tokens": 2}}', f'{{{text},"":1,"":2}}',
    ]  # fmt: skip
    for body in bodies:
        reply = chat_once(site, who, body.encode())
        assert (reply.status, reply.error["code"]) == (400, "invalid_json"), body
        assert "twice" in reply.error["message"]
    assert (up.connections, who.entries()) == (0, [])


def test_fields_that_choose_a_destination_are_dropped_and_unknown_ones_forwarded(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    names = ("api_base", "base_url", "api_key", "extra_headers", "extra_query", "organization",
             "project", "fallbacks")  # fmt: skip
    evil = dict.fromkeys(names, "https://evil.example")
    mine: dict[str, Any] = {"x_future": {"deep": [1, 2.5, None, "т"]}, "seed": 7, "temperature": 0}

    assert site.chat(alice, supplied, **evil, **mine).status_code == 200

    sent = up.seen[0].json
    assert not set(evil) & set(sent)
    assert {name: sent[name] for name in mine} == mine
    assert b"evil.example" not in up.seen[0].body + up.seen[0].head
    assert up.count() == 1


def test_what_goes_upstream_is_written_anew_from_what_was_checked(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    text = json.dumps(kit.ask(supplied), indent=3).replace('"model"', '"mod\\u0065l"')

    assert chat_once(site, alice, f"\t\r\n {text} \n".encode()).status == 200

    assert up.seen[0].body.startswith(b'{"model":"' + supplied.model.encode())
    assert b"\n" not in up.seen[0].body


def test_the_user_becomes_an_opaque_hash_that_is_the_same_for_all_his_calls(
    site: Site, up: FaultServer, alice: Person, bob: Person
) -> None:
    supplied = kit.supply(up)
    for who in (alice, alice, bob):
        assert site.chat(who, supplied, user="me@example.org", safety_identifier="x").ok
    assert site.chat(alice, supplied).ok

    users = [(seen.json.get("user"), seen.json.get("safety_identifier")) for seen in up.seen]
    assert users[0] == users[1] != users[2]
    assert users[3] == (None, None)
    assert len(users[0][0]) == 32
    assert users[0][0] == users[0][1]


def no_json(model: str) -> dict[str, bytes]:
    good = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]})
    return {
        "empty": b"",
        "spaces": b" \n ",
        "list": b"[" + good.encode() + b"]",
        "string": b'"text"',
        "number": b"5",
        "null": b"null",
        "cut": good[:-1].encode(),
        "trailing": good.encode() + b"x",
        "two": good.encode() * 2,
        "comma": good[:-1].encode() + b",}",
        "single quotes": b"{'model': 'x'}",
        "byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "utf-16": good.encode("utf-16"),
        "latin-1": good.replace("x", "\xe9").encode("latin-1"),
        "cut utf-8": good.encode()[:-4] + b"\xe2\x82" + good.encode()[-4:],
        "overlong": good.replace("x", "@").encode().replace(b"@", b"\xc0\xaf"),
        "raw surrogate": good.replace("x", "@").encode().replace(b"@", b"\xed\xa0\x80"),
        "lone surrogate": good.replace('"x"', '"\\ud800"').encode(),
        "surrogate key": good[:-1].encode() + b',"\\udc00":1}',
        "raw NUL": good.replace("x", "\x00").encode(),
        "control": good.replace("x", "\x1f").encode(),
        "deep list": good[:-1].encode() + b',"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep object": good[:-1].encode() + b',"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        "deep enough": good[:-1].encode() + b',"a":' + b"[" * 300 + b"]" * 300 + b"}",
    }


def test_what_is_no_strict_json_object_is_400_and_costs_nothing(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    for name, body in no_json(supplied.model).items():
        reply = chat_once(site, alice, body)
        assert (reply.status, reply.error["code"]) == (400, "invalid_json"), name
    for messages in (None, [], {}, "Hello", 5):
        answer = site.chat(alice, supplied, messages=messages)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
    assert (up.connections, alice.entries()) == (0, [])


def test_messages_of_odd_shapes_are_the_providers_to_judge(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    odd: list[Any] = [[None], [1], ["text"], [[]], [{"role": 5}], [{"content": [{"type": []}]}],
                      [{"content": {"a": [None, True, 1.5]}}],
                      [{"content": "\u0000 \U0001f600"}]]  # fmt: skip

    assert [site.chat(alice, supplied, messages=m).status_code for m in odd] == [200] * len(odd)
    assert [seen.json["messages"] for seen in up.seen] == odd


@pytest.mark.parametrize("header", [("Content-Encoding", "gzip"), ("Content-Encoding", "br"),
                                    ("Content-Encoding", "identity, gzip")])  # fmt: skip
def test_an_encoded_body_is_415(
    site: Site, up: FaultServer, alice: Person, header: tuple[str, str]
) -> None:
    reply = chat_once(site, alice, kit.ask(kit.supply(up)), header)

    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")
    assert (up.connections, alice.entries()) == (0, [])


def test_the_content_type_must_be_json_or_unsaid(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    data = json.dumps(kit.ask(supplied)).encode()
    good = ["application/json", "Application/JSON; charset=utf-8", "application/json;x=y"]
    bad = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
           "application/jsonx", "text/json, application/json"]  # fmt: skip

    def status(*headers: tuple[str, str]) -> int:
        return once(site, "POST", CHAT, [*alice.auth.items(), *headers], data).status

    assert status() == 200
    assert [status(("Content-Type", kind)) for kind in good] == [200] * len(good)
    assert [status(("Content-Type", kind)) for kind in bad] == [415] * len(bad)
    assert status(JSON_TYPE, JSON_TYPE) == 400


def test_the_text_tier_of_a_pro_model_is_drawn_from_its_own_bucket(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, tier=Tier.PRO)

    assert site.chat(alice, supplied).status_code == 200

    assert alice.closed()[0].bucket == "text.pro"
    assert (alice.used("text.pro"), alice.used("text.base")) == (12, 0)


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def test_a_chunked_body_is_read_like_any_other(site: Site, up: FaultServer, alice: Person) -> None:
    supplied = kit.supply(up)
    data = json.dumps(kit.ask(supplied)).encode()
    pieces = [data[i : i + 7] for i in range(0, len(data), 7)]

    reply = chat_once(site, alice, chunked(pieces), ("Transfer-Encoding", "chunked"))

    assert reply.status == 200
    assert up.seen[0].header("transfer-encoding") is None


def test_a_large_body_with_a_wrong_key_is_401_before_it_is_sent(
    site: Site, up: FaultServer, alice: Person
) -> None:
    kit.supply(up)
    unknown = kit.person("gone")
    unknown.key.delete()
    for framing in (("Content-Length", "65537"), ("Content-Length", "99999999999"),
                    ("Transfer-Encoding", "chunked")):  # fmt: skip
        for expect in ((), (("Expect", "100-continue"),)):
            with Raw(site, timeout=5) as raw:
                raw.ask("POST", CHAT, [*unknown.auth.items(), JSON_TYPE, framing, *expect])
                reply = raw.reply()
                assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
                assert raw.over(), "what was not read may not become the next request"
    with Raw(site, timeout=5) as raw:
        raw.ask("POST", CHAT, [*alice.auth.items(), JSON_TYPE, ("Content-Length", "33000000")])
        assert raw.reply().status == 413, "an announced size is enough"
        assert raw.over()
    assert up.connections == 0


def test_a_client_that_waits_to_be_told_sends_its_body_after_the_100(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    data = json.dumps(kit.ask(supplied, pad="x" * 100_000)).encode()
    with Raw(site, timeout=5) as raw:
        raw.ask("POST", CHAT, [*alice.auth.items(), JSON_TYPE, ("Expect", "100-continue"),
                               ("Content-Length", str(len(data)))])  # fmt: skip
        assert raw.head().status == 100
        raw.send(data)
        assert raw.reply().status == 200


def test_large_bodies_are_capped_and_do_not_fill_the_memory(
    launch: Any, up: FaultServer, alice: Person, bob: Person
) -> None:
    # What is freed goes back at once, so that the peak is what was needed.
    site = launch(1, MALLOC_MMAP_THRESHOLD_="1000000")
    supplied = kit.supply(up)
    assert site.chat(alice, supplied).status_code == 200
    # Once it has been counted, whatever a worker loads for its first call is loaded.
    assert kit.eventually(lambda: Stat.objects.filter(model=supplied.model).exists(), 10)
    (worker,) = site.workers()
    before = peak_memory(worker)
    text = json.dumps(kit.ask(supplied))[:-1]
    over = text.encode() + b',"pad":"' + b"x" * (33 * MB) + b'"}'
    cases: list[tuple[bytes, tuple[tuple[str, str], ...], int]] = [
        (over, (), 413),
        (chunked([over[i : i + MB] for i in range(0, len(over), MB)]),
         (("Transfer-Encoding", "chunked"),), 413),
        (text.encode() + b',"pad":"' + b"x" * (31 * MB) + b'"}', (), 200),
    ]  # fmt: skip
    for body, headers, status in cases:
        # The one before is let go of in its own time, and is no part of this one.
        assert kit.eventually(lambda: memory_now(worker) - before < 16 * MB, 10)
        assert chat_once(site, alice, body, *headers).status == status
        assert peak_memory(worker) - before < 4 * 32 * MB
    crowds = [
        ",".join(f'"key{n}":{n}' for n in range(1_000_000)),
        '"a":[' + ",".join(['{"a":1}'] * 3_900_000) + "]",
    ]
    for crowd in crowds:
        reply = chat_once(site, alice, f"{text},{crowd}}}".encode())
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert peak_memory(worker) - before < 4 * 32 * MB
    text_full_of_commas = '1,\\",' * 1_000_000
    fine = json.dumps(
        kit.ask(supplied, messages=[{"role": "user", "content": text_full_of_commas}])
    )
    assert chat_once(site, bob, fine.encode()).status == 429, "not a crowd, but many tokens"
    assert site.chat(alice, supplied).status_code == 200
    assert kit.ledger_adds_up(alice)
