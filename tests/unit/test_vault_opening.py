"""Keys come from the settings or the key file, and the key file is for its owner alone."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from carrick.errors import KeyMissing, SettingsInvalid
from carrick.settings import Settings, read_settings
from carrick.vault import KeyFile, new_key, open_vault


def _settings(directory: Path, **values: str) -> Settings:
    return read_settings({}, directory, data_dir=directory, **values)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_key_and_the_second_finds_it(tmp_path: Path) -> None:
    """What one start seals the next one opens; only the first says that it made a key."""
    first = open_vault(_settings(tmp_path), is_postgres=False)
    second = open_vault(_settings(tmp_path), is_postgres=False)

    assert (first.created, second.created) == (True, False)
    sealed = first.vault.seal(b"secret", context="c")
    assert second.vault.open(sealed, context="c") == b"secret"


def test_the_key_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """`keys.toml` has mode 0600, in a data directory that did not exist before."""
    open_vault(_settings(tmp_path / "new" / "data"), is_postgres=False)

    assert _mode(tmp_path / "new" / "data" / "keys.toml") == 0o600


def test_a_key_file_that_others_can_read_is_tightened(tmp_path: Path) -> None:
    """Reading a key file that others may read takes that right away."""
    open_vault(_settings(tmp_path), is_postgres=False)
    (tmp_path / "keys.toml").chmod(0o644)

    open_vault(_settings(tmp_path), is_postgres=False)

    assert _mode(tmp_path / "keys.toml") == 0o600


def test_a_stricter_mode_is_kept(tmp_path: Path) -> None:
    """Writing the key file never makes its mode weaker."""
    keyfile = KeyFile(tmp_path / "keys.toml")
    keyfile.add_encryption_key()
    keyfile.save()
    keyfile.path.chmod(0o400)

    keyfile.secret_keys["dev"] = "k"
    keyfile.save()

    assert _mode(keyfile.path) == 0o400
    assert KeyFile.load(keyfile.path).secret_keys == {"dev": "k"}


def test_a_key_file_reads_as_it_was_written(tmp_path: Path) -> None:
    """Keys, the active one, and API keys survive, names with odd characters included."""
    keyfile = KeyFile(tmp_path / "keys.toml")
    keyfile.add_encryption_key()
    keyfile.add_encryption_key()
    keyfile.secret_keys = {"my-shop": "a", 'we.ird"\\ name': "b"}
    keyfile.save()

    assert KeyFile.load(keyfile.path) == keyfile
    assert [path.name for path in tmp_path.iterdir()] == ["keys.toml"]


def test_a_failed_write_leaves_the_old_key_file(tmp_path: Path) -> None:
    """When the new content cannot be written, the old file stays and no half file is left."""
    keyfile = KeyFile(tmp_path / "keys.toml")
    keyfile.add_encryption_key()
    keyfile.save()
    before = keyfile.path.read_text()

    keyfile.secret_keys["dev"] = "\ud800"
    keyfile.active = None
    keyfile.encryption_keys["broken"] = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        keyfile.save()

    assert keyfile.path.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["keys.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "active = ",
        "[encryption_keys]\nk1 = 'not base64!'",
        "[encryption_keys]\nk1 = 'c2hvcnQ='",
        "[encryption_keys]\nk1 = 5",
        f"active = 'k2'\n[encryption_keys]\nk1 = '{_text(bytes(32))}'",
    ],
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, text: str) -> None:
    """A key file that is not what was written is an error and is never replaced by a new one."""
    (tmp_path / "keys.toml").write_text(text)

    with pytest.raises(SettingsInvalid, match=r"keys\.toml"):
        open_vault(_settings(tmp_path), is_postgres=False)

    assert (tmp_path / "keys.toml").read_text() == text


def test_a_given_key_is_used_and_the_file_still_opens(tmp_path: Path) -> None:
    """`CARRICK_ENCRYPTION_KEY` seals; what the key file's key sealed before still opens."""
    sealed = open_vault(_settings(tmp_path), is_postgres=False).vault.seal(b"s", context="c")
    given = open_vault(_settings(tmp_path, encryption_key=_text(new_key())), is_postgres=False)

    assert given.vault.open(sealed, context="c") == b"s"
    assert given.vault.needs_reseal(sealed)


def test_several_keys_may_be_given(tmp_path: Path) -> None:
    """Of keys separated by commas the first seals and all of them open."""
    old, new = new_key(), new_key()
    before = open_vault(_settings(tmp_path, encryption_key=_text(old)), is_postgres=True).vault
    both = f"{_text(new)}, {_text(old)}"
    after = open_vault(_settings(tmp_path, encryption_key=both), is_postgres=True).vault

    sealed = before.seal(b"s", context="c")
    assert after.open(sealed, context="c") == b"s"
    assert after.needs_reseal(sealed)


def test_postgres_needs_a_key(tmp_path: Path) -> None:
    """Without a key a Postgres store does not start, no file is made, and the error says how."""
    with pytest.raises(KeyMissing, match="openssl rand -base64 32"):
        open_vault(_settings(tmp_path), is_postgres=True)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["nonsense!", base64.b64encode(b"short").decode(), "zzzzz"])
@pytest.mark.parametrize("is_postgres", [True, False])
def test_a_wrong_key_says_how_to_make_one(tmp_path: Path, text: str, is_postgres: bool) -> None:
    """A key that is not 32 bytes of base64 is refused with the command that makes one."""
    with pytest.raises(SettingsInvalid, match="openssl rand -base64 32") as caught:
        open_vault(_settings(tmp_path, encryption_key=text), is_postgres=is_postgres)

    assert text not in str(caught.value)
