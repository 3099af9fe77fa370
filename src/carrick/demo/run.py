"""Start everything, tell the story, show it, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import aiohttp
from rich.console import Console

from carrick.demo.server import ServerFailed, serving
from carrick.demo.show import show
from carrick.demo.story import Story, StoryBroken
from carrick.demo.timeline import Step
from carrick.model.clock import Clock, SystemChance, SystemClock
from carrick.testing.fake_provider import FakeProvider


def run(
    *,
    keep: bool = False,
    as_json: bool = False,
    console: Console | None = None,
    project: Path | None = None,
) -> int:
    """Run the demo and return the exit code: 0 when every check held, 1 otherwise.

    Args:
        keep: Leave the server's directory (database, keys, log) where it is and say where.
        as_json: Print steps, checks and provider calls as JSON instead of the table.
        project: Functions to deploy instead of the Salesforce example's.
    """
    clock = SystemClock()
    directory = Path(tempfile.mkdtemp(prefix="carrick-demo-"))
    steps: list[Step] = []
    began_s = clock.monotonic()
    problem: str | None = None
    try:
        asyncio.run(_perform(directory, project or example_project(), clock, began_s, steps))
    except (ServerFailed, ExampleMissing) as error:
        problem = str(error)
    except StoryBroken as error:
        problem = f"stopped at: {error}"
    except asyncio.CancelledError:
        problem = "terminated"
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    console = console or Console()
    if as_json:
        _print_json(steps, problem)
    else:
        show(console, steps, clock.monotonic() - began_s, problem)
        if keep:
            console.print(f"The server's directory is {directory}", markup=False)
    return 0 if _is_fine(steps, problem) else 1


def _is_fine(steps: list[Step], problem: str | None) -> bool:
    return problem is None and all(step.ok for step in steps)


def _print_json(steps: list[Step], problem: str | None) -> None:
    facts = {
        "ok": _is_fine(steps, problem),
        "problem": problem,
        "steps": [step.to_json() for step in steps],
    }
    sys.stdout.write(json.dumps(facts, indent=2, default=str) + "\n")


class ExampleMissing(Exception):
    """The Salesforce example is neither in the checkout nor in the installed package."""


def example_project() -> Path:
    """Return the Salesforce example: the checkout's, or the copy that a wheel carries.

    Raises:
        ExampleMissing: There is neither.
    """
    here = Path(__file__).resolve().parent
    for place in (here.parents[2] / "examples" / "salesforce", here / "salesforce"):
        if (place / "pyproject.toml").is_file():
            return place
    raise ExampleMissing("examples/salesforce is not here; run this in a checkout of Carrick")


async def _perform(
    directory: Path, project: Path, clock: Clock, began_s: float, steps: list[Step]
) -> None:
    _end_well_when_terminated()
    secret_key = SystemChance().uuid4()
    settings = {"CARRICK_EGRESS_ALLOW": "127.0.0.0/8"}
    async with (
        FakeProvider() as provider,
        serving(
            directory,
            secret_key,
            {**settings, "CARRICK_WEBHOOK_URL_DEV": provider.notification_url},
        ) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        start = Step("Start a server on an empty directory", 0.0, "carrick serve", "ready")
        start.took_s = clock.monotonic() - began_s
        steps.append(start)
        await Story(server, provider, http, project, clock, began_s, steps).tell()


def _end_well_when_terminated() -> None:
    """Turn SIGTERM into a cancellation, so that the server is stopped with the demo."""
    performance = asyncio.current_task()
    if performance is not None:
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in loops
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, performance.cancel)
