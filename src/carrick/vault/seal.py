"""Authenticated encryption of stored secrets: AES-256-GCM, several keys to open, one to seal.

A sealed value names the key it was sealed with and is bound to a context (the row and column it
belongs to), so a value copied into another row does not open there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from carrick.errors import CiphertextInvalid, SettingsInvalid

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
#: First byte of everything sealed, so that the layout can change one day.
_LAYOUT = 1


def new_key() -> bytes:
    """Make a random encryption key."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes) -> str:
    """Return the name of a key; the same key has the same name on every node."""
    return hashlib.sha256(b"carrick encryption key\0" + key).hexdigest()[:16]


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token as hex: what is stored of it, and what it is found by.

    No slow hash: tokens are random, so there is nothing to guess, and every request pays for it.
    """
    return hashlib.sha256(token.encode()).hexdigest()


class Vault:
    """Seals and opens stored secrets."""

    def __init__(self, keys: Mapping[str, bytes], active: str) -> None:
        """Take keys by id, and the id of the one that seals.

        Raises:
            SettingsInvalid: A key has the wrong length, or the active one is not among them.
        """
        self._ciphers: dict[str, AESGCM] = {}
        self.learn(keys)
        self.seal_with(active)

    @property
    def active(self) -> str:
        """The id of the key that seals."""
        return self._active

    @property
    def known(self) -> frozenset[str]:
        """The ids of the keys that open."""
        return frozenset(self._ciphers)

    def learn(self, keys: Mapping[str, bytes]) -> None:
        """Open with further keys, by id; none is forgotten before the process ends.

        Raises:
            SettingsInvalid: A key has the wrong length.
        """
        for name, key in keys.items():
            if len(key) != KEY_BYTES:
                raise SettingsInvalid(f"Encryption key {name!r} is not {KEY_BYTES} bytes long.")
        self._ciphers.update({name: AESGCM(key) for name, key in keys.items()})

    def seal_with(self, active: str) -> None:
        """Seal with another key from now on.

        Raises:
            SettingsInvalid: It is not among the vault's.
        """
        if active not in self._ciphers:
            raise SettingsInvalid(f"The active encryption key {active!r} is not among the keys.")
        self._active = active
        self._header = header_of(active)

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt with the active key, bound to a context."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = self._header + context.encode()
        return self._header + nonce + self._ciphers[self._active].encrypt(nonce, plaintext, bound)

    def open(self, ciphertext: bytes, *, context: str) -> bytes:
        """Decrypt what was sealed with the same context.

        Raises:
            CiphertextInvalid: It was sealed with a key this server does not have, belongs to
                another context, or was changed.
        """
        name, header = _read_header(ciphertext)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise CiphertextInvalid(
                f"A stored secret was encrypted with key {name}, which this server does not have."
            )
        body = len(header) + _NONCE_BYTES
        nonce = ciphertext[len(header) : body]
        try:
            return cipher.decrypt(nonce, ciphertext[body:], header + context.encode())
        except InvalidTag as error:
            raise CiphertextInvalid(
                "A stored secret was changed, or does not belong where it is stored."
            ) from error

    def seal_json(self, value: Any, *, context: str) -> bytes:
        """Encrypt a JSON value."""
        return self.seal(json.dumps(value, separators=(",", ":")).encode(), context=context)

    def open_json(self, ciphertext: bytes, *, context: str) -> Any:
        """Decrypt a JSON value.

        Raises:
            CiphertextInvalid: See `open`.
        """
        return json.loads(self.open(ciphertext, context=context))

    def has(self, key_name: str) -> bool:
        """Whether a key is among the vault's."""
        return key_name in self._ciphers

    @staticmethod
    def key_of(ciphertext: bytes) -> str:
        """Return the id of the key something was sealed with.

        Raises:
            CiphertextInvalid: It is no ciphertext of a vault.
        """
        return _read_header(ciphertext)[0]

    def needs_reseal(self, ciphertext: bytes) -> bool:
        """Whether it was sealed with another key than the active one."""
        return _read_header(ciphertext)[0] != self._active

    def reseal(self, ciphertext: bytes, *, context: str) -> bytes:
        """Decrypt with whichever key fits and encrypt with the active one."""
        return self.seal(self.open(ciphertext, context=context), context=context)


def header_of(name: str) -> bytes:
    """Return how everything begins that is sealed with a key.

    Raises:
        SettingsInvalid: The key's id is empty or too long.
    """
    encoded = name.encode()
    if not 0 < len(encoded) < 256:
        raise SettingsInvalid("The id of an encryption key must have 1 to 255 bytes.")
    return bytes((_LAYOUT, len(encoded))) + encoded


def _read_header(ciphertext: bytes) -> tuple[str, bytes]:
    if len(ciphertext) < 2 or ciphertext[0] != _LAYOUT:
        raise CiphertextInvalid
    end = 2 + ciphertext[1]
    if len(ciphertext) < end + _NONCE_BYTES + _TAG_BYTES:
        raise CiphertextInvalid
    return ciphertext[2:end].decode(errors="replace"), ciphertext[:end]
