"""What the tests of every route are made of: a request for any row of the table, an honest
provider that knows how to answer it, and objects that are somebody's.

The rows say what a request looks like; here is only what their shapes cannot: the few fields a
body of each shape must have, and what a provider answers to it.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bsod.lib import clock
from bsod.lib.terms import ObjectKind, Shape
from proxy.matching import match
from proxy.models import Object, Provider, ProviderKey
from proxy.pool import bump
from proxy.route import NAMES, VARIABLE, BodyKind, ReplyKind, Route
from proxy.routes import ROUTES
from tests.kit import Person, Site, Supply, person, unique
from tests.rawclient import Header, Raw, Reply, once
from tests.upstream import Reply as Answer
from tests.upstream import Seen, chat, chat_stream, json_reply, models, sse, sse_frame
from tests.upstream.shapes import PROVIDER_HEADERS

CARRIED = [route for route in ROUTES if route.service]
BOUNDARY = "f0rm"
MANY_QUERY = "include[]=a&include[]=b&after=x%20y"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
FLOW = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
_CHOICE = {"index": 0, "text": "Hi", "finish_reason": "stop"}
_MESSAGE = {"type": "message", "role": "assistant", "content": []}
BODIES: dict[Shape, dict[str, Any]] = {
    Shape.CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
    Shape.COMPLETION: {"prompt": "Hello"},
    Shape.RESPONSE: {"input": "Hello"},
    Shape.COMPACTION: {"input": "Hello"},
    Shape.EMBEDDING: {"input": ["Hello", "you"]},
    Shape.MODERATION: {"input": "Hello"},
    Shape.GRADER: {"grader": {"type": "string_check"}, "model_sample": "yes"},
    Shape.IMAGE: {"prompt": "A cat"},
    Shape.SPEECH: {"input": "Hello", "voice": "alloy"},
    Shape.VIDEO: {"prompt": "A cat", "seconds": "4"},
    Shape.RUN: {"instructions": "Be kind"},
    Shape.BATCH: {"endpoint": "/v1/chat/completions", "completion_window": "24h"},
    Shape.FINE_TUNING: {"suffix": "mine"},
    Shape.UPLOAD: {"filename": "a.jsonl", "purpose": "batch", "bytes": 9, "mime_type": "text/x"},
    Shape.OBJECT: {"metadata": {"file_id": "a label"}},
}  # fmt: skip
# What a call cannot be without, and must be the caller's own.
NEEDED = {
    Shape.BATCH: ("input_file_id", ObjectKind.FILE),
    Shape.FINE_TUNING: ("training_file", ObjectKind.FILE),
    Shape.RUN: ("assistant_id", ObjectKind.ASSISTANT),
}
OBJECTS = {
    ObjectKind.COMPLETION: "chat.completion", ObjectKind.RUN: "thread.run",
    ObjectKind.FINE_TUNING_JOB: "fine_tuning.job", ObjectKind.MESSAGE: "thread.message",
    ObjectKind.FILE_BATCH: "vector_store.files_batch", ObjectKind.PART: "upload.part",
}  # fmt: skip
SOUND = bytes(range(256)) * 40
BATCH_LINE = json.dumps(
    {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
     "body": {"model": "MODEL", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}}
)  # fmt: skip


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While this lasts the pool holds no provider that was there before."""
    others = Provider.objects.filter(deleted_at=None).values_list("pk", flat=True)
    mine = Provider.objects.filter(pk__in=list(others))
    if mine.update(deleted_at=clock.now()):
        bump()
    try:
        yield
    finally:
        if mine.update(deleted_at=None):
            bump()


def held(
    who: Person, key: ProviderKey, kind: ObjectKind, id_: str | None = None, **data: Any
) -> str:
    """An object of somebody's on a key, as an answer would have left it. Returns its id."""
    made = Object.objects.create(
        account=who.account, provider=key.provider, key=key, kind=kind,
        upstream_id=id_ or unique(str(kind)), data=data,
    )  # fmt: skip
    return made.upstream_id


@cache
def operator() -> Person:
    """One for all tests: nothing is his, and a password takes its time."""
    return person("operator", admin=True, unlimited=True, operator=True)


def row(method: str, path: str) -> Route:
    return next(route for route in ROUTES if (route.method, route.path) == (method, path))


# ---- a request


@dataclass
class Request:
    """A request for a row, spelt out."""

    route: Route
    path: str
    sent_to: str
    """Where a provider is to hear of it."""
    query: str = ""
    headers: list[Header] = field(default_factory=list)
    body: bytes | None = None

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def arrives(self) -> bytes:
        """The target of the provider's request."""
        return (f"{self.sent_to}?{self.query}" if self.query else self.sent_to).encode()

    def send(self, site: Site, who: Person | None, *headers: Header) -> Reply:
        auth = list(who.auth.items()) if who else []
        return once(
            site, self.route.method, self.target, [*auth, *self.headers, *headers], self.body
        )

    def begin(self, raw: Raw, who: Person, *headers: Header) -> None:
        """Send it on a connection of one's own, and do not wait."""
        sent = [*who.auth.items(), *self.headers, *headers]
        raw.ask(self.route.method, self.target, sent, self.body)


def request(
    route: Route,
    ids: dict[str, str],
    model: str = "",
    *,
    form: bool = False,
    query: str = "",
    **fields: Any,
) -> Request:
    """A request of a row with these ids; `fields` go into its body."""
    path, sent_to = (
        VARIABLE.sub(lambda found: ids[found[1]], place)
        for place in (route.path, f"/v1/{route.upstream}")
    )
    if route.body is BodyKind.NONE:
        return Request(route, path, sent_to, query)
    if route.modality and model:
        fields = {"model": model, **fields}
    if route.body is BodyKind.FORM or form:
        body = multipart([(name, str(value).lower() if value is True else value)
                          for name, value in fields.items()])  # fmt: skip
        return Request(route, path, sent_to, query, [form_type()], body)
    value = {**BODIES[route.shape], **fields}
    kind = ("Content-Type", "application/json")
    return Request(route, path, sent_to, query, [kind], json.dumps(value).encode())


def form_type(boundary: str = BOUNDARY) -> Header:
    return ("Content-Type", f"multipart/form-data; boundary={boundary}")


File = tuple[str, str, bytes]
"""Field, file name, content."""


def multipart(
    fields: list[tuple[str, str]], files: list[File] | None = None, boundary: str = BOUNDARY
) -> bytes:
    files = [("file", "a.bin", b"\x00\r\n--f0r\xff")] if files is None else files
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    for name, filename, content in files:
        head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
        head += "\r\nContent-Type: application/octet-stream\r\n\r\n"
        parts.append(f"--{boundary}\r\n{head}".encode() + content + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def ids_for(route: Route, who: Person, key: ProviderKey) -> dict[str, str]:
    """Ids for the variables of a path: what it begins with is `who`'s."""
    ids = {name: unique(name) for name in route.variables}
    if route.owns:
        first = route.variables[0]
        ids[first] = f"ft:base:org::{ids[first]}" if route.owns is ObjectKind.MODEL else ids[first]
        held(who, key, route.owns, ids[first])
    return ids


def needs(route: Route, who: Person, key: ProviderKey) -> dict[str, Any]:
    """Fields of a body that must name an object of the caller's."""
    if route.shape not in NEEDED:
        return {}
    name, kind = NEEDED[route.shape]
    return {name: held(who, key, kind)}


# ---- the provider


class Honest:
    """A provider that answers every row as its shape says, and remembers what it has said."""

    def __init__(self, supplied: Supply | None = None, status: str = "queued") -> None:
        self.said: list[bytes] = []
        self.status = status
        """The state of what is begun here."""
        self.made: list[str] = []
        self.model = supplied.model if supplied else "some-model"

    def __call__(self, seen: Seen) -> Answer:
        path, _, query = seen.target.partition(b"?")
        if seen.matches("/models", method="GET"):
            return models()  # a probe of ours
        found = match(seen.method, path)
        assert found.route, f"a provider was asked for what is no route: {seen.target!r}"
        stream = b'"stream":true' in seen.body or b'name="stream"' in seen.body
        if found.route.reply is ReplyKind.STREAM and (stream or b"stream=true" in query):
            return self._events(found.route, seen)
        if found.route.reply is ReplyKind.BYTES:
            return self._bytes(found.route)
        if found.route.shape is Shape.CHAT:
            return chat()
        return self._keep(json_reply(self.object(found.route, found.params)))

    def _bytes(self, route: Route) -> Answer:
        data = BATCH_LINE.replace("MODEL", self.model).encode()
        data = data if route.path == "/v1/files/{file_id}/content" else SOUND
        kind = ("Content-Type", "application/octet-stream")
        return self._keep(Answer(headers=(kind, *PROVIDER_HEADERS), body=data))

    def _keep(self, answer: Answer) -> Answer:
        assert isinstance(answer.body, bytes)
        self.said.append(answer.body)
        return answer

    def object(self, route: Route, params: dict[str, str]) -> dict[str, Any]:
        """The JSON a call of this row is answered with."""
        own = [params[name] for name in route.variables]
        id_ = unique(str(route.creates)) if route.creates else (own or [unique("answer")])[-1]
        self.made += [id_] if route.creates else []
        kind = route.creates or (NAMES.get(route.variables[-1]) if own else None)
        value: dict[str, Any] = {
            "id": id_,
            "object": OBJECTS.get(kind, str(kind)) if kind else "thing",
        }
        if route.method == "DELETE":
            return {**value, "deleted": True}
        return value | self._rest(route, params)

    def _rest(self, route: Route, params: dict[str, str]) -> dict[str, Any]:
        shape = route.shape
        if shape in (Shape.RESPONSE, Shape.COMPACTION):
            output = [{**_MESSAGE, "id": unique("msg")}]
            return {"status": "completed", "output": output, "usage": FLOW}
        if route.path.endswith("/complete"):
            file = {"id": unique("file"), "object": "file", "bytes": 9, "purpose": "batch"}
            return {
                "id": params["upload_id"],
                "object": "upload",
                "status": "completed",
                "file": file,
            }
        thread = {"thread_id": params.get("thread_id", unique("thread"))}
        rest: dict[Shape, dict[str, Any]] = {
            Shape.COMPLETION: {"choices": [_CHOICE], "usage": USAGE},
            Shape.EMBEDDING: {"data": [{"index": 0, "embedding": [0.25]}], "usage": USAGE},
            Shape.MODERATION: {"results": [{"flagged": False}]},
            Shape.IMAGE: {"created": 1, "data": [{"b64_json": "AAAA"}]},
            Shape.TRANSCRIPTION: {"text": "Hello"},
            Shape.GRADER: {"reward": 1.0, "metadata": {"token_usage": 7}},
            Shape.RUN: {"status": self.status, **thread},
            Shape.FILE: {"bytes": 9, "purpose": "batch"},
        }  # fmt: skip
        used = {"usage": USAGE} if self.status == "completed" else {}
        ended = "succeeded" if "fine_tuning" in route.path and used else self.status
        return rest.get(shape, {"status": ended, **thread, **used})

    def _events(self, route: Route, seen: Seen) -> Answer:
        if route.shape is Shape.CHAT:
            return chat_stream()
        if route.shape is Shape.COMPLETION:
            return sse({"choices": [_CHOICE]}, {"choices": [], "usage": USAGE})
        if route.shape is Shape.IMAGE:
            return sse({"type": "image_edit.completed", "b64_json": "AA"}, named=True, done=False)
        if route.shape is Shape.TRANSCRIPTION:
            parts = (
                {"type": "transcript.text.delta", "delta": "Hi"},
                {"type": "transcript.text.done", "text": "Hi"},
            )
            return sse(*parts, named=True, done=False)
        if "thread" in route.path:
            return sse(
                *self._run(match(seen.method, seen.target.partition(b"?")[0]).params), done=False
            )
        return sse(*self._response(), named=True, done=False)

    def _run(self, params: dict[str, str]) -> list[bytes]:
        thread = params.get("thread_id", unique("thread"))
        run: dict[str, Any] = {
            "id": params.get("run_id", unique("run")),
            "object": "thread.run",
            "thread_id": thread,
        }
        created, done = {**run, "status": "queued"}, {**run, "status": "completed", "usage": USAGE}
        events = [("thread.run.created", created), ("thread.run.completed", done)]
        said = [f"event: {name}\n".encode() + sse_frame(value) for name, value in events]
        return [*said, b"event: done\ndata: [DONE]\n\n"]

    def _response(self) -> list[dict[str, Any]]:
        reply = {"id": unique("resp"), "object": "response", "status": "in_progress", "output": []}
        ended = {**reply, "status": "completed", "usage": FLOW}
        return [{"type": "response.created", "response": reply},
                {"type": "response.completed", "response": ended}]  # fmt: skip
