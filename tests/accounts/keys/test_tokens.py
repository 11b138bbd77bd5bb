"""The written form of a key: what is minted parses, and nothing that only looks alike does."""

import hashlib
import re
import string

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import tokens
from accounts.keys.tokens import matches, mint, parse
from tests.kit import Person

pytestmark = pytest.mark.once

FORM = re.compile(r"bsod-[a-z0-9]{12}[A-Za-z0-9_-]{43}[A-Za-z0-9_-]{4}")


def spelt(prefix: str, public: str, secret: str) -> str:
    """A key of our form with a right checksum, whatever its parts are."""
    text = f"{prefix}-{public}{secret}"
    return text + tokens._checksum(text)


def test_a_minted_key_has_the_form_and_parses_to_what_is_stored() -> None:
    text, token = mint()
    assert FORM.fullmatch(text)
    assert parse(text) == token
    assert text[5:17] == token.public_id
    assert text[17:60] not in token.digest


def test_no_two_keys_are_alike() -> None:
    assert len({mint()[0] for _ in range(200)}) == 200


def test_every_accepted_prefix_works_and_is_part_of_the_checksum() -> None:
    assert settings.KEY_PREFIXES == ["yout", "bsod"]
    text, token = mint("yout")
    assert parse(text) == token
    assert parse("bsod" + text[4:]) is None


@pytest.mark.parametrize(
    "secret", ["-" * 43, "_" * 43, "a-b" * 14 + "-", "-bsod-" + "x" * 37, "bsod-" * 8 + "abc"]
)
def test_a_secret_may_hold_dashes_anywhere(secret: str) -> None:
    found = parse(spelt("bsod", "abc123def456", secret))
    assert found is not None
    assert (found.public_id, found.digest) == ("abc123def456", tokens.digest(secret))


SECRET = "S" * 43
GOOD = spelt("bsod", "abc123def456", SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "bsod-",
        GOOD[:-1],
        GOOD + "A",
        GOOD[1:],
        " " + GOOD,
        GOOD + " ",
        GOOD + "\n",
        GOOD + "\0",
        GOOD.replace("-", "_", 1),
        GOOD.replace("-", "–", 1),
        GOOD.replace("bsod-", "bsod--", 1),
        GOOD.replace("bsod-", "", 1),
        GOOD.replace("bsod-", "-", 1),
        GOOD.replace("bsod-", "\0bsod-", 1),
        "BSOD" + GOOD[4:],
        GOOD.upper(),
        "sk-" + GOOD[5:],
        spelt("sk", "abc123def456", SECRET),
        spelt("bsod-bsod", "abc123def456", SECRET),
        spelt("", "abc123def456", SECRET),
        spelt("bsod", "ABC123def456", SECRET),
        spelt("bsod", "abc-23def456", SECRET),
        spelt("bsod", "аbc123def456", SECRET),  # a Cyrillic letter
        spelt("bsod", "abc12３def456", SECRET),  # a full-width digit
        spelt("bsоd", "abc123def456", SECRET),
        spelt("bsod", "abc123def456", "+" + SECRET[1:]),
        spelt("bsod", "abc123def456", "\0" + SECRET[1:]),
        spelt("bsod", "abc123def456", "é" + SECRET[1:]),
        spelt("bsod", "abc123def456", SECRET[1:]),
        spelt("bsod", "abc123def456", SECRET + "S"),
        "bsod-" + "a" * 10_240,
        "\0" * 59,
        "\ud800" * 64,
        "ключ" * 16,
    ],
)
def test_what_only_looks_like_a_key_is_none(text: str) -> None:
    assert parse(text) is None


@given(place=st.integers(0, len(GOOD) - 1), letter=st.sampled_from(string.printable))
def test_one_wrong_letter_is_seen_without_a_database(place: int, letter: str) -> None:
    if GOOD[place] != letter:
        assert parse(GOOD[:place] + letter + GOOD[place + 1 :]) is None


@given(st.binary(max_size=80))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    assert parse(raw.decode("latin-1")) is None


def test_a_digest_is_keyed_and_compared_whole(alice: Person) -> None:
    token = parse(alice.secret)
    assert token is not None
    assert matches(token, alice.key.digest)
    assert not matches(token, alice.key.digest[:-1] + ("0" if alice.key.digest[-1] != "0" else "1"))
    assert not matches(token, "")
    secret = alice.secret[17:60]
    assert hashlib.sha256(secret.encode()).hexdigest() != alice.key.digest
