"""The command line and the client against a server of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

import carrick
from carrick.cli.app import run
from carrick.client import AnswerLost, ApiError, ServerUnreachable

SETUP = """from carrick import EventContext, create_on_event
@create_on_event(event="post-connection-creation", description="{description}")
async def setup(ctx: EventContext) -> None:
    hook = await ctx.post("/hooks", json={{"a": 1}})
    await ctx.log("registered")
    await ctx.update_metadata(hook=hook.data["id"])
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server runs; its data directory is `data` in it."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[str, str]]:
    """A `carrick serve` process: its address and the API key of `dev`."""
    key = str(uuid.uuid4())
    environment = {name: text for name, text in os.environ.items() if "CARRICK" not in name}
    environment |= {"CARRICK_SECRET_KEY_DEV": key, "CARRICK_PORT": "0"}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "carrick", "serve", "--data-dir", str(folder / "data")],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert process.stderr is not None
    try:
        greeting = process.stderr.readline()
        found = re.search(r"http://[0-9.:]+", greeting)
        assert found is not None, greeting + process.stderr.read()
        # A server that logs into a full pipe would stand still.
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield found[0], key
        os.killpg(process.pid, signal.SIGKILL)
        drain.join()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


@pytest.fixture
def cli(
    server: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run a command against the server, in an empty folder."""
    url, key = server
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARRICK_SERVER_URL", url)
    monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", key)
    monkeypatch.setenv("NO_COLOR", "1")

    def execute(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        written = capsys.readouterr()
        return code, written.out, written.err

    return execute


def write(root: Path, integration_id: str, description: str = "Set up") -> Path:
    file = root / integration_id / "on_events" / "setup.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SETUP.format(description=description))
    return file


def connect(server: tuple[str, str], integration_id: str, connection_id: str) -> None:
    """Import a connection through the client."""

    async def send() -> None:
        async with carrick.Client(*server) as client:
            await client.import_connection(
                {
                    "provider_config_key": integration_id,
                    "connection_id": connection_id,
                    "credentials": {"type": "API_KEY", "apiKey": "secret-api-key"},
                    "connection_config": {"base_url": "https://api.example.com"},
                }
            )

    asyncio.run(send())


def test_a_project_is_deployed_changed_and_rolled_back(cli: Run, tmp_path: Path) -> None:
    """Each deploy says what changed; removals are refused until they are allowed."""
    write(tmp_path, "shop")
    code, _, err = cli("deploy")
    assert code == 1
    assert "carrick integrations create shop" in err

    assert cli("integrations", "create", "shop", "--provider", "api-key")[0] == 0
    code, out, _ = cli("deploy", "dev", "-i", "shop")
    assert (code, "added" in out) == (0, True)
    first = int(re.findall(r"Deployment (\d+) is active in dev", out)[0])
    assert "Nothing changed" in cli("deploy", "-i", "shop")[1]

    write(tmp_path, "shop", "Set up better")
    deployed = json.loads(cli("deploy", "--function", "setup", "--json")[1])
    assert [change["name"] for change in deployed["changed"]] == ["setup"]
    assert deployed["number"] == first + 1

    (tmp_path / "shop" / "on_events" / "setup.py").rename(
        tmp_path / "shop" / "on_events" / "other.py"
    )
    code, out, err = cli("deploy", "-i", "shop")
    assert code == 1
    assert "removed" in out
    assert "shop/setup, so nothing was deployed" in err
    assert cli("deploy", "-i", "shop", "--allow-removals")[0] == 0

    assert cli("rollback", str(first), "--yes")[0] == 0
    listed = json.loads(cli("rollback", "--list", "--json")[1])
    assert [one["number"] for one in listed if one["state"] == "active"] == [first]
    assert cli("rollback", "4711", "--yes")[0] == 1


def test_a_rollback_does_not_go_back_to_what_was_rolled_back(cli: Run, tmp_path: Path) -> None:
    """It goes to the deployment that was active before, and from there to the one before that."""
    cli("integrations", "create", "back", "--provider", "api-key")
    numbers = []

    def deploy(description: str) -> None:
        write(tmp_path, "back", description)
        numbers.append(json.loads(cli("deploy", "-i", "back", "--json")[1])["number"])

    def roll_back() -> int:
        return int(json.loads(cli("rollback", "--yes", "--json")[1])["number"])

    deploy("Old")
    deploy("Good")
    deploy("Bad")
    assert roll_back() == numbers[1]
    deploy("Bad as well")
    assert roll_back() == numbers[1]
    assert roll_back() == numbers[0]


def test_a_broken_import_is_found_by_the_server(cli: Run, tmp_path: Path) -> None:
    """What reading cannot see comes back with file and line."""
    cli("integrations", "create", "broken", "--provider", "api-key")
    file = write(tmp_path, "broken")
    file.write_text(f"import no_such_package\n{file.read_text()}")

    code, _, err = cli("deploy", "-i", "broken")

    assert code == 1
    assert "broken/on_events/setup.py:1" in err
    assert "no_such_package" in err


def test_a_dry_run_shows_what_it_would_have_done(
    cli: Run, server: tuple[str, str], tmp_path: Path
) -> None:
    """The local code runs, its write is shown, nothing is made."""
    cli("integrations", "create", "crm", "--provider", "api-key")
    connect(server, "crm", "customer-1")
    write(tmp_path, "crm")

    code, out, err = cli("dryrun", "setup", "customer-1", "-e", "dev")
    report = json.loads(cli("dryrun", "setup", "customer-1", "--json")[1])

    assert (code, err) == (0, "")
    assert "not made" in out
    assert "/hooks" in out
    assert "Nothing was changed" in out
    assert report["calls"][0]["withheld"]
    assert json.loads(cli("connections", "show", "customer-1", "--json")[1])["metadata"] is None


def test_connections_are_listed_shown_and_deleted(cli: Run, server: tuple[str, str]) -> None:
    """Credentials are shown only when they are asked for."""
    cli("integrations", "create", "mail", "--provider", "api-key")
    connect(server, "mail", "customer-2")

    listed = json.loads(cli("connections", "list", "-i", "mail", "--json")[1])
    assert [one["connection_id"] for one in listed] == ["customer-2"]
    assert "customer-2" in cli("connections", "list")[1]
    assert "secret-api-key" not in cli("connections", "show", "customer-2")[1]
    assert "secret-api-key" in cli("connections", "show", "customer-2", "--credentials")[1]
    code, out, _ = cli("connections", "delete", "customer-2", "--yes")
    assert (code, "Cleanup: done." in out) == (0, True)
    assert cli("connections", "show", "customer-2")[0] == 1
    assert cli("integrations", "delete", "mail", "--yes")[0] == 0


def test_everything_that_lists_speaks_json(cli: Run) -> None:
    """The output is JSON and nothing else."""
    for group in ("connections", "integrations", "operations", "cleanups", "environments"):
        code, out, _ = cli(group, "list", "--json")
        assert code == 0
        assert isinstance(json.loads(out), list)
    assert "dev" in cli("environments", "list")[1]


def test_operations_are_shown_with_their_messages(cli: Run, server: tuple[str, str]) -> None:
    """What happened can be looked up by its id."""
    cli("integrations", "create", "logged", "--provider", "api-key")
    connect(server, "logged", "customer-3")
    connect(server, "logged", "customer-4")

    found = json.loads(cli("operations", "list", "-i", "logged", "--json", "--limit", "1")[1])

    assert len(found) == 1
    assert found[0]["id"] in cli("operations", "show", found[0]["id"])[1]
    assert cli("operations", "retry", found[0]["id"])[0] == 1
    assert cli("operations", "show", "nope")[0] == 1


def test_what_the_server_refuses_is_one_sentence(cli: Run) -> None:
    """Unknown things end with 1 and say what is unknown."""
    for arguments in (
        ("cleanups", "retry", "4711"),
        ("cleanups", "force", "4711", "--reason", "gone", "--yes"),
        ("integrations", "delete", "nope", "--yes"),
        ("integrations", "create", "x", "--provider", "nope"),
    ):
        code, _, err = cli(*arguments)
        assert code == 1
        assert err.startswith("Error: ")
        assert "Traceback" not in err


def test_a_wrong_key_is_said_to_be_wrong(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the setting."""
    monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", str(uuid.uuid4()))

    code, _, err = cli("connections", "list")

    assert code == 1
    assert "CARRICK_SECRET_KEY_<ENVIRONMENT>" in err


# --- the client on its own ------------------------------------------------------------------


@pytest.fixture
async def odd_server() -> AsyncIterator[str]:
    """A server that is no Carrick server."""
    routes = web.RouteTableDef()

    @routes.get("/health")
    async def health(_: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    @routes.get("/integrations")
    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/elsewhere")

    @routes.post("/deployments/{number}/activate")
    async def broken_off(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.name
    await runner.cleanup()


async def test_a_server_that_does_not_answer_is_unreachable() -> None:
    """The error names the address."""
    async with carrick.Client("http://127.0.0.1:1", "key") as client:
        with pytest.raises(ServerUnreachable, match=r"http://127\.0\.0\.1:1 \(Conn"):
            await client.health()


@pytest.mark.parametrize("address", ["127.0.0.1:3003", "ftp://127.0.0.1", "carrick"])
async def test_an_address_that_is_none_is_told_as_such(address: str) -> None:
    """Nothing was sent, so nobody has to look whether it was done."""
    async with carrick.client.Client(address, "key") as client:
        with pytest.raises(ServerUnreachable, match=f"{address} is no address") as caught:
            await client.retry_cleanups()
    assert not isinstance(caught.value, AnswerLost)


@pytest.mark.parametrize("nothing", ["", ".", ".."])
@pytest.mark.parametrize(
    "command", ["cleanups show", "cleanups retry", "operations show", "notifications show"]
)
def test_an_id_that_is_none_is_not_another_route(cli: Run, command: str, nothing: str) -> None:
    """A shell variable that is not set is told, and not taken for the list."""
    assert cli(*command.split(), nothing) == (1, "", f'Error: "{nothing}" is no id.\n')


async def test_an_answer_that_is_lost_may_mean_that_it_was_done(odd_server: str) -> None:
    """A change whose answer never came is told from one that nobody heard of."""
    async with carrick.Client(odd_server, "key") as client:
        with pytest.raises(AnswerLost, match="may have been done") as caught:
            await client.activate_deployment(1)
    async with carrick.Client("http://127.0.0.1:1", "key") as client:
        with pytest.raises(ServerUnreachable) as unheard:
            await client.activate_deployment(1)

    assert (caught.value.code, unheard.value.code) == ("answer_lost", "server_unreachable")


async def test_what_is_no_carrick_server_is_told_from_one(odd_server: str) -> None:
    """An answer that is not JSON is not taken for an error of ours."""
    async with carrick.Client(odd_server, "key") as client:
        with pytest.raises(ApiError, match="not a Carrick server"):
            await client.health()


async def test_the_key_is_not_sent_elsewhere(odd_server: str) -> None:
    """A redirect is not followed: it would carry the key along."""
    async with carrick.Client(odd_server, "key") as client:
        with pytest.raises(ApiError) as caught:
            await client.integrations()

    assert caught.value.answer_status == 302


async def test_variables_are_set_and_removed(server: tuple[str, str]) -> None:
    """`None` removes a variable."""
    async with carrick.Client(*server) as client:
        await client.set_variables({"ONE": "1", "TWO": "2"})
        await client.set_variables({"TWO": None})

        assert await client.variables() == [{"name": "ONE", "value": "1"}]


async def test_an_error_of_the_server_keeps_its_code(server: tuple[str, str]) -> None:
    """Programs tell errors apart by the server's own code and status."""
    async with carrick.Client(*server) as client:
        with pytest.raises(ApiError) as caught:
            await client.connection("nope", "nope")

    assert caught.value.answer_code == "unknown_provider_config"
    assert caught.value.answer_status == 400


def test_a_server_that_runs_notices_an_import(
    folder: Path, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is imported into its database can be used without a restart, and is kept while it is."""
    monkeypatch.setenv("CARRICK_DATA_DIR", str(folder / "data"))
    (tmp_path / "mine.yaml").write_text(
        "vendor:\n  auth_mode: API_KEY\n  credentials: {apiKey: {type: string, title: K}}\n"
        "  proxy: {base_url: 'https://api.example.com'}\n"
    )
    assert cli("providers", "import", "mine.yaml")[0] == 0

    def created() -> bool:
        return cli("integrations", "create", "mine", "--provider", "vendor")[0] == 0

    assert any(created() for _ in range(500))
    code, _, err = cli("providers", "remove", "mine", "--yes")
    assert (code, "mine in dev (vendor)" in err) == (1, True), err
    assert cli("integrations", "delete", "mine", "--yes")[0] == 0
    assert cli("providers", "remove", "mine", "--yes")[0] == 0

    def forgotten() -> bool:
        if created():
            assert cli("integrations", "delete", "mine", "--yes")[0] == 0
            return False
        return True

    assert any(forgotten() for _ in range(500))


# --- notifications --------------------------------------------------------------------------


def test_notifications_are_configured_shown_and_retried(server: tuple[str, str], cli: Run) -> None:
    """Where they go is a setting; what became of them is listed, shown, and sent again."""
    address = "https://app.invalid/hook?key=hidden"
    assert cli("environments", "configure", f"primary_url={address}")[0] == 0
    try:
        assert cli("integrations", "create", "told", "--provider", "api-key")[0] == 0
        connect(server, "told", "told-one")
        [listed] = json.loads(cli("notifications", "list", "-i", "told", "--json")[1])
        assert (listed["kind"], listed["connection_id"]) == ("connection_create", "told-one")

        code, out, _ = cli("notifications", "show", listed["id"])
        assert (code, "hidden" in out) == (0, False)
        assert "https://app.invalid/hook" in out
        assert cli("notifications", "retry", listed["id"])[0] == 0
        code, out, _ = cli("notifications", "list", "--connection", "told-one")
        assert "connection_create" in out
    finally:
        assert cli("environments", "configure", "primary_url=")[0] == 0
    shown = json.loads(cli("environments", "settings", "--json")[1])
    assert (shown["primary_url"], shown["on_setup_failed"]) == (None, True)
    assert cli("notifications", "show", "nothing")[0] == 1
    assert cli("environments", "configure", "nonsense=1")[0] == 1


def test_a_new_signing_key_is_printed(cli: Run) -> None:
    """It is asked for, because the old one ends at once."""
    assert cli("environments", "rotate-signing-key")[0] == 2
    code, out, _ = cli("environments", "rotate-signing-key", "--yes")
    assert code == 0
    assert uuid.UUID(out.strip()).version == 4


# --- keys -----------------------------------------------------------------------------------


def test_a_key_made_on_the_servers_machine_may_manage_environments(
    server: tuple[str, str], cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key that a server makes by itself may; whoever has its database can make one that does."""
    monkeypatch.setenv("CARRICK_DATA_DIR", str(folder / "data"))
    code, out, _ = cli("keys", "create", "operations", "--scope", "account:*")
    assert code == 0

    monkeypatch.setenv("CARRICK_ACCOUNT_KEY", out.strip())
    code, made, err = cli("environments", "create", "our-stage")
    assert (code, uuid.UUID(made.strip()).version) == (0, 4)
    assert "CARRICK_SECRET_KEY_OUR_STAGE" in err
    monkeypatch.setenv("CARRICK_SECRET_KEY_OUR_STAGE", made.strip())
    assert cli("connections", "list", "-e", "our-stage")[0] == 0
    assert cli("environments", "create", "our-stage")[0] == 1
    assert cli("environments", "delete", "our-stage")[0] == 2  # nobody is there to be asked
    assert cli("environments", "delete", "our-stage", "--yes")[0] == 0
    assert cli("connections", "list", "-e", "our-stage")[0] == 1
    code, _, err = cli("environments", "delete", "our-stage", "--yes")
    assert (code, "our-stage" in err) == (1, True)
    monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", out.strip())
    assert cli("connections", "list")[0] == 1  # that is an environment's business


def test_environments_are_not_made_without_a_key_of_the_account(
    server: tuple[str, str], cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one it is said where it comes from; an environment's own key is refused."""
    code, _, err = cli("environments", "create", "our-stage")
    assert (code, "carrick keys create" in err) == (1, True)
    monkeypatch.setenv("CARRICK_ACCOUNT_KEY", server[1])
    code, _, err = cli("environments", "create", "our-stage")
    assert (code, "account:environments:create" in err) == (1, True)


def test_a_key_that_cannot_be_is_refused(
    cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scope that is none, an environment that is not there, and a name that is taken."""
    monkeypatch.setenv("CARRICK_DATA_DIR", str(folder / "data"))
    create = ("keys", "create", "--scope")
    assert cli(*create, "everything", "k")[0] == 2
    code, _, err = cli(*create, "environment:*", "k", "-e", "nowhere")
    assert (code, "nowhere" in err) == (1, True)
    code, _, err = cli(*create, "environment:*", "Default - Full access")
    assert (code, "exists already" in err) == (1, True)
