"""Function code inside a runner: how it is loaded, what it may do, what its end means."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.runner_project import (
    Gate,
    RecordingHost,
    job,
    make_pool,
    write_file,
    write_function,
)

from carrick.errors import EgressDenied, ResultLost, WriteStopped
from carrick.model.clock import SystemClock
from carrick.model.event import (
    ActionRefused,
    Defective,
    HostFailed,
    Incomplete,
    Outcome,
    ProviderFailed,
    Succeeded,
    UnknownWrite,
)
from carrick.runtime.pool import RunnerPool


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[RunnerPool]:
    """A pool on an empty project that tests write into, with one declared package."""
    dependencies = tmp_path / "dependencies"
    write_file(dependencies, "declared_package.py", "VALUE = 'declared'\n")
    (tmp_path / "project").mkdir()
    made = make_pool(tmp_path / "project", SystemClock(), dependencies=dependencies)
    yield made
    await made.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's folder."""
    return tmp_path / "project"


async def end_of(
    pool: RunnerPool, project: Path, body: str, host: RecordingHost | None = None, **options: Any
) -> Outcome:
    """Run a function with this body and return what became of it."""
    write_function(project, "acme/on_events/f.py", body, head=options.pop("head", ""))
    return await pool.run(job("f", **options), host or RecordingHost())


# --- loading --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("integration_id", "folder"),
    [("msgspec", "on_events"), ("my-crm", "on-events"), ("v1.2 beta@eu", "on_events")],
)
async def test_integration_folders_may_have_any_name(
    pool: RunnerPool, project: Path, integration_id: str, folder: str
) -> None:
    """Hyphens, dots, and the names of installed packages load; the installed package stays."""
    write_file(project, f"{integration_id}/names.py", "NAME = 'mine'\n")
    write_file(project, "lib/deep/words.py", "from .. import base\nWORD = base.WORD\n")
    write_file(project, "lib/base.py", "WORD = 'shared'\n")
    write_file(project, f"{integration_id}/__init__.py", "READY = True\n")
    write_function(
        project,
        f"{integration_id}/{folder}/post_set_up.py",
        "await ctx.log(f'{NAME} {WORD} {msgspec.__file__} {VALUE}')",
        head="""
            import msgspec
            from declared_package import VALUE
            from ..names import NAME
            from ...lib.deep.words import WORD
            from .. import READY
        """,
    )
    host = RecordingHost()
    outcome = await pool.run(job("post-set-up", integration_id=integration_id), host)
    assert outcome == Succeeded()
    (line,) = host.lines
    assert line.startswith("mine shared ")
    assert "site-packages" in line
    assert line.endswith(" declared")


async def test_a_function_that_is_not_there_is_defective(pool: RunnerPool, project: Path) -> None:
    """A name without a file ends the run with a message, not the runner."""
    outcome = await pool.run(job("nowhere"), RecordingHost())
    assert isinstance(outcome, Defective)
    assert "acme/nowhere is not in the deployed project" in outcome.message


async def test_a_file_that_does_not_import_is_defective(pool: RunnerPool, project: Path) -> None:
    """An error while importing is told with the project's own lines."""
    outcome = await end_of(pool, project, "pass", head="import not_installed")
    assert isinstance(outcome, Defective)
    assert "No module named 'not_installed'" in outcome.message
    assert "acme/on_events/f.py" in outcome.detail
    assert "importlib" not in outcome.detail


async def test_nothing_of_the_host_is_inherited(
    pool: RunnerPool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner has no environment, no open files but its socket, no core dumps, no project path."""
    monkeypatch.setenv("CARRICK_ENCRYPTION_KEY", "secret")
    host = RecordingHost()
    body = """
        import json, resource
        await ctx.log(json.dumps({
            "environ": dict(os.environ),
            "files": [os.path.realpath(f"/proc/self/fd/{n}") for n in range(200)],
            "path": sys.path,
            "argv": sys.argv,
            "stdin": sys.stdin.read(),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        }))
    """
    with (project / "secrets").open("w") as secrets:
        os.set_inheritable(secrets.fileno(), True)
        assert await end_of(pool, project, body, host) == Succeeded()
    told = json.loads(host.lines[0])
    assert set(told["environ"]) <= {
        "LANG",
        "LC_CTYPE",
        "MALLOC_ARENA_MAX",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
        "PYTHONSAFEPATH",
    }
    assert str(project) not in told["path"]
    assert "" not in told["path"]
    assert (told["argv"], told["stdin"], told["core"]) == ([""], "", 0)
    assert str(project / "secrets") not in told["files"]


# --- what an end means ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("return", Succeeded()),
        ("raise ActionError('No')", ActionRefused("No", "No")),
        (
            "raise ActionError({'message': 'No', 'code': 1})",
            ActionRefused("No", {"message": "No", "code": 1}),
        ),
        ("raise ActionError({'error': 'No'})", ActionRefused("No", {"error": "No"})),
        ("raise ActionError(42)", ActionRefused("42", 42)),
        ("raise ActionError()", ActionRefused(None, None)),
        ("raise ActionError({'x': 'y' * 100_000})", ActionRefused(None, None)),
        (
            """
            async def no(): raise ActionError('No')
            async with asyncio.TaskGroup() as group:
                group.create_task(no())
            """,
            ActionRefused("No", "No"),
        ),
        ("ctx.get_environment_variables", Succeeded()),
    ],
)
async def test_the_authors_own_no_is_told_apart(
    pool: RunnerPool, project: Path, body: str, outcome: Outcome
) -> None:
    """An `ActionError` is a refusal with its message and a bounded payload."""
    assert await end_of(pool, project, body) == outcome


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('oops')", "ValueError: oops"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("asyncio.current_task().cancel()\nawait asyncio.sleep(1)", "cancelled itself"),
        ("assert False, '\\ud800'", "AssertionError: ?"),
        ("class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd", "Odd"),
        ("await ctx.get_token()", "credentials=True"),
        ("await ctx.log('x', level='nonsense', fields=1)\nawait ctx.nothing()", "nothing"),
        ("await ctx.update_metadata(x=10 ** 30)", "cannot be sent to the host"),
        ("await ctx.update_metadata(x='y' * 2_000_000)", "cannot be sent to the host"),
        ("def deep(): deep()\ndeep()", "RecursionError"),
    ],
)
async def test_any_other_exception_is_a_defect(
    pool: RunnerPool, project: Path, body: str, message: str
) -> None:
    """Whatever else a function raises is its own bug, told with a message."""
    outcome = await end_of(pool, project, body)
    assert isinstance(outcome, Defective)
    assert message in outcome.message


async def test_a_traceback_shows_the_projects_own_lines(pool: RunnerPool, project: Path) -> None:
    """Places inside the project are shown with their code, places outside are not."""
    write_file(project, "lib/deep.py", "import json\ndef parse(text):\n    json.loads(text)\n")
    outcome = await end_of(
        pool,
        project,
        "try:\n    parse('{')\nexcept ValueError as error:\n    raise KeyError('id') from error",
        head="from ...lib.deep import parse",
    )
    assert isinstance(outcome, Defective)
    assert "lib/deep.py:3 in parse\n    json.loads(text)" in outcome.detail
    assert "caused by" in outcome.detail
    assert "site-packages" not in outcome.detail
    assert "carrick/runner" not in outcome.detail
    assert str(project) not in outcome.detail


async def test_a_providers_answer_that_escapes_is_the_providers(
    pool: RunnerPool, project: Path
) -> None:
    """Status and `Retry-After` of an answer that the function let through are kept."""

    async def throttled(_params: dict[str, Any]) -> dict[str, Any]:
        headers = {"retry-after": "7"}
        return {"status": 429, "headers": headers, "body": b"slow down", "withheld": None}

    outcome = await end_of(
        pool, project, "await ctx.get('/x')", RecordingHost(on={"request": throttled})
    )
    assert outcome == ProviderFailed(429, "GET /x answered 429: slow down", 7.0)


async def test_a_busy_lock_is_worth_another_try(pool: RunnerPool, project: Path) -> None:
    """A lock that was not free refuses nobody: the run is tried again like after silence."""

    async def busy(_params: dict[str, Any]) -> dict[str, Any]:
        return {"acquired": False, "fence": 0}

    outcome = await end_of(
        pool,
        project,
        "async with ctx.lock('k', wait=0): pass",
        RecordingHost(on={"acquire_lock": busy}),
    )
    assert outcome == ProviderFailed(None, "The lock 'k' was not free within 0 s.")


@pytest.mark.parametrize(
    "body",
    [
        "made = await ctx.post('/webhooks')\nif made.data['n'] > 3: pass",
        "try:\n    int((await ctx.post('/webhooks')).data)\nexcept Exception:\n    pass",
        "import json\njson.dumps((await ctx.post('/webhooks')).data)",
    ],
)
async def test_a_dry_run_that_needs_a_real_answer_is_incomplete(
    pool: RunnerPool, project: Path, body: str
) -> None:
    """Computing with a placeholder ends the run, whatever the function catches."""

    async def withhold(_params: dict[str, Any]) -> dict[str, Any]:
        return {"status": 200, "headers": {}, "body": b"", "withheld": "POST /webhooks"}

    outcome = await end_of(
        pool, project, body, RecordingHost(on={"request": withhold}), dry_run=True
    )
    assert isinstance(outcome, Incomplete)


# --- calls of the host ----------------------------------------------------------------------


async def test_a_host_error_reaches_the_function_with_its_code(
    pool: RunnerPool, project: Path
) -> None:
    """What the host cannot do is an error that the function may catch."""

    async def deny(_params: dict[str, Any]) -> Any:
        raise EgressDenied(payload={"host": "10.0.0.1"})

    host = RecordingHost(on={"request": deny})
    body = """
        from carrick.sdk import HostError
        try:
            await ctx.fetch("http://10.0.0.1")
        except HostError as error:
            await ctx.log(f"{error.code} {error.payload['host']}")
    """
    assert await end_of(pool, project, body, host) == Succeeded()
    assert host.lines == ["egress_denied 10.0.0.1"]


async def test_an_unknown_write_stops_the_run(pool: RunnerPool, project: Path) -> None:
    """The function cannot catch it, and the outcome names the write."""

    async def stop(_params: dict[str, Any]) -> Any:
        raise WriteStopped

    outcome = await end_of(
        pool,
        project,
        "try:\n    await ctx.post('/webhooks')\nexcept Exception:\n    pass",
        RecordingHost(on={"request": stop}),
    )
    assert outcome == UnknownWrite("POST", "/webhooks")


@pytest.mark.parametrize("error", [ResultLost(), RuntimeError("bug")])
async def test_a_fault_of_the_host_ends_the_run_as_the_hosts(
    pool: RunnerPool, project: Path, error: Exception
) -> None:
    """A lost lease or a bug of ours is never something a function could catch or answer for."""

    async def fail(_params: dict[str, Any]) -> Any:
        raise error

    host = RecordingHost(on={"request": fail})
    body = """
        try:
            await ctx.get("/x")
        except BaseException:
            pass
        await ctx.log("went on")
    """
    assert isinstance(await end_of(pool, project, body, host), HostFailed)
    assert await pool.run(job("f"), RecordingHost()) == Succeeded()
    assert host.lines == []


async def test_an_answer_of_ten_megabytes_is_handed_over(pool: RunnerPool, project: Path) -> None:
    """Large bodies pass in both directions."""
    sent: list[int] = []

    async def large(params: dict[str, Any]) -> dict[str, Any]:
        sent.append(len(params["body"]))
        return {"status": 200, "headers": {}, "body": b"x" * 10_000_000, "withheld": None}

    body = """
        answer = await ctx.post("/x", data=b"y" * 10_000_000)
        assert len(answer.content) == 10_000_000
    """
    assert await end_of(pool, project, body, RecordingHost(on={"request": large})) == Succeeded()
    assert sent == [10_000_000]


async def test_an_answer_that_no_frame_can_carry_is_an_error(
    pool: RunnerPool, project: Path
) -> None:
    """Over 32 MiB the function gets an error, and the runner lives."""

    async def huge(_params: dict[str, Any]) -> dict[str, Any]:
        return {"status": 200, "headers": {}, "body": b"x" * 34_000_000, "withheld": None}

    outcome = await end_of(
        pool, project, "await ctx.get('/x')", RecordingHost(on={"request": huge})
    )
    assert isinstance(outcome, Defective)
    assert "too large" in outcome.message


async def test_a_run_may_end_with_calls_under_way(pool: RunnerPool, project: Path) -> None:
    """What a function started and did not await ends with it, on both sides."""
    gate = Gate()
    was_cancelled = asyncio.Event()

    async def wait(params: dict[str, Any]) -> Any:
        try:
            return await gate(params)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    body = """
        task = asyncio.create_task(ctx.get("/x"))
        await asyncio.sleep(0.05)
    """
    host = RecordingHost(on={"request": wait})
    assert await end_of(pool, project, body, host) == Succeeded()
    await was_cancelled.wait()
    assert await pool.run(job("f"), host) == Succeeded()


async def test_a_context_that_outlives_its_run_is_refused(pool: RunnerPool, project: Path) -> None:
    """A call through the context of a run that has ended does not reach the host."""
    write_file(project, "acme/memory.py", "KEPT = []\n")
    head = "from ..memory import KEPT"
    write_function(project, "acme/on_events/keep.py", "KEPT.append(ctx)", head=head)
    write_function(
        project, "acme/on_events/misuse.py", "await KEPT[0].post('/webhooks')", head=head
    )
    first, second = RecordingHost(), RecordingHost()
    assert await pool.run(job("keep"), first) == Succeeded()
    outcome = await pool.run(job("misuse"), second)
    assert isinstance(outcome, Defective)
    assert "comes too late" in outcome.message
    assert first.calls == second.calls == []


async def test_many_calls_at_once_are_all_answered(pool: RunnerPool, project: Path) -> None:
    """A function may ask for hundreds of things at once; each call gets its own answer."""

    async def echo(params: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        body = json.dumps(params["endpoint"]).encode()
        headers = {"content-type": "application/json"}
        return {"status": 200, "headers": headers, "body": body, "withheld": None}

    body = """
        answers = await asyncio.gather(*(ctx.get(f"/{n}") for n in range(400)))
        assert [one.data for one in answers] == [f"/{n}" for n in range(400)]
    """
    assert await end_of(pool, project, body, RecordingHost(on={"request": echo})) == Succeeded()


# --- output ---------------------------------------------------------------------------------


async def test_what_a_run_prints_is_its_own_log(pool: RunnerPool, project: Path) -> None:
    """Lines printed side by side, from threads and by warnings end in the log of their run."""
    gate = Gate()
    body = """
        print("begin", tag(ctx))
        await ctx.get("/gate")
        await asyncio.to_thread(print, "thread", tag(ctx))
        sys.stderr.write("half ")
        sys.stderr.write("a line")
    """
    write_function(
        project,
        "acme/on_events/f.py",
        body,
        head="def tag(ctx): return ctx.integration_id",
    )
    write_function(
        project,
        "other/on_events/f.py",
        body,
        head="def tag(ctx): return ctx.integration_id",
    )
    hosts = {name: RecordingHost(on={"request": gate}) for name in ("acme", "other")}
    runs = [
        asyncio.ensure_future(pool.run(job("f", integration_id=name), host))
        for name, host in hosts.items()
    ]
    for _ in runs:
        await gate.arrived.acquire()
    gate.opened.set()
    assert await asyncio.gather(*runs) == [Succeeded(), Succeeded()]
    for name, host in hosts.items():
        assert host.lines == [f"begin {name}", f"thread {name}", "half a line"]
    levels = [params["level"] for method, params in hosts["acme"].calls if method == "log"]
    assert levels == ["info", "info", "warning"]


async def test_output_is_bounded(pool: RunnerPool, project: Path) -> None:
    """A run that prints without end has its first lines and one notice in the log."""
    host = RecordingHost()
    body = """
        for _ in range(20_000):
            print("x" * 999)
        os.write(1, b"y" * 1_000_000)
        os.write(2, b"z" * 1_000_000)
    """
    assert await end_of(pool, project, body, host) == Succeeded()
    assert 64 <= len(host.lines) <= 68
    assert host.lines[-1] == "Output over 64 KiB is dropped."


async def test_log_lines_are_bounded(pool: RunnerPool, project: Path) -> None:
    """A run has a thousand lines; the last of them says that there were more."""
    host = RecordingHost()
    body = """
        for n in range(3_000):
            await ctx.log(f"line {n}")
    """
    assert await end_of(pool, project, body, host) == Succeeded()
    assert len(host.lines) == 1000
    assert host.lines[-1] == "Log lines after 999 are dropped."
