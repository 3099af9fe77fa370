"""Bundles unpacked on disk, where runner processes read them."""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from carrick.deployments.bundle import Bundle, open_bundle
from carrick.deployments.dependencies import install_dependencies
from carrick.errors import FunctionsUnavailable


@dataclass(frozen=True)
class BundleDir:
    """Where the code of a bundle lies, and the packages it imports."""

    path: Path
    dependencies: Path | None


class Shelf:
    """The folders `bundles/` and `dependencies/` of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()
        self._bundles = self._data_dir / "bundles"
        self._ready: dict[str, BundleDir] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def find(self, bundle_id: str) -> BundleDir | None:
        """Return a bundle that was put here since this process started."""
        return self._ready.get(bundle_id)

    async def put(self, bundle: Bundle) -> BundleDir:
        """Unpack a bundle and install what it depends on, once.

        Raises:
            DeploymentRejected: Its dependencies cannot be installed.
            FunctionsUnavailable: They or its files cannot be written; the message says why and
                where.
        """
        lock = self._locks.setdefault(bundle.id, asyncio.Lock())
        async with lock:
            if (ready := self._ready.get(bundle.id)) is None:
                try:
                    path = await asyncio.to_thread(self._unpack, bundle)
                except OSError as error:
                    raise FunctionsUnavailable(
                        f"A deployment's files cannot be written to {self._bundles}: "
                        f"{error.strerror or error}. Nothing was changed."
                    ) from error
                packages = await install_dependencies(bundle.dependencies, self._data_dir)
                ready = self._ready[bundle.id] = BundleDir(path, packages)
        self._locks.pop(bundle.id, None)
        return ready

    async def prune(self, keep: set[str], *, before: datetime) -> None:
        """Remove unpacked bundles that nobody needs and that were put here before a moment."""
        removed = await asyncio.to_thread(self._prune, keep, before.timestamp())
        for bundle_id in removed:
            self._ready.pop(bundle_id, None)

    def _unpack(self, bundle: Bundle) -> Path:
        target = self._bundles / bundle.id
        _, project = open_bundle(bundle.content)
        if target.is_dir():
            if dict(_read_back(target)) == dict(project.files):
                os.utime(target)
                return target
            shutil.rmtree(target)  # a machine that lost power can leave files half-written
        fresh = self._bundles / f".{bundle.id[:16]}-{uuid.uuid4().hex}"
        fresh.mkdir(parents=True)  # a project may hold no file at all
        try:
            for path, content in project.files.items():
                place = fresh.joinpath(*PurePosixPath(path).parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            fresh.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first: theirs is the same
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return target

    def _prune(self, keep: set[str], before: float) -> list[str]:
        removed = []
        for place in self._bundles.iterdir() if self._bundles.is_dir() else ():
            if place.name not in keep and place.stat().st_mtime < before:
                shutil.rmtree(place, ignore_errors=True)
                removed.append(place.name)
        return removed


def _read_back(root: Path) -> Iterator[tuple[str, bytes]]:
    for place in root.rglob("*"):
        if place.is_file() and "__pycache__" not in place.parts:
            yield place.relative_to(root).as_posix(), place.read_bytes()
