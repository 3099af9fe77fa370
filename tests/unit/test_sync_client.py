"""The client for code that does not await is made from the other one."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from pathlib import Path
from types import ModuleType

import pytest

import carrick
from carrick.client.background import BackgroundLoop

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The script that writes it."""
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "sync_client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_what_the_other_one_makes_it(tool: ModuleType) -> None:
    """A method that is added or changed there is here after `make client`."""
    assert tool.TARGET.read_text() == tool.written()


def test_it_has_every_method_of_the_other_one() -> None:
    """Whoever does not await misses nothing."""
    public = {name for name in dir(carrick.Client) if name[0] != "_"}
    assert public == {name for name in dir(carrick.SyncClient) if name[0] != "_"}
    assert len(public) > 40


def test_threads_share_one_loop() -> None:
    """Each gets its own answer, and a failure is raised where it was asked for."""
    loop = BackgroundLoop()
    gate = threading.Barrier(4)

    async def answer(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    found: dict[int, object] = {}

    def ask(number: int) -> None:
        gate.wait()
        try:
            found[number] = loop.run(answer(number))
        except ValueError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.close()
    assert found == {0: 0, 1: 1, 2: 2, 3: "three"}


async def test_it_works_where_a_loop_runs_already() -> None:
    """A notebook has one; the call blocks it, and ends."""
    loop = BackgroundLoop()
    assert loop.run(asyncio.sleep(0, "done")) == "done"
    loop.close()
    assert loop.run(asyncio.sleep(0, "again")) == "again"
    loop.close()
