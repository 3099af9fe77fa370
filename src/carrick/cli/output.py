"""What commands print: tables and notes for people, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: Width of what is not printed on a terminal: nothing should be cut off in a file or a pipe.
_PIPE_WIDTH = 240


def console(stream: TextIO | None = None) -> Console:
    """Return a console that never cuts off what goes to a file."""
    from rich.console import Console

    stream = stream if stream is not None else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPE_WIDTH,
        highlight=False,
        soft_wrap=not stream.isatty(),
    )


def print_json(value: Any) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_line(text: str, *, style: str | None = None) -> None:
    """Print one line; what stands in brackets is text, not markup."""
    console().print(text, style=style, markup=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Print a table, or a sentence when it would have no rows."""
    if not rows:
        print_line(empty)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else _text(cell) for cell in row))
    console().print(table)


def print_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Print names and values under one another; values that are `None` are left out."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            table.add_row(name, _text(value))
    console().print(table)


def print_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Print lines of an operation; one about a fault in a function with where it is."""
    for message in messages:
        when, level = message.get("created_at"), message.get("level")
        print_line(f"{when}  {level:>5}  {message.get('message')}")
        detail = (message.get("fields") or {}).get("detail")
        for line in str(detail or "").splitlines():
            print_line(f"    {line}", style="dim")


def styled(text: str, style: str) -> Any:
    """Return a table cell in a style."""
    from rich.text import Text

    return Text(text, style=style)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something is going on."""
    if not sys.stderr.isatty():
        yield
        return
    with console(sys.stderr).status(what):
        yield


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; end the command on a no.

    Raises:
        typer.Exit: The answer was no.
        typer.BadParameter: There is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Nobody can be asked here: pass --yes to go on.")
    if not typer.confirm(question, default=False, err=True):
        raise typer.Exit(1)


def _text(value: Any) -> Any:
    from rich.text import Text

    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, dict | list):
        return Text(json.dumps(value, ensure_ascii=False, default=str))
    return Text(str(value))
