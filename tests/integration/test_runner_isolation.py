"""Isolation of runners beyond the process, where this machine offers it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.runner_project import RecordingHost, job, make_pool, write_function

from carrick.errors import SettingsInvalid
from carrick.model.clock import SystemClock
from carrick.model.event import HostFailed, RunnerLost, Succeeded
from carrick.runtime.isolation import choose_isolation
from carrick.runtime.pool import BundleDir, RunnerLimits, RunnerPool

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)


async def test_none_is_no_isolation() -> None:
    """`none` starts runners as they are, and the report says so."""
    isolation = await choose_isolation("none")
    assert isolation.prefix([Path("/")]) == []
    assert "switched off" in isolation.report


async def test_auto_takes_what_there_is() -> None:
    """`auto` never fails; its report says what it found."""
    isolation = await choose_isolation("auto")
    assert isolation.report
    assert isolation.is_direct == (isolation.prefix([]) == [])


async def test_an_isolation_that_is_not_offered_is_refused(tmp_path: Path) -> None:
    """A setting that cannot be met is an error, and no runner starts without it."""
    with pytest.raises(SettingsInvalid, match="nonsense"):
        await choose_isolation("nonsense")

    async def materialise(_bundle_id: str) -> BundleDir:
        return BundleDir(tmp_path, None)

    pool = RunnerPool(RunnerLimits(), SystemClock(), materialise, isolation="nonsense")
    assert isinstance(await pool.run(job("f"), RecordingHost()), HostFailed)
    await pool.close()


async def test_bubblewrap_that_is_demanded_must_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bubblewrap` on a machine without it is an error that says so."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsInvalid, match="not installed"):
        await choose_isolation("bubblewrap")


@needs_bubblewrap
async def test_bubblewrap_hides_files_network_and_processes(tmp_path: Path) -> None:
    """Inside there is no network, no other process, and no file but the project's own."""
    body = """
        import json, socket
        def reach():
            try:
                return bool(socket.create_connection(("1.1.1.1", 53), timeout=1))
            except OSError:
                return False
        await ctx.log(json.dumps({
            "network": reach(),
            "files": os.path.exists(__file__.replace("project", "secrets")),
            "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        }))
    """
    write_function(tmp_path, "project/acme/on_events/f.py", body)
    write_function(tmp_path, "secrets/acme/on_events/f.py", "pass")
    write_function(tmp_path, "project/acme/on_events/exit.py", "os._exit(3)")
    pool = make_pool(tmp_path / "project", SystemClock(), isolation="bubblewrap")
    host = RecordingHost()
    assert await pool.run(job("f"), host) == Succeeded()
    told = json.loads(host.lines[0])
    assert told == {"network": False, "files": False, "processes": 2}
    lost = await pool.run(job("exit"), host)
    assert isinstance(lost, RunnerLost)
    assert "status 3" in lost.reason
    await pool.close()


@needs_bubblewrap
@pytest.mark.parametrize(
    ("body", "signal", "is_own_fault"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV", True),
        ("os.kill(os.getpid(), 9)", "SIGKILL", False),
    ],
)
async def test_bubblewrap_does_not_hide_the_signal_that_ended_a_process(
    tmp_path: Path, body: str, signal: str, is_own_fault: bool
) -> None:
    """A crash is named as such; what SIGKILL ends is blamed on nobody, as without bubblewrap."""
    write_function(tmp_path, "acme/on_events/f.py", body)
    pool = make_pool(tmp_path, SystemClock(), isolation="bubblewrap")
    outcome = await pool.run(job("f"), RecordingHost())
    assert isinstance(outcome, RunnerLost)
    assert outcome.own_fault == is_own_fault
    assert outcome.reason.startswith(f"it was killed by {signal}")
    await pool.close()
