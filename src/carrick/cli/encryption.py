"""`carrick keys rotate` and `carrick keys forget`: the key that encrypts what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from carrick.cli.access import JsonOption, YesOption

if TYPE_CHECKING:
    from carrick.app.rotation import Rotated, Rotation

T = TypeVar("T")
_DataDir = Annotated[Path | None, typer.Option(help="Where the database and the keys live.")]


def rotate(*, data_dir: _DataDir = None, as_json: JsonOption = False) -> None:
    """Encrypt every stored secret with a new key, while servers run.

    An embedded server with a key file gets a new key there and takes it up by itself. Where keys
    are in CARRICK_ENCRYPTION_KEY, put the new one in front of the old on every node first, restart
    them one after another, and run this with the same setting.

    It may be stopped at any moment: run it again, and it goes on.
    """
    from carrick.cli.output import print_json, working

    with working("Encrypting with the new key"):
        rotated = _with_rotation(data_dir, lambda rotation: rotation.rotate())
    if as_json:
        print_json(
            {
                "key": rotated.key,
                "former_keys": list(rotated.former),
                "encrypted_again": dict(rotated.resealed),
                "unreadable": dict(rotated.unreadable),
            }
        )
    else:
        _tell(rotated)
    if rotated.unreadable:
        raise typer.Exit(1)


def forget(*, data_dir: _DataDir = None, yes: YesOption = False) -> None:
    """Drop the keys that nothing is encrypted with any more. Backups from before need them."""
    from carrick.cli.output import confirm, print_line, working

    keys = _with_rotation(data_dir, lambda rotation: rotation.former())
    if not keys:
        print_line("There is no old key.")
        return
    named = ", ".join(keys)
    confirm(f"Forget {named}? Backups made before the rotation cannot be read without.", yes=yes)
    with working("Looking for what they encrypt"):
        file = _with_rotation(data_dir, lambda rotation: rotation.forget(keys))
    print_line(f"Nothing is encrypted with {named} any more.", style="green")
    if file is not None:
        print_line(f"{file.absolute()} is without it now: replace the copies you keep.")
    else:
        print_line("Leave the old key out of CARRICK_ENCRYPTION_KEY when nodes are next started.")


def _tell(rotated: Rotated) -> None:
    from carrick.cli.failures import write
    from carrick.cli.output import print_line, print_table

    if rotated.made_in is not None:
        print_line(f"A new key was made in {rotated.made_in.absolute()}: keep a copy of it.")
    if rotated.continued:
        print_line("An earlier run was cut off, and has been finished.")
    rows = [(place, f"{count:,}") for place, count in rotated.resealed.items()]
    if rows:
        print_table(("encrypted again", "rows"), rows, empty="")
    count = sum(rotated.resealed.values())
    print_line(f"{count:,} secrets encrypted again with key {rotated.key}.", style="green")
    for place, number in rotated.unreadable.items():
        write(f"{place}: {number} cannot be decrypted with any key that is here; left as they are.")
    if rotated.former:
        named = ", ".join(rotated.former)
        print_line(f"Old: {named}. Backups made until now need it.")
        print_line("When you need none of them any more: carrick keys forget")


def _with_rotation(data_dir: Path | None, action: Callable[[Rotation], Awaitable[T]]) -> T:
    return asyncio.run(_run(data_dir, action))


async def _run(data_dir: Path | None, action: Callable[[Rotation], Awaitable[T]]) -> T:
    from carrick.app import opened_store
    from carrick.app.rotation import Rotation
    from carrick.cli.access import settings
    from carrick.errors import SettingsInvalid
    from carrick.model.clock import SystemClock
    from carrick.store.clocks import DatabaseClock

    given = settings(data_dir=data_dir)
    if given.database_url is None and not given.database_file.exists():
        raise SettingsInvalid(f"There is no database in {given.data_dir.absolute()}.")
    clock = DatabaseClock(SystemClock())
    async with opened_store(given, clock, migrated=False) as store:
        if store.is_postgres:
            await clock.look(store)
        return await action(await Rotation.open(given, store, clock))
