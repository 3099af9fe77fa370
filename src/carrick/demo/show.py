"""The demo's timeline as a table for people, or as JSON."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carrick.demo.timeline import Step

_INTRO = (
    "The life of one customer's connection, with a Carrick server and a fake provider on this "
    "machine.\n"
    "▸ what was asked of Carrick   → what really arrived at the provider (at /app/webhooks: at "
    "your app)   ✔ what was checked"
)

#: Characters that every column but the widest takes, gaps included.
_OTHER_COLUMNS = 36


def show(console: Console, steps: list[Step], total_s: float, problem: str | None = None) -> None:
    """Print the timeline, then what was checked and whether it held.

    Args:
        problem: Why the demo ended early; nothing is called fine then.
    """
    console.print()
    console.print(Text(_INTRO, style="dim"))
    if steps:
        console.print(_table(steps, console.width))
    checks = [check for step in steps for check in step.checks]
    failed = [(step, check) for step in steps for check in step.checks if not check.ok]
    for step, check in failed:
        console.print(Text(f"✘ {step.title}: {check.name}", style="bold red"))
        console.print(Text(f"    expected {check.expected!r}"))
        console.print(Text(f"    was      {check.actual!r}"))
    if failed:
        console.print(Text(f"{len(failed)} of {len(checks)} checks failed.", style="bold red"))
    if problem is not None:
        console.print(Text(problem, style="red"))
    if not failed and problem is None:
        verdict = f"✔ {len(checks)} checks, all as expected, in {total_s:.1f} s."
        console.print(Text(verdict, style="bold green"))


def _table(steps: list[Step], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("time", justify="right", style="dim", no_wrap=True, min_width=7)
    table.add_column("", no_wrap=True, min_width=1)
    what_width = max(20, width - _OTHER_COLUMNS)
    table.add_column("what happened", no_wrap=True, overflow="ellipsis", max_width=what_width)
    table.add_column("account", no_wrap=True, style="dim", min_width=7)
    table.add_column("answer", no_wrap=True, min_width=6)
    for step in steps:
        _add_step(table, step)
    return table


def _add_step(table: Table, step: Step) -> None:
    style = "bold" if step.ok else "bold red"
    table.add_row(f"{step.at_s:.2f} s", Text("●", style=style), Text(step.title, style=style))
    table.add_row("", Text("▸", style="cyan"), step.request, "", _status(step.answer))
    for call in step.calls:
        what = Text.assemble((f"{call.method:<6}", "magenta"), " ", call.path)
        answer = "none" if call.status is None else str(call.status)
        table.add_row("", Text("→", style="magenta"), what, call.account or "", _status(answer))
    for check in step.checks:
        mark, colour = ("✔", "green") if check.ok else ("✘", "red")
        table.add_row("", Text(mark, style=colour), Text(check.name, style=colour))
    table.add_section()


def _status(answer: str) -> Text:
    return Text(answer, style="yellow" if answer[:1] in ("4", "5", "e", "n") else "cyan")
