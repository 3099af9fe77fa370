"""The key file of an embedded server: `keys.toml` in the data directory, for its owner alone.

It holds the encryption keys and the API keys that were made on first start, so that the command
line on the same machine can use them. Every write replaces the file as a whole.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carrick.errors import SettingsInvalid
from carrick.vault.seal import KEY_BYTES, key_id, new_key

_OWNER_ONLY = 0o600
_HEADING = "# Made by carrick. Whoever can read this file can read every stored secret.\n"


@dataclass
class KeyFile:
    """What `keys.toml` says. Changes are written by `save`."""

    path: Path
    active: str | None = None
    encryption_keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    secret_keys: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path) -> KeyFile:
        """Read the file; one that does not exist reads as empty.

        Raises:
            SettingsInvalid: The file is not what this program writes.
        """
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise SettingsInvalid(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingsInvalid(f"{path} is not a key file: it is not text.") from error
        _tighten(path)
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsInvalid(f"{path} is not valid TOML: {error}") from error
        keys = {name: _decode(path, name, key) for name, key in _table(values, "encryption_keys")}
        active = values.get("active")
        if keys and active not in keys:
            raise SettingsInvalid(f"{path}: `active` must name one of the encryption_keys.")
        return cls(path, active, keys, dict(_table(values, "secret_keys")))

    def add_encryption_key(self, key: bytes | None = None) -> str:
        """Add a key, a new random one by default, make it the active one and return its id."""
        key = key if key is not None else new_key()
        self.active = key_id(key)
        self.encryption_keys[self.active] = key
        return self.active

    def add_secret_keys(self, keys: Mapping[str, str]) -> None:
        """Write API keys to the file, by environment; what else was written there stays."""
        with changing(self.path) as current:
            self.encryption_keys = {**self.encryption_keys, **current.encryption_keys}
            self.active = current.active or self.active
            self.secret_keys = {**current.secret_keys, **self.secret_keys, **keys}
            current.encryption_keys, current.active = self.encryption_keys, self.active
            current.secret_keys = self.secret_keys

    def save(self) -> None:
        """Replace the file: complete and on disk, or not at all; readable by its owner alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        mode = _OWNER_ONLY
        with contextlib.suppress(FileNotFoundError):
            # A mode that is stricter already is the owner's choice and stays.
            mode &= stat.S_IMODE(self.path.stat().st_mode) | stat.S_IRUSR
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(self._text())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_directory(self.path.parent)

    def _text(self) -> str:
        keys = {name: base64.b64encode(key).decode() for name, key in self.encryption_keys.items()}
        lines = [_HEADING]
        if self.active is not None:
            lines.append(f"active = {_quote(self.active)}\n")
        lines.append("\n# Encryption keys by id. The active one encrypts, all of them decrypt.\n")
        lines.append(_toml_table("encryption_keys", keys))
        lines.append("\n# The API key of each environment, for the command line on this machine.\n")
        lines.append(_toml_table("secret_keys", self.secret_keys))
        return "".join(lines)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[KeyFile]:
    """Read a key file, and write what is changed; others who change it wait meanwhile.

    Raises:
        SettingsInvalid: The file is not what this program writes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        keyfile = KeyFile.load(path)
        yield keyfile
        keyfile.save()
    finally:
        os.close(directory)


def _table(values: Mapping[str, object], name: str) -> list[tuple[str, str]]:
    table = values.get(name, {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise SettingsInvalid(f"keys.toml: [{name}] must hold text values only.")
    return list(table.items())


def _decode(path: Path, name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SettingsInvalid(f"{path}: encryption key {name} is not valid base64.") from error
    if len(key) != KEY_BYTES:
        raise SettingsInvalid(f"{path}: encryption key {name} is not {KEY_BYTES} bytes long.")
    return key


def _toml_table(name: str, values: Mapping[str, str]) -> str:
    rows = "".join(f"{_quote(key)} = {_quote(value)}\n" for key, value in values.items())
    return f"[{name}]\n{rows}"


def _quote(text: str) -> str:
    # A JSON string of ASCII text is a TOML basic string.
    return json.dumps(text)


def _tighten(path: Path) -> None:
    # The owner may be somebody else (a mounted secret); then the mode is theirs to choose.
    with contextlib.suppress(PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~_OWNER_ONLY:
            path.chmod(mode & _OWNER_ONLY)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
