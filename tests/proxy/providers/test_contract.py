"""What every adapter of the registry must do, whoever wrote it. One test file runs them all."""

import ast
import inspect
import json
import sys
from typing import Any

import pytest

from bsod.lib.terms import Blame, ObjectKind, Service, Shape
from proxy.providers.base import Adapter, Asked, Listed, Malformed
from proxy.providers.bridging.adapter import Bridged
from proxy.providers.registry import ADAPTERS, KNOWN
from tests.proxy.providers.talk import asked, chunk, event, final, named, said, usage
from tests.upstream.anthropic import events, message, text

pytestmark = pytest.mark.once

SECRET = "sk-secret-of-this-test"
adapters = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=list(ADAPTERS))
# A path, a body, a whole answer and a stream of each shape; all answers name the model and an id.
ANSWER = {"id": "x_1", "model": "up-1"}
CHOICES = {**ANSWER, "choices": [{"index": 0, "text": "Hi", "finish_reason": "stop",
                                  "message": {"role": "assistant", "content": "Hi"}}]}  # fmt: skip
OUTPUT = {**ANSWER, "object": "response", "status": "completed", "output": []}
ENDED = [named("response.completed", {"type": "response.completed", "response": OUTPUT})]
SHAPES: dict[Shape, tuple[str, dict[str, Any], dict[str, Any], list[bytes]]] = {
    Shape.CHAT: ("chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, CHOICES,
                 [event(chunk("Hi")), event(chunk(finish="stop")), event("[DONE]")]),
    Shape.COMPLETION: ("completions", {"prompt": "Hi"}, CHOICES,
                       [event(CHOICES), event("[DONE]")]),
    Shape.RESPONSE: ("responses", {"input": "Hi"}, OUTPUT, ENDED),
    Shape.COMPACTION: ("responses/compact", {"input": "Hi"}, OUTPUT, []),
    Shape.EMBEDDING: ("embeddings", {"input": "Hi"}, {**ANSWER, "data": []}, []),
    Shape.MODERATION: ("moderations", {"input": "Hi"}, {**ANSWER, "results": []}, []),
    Shape.IMAGE: ("images/generations", {"prompt": "Hi"}, {**ANSWER, "data": []},
                  [named("image_generation.completed", {"b64_json": ""})]),
    Shape.TRANSCRIPTION: ("audio/transcriptions", {}, {"text": "Hi"},
                          [named("transcript.text.done", {"text": "Hi"})]),
    Shape.SPEECH: ("audio/speech", {"input": "Hi"}, {"any": "bytes"},
                   [named("speech.audio.done", {})]),
    Shape.VIDEO: ("videos", {"prompt": "Hi"}, ANSWER, []),
    Shape.RUN: ("threads/runs", {"assistant_id": "asst_1"}, ANSWER,
                [named("thread.run.completed", ANSWER), named("done", "[DONE]")]),
    Shape.BATCH: ("batches", {"input_file_id": "file-1"}, ANSWER, []),
    Shape.FINE_TUNING: ("fine_tuning/jobs", {"training_file": "file-1"}, ANSWER, []),
    Shape.GRADER: ("fine_tuning/alpha/graders/run", {"grader": {}}, {**ANSWER, "reward": 1}, []),
    Shape.FILE: ("files", {"purpose": "batch"}, ANSWER, []),
    Shape.UPLOAD: ("uploads", {"bytes": 1}, ANSWER, []),
    Shape.OBJECT: ("threads", {}, ANSWER, []),
    Shape.CONTENT: ("files/file-1/content", {}, {"any": "bytes"}, []),
}  # fmt: skip
# What is asked and answered in OpenAI's own shape; where it is not named, that is everything.
SERVED = {
    "local": (Shape.CHAT, Shape.COMPLETION),
    "gemini": (Shape.CHAT,),
    "perplexity": (Shape.CHAT,),
    "anthropic": (),
}
# Who speaks a shape of its own: where it is asked, the header of its key, what it answers.
NATIVE: dict[str, tuple[str, str, list[bytes], dict[str, Any]]] = {
    "anthropic": ("/messages", "x-api-key", events(text("Hi"), model="up-1"),
                  message(text("Hi"), model="up-1")),
}  # fmt: skip
_alike = [kind for kind in ADAPTERS if kind not in NATIVE]
shaped = pytest.mark.parametrize("adapter", [ADAPTERS[kind] for kind in _alike], ids=_alike)
natives = pytest.mark.parametrize("kind", NATIVE)
# An answer to these that is no stream goes on as what it is.
JSON_INSTEAD = (Shape.RUN, Shape.IMAGE, Shape.TRANSCRIPTION, Shape.SPEECH)


def served(adapter: Adapter) -> list[Shape]:
    return [shape for shape in Shape if shape in SERVED.get(adapter.kind, Shape)]


def call_of(shape: Shape, **more: Any) -> Asked:
    path, body, _, _ = SHAPES[shape]
    values = {"shape": shape, "path": path, "body": body, "upstream_model": "up-1", "limit": None}
    return asked(**values | more)


def body_of(adapter: Adapter, call: Asked) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(adapter.prepare(call, SECRET).body)
    return value


@adapters
def test_the_registry_knows_it_by_its_own_name(adapter: Adapter) -> None:
    assert ADAPTERS[adapter.kind] is adapter
    assert {known.kind for known in KNOWN} <= set(ADAPTERS)


@adapters
def test_it_is_pure(adapter: Adapter) -> None:
    """No ORM, no socket, nothing that waits: what it imports shows it."""
    inner = adapter.inner if isinstance(adapter, Bridged) else adapter
    for kind in (*type(adapter).__mro__[:-1], *type(inner).__mro__[:-1]):
        tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
        names = {
            name
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        forbidden = ("django", "requests", "socket", "asyncio", "aiohttp", "threading", "os")
        assert not [name for name in names if name.split(".")[0] in forbidden]


@shaped
def test_a_call_becomes_one_request_with_the_key_in_a_header(adapter: Adapter) -> None:
    out = adapter.prepare(asked(stream=False, upstream_model="up-1"), SECRET)
    assert (out.method, out.target) == ("POST", "/chat/completions")
    assert SECRET in out.headers["authorization"]
    assert SECRET not in out.target
    assert SECRET.encode() not in out.body
    assert out.headers["accept-encoding"] == "identity"
    assert out.headers["content-type"] == "application/json"
    assert all(name == name.lower() for name in out.headers)
    body = json.loads(out.body)
    assert body["model"] == "up-1"
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


@adapters
def test_neither_secret_nor_content_shows_when_a_request_is_printed(adapter: Adapter) -> None:
    out = adapter.prepare(asked(body={"messages": [{"role": "user", "content": "canary"}]}), SECRET)
    assert SECRET not in repr(out)
    assert "canary" not in repr(out)


@adapters
def test_the_callers_own_body_is_not_changed(adapter: Adapter) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "user": "u",
            "stream_options": {"include_usage": False}}  # fmt: skip
    before = json.dumps(body)
    adapter.prepare(asked(body=body), SECRET)
    adapter.prepare(asked(body=body, ask_usage=False), SECRET)
    assert json.dumps(body) == before


@shaped
def test_exactly_one_output_limit_is_sent_and_none_where_there_is_none(adapter: Adapter) -> None:
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    limited = body_of(adapter, asked(limit=77))
    assert [limited[name] for name in names if name in limited] == [77]
    unlimited = body_of(adapter, asked(limit=None))
    assert not [name for name in names if name in unlimited]


@shaped
def test_a_stream_asks_for_usage_unless_told_not_to(adapter: Adapter) -> None:
    options = {"include_usage": False}
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    call = asked(body={**body, "stream_options": options})
    assert body_of(adapter, call)["stream_options"]["include_usage"] is True
    assert "stream_options" not in body_of(
        adapter, asked(body={**body, "stream_options": options}, ask_usage=False)
    )
    assert body_of(adapter, asked(body={**body, "stream_options": None}))["stream_options"]


@shaped
def test_who_the_client_is_becomes_an_opaque_hash(adapter: Adapter) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "user": "alice@example.com"}
    told = body_of(adapter, asked(body=body)).get("user")
    # Who knows no such field is told nobody at all.
    assert told == (None if adapter.kind == "gemini" else "an-opaque-hash")
    assert "user" not in body_of(adapter, asked())


@shaped
def test_forwarded_headers_go_along_and_never_replace_the_key(adapter: Adapter) -> None:
    headers = (("openai-beta", "assistants=v2"), ("authorization", "Bearer mine"))
    out = adapter.prepare(asked(headers=headers), SECRET)
    assert out.headers["openai-beta"] == "assistants=v2"
    assert out.headers["authorization"] == f"Bearer {SECRET}"


@shaped
def test_a_stream_is_read_to_its_end(adapter: Adapter) -> None:
    reader = adapter.stream_reader(asked(wants_usage=True))
    out = b"".join(
        reader.feed(event(item))
        for item in (chunk("Hi", usage=None), chunk(finish="stop"), final(), "[DONE]")
    )
    assert [item["choices"][0]["delta"].get("content") for item in said(out)] == ["Hi", None]
    assert reader.complete
    assert reader.usage is not None
    assert said(reader.finish(None))[-1] == "[DONE]"


@shaped
def test_a_whole_answer_is_read(adapter: Adapter) -> None:
    reader = adapter.whole_reader(asked(stream=False, upstream_model="up-1"))
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    reply = {"model": "up-1", "choices": [choice], "usage": usage()}
    reader.whole(json.dumps(reply).encode())
    assert reader.complete
    shown = json.loads(reader.finish(None))
    assert shown == {**shown, **reply, "model": "m"}


@natives
def test_a_shape_of_its_own_is_asked_with_the_key_in_its_own_header(kind: str) -> None:
    target, header, _, _ = NATIVE[kind]
    call = asked(upstream_model="up-1", headers=((header, "mine"), ("authorization", "mine")))
    out = ADAPTERS[kind].prepare(call, SECRET)
    assert (out.method, out.target) == ("POST", target)
    assert [name for name, value in out.headers.items() if SECRET in value] == [header]
    assert "mine" not in out.headers.values()
    assert (out.headers["accept-encoding"], out.headers["content-type"]) == (
        "identity", "application/json",
    )  # fmt: skip
    assert isinstance(out.body, bytes)
    assert SECRET.encode() not in out.body
    assert json.loads(out.body)["model"] == "up-1"


@natives
def test_a_shape_of_its_own_is_read_as_a_chat(kind: str) -> None:
    _, _, frames, reply = NATIVE[kind]
    reader = ADAPTERS[kind].stream_reader(asked(upstream_model="up-1", wants_usage=True))
    chunks = said(b"".join(map(reader.feed, frames)))
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in chunks) == "Hi"
    assert {part["model"] for part in chunks} == {"m"}
    assert (reader.complete, reader.done) == (True, True)
    assert reader.usage is not None
    assert said(reader.finish(None))[-1] == "[DONE]"
    whole = ADAPTERS[kind].whole_reader(asked(upstream_model="up-1", stream=False))
    whole.whole(json.dumps(reply).encode())
    shown = json.loads(whole.finish(None))
    assert (shown["model"], shown["choices"][0]["message"]["content"]) == ("m", "Hi")
    assert whole.complete
    assert whole.usage is not None


@adapters
@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"choices":[]}'])
def test_a_senseless_answer_is_malformed(adapter: Adapter, body: bytes) -> None:
    with pytest.raises(Malformed):
        adapter.whole_reader(asked(stream=False)).whole(body)


@adapters
@pytest.mark.parametrize("head", [b"", b"<html>", b"null", b"[]", b"[[]]", b'{"error":5}', b"\xff"])
@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 408, 418, 422, 429, 500, 529])
def test_every_refusal_has_somebody_to_blame(adapter: Adapter, status: int, head: bytes) -> None:
    verdict = adapter.judge(status, {}, head)
    assert verdict.blame not in (Blame.NOBODY, Blame.CONNECT)
    if verdict.blame is Blame.CLIENT:
        assert verdict.message
    else:
        assert not verdict.message, "what is not the client's fault is not told to him"


@adapters
def test_a_model_list_is_asked_for_and_read(adapter: Adapter) -> None:
    out = adapter.list_models(SECRET)
    assert SECRET in "".join(out.headers.values())
    assert SECRET not in out.target + repr(out)
    if adapter.kind == "perplexity":
        return  # it has no list
    assert (out.method, out.target.partition("?")[0], out.body) == ("GET", "/models", b"")
    rows = [{"id": "a"}, {"id": "models/b"}, {"id": ""}, {"id": 5}, {}, "x", {"id": "x" * 257}]
    assert [model.id for model in adapter.catalog({"data": rows})] == ["a", "models/b"]
    assert adapter.catalog([{"id": "a"}]) == [Listed("a")]
    assert adapter.catalog({"data": []}) == []


@adapters
@pytest.mark.parametrize("payload", [None, 5, "x", {}, {"data": None}, {"data": {}}])
def test_what_is_no_model_list_is_malformed(adapter: Adapter, payload: Any) -> None:
    with pytest.raises(Malformed):
        adapter.catalog(payload)


def test_every_shape_is_in_the_contract() -> None:
    assert set(SHAPES) == set(Shape)


@adapters
def test_a_call_of_any_shape_becomes_one_request(adapter: Adapter) -> None:
    for shape in served(adapter):
        out = adapter.prepare(call_of(shape), SECRET)
        assert (out.method, out.target) == ("POST", f"/{SHAPES[shape][0]}")
        assert out.headers["authorization"] == f"Bearer {SECRET}"
        assert out.headers["accept-encoding"] == "identity"
        assert isinstance(out.body, bytes)
        assert SECRET.encode() not in out.body
        assert b"up-1" in out.body
        if out.headers["content-type"] == "application/json":
            body = json.loads(out.body)
            assert {**SHAPES[shape][1], "model": "up-1"}.items() <= body.items()


@adapters
def test_a_whole_answer_of_any_shape_is_read(adapter: Adapter) -> None:
    for shape in served(adapter):
        reader = adapter.whole_reader(call_of(shape, stream=False))
        assert not reader.complete
        reader.whole(json.dumps(SHAPES[shape][2]).encode())
        assert reader.complete
        assert (reader.usage, reader.found) == (None, [])
        assert reader.tier in (None, "default")
        expected, shown = SHAPES[shape][2], json.loads(reader.finish(None))
        named = {"model": "m"} if "model" in expected else {}
        assert shown == {**shown, **expected, **named}
        assert adapter.kind in SERVED or len(shown) == len(expected)


@adapters
def test_a_stream_of_any_shape_is_read_to_its_end(adapter: Adapter) -> None:
    for shape in served(adapter):
        reader = adapter.stream_reader(call_of(shape))
        assert not reader.complete
        out = b"".join(reader.feed(part) for part in SHAPES[shape][3])
        assert reader.complete is bool(SHAPES[shape][3])
        out += reader.finish(None)
        assert b"up-1" not in out, "the name is the client's in every event"
        assert out.count(b"data: ") == len(SHAPES[shape][3])
        assert reader.passes_json is (shape in JSON_INSTEAD)


@adapters
def test_what_an_answer_has_made_is_found(adapter: Adapter) -> None:
    for shape in served(adapter):
        if shape in (Shape.CHAT, Shape.COMPLETION):
            continue
        if SHAPES[shape][2].get("id") and shape not in NOTHING_MADE:
            reader = adapter.whole_reader(call_of(shape, creates=ObjectKind.FILE))
            reader.whole(json.dumps(SHAPES[shape][2]).encode())
            assert [found.id for found in reader.found] == ["x_1"], shape


NOTHING_MADE = (Shape.EMBEDDING, Shape.MODERATION, Shape.IMAGE, Shape.GRADER)


@shaped
@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_is_the_callers_only_if_it_is_stored(adapter: Adapter, stream: bool) -> None:
    for store in (True, False, None):
        body = {"messages": [{"role": "user", "content": "Hi"}], "store": store}
        call = call_of(Shape.CHAT, body=body, creates=ObjectKind.COMPLETION)
        if stream:
            reader = adapter.stream_reader(call)
            reader.feed(event(chunk("a")) + event(chunk("b")))
            found = reader.found
        else:
            whole = adapter.whole_reader(call)
            whole.whole(json.dumps({**CHOICES, "id": "c1"}).encode())
            found = whole.found
        assert [item.id for item in found] == (["c1"] if store else [])


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        ("openai", {Service.ASSISTANTS, Service.THREADS, Service.VIDEOS,
                    Service.IMAGE_VARIATIONS}),
        ("compatible", set()),
        ("local", set(Service) - {Service.CHAT, Service.COMPLETIONS}),
        ("gemini", set(Service) - {Service.CHAT, Service.EMBEDDINGS, Service.IMAGES,
                                   Service.VIDEOS}),
        ("perplexity", set(Service) - {Service.CHAT}),
        ("anthropic", set(Service) - {Service.CHAT}),
    ],
)  # fmt: skip
def test_what_each_kind_serves(kind: str, lacking: set[Service]) -> None:
    assert {service for service in Service if not ADAPTERS[kind].serves(service)} == lacking


def test_somebody_serves_every_service() -> None:
    for service in Service:
        assert any(adapter.serves(service) for adapter in ADAPTERS.values())
