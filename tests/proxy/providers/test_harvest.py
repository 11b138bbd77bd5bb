"""Whose an id of an answer is: what was made, what has come of it, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import ObjectKind
from proxy.providers.base import Found
from proxy.providers.harvest import STORED, harvest

pytestmark = pytest.mark.once
K = ObjectKind

UPLOAD = {"id": "upload_1", "object": "upload", "bytes": 9, "created_at": 10, "expires_at": 3610,
          "filename": "a.jsonl", "purpose": "batch", "status": "pending"}  # fmt: skip
FILE = {"id": "file-1", "object": "file", "bytes": 9, "purpose": "batch", "filename": "secret.txt"}
UPLOAD_DATA = {name: UPLOAD[name] for name in UPLOAD if name not in ("id", "object")}


@pytest.mark.parametrize(
    ("creates", "payload", "expected"),
    [
        (K.ASSISTANT, {"id": "asst_1", "object": "assistant", "instructions": "secret"},
         [Found(K.ASSISTANT, "asst_1")]),
        (K.THREAD, {"id": "thread_1", "object": "thread"}, [Found(K.THREAD, "thread_1")]),
        (K.MESSAGE, {"id": "msg_1", "thread_id": "thread_1"}, [Found(K.MESSAGE, "msg_1")]),
        (K.VECTOR_STORE, {"id": "vs_1", "name": "secret"}, [Found(K.VECTOR_STORE, "vs_1")]),
        (K.FILE_BATCH, {"id": "vsfb_1", "object": "vector_store.files_batch"},
         [Found(K.FILE_BATCH, "vsfb_1")]),
        (K.PART, {"id": "part_1", "object": "upload.part", "upload_id": "upload_1"},
         [Found(K.PART, "part_1")]),
        (K.VOICE, {"id": "voice_1"}, [Found(K.VOICE, "voice_1")]),
        (K.CONSENT, {"id": "cons_1"}, [Found(K.CONSENT, "cons_1")]),
        (K.CHARACTER, {"id": "char_1", "name": "secret"}, [Found(K.CHARACTER, "char_1")]),
        (K.COMPLETION, {"id": "chatcmpl-1"}, [Found(K.COMPLETION, "chatcmpl-1", {}, STORED)]),
        (K.FILE, FILE, [Found(K.FILE, "file-1", {"bytes": 9, "purpose": "batch"})]),
        (K.FILE, {**FILE, "created_at": 100, "expires_at": 3700},
         [Found(K.FILE, "file-1", {"bytes": 9, "purpose": "batch"}, 3600.0)]),
        (K.VIDEO, {"id": "video_1", "model": "sora-2", "seconds": "8", "prompt": "secret"},
         [Found(K.VIDEO, "video_1", {"model": "sora-2", "seconds": "8"})]),
        (K.RUN, {"id": "run_1", "object": "thread.run", "thread_id": "thread_1"},
         [Found(K.RUN, "run_1"), Found(K.THREAD, "thread_1")]),
        (K.RESPONSE, {"id": "resp_1", "output": [{"id": "msg_1"}, {"id": "rs_1"}, {}, 5]},
         [Found(K.RESPONSE, "resp_1", {}, STORED), Found(K.ITEM, "msg_1", {}, STORED),
          Found(K.ITEM, "rs_1", {}, STORED)]),
        (None, {"id": "resp_1", "object": "response", "output": [{"id": "msg_1"}]},
         [Found(K.ITEM, "msg_1", {}, STORED)]),
        (K.BATCH, {"id": "batch_1", "object": "batch", "input_file_id": "file-9"},
         [Found(K.BATCH, "batch_1")]),
        (None, {"id": "batch_1", "object": "batch", "output_file_id": "file-2",
                "error_file_id": "file-3", "input_file_id": "file-9"},
         [Found(K.FILE, "file-2"), Found(K.FILE, "file-3")]),
        (None, {"id": "batch_1", "object": "batch", "output_file_id": None}, []),
        (K.FINE_TUNING_JOB, {"id": "ftjob-1", "object": "fine_tuning.job", "result_files": [],
                             "fine_tuned_model": None, "training_file": "file-9"},
         [Found(K.FINE_TUNING_JOB, "ftjob-1")]),
        (None, {"object": "fine_tuning.job", "id": "ftjob-1", "result_files": ["file-4", None],
                "fine_tuned_model": "ft:gpt-4o-mini:acme:suffix:abc"},
         [Found(K.FILE, "file-4"), Found(K.MODEL, "ft:gpt-4o-mini:acme:suffix:abc")]),
        (None, {"object": "list", "data": [
            {"object": "fine_tuning.job.checkpoint", "id": "ftckpt_1",
             "fine_tuned_model_checkpoint": "ft:m:acme::1:ckpt-step-88"}, 5, {}]},
         [Found(K.MODEL, "ft:m:acme::1:ckpt-step-88")]),
        (None, {"object": "list", "data": [{"id": "file-1", "object": "file"}]}, []),
        (None, {"id": "file-1", "object": "file"}, []),
        (K.UPLOAD, UPLOAD, [Found(K.UPLOAD, "upload_1", UPLOAD_DATA)]),
        (K.FILE, {**UPLOAD, "status": "completed", "file": FILE},
         [Found(K.UPLOAD, "upload_1", {**UPLOAD_DATA, "status": "completed"}),
          Found(K.FILE, "file-1", {"bytes": 9, "purpose": "batch"})]),
        (None, {**UPLOAD, "status": "cancelled", "file": None},
         [Found(K.UPLOAD, "upload_1", {**UPLOAD_DATA, "status": "cancelled"})]),
    ],
)  # fmt: skip
def test_what_an_answer_has_made(
    creates: ObjectKind | None, payload: Any, expected: list[Found]
) -> None:
    assert harvest(creates, payload) == expected


@pytest.mark.parametrize(
    "name",
    [None, 5, "", "a/b", "../x", "a b", "a\n", "ä", "x" * 257, ["a"], {"id": "a"}, "a?b", "a%2e"],
)
def test_what_can_be_no_id_is_nobodys(name: Any) -> None:
    assert harvest(K.FILE, {"id": name}) == []
    assert harvest(K.RUN, {"id": name, "thread_id": name}) == []
    assert harvest(None, {"object": "batch", "output_file_id": name}) == []
    job = {"object": "fine_tuning.job", "result_files": [name], "fine_tuned_model": name}
    assert harvest(None, job) == []


def test_an_id_may_be_as_long_as_its_column() -> None:
    assert [found.id for found in harvest(K.FILE, {"id": "x" * 256})] == ["x" * 256]


@pytest.mark.parametrize("dies", [50, 100, None, "soon", 3700.5, True])
def test_an_end_that_makes_no_sense_is_not_believed(dies: Any) -> None:
    (found,) = harvest(K.FILE, {**FILE, "created_at": 100, "expires_at": dies})
    assert found.lives is None


def test_an_id_that_is_told_twice_is_taken_once() -> None:
    reply = {"id": "resp_1", "output": [{"id": "msg_1"}, {"id": "msg_1"}]}
    assert [found.id for found in harvest(K.RESPONSE, reply)] == ["resp_1", "msg_1"]


def test_of_an_object_only_what_is_small_is_kept() -> None:
    reply = {**FILE, "bytes": {"a": 1}, "purpose": "x" * 5000}
    assert harvest(K.FILE, reply) == [Found(K.FILE, "file-1")]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("list"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "object", "data", "file", "output"]), inner)
    ),
    max_leaves=10,
)
shapes = st.sampled_from(["upload", "batch", "response", "fine_tuning.job", "list", "thread.run"])


@given(st.none() | st.sampled_from(list(K)), values, shapes)
def test_nothing_a_provider_says_breaks_it(
    creates: ObjectKind | None, value: Any, name: str
) -> None:
    payload = {**value, "object": name} if isinstance(value, dict) else value
    for found in harvest(creates, payload):
        assert found.id
        assert found.id.isascii()
