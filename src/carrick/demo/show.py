"""The demo's timeline as a table for people, or as JSON."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carrick.demo.timeline import Step
from carrick.testing.fake_provider import Call

_INTRO = (
    "A Carrick server and a fake provider run on this machine. The functions in "
    "examples/salesforce validate, set up and clean up one customer's connection. "
    "Lines with an arrow are the calls the provider really received."
)


def show(console: Console, steps: list[Step], total_s: float, problem: str | None = None) -> None:
    """Print the timeline, then what was checked and whether it held.

    Args:
        problem: Why the demo ended early; nothing is called fine then.
    """
    console.print()
    console.print(Text(_INTRO, style="dim"))
    if steps:
        console.print(_table(steps))
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


def _table(steps: list[Step]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("time", justify="right", style="dim", no_wrap=True)
    table.add_column("what happened")
    table.add_column("as", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    for step in steps:
        _add_step(table, step)
    return table


def _add_step(table: Table, step: Step) -> None:
    style = "bold" if step.ok else "bold red"
    table.add_row(
        f"{step.at_s:.2f} s",
        Text.assemble((step.title, style), "  ", (step.request, "dim")),
        "",
        Text(step.answer.splitlines()[0][:40] if step.answer else "", style="cyan"),
    )
    for call in step.calls:
        table.add_row("", *_call(call))
    for check in step.checks:
        mark, colour = ("✔", "green") if check.ok else ("✘", "red")
        table.add_row("", Text(f"  {mark} {check.name}", style=colour), "", "")
    table.add_section()


def _call(call: Call) -> tuple[Text, Text, Text]:
    colour = "cyan" if call.status is not None and call.status < 400 else "yellow"
    return (
        Text.assemble("  → ", (f"{call.method:<6}", "magenta"), " ", call.path),
        Text(call.account or "", style="dim"),
        Text("no answer" if call.status is None else str(call.status), style=colour),
    )
