"""How a command reaches its server: settings, the environment's API key, the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:  # these cost more to import than `--help` may take
    from carrick.client import Client
    from carrick.settings import Settings

T = TypeVar("T")

EnvironmentOption = Annotated[
    str, typer.Option("--environment", "-e", help="The environment to work on.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, help="Show so many at most.")
]
ProjectOption = Annotated[
    Path, typer.Option("--project", help="The project's folder.", show_default="here")
]

HERE = Path()


def settings(**overrides: Any) -> Settings:
    """Read the settings of this run."""
    from carrick.settings import read_settings

    return read_settings(**overrides)


def secret_key(environment: str, given: Settings) -> str:
    """Return an environment's API key: from its setting, else from the local server's key file.

    Raises:
        SettingsInvalid: There is none.
    """
    from carrick.errors import SettingsInvalid

    name = _plain(environment)
    for known, key in given.secret_keys.items():
        if _plain(known) == name:
            return key.get_secret_value()
    path = given.key_file
    for known, text in _keys_in(path).items():
        if _plain(known) == name:
            return text
    raise SettingsInvalid(
        f"There is no API key for the environment {environment}: {key_variable(environment)} is "
        f"not set, and {path} has none. A local server writes that file when `carrick serve` "
        "first starts."
    )


def server_url(given: Settings) -> str:
    """Return where the server is."""
    return given.server_url or given.base_url


def with_client(environment: str, action: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Run something with a client of an environment and return what it returns."""
    given = settings()
    return _asked(given, secret_key(environment, given), action)


def with_account_client(action: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Run something that no environment's key may do.

    Raises:
        SettingsInvalid: There is no key of the account.
    """
    from carrick.errors import SettingsInvalid

    given = settings()
    if given.account_key is None:
        raise SettingsInvalid(
            "CARRICK_ACCOUNT_KEY is not set. On the server's machine, "
            "`carrick keys create NAME --scope 'account:*'` makes a key for it."
        )
    return _asked(given, given.account_key.get_secret_value(), action)


def _asked(given: Settings, key: str, action: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    from carrick.client import Client

    async def run() -> T:
        async with Client(server_url(given), key) as client:
            return await action(client)

    return asyncio.run(run())


def _keys_in(path: Path) -> dict[str, str]:
    from carrick.vault import KeyFile

    return dict(KeyFile.load(path).secret_keys)


def key_variable(environment: str) -> str:
    """Return the variable that an environment's API key is read from."""
    return f"CARRICK_SECRET_KEY_{_plain(environment).upper()}"


def _plain(environment: str) -> str:
    """Spell an environment as a variable does: MY_ENV and my-env are the same one."""
    return environment.lower().replace("-", "_")
