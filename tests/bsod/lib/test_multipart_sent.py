"""A form is sent on byte for byte, but for what has to change."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bsod.lib.multipart import BadForm
from bsod.lib.spool import Spool
from tests.bsod.lib.forms import form, part, read, sent

pytestmark = pytest.mark.once


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path) as made:
        yield made


def test_a_field_gets_another_value_and_the_rest_stays_as_it_was(spool: Spool) -> None:
    head = 'content-disposition:form-data;name="image";filename="i.png"\r\nX-Odd:\t1  \r\n\r\n'
    odd = head.encode() + b"bytes"
    data = form(part("model", b"our-name"), odd, part("n", b"1"))
    found = read(spool, data)

    assert sent(found, replace={"model": "up/stream"}) == form(
        part("model", b"up/stream"), odd, part("n", b"1")
    )
    assert sent(found, drop=["n"]) == form(part("model", b"our-name"), odd)
    assert sent(found, drop=["n", "model", "image"]) == b"--B0--\r\n"
    assert sent(found, drop=["model"], replace={"model": "m"}) == form(odd, part("n", b"1"))
    assert sent(found) == data


def test_a_replaced_field_has_its_value_once_whatever_came(spool: Spool) -> None:
    """The provider must not read another value than we have judged."""
    model = part("model", b"two", None, "Content-Type: text/plain; charset=UTF-8")
    data = form(part("model", b"one"), part("a", b"1"), model, part("model", b"three", "m.txt"))
    found = read(spool, data)

    assert sent(found, replace={"model": "m"}) == form(part("model", b"m"), part("a", b"1"))
    assert sent(found, replace={"user": "ü"}) == data.removesuffix(b"--B0--\r\n") + form(
        part("user", "ü".encode())
    )


def test_a_value_cannot_end_its_part(spool: Spool) -> None:
    found = read(spool, form(part("model", b"x")))

    with pytest.raises(BadForm):
        found.body(replace={"model": 'a\r\n--B0\r\nContent-Disposition: form-data; name="evil"'})
    with pytest.raises(BadForm):
        found.body(replace={"model": "--B0"})
    with pytest.raises(ValueError, match="quote"):
        found.body(replace={'a"; filename="x': "1"})
    assert sent(found, replace={"model": "-B0 --B0"}) == form(part("model", b"-B0 --B0"))


@pytest.mark.parametrize(("name", "becomes"), [
    ("../../etc/x.PNG", "file.PNG"), ("a/b.png", "file.png"), (r"C:\x\y.jpg", "file.jpg"),
    (r"a\"b.mp3", "file.mp3"), ("", "file"), ("..", "file"), (".", "file"), ("   ", "file"),
    ("x" * 256, "file"), ("ü" * 128 + ".wav", "file.wav"), ("a%2Fb.png", "file.png"),
    ("a%22.png", "file.png"), ("%00.png", "file.png"), ("a\u202egnp.exe", "file.exe"),
    ("a\u2028.txt", "file.txt"), ("a/b.tar.gz;", "file"), ("a/.", "file"), ("\x85.txt", "file.txt"),
    ("a/b.p\u00fcg", "file"), ("a/b." + "x" * 11, "file"),
])  # fmt: skip
def test_a_file_name_that_could_do_harm_is_replaced(spool: Spool, name: str, becomes: str) -> None:
    extra = ("Content-Type: image/png", "X-Odd:  kept ")
    data = form(part("a", b"1"), part("image[]", b"bytes", name, *extra), part("b", b"2"))
    found = read(spool, data)

    assert sent(found, rename_files=False) == data
    assert sent(found) == form(
        part("a", b"1"), part("image[]", b"bytes", becomes, *extra), part("b", b"2")
    )


@pytest.mark.parametrize("name", [
    "a.png", "Käse 100%.jpg", "a;b=c.png", "..a.png", "x" * 255, "👨‍👩‍👧.png", "a'b`$(c).png",
    "-rf",
])  # fmt: skip
def test_any_other_file_name_stays(spool: Spool, name: str) -> None:
    data = form(part("file", b"bytes", name))
    found = read(spool, data)

    assert found.files[0].filename == name
    assert sent(found) == data


def test_a_name_in_two_spellings_is_harmless_only_if_both_are(spool: Spool) -> None:
    def with_names(plain: str, extended: str) -> bytes:
        names = f"filename=\"{plain}\"; filename*=UTF-8''{extended}"
        head = f'Content-Disposition: form-data; name="file"; {names}\r\n\r\n'
        return form(head.encode() + b"bytes")

    good = with_names("Kaese.png", "K%C3%A4se.png")
    found = read(spool, good)
    assert found.files[0].filename == "Käse.png"
    assert sent(found) == good
    for bad in (with_names("../x.png", "x.png"), with_names("x.png", "..%2Fx.png")):
        with Spool(Path("unused")) as other:
            assert sent(read(other, bad)) == form(part("file", b"bytes", "file.png"))
