"""How this server is set up: settings, keys, its provider definitions."""

from __future__ import annotations

from carrick.errors.base import CarrickError


class SettingsInvalid(CarrickError):
    """A setting is wrong."""

    code = "settings_invalid"


class ProvidersInvalid(SettingsInvalid):
    """A provider definition is wrong."""

    code = "providers_invalid"


class KeyMissing(SettingsInvalid):
    """CARRICK_ENCRYPTION_KEY is not set. A Postgres store needs one: 32 random bytes, base64."""

    code = "encryption_key_missing"


class KeyLacking(SettingsInvalid):
    """An encryption key that is in use is not there."""

    code = "encryption_key_lacking"


class RotationUnfinished(CarrickError):
    """Not everything stored could be encrypted with the new key."""

    code = "rotation_unfinished"


class CiphertextInvalid(CarrickError):
    """A stored secret cannot be decrypted with the keys this server has."""

    code = "ciphertext_invalid"
