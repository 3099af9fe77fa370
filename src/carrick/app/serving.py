"""The server process: logs, a socket, and the HTTP server in front of the running rooms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import structlog
import uvicorn
import uvloop

from carrick.api.services import Stopping
from carrick.app.starting import App, running
from carrick.errors import SettingsInvalid
from carrick.model.faults import NO_FAULTS, Faults
from carrick.settings import Settings

#: Seconds requests that are under way get to finish when the server is told to stop: longer than
#: any waits for functions. Whoever says it again does not want to wait.
_GRACE_S = 50
#: Connections and files that may be open at a time, where the system lets us have so many.
_OPEN_FILES = 65_536
#: Seconds an idle connection stays open: longer than load balancers and clients keep theirs, so
#: that they close it, and none of them sends into a connection that is just being closed.
_KEPT_OPEN_S = 75
#: Bytes of what a browser that waits for a popup may say, which nobody reads.
_MOST_SAID = 4096


def serve(settings: Settings, *, migrate_first: bool = False, faults: Faults = NO_FAULTS) -> None:
    """Serve until told to stop.

    Raises:
        CarrickError: It cannot start; the message says why and what to do.
    """
    configure_logs(settings)
    _allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, migrate_first=migrate_first, faults=faults))


async def _serve(settings: Settings, *, migrate_first: bool, faults: Faults) -> None:
    listening = _listen(settings)
    with listening:
        async with running(settings, migrate_first=migrate_first, faults=faults) as app:
            _say(app, listening)
            config = uvicorn.Config(
                app.api,
                http="httptools",
                ws="websockets-sansio",
                ws_max_size=_MOST_SAID,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=_KEPT_OPEN_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
            server = _Server(config)
            with _on_signals(_Stop(server, app.services.stopping, settings.drain_s)):
                await server.serve(sockets=[listening])


def work(settings: Settings, *, migrate_first: bool = False, faults: Faults = NO_FAULTS) -> None:
    """Run functions, refreshes and notifications beside the servers, until told to stop.

    Raises:
        CarrickError: It cannot start; the message says why and what to do.
    """
    if settings.database_url is None:
        raise SettingsInvalid(
            "A worker shares the work of servers through Postgres: set CARRICK_DATABASE_URL. "
            "With the embedded store, `carrick serve` does everything in one process tree."
        )
    configure_logs(settings)
    _allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, migrate_first=migrate_first, faults=faults))


async def _work(settings: Settings, *, migrate_first: bool, faults: Faults) -> None:
    told_to_stop = asyncio.Event()
    async with running(settings, migrate_first=migrate_first, faults=faults) as app:
        print(f"Carrick works as {app.rooms.node_id}", file=sys.stderr, flush=True)  # noqa: T201
        with _on_signals(told_to_stop.set):
            await told_to_stop.wait()


class _Server(uvicorn.Server):
    """A server that leaves the signals alone.

    Its own handling lets the process die of the signal as soon as the last request is answered,
    when the rooms behind it still have everything to put away.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


class _Stop:
    """What a server does that is told to stop; told again it hurries."""

    def __init__(self, server: uvicorn.Server, stopping: Stopping, drain_s: float) -> None:
        self._server = server
        self._stopping = stopping
        self._drain_s = drain_s
        self._closing: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Say that it is stopping, and close the door once callers had time to hear it."""
        if self._closing is None and self._drain_s:
            self._stopping.has_begun = True
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(self._drain_s, self._close)
            return
        if self._closing is not None:
            self._closing.cancel()
        self._close()

    def _close(self) -> None:
        self._stopping.has_begun = True
        self._server.handle_exit(signal.SIGINT, None)


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end a process's work, and nothing else."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _allow_open_files() -> None:
    """Use the descriptors this process may have: shells give it far fewer to begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # what cannot be raised stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise SettingsInvalid(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Stop what uses the port, or set CARRICK_PORT to another one."
        ) from error
    listening.setblocking(False)
    return listening


def _say(app: App, listening: socket.socket) -> None:
    """Tell a person what was started and where things are; keys by file, never by value."""
    settings = app.settings
    host, port = listening.getsockname()[:2]
    url = settings.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    lines = [f"Carrick is listening on {url}"]
    if settings.database_url is None:
        lines.append(f"Data is kept in {settings.data_dir.absolute()}")
    keyfile = settings.key_file.absolute()
    if app.vault.created:
        lines.append(
            f"An encryption key was made: keep a copy of {keyfile}, data is lost without it"
        )
    made = sorted(app.created_keys.keys() - settings.secret_keys.keys())
    if made:
        names = ", ".join(made)
        where = f"read them in {keyfile}" if app.vault.keyfile else "set CARRICK_SECRET_KEY_<NAME>"
        lines.append(f"API keys were made for {names}: {where}")
    print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 - a greeting, not a log


def configure_logs(settings: Settings) -> None:
    """Send logs to stderr: lines for a person at a terminal, JSON elsewhere."""
    level = getattr(logging, settings.log_level.upper(), logging.INFO)
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback  # the default one prints local values
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
    # A database that is away is told by the store and the engine, once, and without tracebacks.
    for library in ("pgqueuer", "asyncpg"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
