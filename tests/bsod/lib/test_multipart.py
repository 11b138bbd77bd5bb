"""Forms are read in one way only, and never held in memory."""

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from bsod.lib.multipart import BadForm, FormReader, FormTooLarge
from bsod.lib.spool import Spool
from tests.bsod.lib.forms import TYPE, form, part, read, sent

pytestmark = pytest.mark.once


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path) as made:
        yield made


# ---- what comes whole


def test_fields_and_files_are_told_apart_and_keep_their_order(spool: Spool) -> None:
    data = form(
        part("model", b"gpt-image-1"),
        part("image[]", b"\x89PNG\r\n\x1a\n" * 9_000, "a.png", "Content-Type: image/png"),
        part("image[]", b"", "b.webp", "content-type:image/webp"),
        part("prompt", "Käse\r\n--B\r\n".encode()),
        part("mask", b"\r\n", "grün.png"),
    )
    found = read(spool, data)

    assert [(p.name, p.filename, p.content_type, p.size) for p in found.parts] == [
        ("model", None, "", 11),
        ("image[]", "a.png", "image/png", 72_000),
        ("image[]", "b.webp", "image/webp", 0),
        ("prompt", None, "", 12),
        ("mask", "grün.png", "", 2),
    ]
    assert found.repeated == {"image[]"}
    assert [p.filename for p in found.files] == ["a.png", "b.webp", "grün.png"]
    assert found.fields() == {"model": ["gpt-image-1"], "prompt": ["Käse\r\n--B\r\n"]}
    assert b"".join(found.chunks(found.parts[1])) == b"\x89PNG\r\n\x1a\n" * 9_000
    assert found.read(found.parts[1], 4) == b"\x89PNG"
    assert sent(found) == data
    assert found.content_type == TYPE.decode()


def test_a_form_as_a_client_library_writes_it_is_understood(spool: Spool) -> None:
    made = requests.Request(
        "POST",
        "http://up/",
        data={"purpose": "assistants", "list[]": ["1", "2"]},
        files={"file": ('na"me.jsonl', b"{}\n" * 5, "application/jsonl")},
    ).prepare()
    assert isinstance(made.body, bytes)
    found = read(spool, made.body, made.headers["Content-Type"].encode())

    assert found.fields() == {"purpose": ["assistants"], "list[]": ["1", "2"]}
    assert found.text(found.parts[1]) == "1"
    assert found.files[0].size == 15
    assert sent(found, rename_files=False) == made.body
    assert b'name="file"; filename="file.jsonl"' in sent(found), "%22 is a quote to some"


@pytest.mark.parametrize("kind", [
    b'Multipart/Form-Data;boundary="B0"', b"multipart/form-data; charset=utf-8; boundary=B0 ",
    b"multipart/form-data ; BOUNDARY=B0",
])  # fmt: skip
@pytest.mark.parametrize("end", [b"--B0--", b"--B0--\r\n"])
def test_spellings_that_mean_the_same_are_taken(spool: Spool, kind: bytes, end: bytes) -> None:
    data = form(part("a", b"1"), end=end)

    assert sent(read(spool, data, kind)) == data


def test_a_form_may_be_empty(spool: Spool) -> None:
    found = read(spool, b"--B0--\r\n")

    assert (found.parts, sent(found)) == ((), b"--B0--\r\n")
    assert sent(found, replace={"model": "m"}) == form(part("model", b"m"))


_contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"B", b"\r\n", b"\r\n--B", b"\r\n--", b"x", b"\0"]),
    max_size=9,
).map(b"".join)  # fmt: skip
_parts = st.lists(
    st.tuples(
        st.sampled_from(["a", "b[]", "ü"]),
        _contents.filter(lambda data: b"\n--B0" not in b"\n" + data),
        st.sampled_from([None, "f.png", "../x", ""]),
    ),
    max_size=5,
)


@settings(max_examples=100)
@given(parts=_parts, data=st.data())
def test_however_the_bytes_are_split_the_form_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[str, bytes, str | None]],
    data: st.DataObject,
) -> None:
    body = form(*[part(name, content, filename) for name, content, filename in parts])
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12).map(sorted))
    with Spool(tmp_path_factory.getbasetemp(), 50) as spool:
        reader = FormReader(TYPE, spool)
        for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
            reader.feed(body[start:stop])
        found = reader.finish()

        assert [(p.name, p.filename) for p in found.parts] == [(p[0], p[2]) for p in parts]
        assert [b"".join(found.chunks(p)) for p in found.parts] == [p[1] for p in parts]
        assert sent(found, rename_files=False) == body


@settings(max_examples=100)
@given(parts=_parts, data=st.data())
def test_whatever_is_wrong_is_found_however_the_bytes_are_split(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[str, bytes, str | None]],
    data: st.DataObject,
) -> None:
    """One byte is changed or the end is missing: whole or byte by byte, the verdict is one."""
    body = form(*[part(*each) for each in parts], part("last", b"z"))
    at = data.draw(st.integers(0, len(body) - 1))
    byte = data.draw(st.sampled_from([b"", b"\n", b"\r", b"-", b'"', b"\xff", b"B"]))
    broken = body[:at] + (byte + body[at + 1 :] if byte else b"")

    whole, single = (_verdict(tmp_path_factory, broken, step) for step in (len(broken) + 1, 1))

    assert whole == single


def _verdict(paths: pytest.TempPathFactory, data: bytes, step: int) -> object:
    with Spool(paths.getbasetemp()) as spool:
        try:
            reader = FormReader(TYPE, spool)
            for start in range(0, len(data), step):
                reader.feed(data[start : start + step])
            return [(p.name, p.filename, p.start, p.size) for p in reader.finish().parts]
        except BadForm as bad:
            return str(bad)


# ---- what is refused


D = 'Content-Disposition: form-data; name="a"'


@pytest.mark.parametrize("kind", [
    b"", b"multipart/form-data", b"multipart/form-data; boundary=", b"application/json",
    b"multipart/mixed; boundary=B0", b"multipart/form-data; boundary=B0; boundary=B1",
    b'multipart/form-data; boundary="B 0"', b"multipart/form-data; boundary=B0 x",
    b"multipart/form-data; boundary=" + b"b" * 71, b"multipart/form-data, boundary=B0",
    b'multipart/form-data; boundary="B\\0"', b"multipart/form-data; boundary=B\xff",
    b"multipart/form-data; boundary=B0;",
])  # fmt: skip
def test_no_boundary_or_an_odd_one_is_refused(spool: Spool, kind: bytes) -> None:
    with pytest.raises(BadForm, match=r"boundary|parameters"):
        FormReader(kind, spool)


@pytest.mark.parametrize("head", [
    "", "X: 1", "Content-Disposition: form-data", 'Content-Disposition: form-data; name=""',
    'Content-Disposition: attachment; name="a"', 'Content-Disposition: form-data; filename="a"',
    D + '; name="b"', D + '; NAME="b"', D + "; name*=UTF-8''b", D + '; size="1"', D + ";",
    D + "\r\n" + D, D + "\n", D + "\nX: 1", D + "\r\n folded", D + "\r\nX 1", D + "\r\n: 1",
    D + "\r\nX : 1", D + "\r\nX: \0", D + "\r\nX: a\rb", D.replace('"a"', '"a'),
    D.replace('"a"', r'"a\"b"'), D.replace('"a"', r'"a\\"'), D + "; filename=a b",
    D + "; filename*=x", D + "; filename*=utf-8''a%", D + "; filename*=latin-1''a",
    D + '; filename="a"; filename="b"', D + '; filename="a"b',
    D + "; filename*=utf-8''%ff", D + '; filename="a\tb"',
    D + "\r\nContent-Type: multipart/mixed; boundary=x", D + "\r\nContent-Type: text",
    D + "\r\nContent-Type: text/plain\r\nContent-Type: text/html",
    D + "\r\nContent-Type: text/plain; charset=utf-16",
    D + "\r\nContent-Transfer-Encoding: base64", D + "\r\nContent-Encoding: gzip",
    D + "\r\nContent-Length: 2", D + "\r\nContent-Length: +1", D + "\r\n--B0", D + "\r\n--B0: 1",
])  # fmt: skip
def test_a_head_that_two_readers_could_take_for_two_things_is_refused(
    spool: Spool, head: str
) -> None:
    with pytest.raises(BadForm):
        read(spool, form(head.encode() + b"\r\n\r\n1"))


def test_a_head_that_is_no_text_is_refused(spool: Spool) -> None:
    with pytest.raises(BadForm, match="name is not UTF-8"):
        read(spool, form(D.encode().replace(b'"a"', b'"\xff"') + b"\r\n\r\n1"))


@pytest.mark.parametrize("head", [
    D + "\r\nContent-Length: 1", D + "\r\nContent-Transfer-Encoding: Binary", D + " ",
    D + "\r\nContent-Type: application/json", D.replace('"a"', "a"), D.replace("; ", " ;\t"),
])  # fmt: skip
def test_a_head_with_what_some_clients_add_is_taken(spool: Spool, head: str) -> None:
    data = form(head.encode() + b"\r\n\r\n1")
    found = read(spool, data)

    assert found.fields() == {"a": ["1"]}
    assert sent(found) == data


@pytest.mark.parametrize("data", [
    b"", b"--", b"--B0", b"--B0\r", b"--B0-", b"--B0\r\n", b"--B0\r\n" + part("a", b"1"),
    form(part("a", b"1"), end=b"--B0"), form(part("a", b"1"), end=b"--B0-"),
    form(part("a", b"1"), end=b"--B0--\r"), b"--B0\r\n" + D.encode(),
])  # fmt: skip
def test_a_form_that_breaks_off_is_refused(spool: Spool, data: bytes) -> None:
    with pytest.raises(BadForm, match="ends before its last boundary"):
        read(spool, data)


@pytest.mark.parametrize("data", [
    b"\r\n" + form(part("a")), b"hello\r\n" + form(part("a")), b"--B1\r\n", b"{}",
    form(part("a"), end=b"--B0--\r\nx"), form(part("a"), end=b"--B0--x"), form(end=b"--B0--\n"),
    form(part("a"), end=b"--B0--\r\n\r\n"), form(part("a")) + form(part("b")),
    form(part("a", b"1")).replace(b"\r\n", b"\n"), b"--B0 \r\n" + part("a") + b"\r\n--B0--",
    form(part("a", b"x\n--B0\nContent-Disposition: form-data; name=b\n\n2")),
    form(part("a", b"x\n--B0\r\n" + part("b", b"2"))), form(part("a", b"--B0\r\n" + part("b"))),
    form(part("a", b"x\r\n--B0x")), form(part("a", b"--B0")), form(part("a", b"--B0--")),
    b"--B0\r\n\r\n" + part("a") + b"\r\n--B0--", form(b"\r\n1"),
])  # fmt: skip
def test_bytes_where_none_belong_are_refused(spool: Spool, data: bytes) -> None:
    with pytest.raises(BadForm):
        read(spool, data)


def test_two_files_of_one_name_are_told(spool: Spool) -> None:
    found = read(spool, form(part("file", b"1", "a"), part("file", b"2", "b"), part("x", b"1")))

    assert found.repeated == {"file"}


def test_a_field_that_is_no_text_is_refused_when_it_is_read(spool: Spool) -> None:
    found = read(spool, form(part("a", b"\xff\xfe"), part("b", b"x" * 65_537)))

    with pytest.raises(BadForm, match="'a' is not UTF-8"):
        found.text(found.parts[0])
    with pytest.raises(FormTooLarge, match="'b' is larger than 65536"):
        found.text(found.parts[1])
    assert len(found.text(found.parts[1], 100_000)) == 65_537


@pytest.mark.parametrize(("data", "told"), [
    (form(*[part("a")] * 10_000), "200 parts"),
    (b"--B0\r\nX: " + b"x" * 17_000, "16384 bytes"),
    (form(part("a", b"1", None, "X: " + "y" * 17_000)), "16384 bytes"),
    (b"--B0\r\n" + part("prompt", b"x" * 1_100_000), "'prompt' is larger than 1000000"),
    (form(part("prompt", b"x" * 1_000_001)), "'prompt' is larger than 1000000"),
])  # fmt: skip
def test_what_is_too_much_is_refused_when_it_comes(spool: Spool, data: bytes, told: str) -> None:
    with pytest.raises(FormTooLarge, match=told):
        read(spool, data)

    assert spool.size <= 1_017_000, "what comes behind is not taken"


def test_the_largest_that_is_allowed_is_taken(spool: Spool) -> None:
    wide = part("a", b"", None, "X: ").removesuffix(b"\r\n\r\n")
    wide += b"y" * (16_384 - len(wide)) + b"\r\n\r\n"
    data = form(*[part(f"p{n}") for n in range(198)], wide, part("prompt", b"x" * 1_000_000))
    found = read(spool, data)

    assert (len(found.parts), found.parts[-1].size) == (200, 1_000_000)
    assert sent(found) == data


def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    block = bytes(range(256)) * 1_024
    begin, end = form(part("file", b"", "big.bin"), end=b"").removesuffix(b"\r\n"), b"\r\n--B0--"
    with Spool(tmp_path) as spool:
        reader = FormReader(TYPE, spool)
        tracemalloc.start()
        reader.feed(begin)
        for _ in range(128):
            reader.feed(block)
        reader.feed(end)
        found = reader.finish()
        sizes = {len(chunk) for chunk in found.body().chunks()}
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert found.files[0].size == 128 * len(block)
        assert max(sizes) <= 262_144
        assert most < 4_000_000


def test_messages_tell_what_to_do_and_quote_no_content(spool: Spool) -> None:
    with pytest.raises(BadForm) as told:
        read(spool, form(b"X secret\r\n\r\n1"))

    assert re.fullmatch(r"A part's head is malformed: .*CR LF\.", str(told.value))
