"""Asking twice for what is made at a provider: images, speech, films, files and the like are made
once, whatever row makes them."""

import json
import select
from collections.abc import Iterator

import pytest

from bsod.lib.terms import Modality, ObjectKind
from proxy.models import Job
from proxy.route import BodyKind, Route
from quotas.models import Entry, Outcome
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.test_idempotency import marked, refused, same
from tests.proxy.gateway.world import (
    CARRIED,
    Honest,
    alone,
    form_type,
    ids_for,
    multipart,
    needs,
    request,
)
from tests.rawclient import JSON_TYPE, Raw, Reply, once
from tests.upstream import FaultServer, Gate, error, json_reply
from tests.upstream import Reply as Answer


@pytest.fixture
def unlimited(database: None) -> Person:
    return kit.person("caller", unlimited=True)


def test_speech_is_given_again_byte_for_byte(site: Site, up: FaultServer, alice: Person) -> None:
    with alone():
        supplied = kit.supply(up, modality=Modality.AUDIO)
        sound = bytes(range(256)) * 999 + b": keep-alive\n\n"
        up.default = Answer(headers=[("Content-Type", "audio/mpeg")], body=[sound[:7], sound[7:]],
                            length=len(sound))  # fmt: skip
        again = marked()
        body = json.dumps({"model": supplied.model, "input": "Hi", "voice": "a"}).encode()
        kind = [*alice.auth.items(), JSON_TYPE, again]

        first, second = (once(site, "POST", "/v1/audio/speech", kind, body) for _ in range(2))

    assert first.body == sound
    same(first, second)
    assert alice.used("audio") == 1


def test_the_last_byte_waits_until_the_answer_is_kept(
    site: Site, up: FaultServer, alice: Person
) -> None:
    with alone():
        supplied, gate = kit.supply(up, modality=Modality.AUDIO), Gate()
        up.default = Answer(headers=[("Content-Type", "audio/mpeg")], body=[b"one", gate, b"two"],
                            length=6)  # fmt: skip
        body = json.dumps({"model": supplied.model, "input": "Hi", "voice": "a"}).encode()
        with Raw(site) as raw:
            raw.ask("POST", "/v1/audio/speech", [*alice.auth.items(), JSON_TYPE, marked()], body)
            assert raw.head().header("content-length") == "6"
            got = raw._file.read(2)
            with kit.ledger_held(alice) as let_go:
                gate.open()
                while len(got) < 5:
                    got += raw._file.read1(9)
                assert got == b"onetw"
                assert not select.select([raw.socket], [], [], 0.3)[0]
                assert Outcome.objects.get(account=alice.account).state == "running"
                let_go.set()
                assert raw._file.read(1) == b"o"
    assert Outcome.objects.get(account=alice.account).state == "kept"


def test_an_answer_too_large_to_keep_is_sent_once_and_charged_once(
    site: Site, up: FaultServer, alice: Person
) -> None:
    with alone():
        supplied = kit.supply(up, modality=Modality.IMAGE)
        again = marked()
        kind = [*alice.auth.items(), JSON_TYPE, again]
        body = json.dumps({"model": supplied.model, "prompt": "Hi"}).encode()
        up.default = json_reply({"created": 1, "data": [{"b64_json": "A" * 8_000_001}]})

        first, second = (once(site, "POST", "/v1/images/generations", kind, body) for _ in "ab")

    assert first.status == 200
    refused(second, "idempotency_result_too_large")
    assert alice.used("image") == 1
    assert Outcome.objects.get(account=alice.account).sealed is None


def test_a_form_is_the_same_whatever_stands_between_its_parts(
    site: Site, up: FaultServer, unlimited: Person
) -> None:
    with alone():
        supplied, again = kit.supply(up, catch_all=True), marked()
        up.default = Honest(supplied)
        large = b"\x00\r\n" * 700_000
        fields = [("purpose", "batch"), ("note", "x")]

        def post(fields: list[tuple[str, str]], name: str, content: bytes, boundary: str) -> Reply:
            body = multipart(fields, [("file", name, content)], boundary)
            head = [*unlimited.auth.items(), form_type(boundary), again]
            return once(site, "POST", "/v1/files", head, body)

        first = post(fields, "a", large, "f0rm")
        same(first, post(fields[::-1], "a", large, "other"))
        refused(post(fields, "a", large[:-1] + b"!", "f0rm"), "idempotency_mismatch")
        refused(post(fields, "b", large, "f0rm"), "idempotency_mismatch")
        refused(post(fields[:1], "a", large, "f0rm"), "idempotency_mismatch")
    assert first.status == 200
    assert len(unlimited.closed()) == 1


def spending() -> Iterator[tuple[Route, bool]]:
    for route in CARRIED:
        if route.spends and route.method == "POST":
            yield route, route.body is BodyKind.FORM


def test_every_row_that_costs_is_begun_once(site: Site, up: FaultServer, unlimited: Person) -> None:
    with alone():
        supplied = kit.supply(up, catch_all=True)
        key = supplied.key_row()
        provider = up.default = Honest(supplied)
        sent: dict[str, int] = {}
        for route, form in spending():
            wanted = request(
                route, ids_for(route, unlimited, key), kit.unique("unlisted"), form=form,
                **needs(route, unlimited, key),
            )  # fmt: skip
            again, made = marked(), len(provider.made)

            first, second = (wanted.send(site, unlimited, again) for _ in range(2))

            assert first.status == 200, (route.path, first.body)
            same(first, second)
            assert len(provider.made) - made <= 1, route.path
            calls = [seen for seen in up.seen if seen.target == wanted.sent_to.encode()]
            assert len(calls) == sent.get(wanted.sent_to, 0) + 1, route.path
            sent[wanted.sent_to] = len(calls)
            entry = first.header("x-request-id")
            assert Outcome.objects.get(entry=entry).once is (entry_kind(route))
    jobs = Job.objects.filter(account=unlimited.account)
    assert {job.kind for job in jobs} == {
        ObjectKind.VIDEO, ObjectKind.RUN, ObjectKind.BATCH, ObjectKind.FINE_TUNING_JOB,
        ObjectKind.UPLOAD,
    }  # fmt: skip
    assert Entry.objects.filter(account=unlimited.account).count() == len(list(spending()))


@pytest.mark.parametrize(
    ("answer", "made", "status"),
    [
        (Answer().cut(head=0), 1, 502),
        (error(504), 1, 502),
        (json_reply(b"{"), 1, 502),
        (error(503), 2, 200),
        (error(429), 2, 200),
    ],
    ids=["cut", "a gateway's timeout", "garbled", "overloaded", "limited"],
)
def test_an_image_that_may_have_been_made_is_not_made_again(
    site: Site, up: FaultServer, alice: Person, answer: Answer, made: int, status: int
) -> None:
    """Neither with another key nor for the same request once more; what was refused is."""
    with alone():
        supplied, again = kit.supply(up, keys=2, modality=Modality.IMAGE), marked()
        up.default = json_reply({"created": 1, "data": [{"b64_json": "aGk="}]})
        up.script(answer)
        body = json.dumps({"model": supplied.model, "prompt": "A cat"}).encode()
        asked, path = [*alice.auth.items(), JSON_TYPE, again], "/v1/images/generations"

        first = once(site, "POST", path, asked, body)
        assert (first.status, up.count()) == (status, made)
        second = kit.eventually(lambda: ended(once(site, "POST", path, asked, body)))

    if status == 200:
        same(first, second)
    else:
        refused(second, "idempotency_unknown")
        assert second.error["request_id"] == first.header("x-request-id")
        assert alice.closed()[0].state == "released"
    assert up.count() == made


def ended(reply: Reply) -> Reply | None:
    """A second answer, once it does not say any more that the first call runs."""
    runs = reply.status == 409 and reply.error["code"] == "idempotency_running"
    return None if runs else reply


def entry_kind(route: Route) -> bool:
    """What is made is made once; words can be made again."""
    words = ("chat/", "completions", "responses", "embeddings", "moderations", "transl", "transc")
    return not any(word in route.path for word in words)


def test_an_id_in_the_path_is_a_part_of_the_request(
    site: Site, up: FaultServer, unlimited: Person
) -> None:
    with alone():
        supplied = kit.supply(up, catch_all=True)
        up.default, key = Honest(supplied), supplied.key_row()
        (route,) = (row for row in CARRIED if row.path == "/v1/videos/{video_id}/remix")
        again = marked()
        one, two = (
            request(route, ids_for(route, unlimited, key), "sora-2").send(site, unlimited, again)
            for _ in range(2)
        )
    assert one.status == 200
    refused(two, "idempotency_mismatch")
