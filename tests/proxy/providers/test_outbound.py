"""What goes out: bodies of every kind, byte for byte where nothing has to change."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.multipart import FormReader
from bsod.lib.spool import Spool
from bsod.lib.terms import Shape
from proxy.providers.base import Asked, Outbound, Refused
from proxy.providers.compatible import Compatible
from proxy.providers.openai import OpenAI
from tests.proxy.providers.talk import asked, field, form_bytes, form_of

pytestmark = pytest.mark.once

TYPE = "multipart/form-data; boundary=b0undary"
IMAGE = (
    b'Content-Disposition: form-data; name="image[]"; filename="cat.png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x00\xff--b0undar"
)
PARTS = [field("model", "m"), IMAGE, IMAGE, field("prompt", "Ein Kätzchen"), field("x[]", "1")]


def call(**more: Any) -> Asked:
    values = {"shape": Shape.OBJECT, "path": "x", "body": {}, "stream": False, "limit": None,
              "upstream_model": "", "model": ""}  # fmt: skip
    return asked(**values | more)


def sent(adapter: Any = None, **more: Any) -> Outbound:
    out = (adapter or Compatible()).prepare(call(**more), "sk-1")
    assert isinstance(out, Outbound)
    return out


def body_of(out: Outbound) -> bytes:
    body = out.body
    return body if isinstance(body, bytes) else b"".join(body.chunks())


def form(*parts: bytes) -> Any:
    return form_of(b"b0undary", *parts)


def test_path_method_and_query_are_as_asked() -> None:
    out = sent(method="GET", path="files/file-1/content", query="a[]=1&b=%20")
    assert (out.method, out.target) == ("GET", "/files/file-1/content?a[]=1&b=%20")
    assert out.body == b""
    assert "content-type" not in out.headers


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_call_without_a_body_sends_none(method: str) -> None:
    out = sent(method=method, path="responses/resp_1")
    assert out.body == b""
    assert "content-type" not in out.headers


@pytest.mark.parametrize("path", ["responses/r/cancel", "fine_tuning/jobs/j/pause", "x/resume"])
def test_a_post_that_has_no_body_sends_none(path: str) -> None:
    assert sent(path=path).body == b""


@pytest.mark.parametrize("path", ["threads", "assistants/asst_1", "vector_stores"])
def test_an_empty_object_is_a_body(path: str) -> None:
    out = sent(path=path)
    assert out.body == b"{}"
    assert out.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (Shape.COMPLETION, "max_tokens"),
        (Shape.RESPONSE, "max_output_tokens"),
        (Shape.RUN, "max_completion_tokens"),
        (Shape.CHAT, "max_tokens"),
        (Shape.EMBEDDING, None), (Shape.MODERATION, None), (Shape.IMAGE, None),
        (Shape.SPEECH, None), (Shape.BATCH, None), (Shape.OBJECT, None), (Shape.GRADER, None),
    ],
)  # fmt: skip
def test_each_shape_has_its_own_word_for_an_output_limit(shape: Shape, name: str | None) -> None:
    body = json.loads(body_of(sent(shape=shape, limit=7, body={"a": 1})))
    assert body == ({"a": 1, name: 7} if name else {"a": 1})
    assert json.loads(body_of(sent(shape=shape, limit=None, body={"a": 1}))) == {"a": 1}


def test_openai_wants_a_chats_limit_in_its_newer_spelling_only_there() -> None:
    for shape, name in ((Shape.CHAT, "max_completion_tokens"), (Shape.COMPLETION, "max_tokens")):
        assert json.loads(body_of(sent(OpenAI(), shape=shape, limit=7))) == {name: 7}


def test_the_model_goes_out_under_the_providers_name_or_as_it_came() -> None:
    assert json.loads(body_of(sent(upstream_model="up", body={"model": "M"}))) == {"model": "up"}
    assert json.loads(body_of(sent(upstream_model="up", body={"a": 1}))) == {"a": 1, "model": "up"}
    assert json.loads(body_of(sent(body={"model": "M"}))) == {"model": "M"}
    assert json.loads(body_of(sent(body={"a": 1}))) == {"a": 1}


def test_who_the_client_is_becomes_an_opaque_hash_in_responses_and_forms_too() -> None:
    body = {"user": "alice", "safety_identifier": "alice", "prompt_cache_key": "mine",
            "metadata": {"user": "alice"}}  # fmt: skip
    out = sent(shape=Shape.RESPONSE, body=body, user="h4sh")
    assert json.loads(body_of(out)) == {**body, "user": "h4sh", "safety_identifier": "h4sh"}
    given_form = form(field("prompt", "x"), field("user", "alice"))
    out = sent(form=given_form, user="h4sh")
    assert body_of(out) == form_bytes(b"b0undary", field("prompt", "x"), field("user", "h4sh"))


@pytest.mark.parametrize("shape", list(Shape))
def test_usage_is_asked_for_where_a_stream_can_give_it(shape: Shape) -> None:
    body = {"stream": True, "stream_options": {"include_obfuscation": False}}
    options = json.loads(body_of(sent(shape=shape, stream=True, body=body)))["stream_options"]
    asks = shape in (Shape.CHAT, Shape.COMPLETION)
    assert options == {"include_obfuscation": False, **({"include_usage": True} if asks else {})}


def test_what_the_client_accepts_goes_along_and_an_encoding_never() -> None:
    assert sent().headers["accept"] == "application/json"
    headers = (("accept", "text/event-stream"), ("accept-encoding", "gzip"), ("range", "bytes=0-"),
               ("content-type", "text/plain"), ("authorization", "Bearer mine"))  # fmt: skip
    got = sent(headers=headers, body={"a": 1}).headers
    assert got["accept"] == "text/event-stream"
    assert got["accept-encoding"] == "identity"
    assert got["range"] == "bytes=0-"
    assert got["content-type"] == "application/json"
    assert got["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("theirs", "beta", "expected"),
    [
        (None, True, "assistants=v2"),
        ("assistants=v2", True, "assistants=v2"),
        ("assistants=v1", True, "assistants=v1"),
        ("responses=v1", True, "responses=v1, assistants=v2"),
        ("responses=v1", False, "responses=v1"),
        (None, False, None),
    ],
)
def test_the_beta_of_assistants_is_named_where_it_is_needed(
    theirs: str | None, beta: bool, expected: str | None
) -> None:
    headers = (("openai-beta", theirs),) if theirs else ()
    assert sent(headers=headers, beta=beta).headers.get("openai-beta") == expected


def test_a_form_goes_on_byte_for_byte() -> None:
    out = sent(form=form(*PARTS), body={"model": "m"}, upstream_model="m", model="m")
    assert body_of(out) == form_bytes(b"b0undary", *PARTS)
    assert out.headers["content-type"] == TYPE
    assert not isinstance(out.body, bytes), "it is never in memory as a whole"
    assert out.body.length == len(form_bytes(b"b0undary", *PARTS))
    assert b"".join(out.body.chunks()) == body_of(out), "it can be sent again"


def test_a_form_loses_and_changes_only_what_it_must() -> None:
    bad = (field("api_base", "http://evil"), field("extra_headers[authorization]", "x"))
    evil = field("file", "x", '; filename="../../etc/passwd.txt"')
    out = sent(form=form(*PARTS, *bad, evil), body={"model": "m"}, upstream_model="up")
    assert body_of(out) == form_bytes(
        b"b0undary", field("model", "up"), *PARTS[1:], field("file", "x", '; filename="file.txt"')
    )


def test_a_form_that_names_no_model_gets_the_one_that_was_meant() -> None:
    out = sent(form=form(IMAGE), upstream_model="gpt-image-1")
    assert body_of(out) == form_bytes(b"b0undary", IMAGE, field("model", "gpt-image-1"))
    assert body_of(sent(form=form(IMAGE))) == form_bytes(b"b0undary", IMAGE)


def test_a_model_that_is_there_twice_is_there_once() -> None:
    twice = form(field("model", "m"), field("model", "other"))
    out = sent(form=twice, body={"model": "m"}, upstream_model="m")
    assert body_of(out) == form_bytes(b"b0undary", field("model", "m"))


def test_a_boundary_chosen_to_be_the_models_name_is_refused() -> None:
    hostile = form_of(b"up", field("model", "m"))
    with pytest.raises(Refused):
        sent(form=hostile, body={"model": "m"}, upstream_model="\r\n--up\r\n")


@pytest.mark.parametrize("path", ["videos", "videos/edits", "videos/extensions"])
def test_a_video_asked_for_in_json_goes_out_as_a_form(path: str) -> None:
    body = {"prompt": "Zwei\r\nKätzchen", "seconds": "8", "n": 2, "loud": True, "none": None,
            "input_reference": {"file_id": "file-1"}, "character_ids": ["a", "b"]}  # fmt: skip
    out = sent(shape=Shape.VIDEO, path=path, body=body, upstream_model="sora-2")
    boundary = out.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert body_of(out) == form_bytes(
        boundary.encode(),
        field("prompt", "Zwei\r\nKätzchen"), field("seconds", "8"), field("n", "2"),
        field("loud", "true"), field("input_reference[file_id]", "file-1"),
        field("character_ids[]", "a"), field("character_ids[]", "b"), field("model", "sora-2"),
    )  # fmt: skip


def test_a_remix_goes_out_as_json() -> None:
    out = sent(shape=Shape.VIDEO, path="videos/video_1/remix", body={"prompt": "x"})
    assert body_of(out) == b'{"prompt":"x"}'


@pytest.mark.parametrize("name", ['a"b', "a\r\nb", "", "a b", "ä", "a[b]", "x" * 101])
def test_a_field_whose_name_cannot_be_sent_is_refused(name: str) -> None:
    for body in ({name: "x"}, {"video": {name: "x"}}):
        with pytest.raises(Refused):
            sent(shape=Shape.VIDEO, path="videos", body=body)


names = st.text("ab_-.", min_size=1, max_size=4)


@given(st.dictionaries(names, st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=2)))
def test_a_form_of_ours_says_what_the_object_said(body: dict[str, Any]) -> None:
    out = sent(shape=Shape.VIDEO, path="videos", body=body)
    with Spool(Path("unused")) as spool:
        reader = FormReader(out.headers["content-type"].encode(), spool)
        reader.feed(body_of(out))
        assert reader.finish().fields() == {
            f"{name}[]" if isinstance(value, list) else name: [value]
            if isinstance(value, str)
            else value
            for name, value in body.items()
            if value != []
        }
