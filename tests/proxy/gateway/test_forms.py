"""Forms through the gateway: byte for byte where nothing has to change, refused where two readers
could see two things, and never on the disk for longer than their call."""

import os
from collections.abc import Iterator

import pytest
from django.conf import settings

from accounts.keys.tokens import mint
from bsod.lib.terms import Modality, ObjectKind
from proxy.route import BodyKind
from tests import kit
from tests.kit import Person, Site, Supply, eventually
from tests.proxy.gateway.conftest import ODD
from tests.proxy.gateway.world import (
    BOUNDARY,
    CARRIED,
    File,
    Honest,
    alone,
    form_type,
    held,
    multipart,
    row,
)
from tests.rawclient import JSON_TYPE, Header, Raw, Reply, once
from tests.upstream import FaultServer, error

MB = 1_000_000
CHUNKED = ("Transfer-Encoding", "chunked")
FORM_ROWS = [route for route in CARRIED if route.body is BodyKind.FORM and not route.variables]
PICTURE = bytes(range(256)) * 8_000  # two megabytes: more than is kept in memory
TRAP = b"\r\n--f0r\r\n--f0r" + b"\x00--f0rm"


@pytest.fixture
def supplied(site: Site, up: FaultServer) -> Iterator[Supply]:
    with alone():
        made = kit.supply(
            up, catch_all=True, modality=Modality.AUDIO, model=kit.unique("Whisper-1")
        )
        up.default = Honest(made)
        yield made


@pytest.fixture
def who(database: None) -> Person:
    return kit.person("caller", unlimited=True)


def post(site: Site, who: Person | None, path: str, body: bytes, *more: Header,
         kind: Header | None = None) -> Reply:  # fmt: skip
    auth = list(who.auth.items()) if who else []
    return once(site, "POST", path, [*auth, kind or form_type(), *more], body)


def unknown() -> Header:
    """A key as we make them, that nobody has."""
    return ("Authorization", f"Bearer {mint()[0]}")


def spools(site: Site) -> list[str]:
    """Temporary files that a worker still has open, and those that have a name."""
    folder = settings.DATA_DIR / "tmp"
    found = [str(path) for path in folder.iterdir()] if folder.exists() else []
    for pid in site.workers():
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found += [t for t in [os.readlink(f"/proc/{pid}/fd/{name}")] if str(folder) in t]
            except OSError:
                continue
    return found


def nothing_left(site: Site) -> None:
    assert eventually(lambda: not spools(site)), spools(site)


@pytest.mark.parametrize(
    ("path", "fields", "files"),
    [
        ("/v1/images/edits",
         [("model", "gpt-image-9"), ("prompt", "Ein Hütchen ☂"), ("n", "2"), ("extra", "")],
         [("image[]", "a.png", PICTURE), ("image[]", "b.png", TRAP), ("mask", "m.png", b"")]),
        ("/v1/images/edits", [("prompt", "x"), ("model", "gpt-image-9")],
         [("image", "only one ü.png", b"\x89PNG\r\n")]),
        ("/v1/images/variations", [("model", "m")], [("image", "a.png", PICTURE)]),
        ("/v1/files", [("purpose", "batch"), ("expires_after[anchor]", "created_at"),
                       ("expires_after[seconds]", "3600")], [("file", "a b.jsonl", PICTURE)]),
        ("/v1/audio/transcriptions",
         [("timestamp_granularities[]", "word"), ("model", "unlisted-whisper"),
          ("timestamp_granularities[]", "segment"), ("include[]", "logprobs")],
         [("file", "speech.mp3", PICTURE)]),
        ("/v1/videos", [("model", "sora-9"), ("prompt", "x"), ("seconds", "8")],
         [("input_reference", "r.png", PICTURE)]),
    ],
)  # fmt: skip
def test_a_form_arrives_byte_for_byte(
    site: Site, up: FaultServer, supplied: Supply, who: Person, path: str,
    fields: list[tuple[str, str]], files: list[File],
) -> None:  # fmt: skip
    sent = multipart(fields, files)

    reply = post(site, who, path, sent)

    assert reply.status == 200, reply
    (seen,) = up.seen
    assert seen.target == path.encode()
    assert seen.body == sent
    assert seen.header("content-type") == f"multipart/form-data; boundary={BOUNDARY}"
    assert seen.header("content-length") == str(len(sent))
    nothing_left(site)


def test_a_form_that_comes_in_chunks_is_sent_with_its_length(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    sent = multipart([("model", "unlisted")], [("file", "a.mp3", PICTURE)])
    with Raw(site) as raw:
        raw.ask("POST", "/v1/audio/translations", [*who.auth.items(), form_type(), CHUNKED], b"")
        for start in range(0, len(sent), 70_001):
            piece = sent[start : start + 70_001]
            raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        raw.send(b"0\r\n\r\n")
        assert raw.reply().status == 200
    assert up.seen[0].body == sent
    assert up.seen[0].header("content-length") == str(len(sent))


def test_only_the_model_changes_in_a_form_that_calls_it_by_another_name(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    files = [("file", "a.mp3", PICTURE)]
    near = supplied.model.upper().replace("-", ".")
    assert near != supplied.model
    fields = [("language", "de"), ("model", near), ("prompt", near)]

    assert post(site, who, "/v1/audio/transcriptions", multipart(fields, files)).status == 200

    fields[1] = ("model", supplied.model)
    assert up.seen[0].body == multipart(fields, files)
    assert who.closed()[0].model == supplied.model


@pytest.mark.once
def test_fields_that_would_choose_a_destination_and_names_that_would_leave_a_folder_do_not_go_on(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    hostile = ["../../x.png", "..\\..\\x.png", "/etc/passwd", "a%2fb.png", "..", "a\u202egnp.exe"]
    for name in hostile:
        quoted = name.replace("\\", "\\\\")
        fields = [("prompt", "x"), ("api_base", "http://169.254.169.254"),
                  ("organization", "theirs"), ("user", "alice@example.com")]  # fmt: skip
        sent = multipart(fields, [("image", quoted, b"\x89PNG")])
        assert post(site, who, "/v1/images/edits", sent).status == 200, name
        body = up.seen[-1].body
        assert b'filename="file' in body, name
        assert name.encode() not in body
        for gone in (b"169.254", b"api_base", b"theirs", b"alice@example.com"):
            assert gone not in body
        assert b"\x89PNG" in body


@pytest.mark.once
@pytest.mark.parametrize("path", [route.path for route in FORM_ROWS])
def test_what_is_no_form_is_refused_and_leaves_nothing(
    site: Site, up: FaultServer, supplied: Supply, who: Person, path: str
) -> None:
    good = multipart([("model", "unlisted"), ("purpose", "batch")], [("file", "a", PICTURE)])
    many = multipart([(f"f{n}", "") for n in range(10_000)], [])
    plain = ("Content-Type", "multipart/form-data")
    cases: list[tuple[bytes, Header | None, int, str]] = [
        (b"{}", ("Content-Type", "application/json"), 415, "unsupported_media_type"),
        (
            b"a=b",
            ("Content-Type", "application/x-www-form-urlencoded"),
            415,
            "unsupported_media_type",
        ),
        (good, plain, 400, "invalid_form"),
        (good, form_type('""'), 400, "invalid_form"),
        (good, form_type("other"), 400, "invalid_form"),
        (b"", None, 400, "invalid_form"),
        (good[:-4], None, 400, "invalid_form"),
        (good[: len(good) // 2], None, 400, "invalid_form"),
        (good + b"behind", None, 400, "invalid_form"),
        (b"before" + good, None, 400, "invalid_form"),
        (many, None, 413, "request_too_large"),
        (multipart([("model", "x" * 1_000_001)]), None, 413, "request_too_large"),
        (multipart([("model", "m"), ("model", "n")]), None, 400, "invalid_value"),
        (multipart([], [("file", "a", b"1"), ("file", "b", b"2")]), None, 400, "invalid_value"),
    ]
    for body, kind, status, code in cases:
        reply = post(site, who, path, body, kind=kind)
        assert (reply.status, reply.error["code"]) == (status, code), f"{body[:80]!r} {reply}"
    gzip = post(site, who, path, good, ("Content-Encoding", "gzip"))
    assert gzip.status == 415
    assert up.seen == []
    nothing_left(site)
    assert who.entries() == []


@pytest.mark.once
def test_a_body_that_is_too_large_is_refused_by_its_head_or_where_it_gets_too_large(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    for route in CARRIED:
        if route.body is BodyKind.NONE or route.variables:
            continue
        kind = form_type() if route.body is BodyKind.FORM else JSON_TYPE
        length = ("Content-Length", str(route.body_limit + 1))
        with Raw(site) as raw:
            raw.ask(route.method, route.path, [*who.auth.items(), kind, length])
            reply = raw.reply()
            assert (reply.status, reply.error["code"]) == (413, "request_too_large"), route
    with Raw(site) as raw:
        raw.ask("POST", "/v1/audio/voices", [*who.auth.items(), form_type(), CHUNKED], b"")
        raw.send(
            b"1000\r\n" + multipart([], [("file", "a", b"")])[:-12].ljust(4096, b"a") + b"\r\n"
        )
        piece = b"%x\r\n%b\r\n" % (MB, b"a" * MB)
        try:
            for _ in range(40):
                raw.send(piece)
        except ConnectionError:
            pass
        assert raw.reply().status in (0, 413)
    assert up.seen == []
    nothing_left(site)


@pytest.mark.once
def test_one_file_may_not_be_larger_than_its_row_says(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    path, most = "/v1/audio/transcriptions", row("POST", "/v1/audio/transcriptions").file_limit
    fields = [("model", "unlisted")]

    assert post(site, who, path, multipart(fields, [("file", "a", b"a" * most)])).status == 200
    reply = post(site, who, path, multipart(fields, [("file", "a", b"a" * (most + 1))]))

    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert reply.error["param"] == "file"
    assert up.count() == 1
    nothing_left(site)


@pytest.mark.once
def test_no_form_and_no_large_body_is_read_for_a_stranger(
    site: Site, up: FaultServer, supplied: Supply
) -> None:
    """He is answered while the body is still to come."""
    for route in CARRIED:
        if route.body is BodyKind.NONE or route.variables:
            continue
        kind = form_type() if route.body is BodyKind.FORM else JSON_TYPE
        framings: list[Header] = [CHUNKED, ("Content-Length", "65537")]
        for framing in framings:
            for auth in ([], [unknown()]):
                with Raw(site, timeout=5) as raw:
                    raw.ask(route.method, route.path, [*auth, kind, framing])
                    reply = raw.reply()
                    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key"), route


@pytest.mark.once
def test_not_even_a_small_form_is_read_for_a_stranger(
    site: Site, up: FaultServer, supplied: Supply
) -> None:
    for route in FORM_ROWS:
        with Raw(site, timeout=5) as raw:
            raw.ask("POST", route.path, [ODD, unknown(), form_type(), ("Content-Length", "9")])
            assert raw.reply().status == 401, route
            assert raw.over()  # what he would still send is not the next request


@pytest.mark.once
def test_a_client_that_leaves_in_the_middle_of_a_form_leaves_nothing_behind(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    sent = multipart([("purpose", "batch")], [("file", "a", PICTURE)])
    with Raw(site) as raw:
        length = ("Content-Length", str(len(sent)))
        raw.ask("POST", "/v1/files", [*who.auth.items(), form_type(), length])
        raw.send(sent[:-100])
        assert eventually(lambda: spools(site)), "a form of two megabytes waits on the disk"
        raw.leave()
    nothing_left(site)
    assert up.seen == []
    assert who.entries() == []


@pytest.mark.once
def test_a_failing_provider_leaves_no_form_behind_either(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    up.default = error(500)
    sent = multipart([("purpose", "batch")], [("file", "a", PICTURE)])

    reply = post(site, who, "/v1/files", sent)

    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert up.count() == 1  # what may have been made is not made twice
    nothing_left(site)
    assert who.closed()[0].state == "released"
    assert kit.ledger_adds_up(who)


@pytest.mark.once
def test_a_transcription_is_sent_again_whole_to_the_next_key(
    site: Site, up: FaultServer, who: Person
) -> None:
    with alone():
        supplied = kit.supply(up, keys=2, catch_all=True)
        up.default = Honest(supplied)
        up.script(error(500))
        sent = multipart([("model", "unlisted")], [("file", "a.mp3", PICTURE)])

        assert post(site, who, "/v1/audio/transcriptions", sent).status == 200
    assert [seen.body for seen in up.seen] == [sent, sent]
    assert len({seen.key for seen in up.seen}) == 2


@pytest.mark.once
def test_array_parameters_of_a_query_arrive_as_they_were_sent(
    site: Site, up: FaultServer, supplied: Supply, who: Person
) -> None:
    id_ = held(who, supplied.key_row(), ObjectKind.RESPONSE)
    path = f"/v1/responses/{id_}/input_items"
    plain = "include[]=a&include[]=b&limit=5&after=x%5B1%5D&order=asc&flag&empty=&a=b=c"
    for query, arrives in (
        (plain, plain),
        ("include%5B%5D=a&include%5B%5D=b", "include%5B%5D=a&include%5B%5D=b"),
        ("api_key=theirs&limit=5&base_url=http://x&key=y&id=z", "limit=5"),
        ("", ""),
    ):
        target = f"{path}?{query}" if query else path
        assert once(site, "GET", target, [*who.auth.items()]).status == 200
        assert up.seen[-1].target == (f"{path}?{arrives}" if arrives else path).encode()
    for bad in ("a=b{", "a=\\", "a=<b>", "x=" + "a" * 3000, "a=é"):
        reply = once(site, "GET", f"{path}?{bad}", [*who.auth.items()])
        assert reply.status == 400, bad
    assert up.count() == 4
