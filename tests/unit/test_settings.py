"""Settings come from the command line, the environment, the file and defaults, in that order."""

from __future__ import annotations

from pathlib import Path

import pytest

from carrick.errors import SettingsInvalid
from carrick.settings import Settings, read_settings


def test_everything_has_a_default(tmp_path: Path) -> None:
    """Nothing has to be set for a server on this machine."""
    settings = read_settings({}, tmp_path)

    assert (settings.host, settings.port, settings.data_dir) == (
        "127.0.0.1",
        3003,
        Path(".carrick"),
    )
    assert settings.database_url is None


def test_every_setting_is_described() -> None:
    """The reference is made from the descriptions, so none may lack one."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_nearest_source_wins(tmp_path: Path) -> None:
    """The command line beats the environment, which beats the file, which beats the default."""
    (tmp_path / "carrick.toml").write_text('port = 1\nhost = "file"\nlog_level = "debug"\n')
    environ = {"CARRICK_PORT": "2", "CARRICK_HOST": "environ"}
    settings = read_settings(environ, tmp_path, port=3, host=None)

    assert (settings.port, settings.host, settings.log_level) == (3, "environ", "debug")


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    """A variable without a value leaves the default in place."""
    assert read_settings({"CARRICK_PORT": ""}, tmp_path).port == 3003


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    """Variables that are no setting of ours do not disturb."""
    assert read_settings({"PORT": "1", "CARRICK_UNKNOWN": "1"}, tmp_path).port == 3003


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt key is said, not ignored."""
    (tmp_path / "carrick.toml").write_text("prot = 1\n")

    with pytest.raises(SettingsInvalid, match="prot"):
        read_settings({}, tmp_path)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    """The message says which file cannot be read."""
    (tmp_path / "carrick.toml").write_text("port = = 1")

    with pytest.raises(SettingsInvalid, match=r"carrick\.toml is not valid TOML"):
        read_settings({}, tmp_path)


def test_a_wrong_value_names_its_variable(tmp_path: Path) -> None:
    """The message says which variable to mend, and its name in the file."""
    with pytest.raises(SettingsInvalid, match=r"CARRICK_PORT \(port in carrick.toml\)"):
        read_settings({"CARRICK_PORT": "ninety"}, tmp_path)


@pytest.mark.parametrize(
    "address", ["app.example/hooks", "ftp://app.example", "https://", "https://a:port/"]
)
def test_an_address_for_notifications_is_one(tmp_path: Path, address: str) -> None:
    """A slip is told at start, not when the first notification fails."""
    told = r"CARRICK_WEBHOOK_URL_DEV \(webhook_urls\.dev in carrick\.toml\): must be an address"
    with pytest.raises(SettingsInvalid, match=told):
        read_settings({"CARRICK_WEBHOOK_URL_DEV": address}, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DATABASE_URL", "mysql://carrick:hidden@db/carrick", "must be a Postgres address"),
        ("DATABASE_URL", "postgres", "must be a Postgres address"),
        ("PUBLIC_URL", "carrick.example", "must be an address"),
        ("CONNECT_URL", "carrick.example/connect", "must be an address"),
        ("ISOLATION", "docker", "'auto', 'bubblewrap' or 'none'"),
        ("LOG_LEVEL", "chatty", "'debug', 'info', 'warning' or 'error'"),
        ("MAX_BODY_BYTES", "-1", "greater than or equal to 1"),
        ("RUNNER_MEMORY_BYTES", "1", "greater than or equal to"),
        ("LOG_FORMAT", "xml", "'auto', 'console' or 'json'"),
    ],
)
def test_a_value_that_nothing_can_be_done_with_is_told_at_start(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    """And not later, by whatever fails on it; a password in it is not repeated."""
    with pytest.raises(SettingsInvalid, match=said) as caught:
        read_settings({f"CARRICK_{variable}": value}, tmp_path)
    assert f"CARRICK_{variable}" in caught.value.message
    assert "hidden" not in caught.value.message


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    """Settings are UTF-8."""
    (tmp_path / "carrick.toml").write_bytes('host = "ö"'.encode("latin-1"))

    with pytest.raises(SettingsInvalid, match=r"carrick\.toml is not valid TOML"):
        read_settings({}, tmp_path)


def test_networks_are_separated_by_commas(tmp_path: Path) -> None:
    """A list in a variable is written with commas; spaces do not matter."""
    settings = read_settings({"CARRICK_EGRESS_ALLOW": "127.0.0.0/8, 10.0.0.0/8,"}, tmp_path)

    assert settings.egress_allow == ("127.0.0.0/8", "10.0.0.0/8")


def test_variables_of_an_environment_are_collected(tmp_path: Path) -> None:
    """Keys and addresses per environment are found under its lower-case name."""
    settings = read_settings(
        {"CARRICK_SECRET_KEY_DEV": "k", "CARRICK_WEBHOOK_URL_PROD": "https://app.example"}, tmp_path
    )

    assert settings.secret_keys["dev"].get_secret_value() == "k"
    assert settings.webhook_urls == {"prod": "https://app.example"}


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Printing the settings prints no secret."""
    environ = {"CARRICK_SECRET_KEY_DEV": "hidden-key", "CARRICK_ENCRYPTION_KEY": "hidden-text"}

    assert "hidden" not in repr(read_settings(environ, tmp_path))


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://127.0.0.1:3003"),
        ({"CARRICK_HOST": "0.0.0.0", "CARRICK_PORT": "80"}, "http://127.0.0.1:80"),
        ({"CARRICK_PUBLIC_URL": "https://carrick.example/"}, "https://carrick.example"),
    ],
)
def test_the_server_knows_its_address(
    environ: dict[str, str], address: str, tmp_path: Path
) -> None:
    """The address others use is the public one, or what is listened on."""
    assert read_settings(environ, tmp_path).base_url == address
