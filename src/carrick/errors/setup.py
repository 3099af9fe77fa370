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


class CiphertextInvalid(CarrickError):
    """A stored secret cannot be decrypted with the keys this server has."""

    code = "ciphertext_invalid"
