"""Answers that are bytes: as they came, with few headers, paid before the first of them, and
broken off where the provider broke off."""

import time
from collections.abc import Iterator

import pytest

from bsod.lib.terms import Modality, ObjectKind
from tests import kit
from tests.kit import Person, Site, Supply, eventually
from tests.proxy.gateway.test_headers import OURS
from tests.proxy.gateway.world import alone, held
from tests.rawclient import JSON_TYPE, Raw, Reply, once
from tests.upstream import PROVIDER_HEADERS, FaultServer, Gate, error, json_reply, sse
from tests.upstream import Reply as Answer

DATA = bytes(range(256)) * 4_000
BYTES = OURS | {"content-disposition", "content-security-policy", "x-content-type-options",
                "content-range", "accept-ranges", "etag", "last-modified"}  # fmt: skip


@pytest.fixture
def supplied(site: Site, up: FaultServer) -> Iterator[Supply]:
    with alone():
        yield kit.supply(up, catch_all=True, modality=Modality.AUDIO, model=kit.unique("tts"))


@pytest.fixture
def who(database: None) -> Person:
    return kit.person("caller")


@pytest.fixture
def file(supplied: Supply, who: Person) -> str:
    return held(who, supplied.key_row(), ObjectKind.FILE)


def content(
    kind: str = "application/octet-stream", *more: tuple[str, str], **how: object
) -> Answer:
    headers = (("Content-Type", kind), *PROVIDER_HEADERS, *more)
    return Answer(headers=headers, body=how.pop("body", DATA), **how)  # type: ignore[arg-type]  # by name


def fetch(site: Site, who: Person, file: str, *headers: tuple[str, str]) -> Reply:
    return once(site, "GET", f"/v1/files/{file}/content", [*who.auth.items(), *headers])


def speak(raw: Raw, who: Person, supplied: Supply) -> None:
    body = b'{"model":"%b","input":"Hello","voice":"alloy"}' % supplied.model.encode()
    raw.ask("POST", "/v1/audio/speech", [*who.auth.items(), JSON_TYPE], body)


# ---- files


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_file_is_the_bytes_that_were_stored(
    site: Site, up: FaultServer, who: Person, file: str, framing: str
) -> None:
    up.default = content(framing=framing)

    reply = fetch(site, who, file)

    assert reply.status == 200
    assert reply.body == DATA
    assert (reply.header("content-length") == str(len(DATA))) is (framing == "length")
    assert who.entries() == []


def test_a_file_can_be_had_by_the_query_too(
    site: Site, up: FaultServer, who: Person, file: str
) -> None:
    up.default = content()

    reply = once(site, "GET", f"/v1/files?id={file}&content=1", [*who.auth.items()])

    assert reply.body == DATA
    assert up.seen[0].target == f"/v1/files/{file}/content".encode()


def test_an_empty_file_is_empty(site: Site, up: FaultServer, who: Person, file: str) -> None:
    up.default = content(body=b"")

    reply = fetch(site, who, file)

    assert (reply.status, reply.body) == (200, b"")


def test_a_range_is_passed_on_and_its_part_comes_back(
    site: Site, up: FaultServer, who: Person, file: str
) -> None:
    place = ("Content-Range", f"bytes 100-199/{len(DATA)}")
    more = (place, ("Accept-Ranges", "bytes"), ("ETag", '"abc"'))
    up.default = content("application/octet-stream", *more, status=206, body=DATA[100:200])

    reply = fetch(site, who, file, ("Range", "bytes=100-199"))

    assert up.seen[0].header_values("range") == ["bytes=100-199"]
    assert reply.status == 206
    assert reply.body == DATA[100:200]
    assert reply.header("content-range") == place[1]
    assert reply.header("etag") == '"abc"'
    assert reply.header("accept-ranges") == "bytes"


def test_a_range_beyond_the_end_is_the_providers_refusal(
    site: Site, up: FaultServer, who: Person, file: str
) -> None:
    up.default = Answer(
        416, (("Content-Range", "bytes */5"), ("Content-Type", "text/plain")), b"no"
    )

    reply = fetch(site, who, file, ("Range", "bytes=100-199"))

    assert (reply.status, reply.error["code"]) == (416, "upstream_refused")


@pytest.mark.once
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("text/plain; charset=utf-8", "application/octet-stream"),
        ("application/javascript", "application/octet-stream"),
        ("application/jsonl", "application/jsonl"),
        ("image/png", "image/png"),
        ("image/png; x=<script>", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_browser_neither_runs_nor_shows_a_file_and_sees_nothing_of_the_provider(
    site: Site, up: FaultServer, who: Person, file: str, theirs: str, ours: str
) -> None:
    hostile = (("Content-Disposition", "inline; filename=x.html"), ("Location", "http://evil"),
               ("Content-Security-Policy", "default-src *"), ("Link", "<http://evil>"),
               ("Access-Control-Allow-Credentials", "true"), ("Refresh", "0;url=http://evil"),
               ("X-Content-Type-Options", "sniff"), ("Server", "upstream/1"))  # fmt: skip
    up.default = content(theirs, *hostile)

    reply = fetch(site, who, file)

    assert (reply.status, reply.body) == (200, DATA)
    assert reply.values("content-type") == [ours]
    assert reply.values("x-content-type-options") == ["nosniff"]
    assert reply.values("content-disposition") == ["attachment"]
    assert reply.values("content-security-policy") == ["sandbox; default-src 'none'"]
    assert {name for name, _ in reply.headers} <= BYTES
    said = " ".join(value for _, value in reply.headers)
    for foreign in ("upstream", "evil", "org-", "__cf"):
        assert foreign not in said.replace("upstream-cookie", foreign), said


@pytest.mark.once
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_file_that_breaks_off_is_seen_to_break_off(
    site: Site, up: FaultServer, who: Person, file: str, framing: str
) -> None:
    up.default = content(framing=framing).cut(body=len(DATA) // 2)
    with Raw(site) as raw:
        raw.ask("GET", f"/v1/files/{file}/content", [*who.auth.items()])
        try:
            # Of an announced length less has come; a chunk is missing from chunks.
            assert len(raw.reply().body) < len(DATA)
            assert framing == "length"
        except (EOFError, ConnectionError, ValueError):
            pass
        assert raw.over()
    assert up.count() == 1  # behind the first byte there is no other try


@pytest.mark.once
def test_what_the_provider_refuses_or_encodes_is_an_error_and_no_file(
    site: Site, up: FaultServer, who: Person, file: str
) -> None:
    up.script(error(404, "No such File object"))
    missing = fetch(site, who, file)
    assert (missing.status, missing.error["message"]) == (404, "No such File object")
    up.script(*[content("application/octet-stream", ("Content-Encoding", "gzip"))] * 3)
    reply = fetch(site, who, file)
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")


@pytest.mark.once
def test_a_client_that_leaves_a_download_is_left_by_its_provider_too(
    site: Site, up: FaultServer, who: Person, file: str
) -> None:
    gate = Gate()
    up.default = content(body=[DATA, gate], framing="chunked")
    with Raw(site) as raw:
        raw.ask("GET", f"/v1/files/{file}/content", [*who.auth.items()])
        assert raw.head().status == 200
        gate.wait_for(1)
        raw.leave()
        assert up.wait_for(1, where=lambda seen: seen.client_gone_at)
    gate.open()


def test_a_film_whose_bytes_can_be_had_is_paid_for_before_they_are(
    site: Site, up: FaultServer, supplied: Supply
) -> None:
    who, film = kit.person("caller", unlimited=True), kit.unique("video")
    up.script(json_reply({"id": film, "object": "video", "status": "queued"}))
    assert site.post(who, {"prompt": "x", "model": "sora-9"}, "/v1/videos").status_code == 200
    assert [entry.state for entry in who.entries()] == ["open"]
    up.default = content("video/mp4")

    reply = once(site, "GET", f"/v1/videos/{film}/content", [*who.auth.items()])

    assert (reply.status, reply.body) == (200, DATA)
    assert [(entry.state, entry.amount) for entry in who.closed(seconds=0)] == [("settled", 1)]
    assert kit.ledger_adds_up(who)


# ---- speech


def test_speech_is_paid_before_its_first_byte_and_stays_paid_when_it_breaks_off(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    gate = Gate()
    up.default = content("audio/mpeg", body=[DATA, gate, DATA], framing="chunked").cut(
        body=len(DATA) + 10
    )
    with Raw(site) as raw:
        speak(raw, who, supplied)
        head = raw.head()
        assert (head.status, head.header("content-type")) == (200, "audio/mpeg")
        assert head.header("content-disposition") is None
        assert head.header("x-content-type-options") == "nosniff"
        # Nothing more comes until the gate is open: what is closed now was closed before.
        (entry,) = who.closed(seconds=0)
        assert (entry.state, entry.amount, entry.bucket) == ("settled", 1, "audio")
        gate.open()
        with pytest.raises((EOFError, ConnectionError, ValueError)):
            for _ in raw.chunks():
                pass
    assert who.closed()[0].amount == 1
    assert who.used("audio") == 1
    assert kit.ledger_adds_up(who)


def test_the_first_byte_of_speech_waits_for_the_ledger(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    gate = Gate()
    up.default = content("audio/mpeg", body=[gate, DATA], framing="chunked")
    with Raw(site) as raw:
        speak(raw, who, supplied)
        gate.wait_for(1)
        with kit.ledger_held(who) as let_go:
            gate.open()
            raw.socket.settimeout(0.6)
            with pytest.raises(TimeoutError):
                raw.socket.recv(1)
            raw.socket.settimeout(20)
            let_go.set()
        assert raw.socket.recv(1) == b"H"
    assert who.closed()[0].amount == 1


def test_speech_that_never_came_costs_nothing(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    for answer in (error(500), content("audio/mpeg", body=b""), content("audio/mpeg").cut(body=0)):
        up.default = answer
        with Raw(site) as raw:
            speak(raw, who, supplied)
            assert raw.reply().status == 502
    assert [(entry.state, entry.amount) for entry in who.closed(3)] == [("released", 0)] * 3
    assert up.count() == 3  # what may have been made once is not made again
    assert kit.ledger_adds_up(who)


@pytest.mark.once
def test_a_listener_who_leaves_is_charged_once_and_the_provider_is_left(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    gate = Gate()
    up.default = content("audio/mpeg", body=[DATA, gate], framing="chunked")
    with Raw(site) as raw:
        speak(raw, who, supplied)
        assert raw.head().status == 200
        raw.leave(reset=True)
        assert up.wait_for(1, where=lambda seen: seen.client_gone_at)
    gate.open()
    assert [entry.amount for entry in who.closed()] == [1]
    assert kit.ledger_adds_up(who)


@pytest.mark.once
def test_a_slow_listener_holds_the_provider_back(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    whole = 64 << 20
    up.default = content("audio/mpeg", body=lambda _: (DATA for _ in range(whole // len(DATA))),
                         framing="chunked")  # fmt: skip
    with Raw(site, receive_buffer=65_536) as raw:
        speak(raw, who, supplied)
        assert raw.head().status == 200
        # It stands still: what has gone out lies in buffers, which are a fraction of the whole.
        assert eventually(lambda: _stands(up), 5)
        assert up.seen[0].sent_bytes < whole / 2
    assert who.closed()[0].amount == 1


def _stands(up: FaultServer) -> bool:
    before = up.seen[0].sent_bytes
    time.sleep(0.3)
    return up.seen[0].sent_bytes == before


@pytest.mark.once
def test_speech_as_events_is_a_stream_of_events(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    up.default = sse({"type": "speech.audio.delta", "audio": "AAAA"},
                     {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 2,
                      "total_tokens": 3}}, named=True, done=False)  # fmt: skip
    body = {"model": supplied.model, "input": "Hi", "voice": "alloy", "stream_format": "sse"}

    reply = site.post(who, body, "/v1/audio/speech")

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert b"speech.audio.delta" in reply.content
    assert b"speech.audio.done" in reply.content
    assert who.closed()[0].amount == 1
