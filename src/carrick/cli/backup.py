"""`carrick backup` and `carrick restore`: copies of the embedded store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from carrick.settings import Settings
    from carrick.store.snapshot import Snapshot

_DataDir = Annotated[Path | None, typer.Option(help="Where the database and the keys live.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    file: Annotated[
        Path | None, typer.Argument(help="The copy to make.", show_default="carrick-<time>.db")
    ] = None,
    *,
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Copy keys.toml as well. Keep the two apart."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    data_dir: _DataDir = None,
) -> None:
    """Copy the database of an embedded server, which may be running."""
    from carrick.app.backups import back_up, keys_beside
    from carrick.cli.access import settings
    from carrick.cli.output import print_line, working
    from carrick.model.clock import SystemClock

    given = settings(data_dir=data_dir)
    target = file or Path(f"carrick-{SystemClock().now():%Y%m%dT%H%M%S}.db")
    with working("Copying"):
        taken = back_up(given, target, with_keys=with_keys, force=force)
    print_line(f"{target}: {_contents(taken)}.", style="green")
    if with_keys:
        print_line(f"{keys_beside(target)} can read every secret in it: keep it elsewhere.")
    else:
        print_line(f"Its secrets are encrypted: keep a copy of {_keys_of(given)}.")


def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `carrick backup` made.")],
    *,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="The key file that was kept with it.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a database, and keep it under another name.")
    ] = False,
    data_dir: _DataDir = None,
) -> None:
    """Make a copy the database of an embedded server, which must not be running.

    What had been started and not finished when the copy was made starts again.

    A write that a function made after that moment is sent once more, under the same key.
    """
    from carrick.app.backups import restore as put_back
    from carrick.cli.access import settings
    from carrick.cli.output import print_line, working
    from carrick.model.clock import SystemClock

    given = settings(data_dir=data_dir)
    with working("Restoring"):
        restored = put_back(given, file, keys=keys, force=force, now=SystemClock().now())
    place = given.data_dir.absolute()
    print_line(f"{place}: {_contents(restored.snapshot)} restored.", style="green")
    if restored.kept_as is not None:
        print_line(f"What was there before is {restored.kept_as}.")


def _contents(taken: Snapshot) -> str:
    environments = "environment" if taken.environments == 1 else "environments"
    connections = "connection" if taken.connections == 1 else "connections"
    return f"{taken.environments} {environments}, {taken.connections} {connections}"


def _keys_of(given: Settings) -> str:
    if given.encryption_key is not None:
        return "CARRICK_ENCRYPTION_KEY"
    return str(given.key_file.absolute())
