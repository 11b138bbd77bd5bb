"""Secrets at rest: they open for their own row alone, under any of the vault's keys, or not."""

from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet

from bsod.lib.vault import Vault, VaultError

pytestmark = pytest.mark.once

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
SECRET = "sk-привет-\0-secret"


def test_what_is_sealed_opens_again_for_the_same_row() -> None:
    box = Vault([OLD])
    sealed = box.seal("row-1", SECRET)
    assert SECRET not in sealed
    assert box.open("row-1", sealed) == SECRET


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    box = Vault([OLD])
    assert box.seal("row-1", SECRET) != box.seal("row-1", SECRET)


def test_a_ciphertext_copied_to_another_row_does_not_open() -> None:
    box = Vault([OLD])
    with pytest.raises(VaultError, match="another row"):
        box.open("row-2", box.seal("row-1", SECRET))


@pytest.mark.parametrize(
    "damage",
    [
        lambda sealed: "",
        lambda sealed: "sk-plain-text",
        lambda sealed: "ключ",
        lambda sealed: sealed[:-1],
        lambda sealed: sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:],
        lambda sealed: sealed[:50] + sealed[60:],
    ],
)
def test_a_damaged_ciphertext_never_comes_out_as_a_secret(damage: Callable[[str], str]) -> None:
    box = Vault([OLD])
    broken = damage(box.seal("row-1", SECRET))
    with pytest.raises(VaultError):
        box.open("row-1", broken)
    with pytest.raises(VaultError):
        box.rotate(broken)


def test_rotation_goes_from_the_old_key_to_the_new_one() -> None:
    sealed = Vault([OLD]).seal("row-1", SECRET)
    both = Vault([NEW, OLD])
    assert both.open("row-1", sealed) == SECRET

    rotated = both.rotate(sealed)

    assert Vault([NEW]).open("row-1", rotated) == SECRET
    with pytest.raises(VaultError):
        Vault([OLD]).open("row-1", rotated)
    with pytest.raises(VaultError):
        Vault([NEW]).open("row-1", sealed)


def test_rotation_keeps_the_secret_bound_to_its_row() -> None:
    rotated = Vault([NEW, OLD]).rotate(Vault([OLD]).seal("row-1", SECRET))
    with pytest.raises(VaultError):
        Vault([NEW]).open("row-2", rotated)


def test_a_fingerprint_finds_the_same_secret_and_survives_a_new_first_key() -> None:
    before, after = Vault([OLD]), Vault([NEW, OLD])
    assert before.fingerprint(SECRET) == after.fingerprint(SECRET)
    assert before.fingerprint(SECRET) != before.fingerprint(SECRET + "x")
    assert Vault([OTHER]).fingerprint(SECRET) != before.fingerprint(SECRET)
    assert SECRET not in before.fingerprint(SECRET)
