"""A spool holds what it was given, in memory or in a file nobody can find, and lets go of it."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib import spool
from bsod.lib.spool import Cut, Spool

pytestmark = pytest.mark.once


@given(
    pieces=st.lists(st.binary(max_size=40), max_size=12),
    in_memory=st.integers(0, 120),
    start=st.integers(0, 300),
    length=st.integers(0, 300),
)
def test_what_was_written_is_read_again_anywhere_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[bytes],
    in_memory: int,
    start: int,
    length: int,
) -> None:
    everything = b"".join(pieces)
    with Spool(tmp_path_factory.getbasetemp(), in_memory) as spooled:
        for piece in pieces:
            spooled.write(piece)

        assert spooled.size == len(everything)
        assert spooled.on_disk is (len(everything) > in_memory)
        assert spooled.read(start, length) == everything[start : start + length]
        assert b"".join(spooled.chunks(start, length)) == everything[start : start + length]


def test_a_large_one_is_read_in_pieces_and_again_from_the_beginning(tmp_path: Path) -> None:
    block = os.urandom(300_000)
    with Spool(tmp_path) as spooled:
        for _ in range(5):
            spooled.write(block)
        body = spool.whole(spooled)
        chunks = list(body.chunks())

        assert max(map(len, chunks)) <= 262_144
        assert body.length == 1_500_000
        assert b"".join(chunks) == b"".join(body.chunks()) == block * 5


def test_the_file_has_no_name_and_its_room_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when needed"
    spooled = Spool(folder, 1_000)
    spooled.write(b"x" * 900)
    assert not folder.exists()
    spooled.write(b"y" * 5_000_000)

    assert list(folder.iterdir()) == []
    assert list(_nameless(folder)) == [5_000_900]
    spooled.close()
    assert list(_nameless(folder)) == []


def _nameless(folder: Path) -> Iterator[int]:
    """Sizes of this process's open files of a folder."""
    for link in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(link).startswith(str(folder)):
                yield link.stat().st_size
        except FileNotFoundError:
            continue  # the one that lists them


@pytest.mark.parametrize("in_memory", [1_000, 0])
def test_a_closed_one_is_not_written_to_nor_read_and_may_be_closed_again(
    tmp_path: Path, in_memory: int
) -> None:
    spooled = Spool(tmp_path, in_memory)
    spooled.write(b"abc")
    body = spool.whole(spooled)
    spooled.close()
    spooled.close()

    for use in (lambda: spooled.write(b"x"), lambda: spooled.read(0, 1), lambda: [*body.chunks()]):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files of this process can have a million bytes: Linux says so as it says `disk full`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_and_what_was_written_before_stays(tmp_path: Path) -> None:
    with Spool(tmp_path, 10) as spooled:
        spooled.write(b"a" * 900_000)
        with pytest.raises(OSError) as told:
            spooled.write(b"b" * 200_000)

        assert told.value.errno == errno.EFBIG
        assert spooled.size == 900_000
        assert spooled.read(899_999, 10) == b"a"
        spooled.write(b"c" * 100_000)
        assert spooled.read(899_999, 3) == b"acc"


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_is_full_from_the_start_leaves_nothing_open(tmp_path: Path) -> None:
    with Spool(tmp_path, 2_000_000) as spooled:
        spooled.write(b"a" * 1_500_000)
        with pytest.raises(OSError):
            spooled.write(b"b" * 1_500_000)

        assert list(_nameless(tmp_path)) == []
        assert (spooled.size, spooled.on_disk) == (1_500_000, False)
        assert spooled.read(1_499_999, 5) == b"a"


def test_a_body_of_pieces_is_as_long_as_it_says(tmp_path: Path) -> None:
    with Spool(tmp_path, 3) as spooled:
        spooled.write(b"0123456789")
        body = Cut(spooled, [b"<", range(2, 5), b"", range(0), b"|", range(9, 10), b">"])

        assert b"".join(body.chunks()) == b"<234|9>"
        assert body.length == 7
