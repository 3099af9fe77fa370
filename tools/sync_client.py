"""Writes `carrick.SyncClient` from `carrick.Client`, method by method: `make client`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLIENT = Path(__file__).parent.parent / "src" / "carrick" / "client"
TARGET = CLIENT / "sync.py"
#: Whose methods there are, in the order in which they are written.
SOURCES = ("client", "accounts", "configuration", "deployments", "records")

HEAD = '''"""The client for code that does not await. `make client` writes it from the other one."""

# ruff: noqa: A002 - `type` is the name on the wire

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from carrick.client.background import BackgroundLoop
from carrick.client.client import Client
from carrick.client.deployments import Scope
from carrick.client.transport import Answer
from carrick.model.json import JSONObject


class SyncClient:
    """Calls a Carrick server with an environment's API key. Use as `with SyncClient(...)`.

    Any thread may use it. A process that forks makes one in each child.
    """

    def __init__(self, server_url: str, secret_key: str | None = None) -> None:
        """Build the client; nothing is sent yet.

        Args:
            server_url: Where the server is, e.g. `http://127.0.0.1:3003`.
            secret_key: The environment's API key; only `health` works without one.
        """
        self._client = Client(server_url, secret_key)
        self._loop = BackgroundLoop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections to the server."""
        self._loop.run(self._client.close())
        self._loop.close()

'''


def written() -> str:
    """Return the module, in the house's format."""
    methods = [ast.unparse(_twin(method)) for method in _methods()]
    body = "\n\n".join(methods).replace("\n", "\n    ")
    return _formatted(f"{HEAD}    {body}\n")


def _methods() -> Iterator[ast.AsyncFunctionDef]:
    for name in SOURCES:
        for node in ast.parse((CLIENT / f"{name}.py").read_text()).body:
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.AsyncFunctionDef) and method.name[0] != "_":
                        yield method


def _twin(method: ast.AsyncFunctionDef) -> ast.FunctionDef:
    """Return a method that has the other one run, with the same signature and documentation."""
    given = method.args
    asked = ast.Call(
        ast.parse(f"self._client.{method.name}", mode="eval").body,
        [ast.Name(one.arg) for one in given.args[1:]],
        [ast.keyword(one.arg, ast.Name(one.arg)) for one in given.kwonlyargs]
        + ([ast.keyword(None, ast.Name(given.kwarg.arg))] if given.kwarg else []),
    )
    run = ast.Call(ast.parse("self._loop.run", mode="eval").body, [asked], [])
    is_silent = isinstance(method.returns, ast.Constant) and method.returns.value is None
    end = ast.Expr(run) if is_silent else ast.Return(run)
    twin = ast.FunctionDef(method.name, given, [method.body[0], end], [], method.returns)
    return ast.fix_missing_locations(twin)


def _formatted(source: str) -> str:
    for arguments in (["check", "--fix", "--select", "F401,I"], ["format"]):
        done = subprocess.run(  # noqa: S603 - our own linter
            [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", TARGET, "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        )
        source = done.stdout
    return source


if __name__ == "__main__":
    TARGET.write_text(written())
