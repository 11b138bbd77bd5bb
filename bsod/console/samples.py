"""A curl call for every row of the route table, against the host the visitor came to."""

import json
from typing import Any

from proxy import docs
from proxy.route import VARIABLE, BodyKind, ReplyKind, Route

_TALK = [{"role": "user", "content": "What is 2 + 2?"}]
_LATER = {"metadata": {"note": "mine"}}
_GRADER = {
    "type": "string_check", "name": "same", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "4",
}  # fmt: skip
_RUNS = "/v1/threads/{thread_id}/runs"
_STORE = "/v1/vector_stores/{vector_store_id}"
_SHARED = "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"
# What a JSON body holds, by path; objects whose body is not here have nothing but metadata.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/realtime/sessions": {"model": "gpt-realtime"},
    "/v1/chat/completions": {"model": "gpt-5.4", "messages": _TALK, "max_tokens": 64},
    "/v1/responses": {"model": "gpt-5.4", "input": "What is 2 + 2?", "max_output_tokens": 64},
    "/v1/responses/compact": {"model": "gpt-5.4", "input": _TALK},
    "/v1/responses/input_tokens": {"model": "gpt-5.4", "input": "What is 2 + 2?"},
    "/v1/completions": {"model": "gpt-3.5-turbo-instruct", "prompt": "2 + 2 =", "max_tokens": 4},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "a blue screen"},
    "/v1/moderations": {"model": "omni-moderation-latest", "input": "a blue screen"},
    "/v1/images/generations": {"model": "gpt-image-1", "prompt": "a blue screen", "n": 1},
    "/v1/audio/speech": {"model": "tts-1", "voice": "alloy", "input": "It works."},
    "/v1/audio/voice_consents/{consent_id}": {"name": "Alice"},
    "/v1/videos": {"model": "sora-2", "prompt": "a blue screen at sea", "seconds": "4"},
    "/v1/videos/edits": {"video": {"id": "VIDEO_ID"}, "prompt": "at night"},
    "/v1/videos/extensions": {"video": {"id": "VIDEO_ID"}, "prompt": "a storm", "seconds": "4"},
    "/v1/videos/{video_id}/remix": {"prompt": "at night"},
    "/v1/uploads": {
        "filename": "data.jsonl", "purpose": "batch", "bytes": 1000, "mime_type": "text/jsonl"
    },
    "/v1/uploads/{upload_id}/complete": {"part_ids": ["PART_ID"]},
    "/v1/assistants": {"model": "gpt-5.4", "instructions": "Answer in one word."},
    "/v1/threads": {"messages": _TALK},
    "/v1/threads/runs": {"assistant_id": "ASSISTANT_ID", "thread": {"messages": _TALK}},
    "/v1/threads/{thread_id}/messages": _TALK[0],
    _RUNS: {"assistant_id": "ASSISTANT_ID", "max_completion_tokens": 256},
    f"{_RUNS}/{{run_id}}/submit_tool_outputs": {
        "tool_outputs": [{"tool_call_id": "CALL_ID", "output": "4"}]
    },
    "/v1/batches": {
        "input_file_id": "FILE_ID", "endpoint": "/v1/chat/completions", "completion_window": "24h"
    },
    "/v1/fine_tuning/jobs": {"model": "gpt-4o-mini-2024-07-18", "training_file": "FILE_ID"},
    _SHARED: {"project_ids": ["PROJECT_ID"]},
    "/v1/fine_tuning/alpha/graders/run": {"grader": _GRADER, "item": {}, "model_sample": "4"},
    "/v1/fine_tuning/alpha/graders/validate": {"grader": _GRADER},
    "/v1/vector_stores": {"name": "notes", "file_ids": ["FILE_ID"]},
    f"{_STORE}/search": {"query": "blue screens"},
    f"{_STORE}/files": {"file_id": "FILE_ID"},
    f"{_STORE}/files/{{file_id}}": {"attributes": {"year": 2026}},
    f"{_STORE}/file_batches": {"file_ids": ["FILE_ID"]},
}  # fmt: skip
# The fields of a form, by path.
FORMS: dict[str, tuple[str, ...]] = {
    "/v1/images/edits": ("image=@picture.png", "prompt=make it blue", "model=gpt-image-1"),
    "/v1/images/variations": ("image=@picture.png", "model=dall-e-2"),
    "/v1/audio/transcriptions": ("file=@talk.mp3", "model=whisper-1"),
    "/v1/audio/translations": ("file=@talk.mp3", "model=whisper-1"),
    "/v1/audio/voices": ("name=mine", "audio_sample=@voice.wav", "consent=CONSENT_ID"),
    "/v1/audio/voice_consents": ("name=Alice", "recording=@consent.wav", "language=en"),
    "/v1/videos/characters": ("name=Blue", "video=@blue.mp4"),
    "/v1/files": ("file=@data.jsonl", "purpose=batch"),
    "/v1/uploads/{upload_id}": ("data=@part.bin",),
    "/v1/uploads/{upload_id}/parts": ("data=@part.bin",),
}


def curl(route: Route, base: str) -> str:
    """The call, with the ids of its path and the key as shell variables."""
    path = VARIABLE.sub(lambda found: "$" + found[1].upper(), docs.shown_path(route))
    if route.local == "needs_id":
        path += "?id=$FILE_ID"
    plain = "GET" if route.body is BodyKind.NONE else "POST"
    method = [] if route.method == plain else [f"-X {route.method}"]
    lines = [" ".join(["curl", *method, f'"{base}{path}"']), *_options(route)]
    return " \\\n  ".join(lines)


def _options(route: Route) -> list[str]:
    found = ['-H "Authorization: Bearer $BSOD_KEY"'] if route.needs_key else []
    if route.reply is ReplyKind.BYTES:
        found.append("-o answer.bin")
    if route.body is BodyKind.FORM:
        found += [f'-F "{field}"' for field in FORMS.get(route.path, ())]
    elif route.body is not BodyKind.NONE:
        found += ['-H "Content-Type: application/json"', f"-d '{_body(route.path)}'"]
    return found


def _body(path: str) -> str:
    """JSON on one line where it fits there."""
    value = BODIES.get(path, _LATER)
    short = json.dumps(value)
    return short if len(short) < 50 else json.dumps(value, indent=2).replace("\n", "\n  ")
