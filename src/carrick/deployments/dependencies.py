"""Packages that a project's functions import, installed beside its bundle from wheels only.

A wheel is unpacked, never run, so nothing of a package executes in the host. A set of dependencies
is installed once and shared by every bundle that declares the same set.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import sys
import sysconfig
import uuid
from collections.abc import Sequence
from pathlib import Path

from carrick.errors import DeploymentRejected, FunctionsUnavailable

#: Longest an installation may take, in seconds.
INSTALL_TIMEOUT_S = 600.0
_LINES_SHOWN = 12
#: What pip prints when it is this machine that is to blame, and not the project.
_MACHINE = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))


async def install_dependencies(dependencies: Sequence[str], data_dir: Path) -> Path | None:
    """Return the folder with these packages, installing them when they are not there yet.

    Args:
        dependencies: Requirements as pyproject.toml has them.
        data_dir: An absolute path; they lie in `dependencies/` below it.

    Raises:
        DeploymentRejected: They cannot be installed; the message carries what pip said last.
        FunctionsUnavailable: They cannot be written; the message says why and where.
    """
    if not dependencies:
        return None
    target = data_dir / "dependencies" / dependency_hash(dependencies)
    fresh = target.parent / f".{target.name[:16]}-{uuid.uuid4().hex}"
    try:
        if await asyncio.to_thread(_is_there, target):
            return target
        await _pip_install(dependencies, fresh)
        await asyncio.to_thread(_put_in_place, fresh, target)
    except OSError as error:
        raise _not_written(target.parent, error.strerror or str(error)) from error
    finally:
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
    return target


def dependency_hash(dependencies: Sequence[str]) -> str:
    """Return the name of a set of packages, as this interpreter would install it."""
    python = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
    return hashlib.sha256("\n".join([python, *sorted(dependencies)]).encode()).hexdigest()


def _is_there(target: Path) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.is_dir()


def _put_in_place(fresh: Path, target: Path) -> None:
    fresh.mkdir(exist_ok=True)  # pip makes no folder when there is nothing to put in it
    try:
        fresh.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise somebody else was first: theirs is the same
            raise


def _not_written(folder: Path, reason: str) -> FunctionsUnavailable:
    return FunctionsUnavailable(
        f"A deployment's dependencies cannot be written to {folder}, or to the temporary "
        f"directory first: {reason}. Nothing was changed."
    )


async def _pip_install(dependencies: Sequence[str], target: Path) -> None:
    arguments = [
        *("-P", "-m", "pip", "install", "--target", str(target)),
        *("--only-binary=:all:", "--no-input", "--no-compile", "--quiet"),
        *("--disable-pip-version-check", "--no-warn-conflicts", "--", *dependencies),
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(INSTALL_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise DeploymentRejected(
            f"Installing {', '.join(dependencies)} took longer than {INSTALL_TIMEOUT_S:.0f} s."
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()[-_LINES_SHOWN:]
        for reason in _MACHINE:
            if any(reason in line for line in lines):
                raise _not_written(target.parent, reason)
        raise DeploymentRejected(
            "The project's dependencies cannot be installed (only wheels are taken): "
            + (lines[-1] if lines else f"pip ended with {process.returncode}"),
            payload={"dependencies": list(dependencies), "output": lines},
        )
