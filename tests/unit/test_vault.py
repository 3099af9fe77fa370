"""The vault seals, opens, and refuses what it should not open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.errors import CiphertextInvalid, SettingsInvalid
from carrick.vault import Vault, hash_token, key_id

OLD = bytes(range(32))
NEW = bytes(range(32, 64))


@pytest.fixture
def vault() -> Vault:
    """A vault with one key."""
    return Vault({"k1": OLD}, "k1")


@given(plaintext=st.binary(max_size=300), context=st.text(max_size=40))
def test_what_was_sealed_opens_again(plaintext: bytes, context: str) -> None:
    """Any plaintext comes back, whatever it is bound to."""
    vault = Vault({"k1": OLD}, "k1")

    assert vault.open(vault.seal(plaintext, context=context), context=context) == plaintext


def test_a_secret_does_not_open_in_another_place(vault: Vault) -> None:
    """A ciphertext copied to another row or column is refused."""
    sealed = vault.seal(b"secret", context="set-a:credentials")

    with pytest.raises(CiphertextInvalid):
        vault.open(sealed, context="set-b:credentials")


@given(position=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_a_changed_ciphertext_never_opens(position: int, flip: int) -> None:
    """Whichever byte is changed, the header's included, opening fails with our own error."""
    vault = Vault({"k1": OLD}, "k1")
    sealed = bytearray(vault.seal(b"secret", context="c"))
    sealed[position % len(sealed)] ^= flip

    with pytest.raises(CiphertextInvalid):
        vault.open(bytes(sealed), context="c")


@given(garbage=st.binary(max_size=100))
def test_garbage_never_opens(garbage: bytes) -> None:
    """Bytes that were never sealed are refused with our own error."""
    with pytest.raises(CiphertextInvalid):
        Vault({"k1": OLD}, "k1").open(garbage, context="c")


def test_two_seals_of_one_plaintext_differ(vault: Vault) -> None:
    """Nobody can tell from the store that two secrets are equal."""
    assert vault.seal(b"secret", context="c") != vault.seal(b"secret", context="c")


def test_json_comes_back_as_it_was(vault: Vault) -> None:
    """A JSON value survives, with its types and with characters beyond ASCII."""
    value = {"access_token": "a", "raw": {"n": 1.5, "list": [None, True, "ü"]}}

    assert vault.open_json(vault.seal_json(value, context="c"), context="c") == value


def test_an_old_key_still_opens_what_it_sealed() -> None:
    """After rotation the old key opens, the new one seals, and resealing moves a secret over."""
    sealed = Vault({"old": OLD}, "old").seal(b"secret", context="c")
    rotated = Vault({"old": OLD, "new": NEW}, "new")

    assert rotated.open(sealed, context="c") == b"secret"
    assert rotated.needs_reseal(sealed)
    moved = rotated.reseal(sealed, context="c")
    assert not rotated.needs_reseal(moved)
    assert Vault({"new": NEW}, "new").open(moved, context="c") == b"secret"


def test_a_missing_key_is_named() -> None:
    """A secret whose key is gone says which key it was."""
    sealed = Vault({"old": OLD}, "old").seal(b"secret", context="c")

    with pytest.raises(CiphertextInvalid, match="key old"):
        Vault({"new": NEW}, "new").open(sealed, context="c")


def test_a_vault_needs_sound_keys() -> None:
    """A key of the wrong length, or an active key that is not there, is refused at once."""
    with pytest.raises(SettingsInvalid, match="32 bytes"):
        Vault({"k": b"short"}, "k")
    with pytest.raises(SettingsInvalid, match="'other'"):
        Vault({"k": OLD}, "other")


def test_a_key_has_the_same_id_everywhere() -> None:
    """The id follows from the key alone and says nothing of it."""
    assert key_id(OLD) == key_id(OLD) != key_id(NEW)
    assert OLD.hex()[:8] not in key_id(OLD)


def test_tokens_are_hashed_with_sha256() -> None:
    """What is stored of a token is its SHA-256 as hex."""
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
