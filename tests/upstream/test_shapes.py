"""The builders against a common HTTP client: what honest and dishonest providers say."""

from __future__ import annotations

import gzip
import json
import resource
import zlib
from typing import Any

import pytest
import requests

from . import (
    FaultServer,
    Reply,
    chat,
    chat_stream,
    endless_line,
    error,
    gemini_error_array,
    giant_json,
    gzip_bomb,
    models,
    redirect,
    split_headers,
    sse,
)

pytestmark = pytest.mark.once

ASKING_USAGE = {"stream_options": {"include_usage": True}}


def post(up: FaultServer, **body: Any) -> requests.Response:
    url = up.base_url + "/chat/completions"
    return requests.post(url, json={"model": "m-1", **body}, timeout=5, allow_redirects=False)


def events(answer: requests.Response) -> list[Any]:
    """The data of each event; `[DONE]` and malformed lines as text."""
    found: list[Any] = []
    for block in answer.content.split(b"\n\n")[:-1]:
        data = block.removeprefix(b"data: ").decode()
        try:
            found.append(json.loads(data))
        except ValueError:
            found.append(data)
    return found


def stream(up: FaultServer, reply: Reply, **body: Any) -> list[Any]:
    up.script(reply)
    return events(post(up, stream=True, **body))


def test_a_fresh_server_is_a_small_provider(up: FaultServer) -> None:
    listed = requests.get(up.base_url + "/models", timeout=5).json()["data"]
    assert [model["id"] for model in listed] == ["gpt-5.4", "gpt-5.4-mini", "o4-test"]
    assert post(up).json()["choices"][0]["message"]["content"] == "Hello"
    assert events(post(up, stream=True))[-1] == "[DONE]"
    lost = requests.get(up.base_url + "/nowhere", timeout=5)
    assert lost.status_code == 404
    assert lost.json()["error"].keys() == {"message", "type", "param", "code"}


def test_chat_echoes_the_model_and_carries_what_is_asked(up: FaultServer) -> None:
    up.script(chat("Hi", n=2, finish="length", extra={"citations": ["u"]}), chat(model="other"))
    answer = post(up)
    value = answer.json()
    assert (value["model"], value["citations"]) == ("m-1", ["u"])
    assert [choice["finish_reason"] for choice in value["choices"]] == ["length"] * 2
    assert value["usage"]["total_tokens"] == 12
    assert answer.headers["Set-Cookie"].startswith("__cf_bm")
    assert post(up).json()["model"] == "other"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [("absent", "no field"), ("null", None), ("zero", 0), ({"total_tokens": -5}, -5)],
)
def test_chat_usage_can_be_missing_or_wrong(up: FaultServer, usage: Any, expected: Any) -> None:
    up.script(chat(usage=usage))
    found = post(up).json().get("usage", "no field")
    assert (found["total_tokens"] if isinstance(found, dict) else found) == expected


def test_stream_has_role_pieces_finish_and_done(up: FaultServer) -> None:
    *chunks, done = stream(up, chat_stream(["a", "b"]))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"]["role"] == "assistant"
    assert [choice["delta"].get("content") for choice in choices] == ["", "a", "b", None]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert done == "[DONE]"
    assert {(chunk["model"], chunk["id"]) for chunk in chunks} == {("m-1", chunks[0]["id"])}
    assert not any("usage" in chunk for chunk in chunks)


def test_stream_usage_only_when_asked_and_nulls_before_it(up: FaultServer) -> None:
    *chunks, last, _ = stream(up, chat_stream(completion_tokens=7), **ASKING_USAGE)
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize(
    ("options", "body", "counts"),
    [
        ({"usage": "always"}, {}, [None, None, None, None, 12]),
        ({"usage": "never"}, ASKING_USAGE, ["none"] * 4),
        ({"usage": "zero"}, {}, [None, None, None, None, 0]),
        ({"usage": {"total_tokens": 1}}, {}, [None, None, None, None, 1]),
        ({"usage": "always", "usage_at": "last"}, {}, [None, None, None, 12]),
        ({"usage": "always", "usage_at": "every"}, {}, [12, 12, 12, 12]),
    ],
)
def test_stream_usage_in_other_places(
    up: FaultServer, options: dict[str, Any], body: dict[str, Any], counts: list[Any]
) -> None:
    chunks = stream(up, chat_stream(**options), **body)[:-1]
    found = [chunk.get("usage", "none") for chunk in chunks]
    assert [use["total_tokens"] if isinstance(use, dict) else use for use in found] == counts


def test_stream_faults_in_its_events(up: FaultServer) -> None:
    reply = chat_stream(["a"], done=False, finish=None, broken_lines=2, big_chunk=500_000)
    got = stream(up, reply)
    assert got[1:3] == ['{"broken": '] * 2
    assert len(got[-1]["choices"][0]["delta"]["content"]) == 500_000
    assert got[-1]["choices"][0]["finish_reason"] is None


def test_stream_with_more_choices_tells_them_apart(up: FaultServer) -> None:
    chunks = stream(up, chat_stream(["a"], n=2))[:-1]
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1] * 3


def test_sse_takes_named_events_and_raw_bytes(up: FaultServer) -> None:
    up.script(sse({"type": "response.completed"}, b": ping\n\n", named=True, done=False))
    expected = b'event: response.completed\ndata: {"type":"response.completed"}\n\n: ping\n\n'
    assert post(up).content == expected


def test_errors_in_both_shapes(up: FaultServer) -> None:
    up.script(
        error(401), error(429, code="insufficient_quota", retry_after=30), gemini_error_array(400)
    )
    assert post(up).json()["error"]["code"] == "invalid_api_key"
    limited = post(up)
    assert limited.headers["Retry-After"] == "30"
    assert limited.json()["error"]["code"] == "insufficient_quota"
    assert post(up).json()[0]["error"]["status"] == "INVALID_ARGUMENT"


def test_redirect_and_split_headers(up: FaultServer) -> None:
    up.script(redirect("http://169.254.169.254/"), split_headers(), models(["one"]))
    assert post(up).headers["Location"] == "http://169.254.169.254/"
    assert post(up).headers["Set-Cookie"] == "owned=1"
    assert [model["id"] for model in post(up).json()["data"]] == ["one"]


def test_gzip_bomb_unpacks_a_thousandfold_to_valid_json(up: FaultServer) -> None:
    size = (24 << 20) + 12345
    up.script(gzip_bomb(size))
    url = up.base_url + "/chat/completions"
    with requests.post(
        url, json={}, headers={"Accept-Encoding": "identity"}, stream=True, timeout=5
    ) as got:
        packed = got.raw.read(decode_content=False)
    assert len(packed) < size / 900
    plain = gzip.decompress(packed)
    assert len(plain) == size
    assert json.loads(plain).keys() == {"a"}
    assert len(zlib.decompressobj(31).decompress(packed)) == size, "one member, not many"


def test_giant_bodies_are_not_held_in_memory(up: FaultServer) -> None:
    size = 300 << 20
    up.script(giant_json(size), endless_line(size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for ends in (b'aa"}', b"aaaa"):
        with requests.post(
            up.base_url + "/chat/completions", json={}, stream=True, timeout=5
        ) as got:
            length, last = 0, b""
            for last in got.iter_content(1 << 20):
                length += len(last)
        assert (length, last[-4:]) == (size, ends)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_an_endless_line_ends_with_its_client(up: FaultServer) -> None:
    up.script(endless_line(None))
    with requests.post(up.base_url + "/chat/completions", json={}, stream=True, timeout=5) as got:
        assert got.raw.read(3 << 20).count(b"\n") == 0
        got.raw.close()
    (seen,) = up.wait_for(where=lambda seen: seen.client_gone_at)
    assert seen.sent_bytes >= 3 << 20
