"""Which ids of an answer are now the caller's (SPEC §4: objects live on shared accounts).

Pure: an answer in, what it has made out. Kept of an object are sizes and states, never content;
an upload alone is kept as far as the provider tells it, because the provider does not tell twice.
"""

import re
from collections.abc import Iterator
from typing import Any, TypeGuard

from bsod.lib.terms import ObjectKind
from proxy.providers.base import Found
from proxy.providers.reading import dicts

STORED = 30 * 86_400.0  # seconds a stored response or completion is kept by the provider
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,256}", re.ASCII)
_KEPT: dict[ObjectKind, tuple[str, ...]] = {
    ObjectKind.FILE: ("bytes", "purpose"),
    ObjectKind.VIDEO: ("model", "seconds"),
    ObjectKind.ASSISTANT: ("model",),
    ObjectKind.UPLOAD: (
        "bytes", "purpose", "mime_type", "filename", "created_at", "expires_at", "status",
    ),
}  # fmt: skip
_STORED = {ObjectKind.RESPONSE, ObjectKind.ITEM, ObjectKind.COMPLETION}


def harvest(creates: ObjectKind | None, payload: Any) -> list[Found]:
    """The ids in a 2xx answer of a call that makes a `creates`, each once."""
    if not isinstance(payload, dict):
        return []
    return list({(found.kind, found.id): found for found in _all(creates, payload)}.values())


def found(kind: ObjectKind, value: Any) -> Iterator[Found]:
    """The object, if it has an id that can be one."""
    name = value.get("id") if isinstance(value, dict) else None
    if _is_id(name):
        data = {k: value[k] for k in _KEPT.get(kind, ()) if _small(value.get(k))}
        yield Found(kind, name, data, _lives(kind, value))


def items(response: dict[str, Any]) -> Iterator[Found]:
    """The items of a response's output."""
    for item in dicts(response.get("output")):
        yield from found(ObjectKind.ITEM, item)
        # A client that keeps its own history names them again in its next call.
        yield from named(ObjectKind.CONTAINER, item.get("container_id"))
        for part in dicts(item.get("content")):
            for note in dicts(part.get("annotations")):
                if note.get("type") == "container_file_citation":
                    yield from named(ObjectKind.CONTAINER, note.get("container_id"))
                    yield from named(ObjectKind.FILE, note.get("file_id"))


def named(kind: ObjectKind, name: Any) -> Iterator[Found]:
    """An object that is only mentioned."""
    if _is_id(name):
        yield Found(kind, name)


def _all(creates: ObjectKind | None, payload: dict[str, Any]) -> Iterator[Found]:
    shape = payload.get("object")
    if shape == "upload":
        # Completing it makes a file, whose id is not the upload's.
        yield from found(ObjectKind.UPLOAD, payload)
        yield from found(ObjectKind.FILE, payload.get("file"))
    elif creates:
        yield from found(creates, payload)
    if creates is ObjectKind.RESPONSE or shape == "response":
        yield from items(payload)
    elif creates is ObjectKind.RUN:
        yield from named(ObjectKind.THREAD, payload.get("thread_id"))
    elif shape == "batch":
        for field in ("output_file_id", "error_file_id"):
            yield from named(ObjectKind.FILE, payload.get(field))
    elif shape == "fine_tuning.job":
        yield from _tuned(payload)
    elif shape == "list":
        yield from _checkpoints(payload.get("data"))


def _tuned(job: dict[str, Any]) -> Iterator[Found]:
    files = job.get("result_files")
    for name in files if isinstance(files, list) else ():
        yield from named(ObjectKind.FILE, name)
    yield from named(ObjectKind.MODEL, job.get("fine_tuned_model"))


def _checkpoints(rows: Any) -> Iterator[Found]:
    """Of lists only this one: a checkpoint is told nowhere else."""
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("object") == "fine_tuning.job.checkpoint":
            yield from named(ObjectKind.MODEL, row.get("fine_tuned_model_checkpoint"))


def _is_id(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and bool(_ID.fullmatch(name))


def _small(value: Any) -> bool:
    """Whether it is worth keeping: a number, or a text no longer than a file's name."""
    return type(value) in (int, float) or (isinstance(value, str) and len(value) <= 1024)


def _lives(kind: ObjectKind, value: dict[str, Any]) -> float | None:
    if kind in _STORED:
        return STORED
    born, dies = value.get("created_at"), value.get("expires_at")
    if kind is ObjectKind.FILE and type(born) is int and type(dies) is int and born < dies:
        return float(dies - born)
    return None
