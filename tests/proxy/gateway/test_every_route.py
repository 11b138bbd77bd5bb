"""Every row of the table carries a call to a provider and its answer back, and leaves in the
ledger what the row says. Nothing here names a row: what is expected is read from the table."""

import json
from collections.abc import Iterator

import pytest

from bsod.lib.terms import ObjectKind, Service, Shape
from proxy.models import Job, Object
from proxy.providers.bridging.ways import could
from proxy.providers.registry import ADAPTERS
from proxy.route import BodyKind, Close, ReplyKind, Route
from quotas.models import Entry
from tests import kit
from tests.kit import Person, Site, Supply
from tests.proxy.gateway.test_headers import ALLOWED
from tests.proxy.gateway.world import (
    CARRIED,
    MANY_QUERY,
    Honest,
    Request,
    alone,
    ids_for,
    needs,
    operator,
    request,
    row,
)
from tests.rawclient import Reply
from tests.upstream import FaultServer

QUERIED = {
    Shape.OBJECT,
    Shape.CONTENT,
    Shape.RUN,
}  # calls of objects; a model's says all in its body
HOSTILE = [
    ("OpenAI-Organization", "org-theirs"), ("Cookie", "a=theirs"), ("X-Custom", "theirs"),
    ("X-Forwarded-For", "1.2.3.4"), ("User-Agent", "theirs"),
]  # fmt: skip
# What ends a job of each kind, seen by its owner.
ENDS = {
    ObjectKind.VIDEO: "/v1/videos/{video_id}",
    ObjectKind.RUN: "/v1/threads/{thread_id}/runs/{run_id}",
    ObjectKind.BATCH: "/v1/batches/{batch_id}",
    ObjectKind.FINE_TUNING_JOB: "/v1/fine_tuning/jobs/{fine_tuning_job_id}",
}


@pytest.fixture(autouse=True)
def no_others(site: Site) -> Iterator[None]:
    with alone():
        yield


class Caller:
    """One account with all rights calls one provider that takes all."""

    def __init__(self, site: Site, up: FaultServer) -> None:
        self.site, self.up = site, up
        self.supplied = kit.supply(up, catch_all=True)
        self.key = self.supplied.key_row()
        self.person = kit.person("caller", unlimited=True)
        # Only an operator's lists are the provider's own.
        self.operator = operator()
        self.provider = up.default = Honest(self.supplied)

    def who(self, route: Route) -> Person:
        return self.operator if route.lists else self.person

    def call(self, route: Route, *, form: bool = False, **fields: object) -> tuple[Request, Reply]:
        who = self.who(route)
        query = MANY_QUERY if route.shape in QUERIED else ""
        if not route.body_limit and fields:  # what has no body is asked in the query
            query, fields = "&".join(f"{name}={json.dumps(v)}" for name, v in fields.items()), {}
        asked = request(
            route, ids_for(route, who, self.key), kit.unique("unlisted"), form=form, query=query,
            **needs(route, who, self.key), **fields,
        )  # fmt: skip
        again = ("Idempotency-Key", kit.unique("theirs"))
        return asked, asked.send(self.site, who, *HOSTILE, again)


@pytest.fixture
def caller(site: Site, up: FaultServer) -> Caller:
    return Caller(site, up)


def forms(route: Route) -> list[bool]:
    """Whether to send a form: of rows that take either, both."""
    return [False, True] if route.body is BodyKind.EITHER else [route.body is BodyKind.FORM]


def test_every_row_carries_a_call_to_the_provider_and_its_answer_back(caller: Caller) -> None:
    for route in CARRIED:
        for form in forms(route):
            before = len(caller.up.seen)
            asked, reply = caller.call(route, form=form)

            name = f"{route.method} {route.path} {reply.status} {reply.body[:300]!r}"
            assert reply.status == 200, name
            assert reply.header("x-request-id"), name
            _check_sent(caller, asked, before, name)
            _check_answer(caller, route, reply, name)
            _check_ledger(caller, route, reply, name)
    _end_jobs(caller)
    assert kit.ledger_adds_up(caller.person)


def _check_sent(caller: Caller, asked: Request, before: int, name: str) -> None:
    """One call; but for a batch, whose input is read first."""
    *read, seen = caller.up.seen[before:]
    route = asked.route
    assert [one.path.endswith("/content") for one in read] == [True] * (route.shape is Shape.BATCH)
    assert (seen.method, seen.target) == (route.method, asked.arrives), name
    assert seen.header_values("authorization") == [f"Bearer {caller.supplied.keys[0]}"], name
    assert seen.header("openai-beta") == ("assistants=v2" if route.beta else None), name
    names = [header.decode().lower() for header, _ in seen.headers]
    assert set(names) <= ALLOWED, name
    assert len(names) == len(set(names)), name
    assert "theirs" not in seen.head.decode(), name
    _check_body(asked, seen.body, seen.header("content-type") or "", name)


def _check_body(asked: Request, sent: bytes, kind: str, name: str) -> None:
    if asked.body is None:
        assert sent in (b"", b"{}"), name
    elif asked.headers[0][1] != "application/json":
        assert (sent, kind) == (asked.body, asked.headers[0][1]), name
    elif kind == "application/json":
        body, given = json.loads(sent), json.loads(asked.body)
        assert body | given == body, name
    else:
        assert kind.startswith("multipart/form-data"), name
        assert all(str(value).encode() in sent for value in json.loads(asked.body).values()), name


def _check_answer(caller: Caller, route: Route, reply: Reply, name: str) -> None:
    if route.shape is not Shape.CHAT:
        assert reply.body == caller.provider.said[-1], name
    assert not reply.values("set-cookie"), name
    assert reply.header("openai-organization") is None, name
    if route.creates and b'"id":"' in reply.body and route.shape is not Shape.CHAT:
        made = Object.objects.filter(upstream_id=json.loads(reply.body)["id"]).get()
        assert (made.account_id, made.key_id) == (caller.person.account.pk, caller.key.pk), name


def _check_ledger(caller: Caller, route: Route, reply: Reply, name: str) -> None:
    entry = Entry.objects.filter(pk=reply.header("x-request-id")).first()
    job = Job.objects.filter(pk=reply.header("x-request-id")).first()
    assert bool(entry) is route.spends, name
    assert bool(job) is (route.close is Close.JOB), name
    if job and entry:
        assert (entry.state, job.upstream_id) == ("open", json.loads(reply.body)["id"]), name
        assert (entry.process, entry.status, entry.attempts) == (None, 200, 1), name
        assert entry.provider_key == caller.key.pk, name
    elif entry:
        assert (entry.state, entry.end_reason) == ("settled", "completed"), name


def _end_jobs(caller: Caller) -> None:
    """The owner sees the end of everything, by a call that costs nothing: each is closed."""
    caller.provider.status = "completed"
    for job in Job.objects.filter(account=caller.person.account):
        kind = ObjectKind(job.kind)
        if kind is ObjectKind.UPLOAD:
            route = row("POST", "/v1/uploads/{upload_id}/complete")
        else:
            route = row("GET", ENDS[kind])
        parts = [part for part in job.path.split("/") if "_" in part or "-" in part]
        ids = dict(zip(route.variables, parts[-len(route.variables) :], strict=True))
        reply = request(route, ids).send(caller.site, caller.person)
        assert reply.status == 200, f"{route.path} {reply.body!r}"
        entry = Entry.objects.get(pk=job.pk)
        assert (entry.state, entry.end_reason) == ("settled", "completed"), kind
    assert not Job.objects.filter(account=caller.person.account).exists()


@pytest.mark.once
def test_every_row_that_can_stream_carries_events_until_their_end(caller: Caller) -> None:
    for route in CARRIED:
        if route.reply is not ReplyKind.STREAM:
            continue
        _, reply = caller.call(route, stream=True)

        name = f"{route.method} {route.path} {reply.status} {reply.body[:300]!r}"
        assert reply.status == 200, name
        assert (reply.header("content-type") or "").startswith("text/event-stream"), name
        blocks = reply.body.split(b"\n\n")
        assert blocks[-1] == b"", name
        assert len(blocks) > 1, name
        assert b'"error"' not in reply.body, name
        entries = Entry.objects.filter(pk=reply.header("x-request-id"))
        assert [entry.state for entry in entries] == ["settled"] * route.spends, name
    assert kit.ledger_adds_up(caller.person)


@pytest.mark.once
@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_what_no_live_provider_serves_is_refused_with_the_kinds_that_could(
    site: Site, up: FaultServer, kind: str
) -> None:
    supplied: Supply = kit.supply(up, kind=kind, catch_all=True)
    who = kit.person("caller", unlimited=True)
    missing = [
        route
        for route in CARRIED
        if route.service and not could(ADAPTERS[kind], route.service, route.shape)
    ]
    for route in missing:
        if route.lists:
            continue  # answered from our own record
        key = supplied.key_row()
        asked = request(route, ids_for(route, who, key), "unlisted", **needs(route, who, key))
        reply = asked.send(site, who)

        assert (reply.status, reply.error["code"]) == (503, "no_upstream"), (
            f"{route} {reply.body!r}"
        )
        service = route.service or Service.CHAT
        kinds = [name for name, it in ADAPTERS.items() if could(it, service, route.shape)]
        assert kinds, f"nobody serves {route.path}"
        assert reply.error["kinds"] == sorted(kinds)
        assert all(name in reply.error["message"] for name in kinds)
        assert reply.header("retry-after")
    assert up.seen == []
    assert kit.ledger_adds_up(who)
