"""Settings: the only place that reads the environment, one table of everything that can be set.

Values come from `CARRICK_*` variables, then from `carrick.toml` in the working directory, then
from the defaults here. Variables ending in an environment's name (`CARRICK_SECRET_KEY_DEV`,
`CARRICK_WEBHOOK_URL_DEV`) are collected into mappings with lower-case names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from carrick.errors import SettingsInvalid

_PREFIX = "CARRICK_"
#: What an embedded server calls its files in the data directory.
DATABASE_NAME = "carrick.db"
KEY_FILE_NAME = "keys.toml"
#: Settings with one variable for each environment.
_PER_ENVIRONMENT = {"secret_keys": "secret_key", "webhook_urls": "webhook_url"}


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError("must be an address such as https://app.example/carrick")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _database(value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a Postgres address: postgresql://user@host/database")
    return value


class Settings(BaseModel):
    """Everything a person can set. Each field is `CARRICK_<NAME>` or a key of `carrick.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(Path(".carrick"), description="Where the SQLite file and keys live.")
    database_url: Annotated[str, AfterValidator(_database)] | None = Field(
        None, description="postgresql://… for many nodes; a SQLite file in data_dir without it."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(3003, ge=0, le=65535, description="Port to listen on.")
    public_url: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="Address under which others reach this server."
    )
    connect_url: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="Address of a connect page other than this server's own."
    )
    providers_file: Path | None = Field(
        None, description="A YAML or JSON file that adds providers or overrides built-in ones."
    )
    egress_allow: tuple[str, ...] = Field(
        (), description="Private networks outbound calls may reach, e.g. 127.0.0.0/8."
    )
    encryption_key: SecretStr | None = Field(
        None, description="32 bytes, base64; made on first start for SQLite."
    )
    rate_limit_per_minute: int | None = Field(
        None, ge=1, description="API calls per key and minute; off when not set."
    )
    max_body_bytes: int = Field(
        75 * 1024 * 1024, ge=1, description="Largest request body accepted."
    )
    max_answer_bytes: int = Field(
        10 * 1024 * 1024,
        ge=1,
        description="Largest provider answer handed to a function, in bytes.",
    )
    runner_memory_bytes: int = Field(
        512 * 1024 * 1024,
        ge=64 * 1024 * 1024,
        description="Memory limit of one runner process, in bytes.",
    )
    runner_concurrency: int = Field(
        32, ge=1, description="Runs that share one runner process at a time."
    )
    isolation: Literal["auto", "bubblewrap", "none"] = Field(
        "auto", description="auto, bubblewrap or none: isolation of runner processes."
    )
    retention_days: int = Field(
        15, ge=1, description="Days that ended operations and delivered notifications are kept."
    )
    background_refresh: int = Field(
        4,
        ge=0,
        le=100,
        description="Connections of one integration that are refreshed or checked in the "
        "background at a time; 0 turns that off.",
    )
    idle_hours: float = Field(
        24.0, gt=0, description="Hours after which unused credentials are kept alive or checked."
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="Seconds a server that is told to stop goes on while /health says so.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = (
        Field("info", description="debug, info, warning or error.")
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto, console or json."
    )
    secret_keys: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="API key per environment: CARRICK_SECRET_KEY_<NAME>."
    )
    account_key: SecretStr | None = Field(
        None, description="API key with which the command line makes and deletes environments."
    )
    webhook_urls: Mapping[str, Annotated[str, AfterValidator(_address)]] = Field(
        default_factory=dict,
        description="Address for notifications per environment: CARRICK_WEBHOOK_URL_<NAME>.",
    )
    server_url: str | None = Field(None, description="Server the command line talks to.")

    @property
    def database_file(self) -> Path:
        """Where an embedded store lies."""
        return self.data_dir / DATABASE_NAME

    @property
    def key_file(self) -> Path:
        """Where keys lie that were made here."""
        return self.data_dir / KEY_FILE_NAME

    @property
    def base_url(self) -> str:
        """The address under which others reach this server, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{host}:{self.port}"


def read_settings(
    environ: Mapping[str, str] | None = None, directory: Path | None = None, **overrides: Any
) -> Settings:
    """Read the settings once, at start.

    Args:
        environ: The process environment by default.
        directory: Where `carrick.toml` is looked for; the working directory by default.
        overrides: Values from the command line; `None` means not given.

    Raises:
        SettingsInvalid: A value does not fit; the message names the variable and what it takes.
    """
    environ = os.environ if environ is None else environ
    values = _from_file((directory or Path.cwd()) / "carrick.toml")
    values.update(_from_environ(environ))
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [_say(fault) for fault in error.errors()]
        raise SettingsInvalid("; ".join(lines)) from error


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path.name} is not valid TOML: {error}") from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    secret_keys: dict[str, str] = {}
    webhook_urls: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX) or text == "":
            continue
        name = variable.removeprefix(_PREFIX).lower()
        if name.startswith("secret_key_"):
            secret_keys[name.removeprefix("secret_key_")] = text
        elif name.startswith("webhook_url_"):
            webhook_urls[name.removeprefix("webhook_url_")] = text
        elif name in Settings.model_fields:
            values[name] = _split(text) if name == "egress_allow" else text
    if secret_keys:
        values["secret_keys"] = secret_keys
    if webhook_urls:
        values["webhook_urls"] = webhook_urls
    return values


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _say(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    setting, *environment = (str(part) for part in fault["loc"])
    variable = "_".join((_PER_ENVIRONMENT.get(setting, setting), *environment))
    message = fault["msg"].removeprefix("Value error, ")
    return f"{_PREFIX}{variable.upper()} ({name} in carrick.toml): {message}"
