"""What Gemini is asked natively: embeddings, images and films."""

import base64
import json
import struct
from typing import Any

import pytest

from bsod.lib.multipart import Form
from bsod.lib.terms import ObjectKind, Shape
from proxy.providers.base import Malformed, Outbound, Refused, UpstreamFault, Usage
from proxy.providers.gemini import Gemini
from proxy.providers.gemini_films import film_of
from tests.proxy.providers.talk import asked, field, form_of, heard
from tests.upstream import Reply
from tests.upstream.gemini import OPERATION, drawn, operation, vectors

pytestmark = pytest.mark.once

GEMINI = Gemini()
BASE = "https://g.example/v1beta/openai"
EMBED: dict[str, Any] = {"path": "embeddings", "shape": Shape.EMBEDDING, "stream": False,
                         "upstream_model": "models/gemini-embedding-2", "limit": None}  # fmt: skip
DRAW: dict[str, Any] = {"path": "images/generations", "shape": Shape.IMAGE, "stream": False,
                        "upstream_model": "models/gemini-3-pro-image", "limit": None}  # fmt: skip
PAINT = {**DRAW, "upstream_model": "imagen-4.0-generate-001"}
SHOOT: dict[str, Any] = {"path": "videos", "shape": Shape.VIDEO, "stream": False, "limit": None,
                         "upstream_model": "models/veo-3.1-generate-preview", "model": "veo",
                         "creates": ObjectKind.VIDEO}  # fmt: skip
PNG = base64.b64encode(b"\x89PNG").decode()


def sent(call: dict[str, Any], **body: Any) -> tuple[str, Any]:
    """Where a call goes, whole, and its body; the key is in Google's own header alone."""
    out = GEMINI.prepare(asked(**{**call, "body": body}), "key-1")
    return _checked(out)


def _checked(out: Outbound) -> tuple[str, Any]:
    assert out.headers["x-goog-api-key"] == "key-1"
    assert "authorization" not in out.headers
    assert "key-1" not in repr(out) + out.target
    assert isinstance(out.body, bytes)
    return out.under(BASE) + out.target, json.loads(out.body) if out.body else None


def read(call: dict[str, Any], reply: Any, **more: Any) -> tuple[Any, Any]:
    reader = GEMINI.whole_reader(asked(**{**call, **more}))
    reader.whole(_bytes(reply))
    assert reader.complete
    return json.loads(reader.finish(None)), reader


def _bytes(reply: Any) -> bytes:
    """The body of a reply, whatever it is given as."""
    if isinstance(reply, Reply):
        reply = reply.body
    return reply if isinstance(reply, bytes) else json.dumps(reply).encode()


def refused(call: dict[str, Any], **body: Any) -> str:
    with pytest.raises(Refused) as fault:
        sent(call, **body)
    assert fault.value.message
    return fault.value.param


@pytest.mark.parametrize("name", ["a/b", "..", "models/../x", "a?b", "x:y", "", "ф", "a" * 200])
@pytest.mark.parametrize("call", [EMBED, DRAW, SHOOT])
def test_a_name_never_leads_elsewhere(call: dict[str, Any], name: str) -> None:
    body = {"input": "Hi", "prompt": "Hi"}
    assert refused({**call, "upstream_model": name}, **body) == "model"


# ---- embeddings


def test_a_list_of_texts_is_one_batch() -> None:
    to, body = sent(EMBED, input=["a", "b"], dimensions=256, task_type="RETRIEVAL_QUERY", model="x",
                    encoding_format="base64", user="u")  # fmt: skip
    assert to == "https://g.example/v1beta/models/gemini-embedding-2:batchEmbedContents"
    common = {"model": "models/gemini-embedding-2", "taskType": "RETRIEVAL_QUERY",
              "outputDimensionality": 256}  # fmt: skip
    assert body == {"requests": [{**common, "content": {"parts": [{"text": it}]}} for it in "ab"]}
    assert len(sent(EMBED, input="a")[1]["requests"]) == 1


@pytest.mark.parametrize("given", [None, [], "", [5], [[5]], ["a", 5], ["a"] * 101, {}])
def test_what_is_no_text_is_refused(given: Any) -> None:
    if given == "":
        assert sent(EMBED, input=given)[1], "an empty text is Google's to refuse"
    else:
        assert refused(EMBED, input=given) == "input"
    assert refused(EMBED, input="a", encoding_format="hex") == "encoding_format"


def test_vectors_are_lists_or_little_endian_floats() -> None:
    rows = [0.25, -1.5], [3, 0.5]
    body = {"input": ["a", "b"]}
    shown, reader = read(EMBED, vectors(*rows), body=body, model="mine")
    assert [it["embedding"] for it in shown["data"]] == [[0.25, -1.5], [3, 0.5]]
    assert [it["index"] for it in shown["data"]] == [0, 1]
    assert (shown["object"], shown["model"]) == ("list", "mine")
    assert shown["usage"]["total_tokens"] > 0
    assert reader.usage is None, "it was not stated, so it is charged as an estimate"
    packed, _ = read(EMBED, vectors(*rows), body={**body, "encoding_format": "base64"})
    data = base64.b64decode(packed["data"][1]["embedding"])
    assert struct.unpack("<2f", data) == (3.0, 0.5)


def test_stated_usage_is_charged() -> None:
    reply = {"embeddings": [{"values": [1.0]}], "usageMetadata": {"promptTokenCount": 7}}
    shown, reader = read(EMBED, reply, body={"input": "a"})
    assert shown["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert reader.usage == Usage(7, 0)


@pytest.mark.parametrize(
    "reply",
    [{}, {"embeddings": []}, {"embeddings": [{}]}, {"embeddings": [{"values": ["x"]}]}, [],
     {"embeddings": [{"values": []}]}, {"embeddings": [{"values": [1e300]}]}],
)  # fmt: skip
def test_senseless_vectors_are_malformed(reply: Any) -> None:
    with pytest.raises(Malformed):
        read(EMBED, reply, body={"input": "a", "encoding_format": "base64"})


# ---- images


def test_a_picture_is_asked_of_a_model_that_draws() -> None:
    to, body = sent(DRAW, prompt="A cat", size="1536x1024", quality="high", n=1, user="u")
    assert to == "https://g.example/v1beta/models/gemini-3-pro-image:generateContent"
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "A cat"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "3:2"},
        },
    }  # fmt: skip
    assert "imageConfig" not in sent(DRAW, prompt="A", size="auto")[1]["generationConfig"]


def test_several_pictures_are_asked_of_imagen() -> None:
    to, body = sent(PAINT, prompt="A cat", n=3, size="1792x1024", output_format="jpeg")
    assert to == "https://g.example/v1beta/models/imagen-4.0-generate-001:predict"
    parameters = {
        "sampleCount": 3,
        "aspectRatio": "16:9",
        "outputOptions": {"mimeType": "image/jpeg"},
    }
    assert body == {"instances": [{"prompt": "A cat"}], "parameters": parameters}


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        (DRAW, "n", 2), (PAINT, "n", 5), (DRAW, "n", 0), (DRAW, "prompt", ""), (DRAW, "size", "x"),
        (PAINT, "size", "1536x1024"), (DRAW, "response_format", "url"), (DRAW, "prompt", None),
        (DRAW, "background", "transparent"), (DRAW, "output_format", "webp"),
    ],
)  # fmt: skip
def test_a_picture_that_cannot_be_made_is_refused(
    call: dict[str, Any], name: str, value: Any
) -> None:
    assert refused(call, **{"prompt": "A cat", name: value}) == name


def edit(*parts: bytes) -> dict[str, Any]:
    form: Form = form_of(b"b", field("prompt", "Make it blue"), *parts)
    return {**DRAW, "path": "images/edits", "form": form}


def _file(name: str, kind: str = "image/png") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    return f"{head}Content-Type: {kind}\r\n\r\n".encode() + b"\x89PNG"


def test_an_edit_sends_its_pictures_along() -> None:
    to, body = sent(edit(_file("image[]"), _file("image[]", "image/webp")))
    assert to.endswith(":generateContent")
    *given, text = body["contents"][0]["parts"]
    assert [it["inlineData"] for it in given] == [
        {"mimeType": "image/png", "data": PNG}, {"mimeType": "image/webp", "data": PNG},
    ]  # fmt: skip
    assert text == {"text": "Make it blue"}


def test_an_edit_that_cannot_be_made_is_refused() -> None:
    assert refused(edit()) == "image"
    assert refused(edit(_file("image", "text/html"))) == "image"
    assert refused(edit(_file("image"), _file("mask"))) == "mask"
    assert refused({**edit(_file("image")), "upstream_model": "imagen-4"}) == "image"
    assert refused({**edit(_file("image")), "path": "images/variations"}) == "model"


def test_pictures_come_as_openais_and_are_counted() -> None:
    shown, reader = read(DRAW, drawn(PNG, kind="image/jpeg"))
    assert shown["data"] == [{"b64_json": PNG}]
    assert shown["output_format"] == "jpeg"
    assert shown["usage"] == {
        "input_tokens": 270, "output_tokens": 1290, "total_tokens": 1560,
        "input_tokens_details": {"text_tokens": 12, "image_tokens": 258},
    }  # fmt: skip
    assert (reader.units, reader.usage) == (1, Usage(270, 1290))
    rows = [{"bytesBase64Encoded": PNG, "mimeType": "image/png"}, {"raiFilteredReason": "x"}]
    shown, reader = read(PAINT, {"predictions": [*rows, rows[0]]})
    assert len(shown["data"]) == reader.units == 2, "what was filtered is not paid"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, "IMAGE_SAFETY"),
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
        ({"predictions": [{"raiFilteredReason": "filtered"}]}, "filtered"),
        ({}, "filtered"),
    ],
)
def test_a_picture_that_was_filtered_is_the_prompts_fault(reply: Any, why: str) -> None:
    with pytest.raises(Refused) as fault:
        read(DRAW, reply)
    assert fault.value.param == "prompt"
    assert why in fault.value.message


def test_a_picture_may_be_waited_for_as_events() -> None:
    reader = GEMINI.stream_reader(asked(**{**DRAW, "stream": True}))
    assert not reader.passes_json
    out = reader.whole(_bytes(drawn(PNG)))
    assert reader.complete
    ((name, event),) = heard(out + reader.finish(None))
    assert name == event["type"] == "image_generation.completed"
    assert event["b64_json"] == PNG
    assert event["usage"]["total_tokens"] == 1560
    assert (reader.units, reader.usage) == (1, Usage(270, 1290))


def test_an_error_in_a_good_answer_is_the_providers() -> None:
    for call in (EMBED, DRAW):
        with pytest.raises(UpstreamFault):
            read(call, {"error": {"code": 500}})
        for reply in (b"", b"[]", b"<html>"):
            with pytest.raises(Malformed):
                read(call, reply)


# ---- films


def begun(**body: Any) -> str:
    """A film's id, as the answer to its call has it."""
    shown, reader = read(SHOOT, operation(), body={"prompt": "A cat", **body})
    assert [found.id for found in reader.found] == [shown["id"]]
    assert reader.state is not None
    return str(shown["id"])


def look(id_: str, **more: Any) -> dict[str, Any]:
    return {"path": f"videos/{id_}", "method": "GET", "shape": Shape.OBJECT, "stream": False,
            "upstream_model": "", "model": "", "body": {}, "limit": None, **more}  # fmt: skip


def test_a_film_is_begun() -> None:
    url = f"data:image/png;base64,{PNG}"
    to, body = sent(SHOOT, prompt="A cat", seconds="8", size="720x1280", negative_prompt="dogs",
                    input_reference={"image_url": url})  # fmt: skip
    assert to == "https://g.example/v1beta/models/veo-3.1-generate-preview:predictLongRunning"
    image = {"bytesBase64Encoded": PNG, "mimeType": "image/png"}
    assert body == {
        "instances": [{"prompt": "A cat", "image": image}],
        "parameters": {"aspectRatio": "9:16", "resolution": "720p", "durationSeconds": 8,
                       "negativePrompt": "dogs"},
    }  # fmt: skip
    assert sent(SHOOT, prompt="A cat")[1]["parameters"]["durationSeconds"] == 4


def test_a_film_is_begun_by_a_form() -> None:
    form = form_of(b"b", field("prompt", "A cat"), field("seconds", "6"), _file("input_reference"))
    _, body = sent({**SHOOT, "form": form})
    assert body["instances"][0]["image"]["bytesBase64Encoded"] == PNG
    assert body["parameters"]["durationSeconds"] == 6
    shown, _ = read(SHOOT, operation(), form=form)
    assert shown["seconds"] == "6"


@pytest.mark.parametrize(
    ("name", "value"),
    [("prompt", None), ("size", "1x1"), ("seconds", "x"), ("seconds", 0), ("seconds", 1.5),
     ("input_reference", "https://a.example/x.png"), ("input_reference", {"file_id": "f"})],
)  # fmt: skip
def test_a_film_that_cannot_be_made_is_refused(name: str, value: Any) -> None:
    assert refused(SHOOT, **{"prompt": "A cat", name: value}) == name


def test_a_film_that_was_begun_is_a_video_object() -> None:
    shown, reader = read(SHOOT, operation(), body={"prompt": "A cat", "size": "1920x1080"})
    assert shown["model"] == "veo", "the client's own name for it"
    assert (shown["object"], shown["status"], shown["progress"]) == ("video", "queued", 0)
    assert (shown["seconds"], shown["size"], shown["error"]) == ("4", "1920x1080", None)
    assert reader.found[0].data == {"model": "veo-3.1-generate-preview", "seconds": "4"}
    film = film_of(shown["id"])
    assert f"{film.target[1:]}" == OPERATION
    assert film.born == shown["created_at"]
    assert shown["id"].replace("-", "").replace("_", "").isalnum()
    assert len(shown["id"]) <= 128


def test_a_film_is_looked_at_until_it_has_ended() -> None:
    id_ = begun(seconds=8)
    to, body = _checked(GEMINI.prepare(asked(**look(id_)), "key-1"))
    assert (to, body) == (f"https://g.example/v1beta/{OPERATION}", None)
    running, _ = read(look(id_), operation())
    assert (running["id"], running["status"], running["seconds"]) == (id_, "in_progress", "8")
    done, reader = read(look(id_), operation(done=True))
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert done["expires_at"] > done["created_at"]
    assert reader.state == done
    filtered, _ = read(look(id_), operation(done=True, file=None))
    assert (filtered["status"], filtered["error"]["code"]) == ("failed", "moderation_blocked")
    text = "Video of https://g.example failed"
    broken, _ = read(look(id_), operation(done=True, error={"code": 13, "message": text}))
    assert broken["error"] == {"code": "video_generation_failed", "message": "Video of … failed"}


def test_a_finished_film_is_fetched_from_where_its_operation_says() -> None:
    id_ = begun()
    headers = (("range", "bytes=0-9"), ("accept", "application/binary"))
    call = look(id_, path=f"videos/{id_}/content", shape=Shape.CONTENT, headers=headers)
    first = GEMINI.prepare(asked(**call), "key-1")
    assert _checked(first)[0] == f"https://g.example/v1beta/{OPERATION}"
    assert "range" not in first.headers
    assert first.onward
    then = first.onward(_bytes(operation(done=True)))
    to = "https://g.example/download/v1beta/files/f1lm:download?alt=media"
    assert _checked(then)[0] == to
    assert then.headers["range"] == "bytes=0-9"
    assert then.onward is None
    for reply in (
        operation(),
        operation(done=True, file=None),
        operation(done=True, file="a/../b"),
    ):
        with pytest.raises(Refused):
            first.onward(_bytes(reply))
    with pytest.raises(Malformed):
        first.onward(b"<html>")
    with pytest.raises(Refused):
        GEMINI.prepare(asked(**{**call, "query": "variant=thumbnail"}), "key-1")


@pytest.mark.parametrize(
    "inside", ["", "a", "m/o/zz/4/1x1", "../o/ff/4/1280x720", "m/o/ff/4/12x720"]
)
def test_an_id_that_was_not_made_here_leads_nowhere(inside: str) -> None:
    id_ = "video_" + base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")
    for name in (id_, inside or "x", "video_ä"):
        with pytest.raises(Refused) as fault:
            film_of(name)
        assert fault.value.param == "video_id"


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "videos/ID"), ("POST", "videos/ID/remix"), ("POST", "videos/edits"),
     ("GET", "videos/characters/c")],
)  # fmt: skip
def test_what_veo_cannot_do_is_refused(method: str, path: str) -> None:
    call = look("x", method=method, path=path.replace("ID", begun()))
    with pytest.raises(Refused):
        GEMINI.prepare(asked(**call), "key-1")


@pytest.mark.parametrize("reply", [b"", [], {}, {"name": "x"}, {"name": "models/../operations/a"}])
def test_what_is_no_operation_is_malformed(reply: Any) -> None:
    with pytest.raises(Malformed):
        read(SHOOT, reply, body={"prompt": "A"})
