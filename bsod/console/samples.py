"""Samples of every row of the route table, against the host the visitor came to."""

import json
from typing import Any

from bsod.console import samples_go
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


def languages(route: Route, base: str) -> list[tuple[str, str, str]]:
    """(id, name, code) of the call in each language; those beside curl use no package of ours."""
    return [
        ("curl", "curl", curl(route, base)),
        ("python", "Python", _python(route, base)),
        ("node", "Node", _node(route, base)),
        ("go", "Go", samples_go.program(
            route, base + _path(route), BODIES.get(route.path, _LATER), FORMS.get(route.path, ())
        )),
    ]  # fmt: skip


def _path(route: Route) -> str:
    path = VARIABLE.sub(lambda found: found[1].upper(), docs.shown_path(route))
    return path + "?id=FILE_ID" if route.local == "needs_id" else path


def _python(route: Route, base: str) -> str:
    lines = ["import os", "import requests", "", f"answer = requests.{route.method.lower()}("]
    lines.append(f'    "{base}{_path(route)}",')
    if route.needs_key:
        lines.append('    headers={"Authorization": f"Bearer {os.environ[\'BSOD_KEY\']}"},')
    if route.body is BodyKind.FORM:
        parts = [field.split("=", 1) for field in FORMS.get(route.path, ())]
        files = ", ".join(f'"{n}": open("{v[1:]}", "rb")' for n, v in parts if v[0] == "@")
        plain = ", ".join(f'"{n}": "{v}"' for n, v in parts if v[0] != "@")
        lines += [f"    files={{{files}}},"] if files else []
        lines += [f"    data={{{plain}}},"] if plain else []
    elif route.body is not BodyKind.NONE:
        body = json.dumps(BODIES.get(route.path, _LATER), indent=4).replace("\n", "\n    ")
        lines.append(f"    json={body},")
    seen = "content" if route.reply is ReplyKind.BYTES else "json()"
    return "\n".join([*lines, ")", "answer.raise_for_status()", f"print(answer.{seen})"])


def _node(route: Route, base: str) -> str:
    form = route.body is BodyKind.FORM
    lines = []
    if form:
        lines = ['import { openAsBlob } from "node:fs";', "", "const form = new FormData();"]
        for field in FORMS.get(route.path, ()):
            name, value = field.split("=", 1)
            said = f'await openAsBlob("{value[1:]}"), "{value[1:]}"' if value[0] == "@" else (
                f'"{value}"')  # fmt: skip
            lines.append(f'form.append("{name}", {said});')
    heads = ["Authorization: `Bearer ${process.env.BSOD_KEY}`"] if route.needs_key else []
    json_body = not form and route.body is not BodyKind.NONE
    heads += ['"Content-Type": "application/json"'] if json_body else []
    options = [] if route.method == "GET" else [f'  method: "{route.method}",']
    options += [f"  headers: {{ {', '.join(heads)} }},"] if heads else []
    if json_body:
        body = json.dumps(BODIES.get(route.path, _LATER), indent=2).replace("\n", "\n  ")
        options.append(f"  body: JSON.stringify({body}),")
    options += ["  body: form,"] if form else []
    seen = "arrayBuffer" if route.reply is ReplyKind.BYTES else "json"
    asked = f'const answer = await fetch("{base}{_path(route)}", {{'
    return "\n".join([*lines, asked, *options, "});", f"console.log(await answer.{seen}());"])


def quick_start(base: str, model: str, key: str = "YOUR_KEY") -> list[tuple[str, str, str]]:
    """(id, name, code) of the first call in each language, against the visitor's own host."""
    name = json.dumps(model, ensure_ascii=False)
    shell = name.replace("'", "'\\''")
    return [
        ("curl", "curl", f"""curl {base}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": {shell},
       "messages": [{{"role": "user", "content": "Hi"}}]}}'"""),
        ("python", "Python", f"""from openai import OpenAI

client = OpenAI(
    base_url="{base}/v1",
    api_key="{key}",
)
answer = client.chat.completions.create(
    model={name},
    messages=[{{"role": "user", "content": "Hi"}}],
)
print(answer.choices[0].message.content)"""),
        ("node", "Node", f"""import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: "{base}/v1",
  apiKey: "{key}",
}});
const answer = await client.chat.completions.create({{
  model: {name},
  messages: [{{ role: "user", content: "Hi" }}],
}});
console.log(answer.choices[0].message.content);"""),
        ("go", "Go", samples_go.quick_start(base, name, key)),
    ]  # fmt: skip
