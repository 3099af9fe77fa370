"""`carrick keys`: the API key this machine uses, making further ones, and the encryption key."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from carrick.cli import encryption
from carrick.cli.access import EnvironmentOption, JsonOption

if TYPE_CHECKING:
    from carrick.settings import Settings


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="keys", help="API keys on this machine, and the encryption key.")
    app.callback()(_group)
    app.command("show")(show)
    app.command("create")(create)
    app.command("rotate")(encryption.rotate)
    app.command("forget")(encryption.forget)
    return app


def _group() -> None:
    """API keys on this machine, and the encryption key."""


def show(environment: EnvironmentOption = "dev", as_json: JsonOption = False) -> None:
    """Print the environment's API key: from CARRICK_SECRET_KEY_<NAME>, else from keys.toml."""
    from carrick.cli.access import secret_key, settings
    from carrick.cli.output import print_json

    key = secret_key(environment, settings())
    if as_json:
        print_json({"environment": environment, "secret_key": key})
    else:
        print(key)


def create(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in lists.")],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="What it may do (repeatable), e.g. environment:connections:read; "
            "account:* makes and deletes environments.",
        ),
    ],
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Make a further API key, straight in the database, and print it this once.

    Over HTTP a key makes only such as may do no more than itself.
    """
    from carrick.cli.access import settings
    from carrick.cli.output import print_json
    from carrick.environments import SCOPE

    for scope in scopes:
        if re.fullmatch(SCOPE, scope) is None:
            raise typer.BadParameter(
                f'"{scope}" is no scope; one looks like environment:connections:read, '
                "environment:connections:* or account:*.",
                param_hint="--scope",
            )
    key = asyncio.run(_made(settings(), environment, name, scopes))
    if as_json:
        print_json({"environment": environment, "name": name, "scopes": scopes, "secret_key": key})
    else:
        print(key)


async def _made(given: Settings, environment: str, name: str, scopes: list[str]) -> str:
    from carrick.app import opened_store
    from carrick.environments import ApiKeys, RecentKeys
    from carrick.errors import NotFound
    from carrick.model.clock import SystemChance, SystemClock
    from carrick.store import environments as rows

    clock = SystemClock()
    async with opened_store(given, clock, migrated=False) as store:
        found = await store.read(lambda tx: rows.by_name(tx, environment))
        if found is None:
            raise NotFound(f'There is no environment "{environment}".')
        keys = ApiKeys(store, SystemChance(), RecentKeys(clock))
        _, text = await keys.create(found.row_id, name, tuple(dict.fromkeys(scopes)))
        return text
