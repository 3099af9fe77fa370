"""The command line: what needs no server, and how failures are told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.many_providers import many_providers
from typer.main import get_command

from carrick.app import running
from carrick.cli.app import build, run
from carrick.settings import Settings

TIDY = Path(__file__).parents[1] / "projects" / "tidy"

Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def carrick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in an empty folder; return its exit code, its output and its complaints."""
    monkeypatch.chdir(tmp_path)
    for name in ("CARRICK_SECRET_KEY_DEV", "CARRICK_SERVER_URL", "CARRICK_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def execute(*arguments: str) -> Result:
        code = run(arguments)
        written = capsys.readouterr()
        return code, written.out, written.err

    return execute


# --- help -----------------------------------------------------------------------------------


def commands() -> list[str]:
    """Return every command there is, groups spelled out."""
    found = []
    for name, command in sorted(get_command(build()).commands.items()):  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [f"{name} {sub}" for sub in sorted(inner)] if inner else [name]
    return found


def test_the_commands_are_these() -> None:
    """A command that is added or lost shows here."""
    assert commands() == [
        "backup",
        "cleanups force",
        "cleanups list",
        "cleanups retry",
        "cleanups show",
        "compile",
        "connections delete",
        "connections list",
        "connections show",
        "demo",
        "deploy",
        "doctor",
        "dryrun",
        "environments configure",
        "environments create",
        "environments delete",
        "environments list",
        "environments rotate-signing-key",
        "environments set",
        "environments settings",
        "environments variables",
        "init",
        "integrations create",
        "integrations delete",
        "integrations list",
        "keys create",
        "keys forget",
        "keys rotate",
        "keys show",
        "migrate",
        "notifications list",
        "notifications retry",
        "notifications show",
        "operations list",
        "operations retry",
        "operations show",
        "providers check",
        "providers import",
        "providers imports",
        "providers list",
        "providers remove",
        "providers show",
        "restore",
        "rollback",
        "serve",
        "worker",
    ]


@pytest.mark.parametrize("command", commands())
def test_every_command_explains_itself(carrick: Run, command: str) -> None:
    """`--help` says what it does, and everything that lists takes `--json`."""
    code, out, _ = carrick(*command.split(), "--help")

    assert code == 0
    assert "Usage: carrick" in out
    if command.endswith((" list", " show")):
        assert "--json" in out


@pytest.mark.parametrize("command", commands())
def test_every_option_says_what_it_is_for(command: str) -> None:
    """A newcomer is never left with a bare name."""
    found: Any = get_command(build())
    for part in command.split():
        found = found.commands[part]
    assert [one.name for one in found.params if not getattr(one, "help", None)] == []


def test_the_exit_codes_are_documented(carrick: Run) -> None:
    """The root's help says what 0, 1 and 2 mean."""
    _, out, _ = carrick("--help")

    assert "Exit codes: 0 it worked, 1 it did not" in " ".join(out.split())


def test_help_loads_none_of_the_heavy_rooms() -> None:
    """Asking for help must be quick."""
    script = (
        "import sys\nfrom carrick.cli.app import run\nrun(['--help'])\n"
        "heavy = {'aiohttp', 'sqlalchemy', 'pydantic', 'fastapi', 'cryptography', 'carrick.app'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "LOADED []" in answer.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["dryrun"], ["deploy", "--nonsense"], ["serve", "--port", "x"]]
)
def test_a_command_that_is_used_wrongly_ends_with_2(carrick: Run, arguments: list[str]) -> None:
    """Usage errors are told from failures."""
    code, _, err = carrick(*arguments)

    assert code == 2
    assert err


# --- init and compile -----------------------------------------------------------------------


def test_init_makes_a_project_that_compiles(carrick: Run, tmp_path: Path) -> None:
    """The first thing a newcomer does works."""
    assert carrick("init", "app")[0] == 0

    code, out, err = carrick("compile", "--project", "app")

    assert (code, err) == (0, "")
    assert "3 functions, no problems." in out
    readme = (tmp_path / "app" / "README.md").read_text()
    mentioned = set(re.findall(r"carrick (\w+(?: list| create| set)?)", readme))
    assert {"compile", "serve", "deploy", "dryrun", "integrations create"} <= mentioned
    assert mentioned <= set(commands())


def test_init_names_the_integration_as_asked(carrick: Run, tmp_path: Path) -> None:
    """The folder's name is the integration's id, hyphens and all."""
    assert carrick("init", "--integration", "my-crm")[0] == 0

    assert (tmp_path / "my-crm" / "on_events" / "validate_connection.py").is_file()
    assert "__" not in (tmp_path / "README.md").read_text().replace("__init__", "")
    assert carrick("compile")[0] == 0


def test_init_overwrites_nothing(carrick: Run, tmp_path: Path) -> None:
    """A file that is there already stays as it is, and so does everything else."""
    (tmp_path / "README.md").write_text("mine")

    code, _, err = carrick("init")

    assert code == 1
    assert "README.md exists already" in err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden"])
def test_init_takes_only_ids_that_make_folders(carrick: Run, name: str) -> None:
    """Nothing is written outside of the project."""
    assert carrick("init", "--integration", name)[0] == 2


def test_compile_names_file_line_and_what_to_do(carrick: Run, tmp_path: Path) -> None:
    """A broken project ends with 1 and every problem on stderr."""
    file = tmp_path / "crm" / "on_events" / "broken.py"
    file.parent.mkdir(parents=True)
    file.write_text("def (")

    code, out, err = carrick("compile")

    assert (code, out) == (1, "")
    assert "crm/on_events/broken.py:1: This is not valid Python" in err


def test_compile_speaks_json(carrick: Run) -> None:
    """Programs get functions and problems, and nothing else on stdout."""
    code, out, _ = carrick("compile", "--project", str(TIDY), "--json")

    found = json.loads(out)
    assert code == 0
    assert found["problems"] == []
    assert {one["integration_id"] for one in found["functions"]} == {
        "google-drive",
        "salesforce",
        "stripe",
    }


def test_a_folder_that_is_not_there_is_said_to_be(carrick: Run) -> None:
    """No traceback for a misspelt path."""
    code, _, err = carrick("compile", "--project", "nowhere")

    assert code == 1
    assert err == "Error: There is no project folder nowhere.\n"


# --- keys and servers -----------------------------------------------------------------------


def test_the_key_of_a_setting_wins_over_the_key_file(
    carrick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CARRICK_SECRET_KEY_<NAME> is asked first, then keys.toml in the data directory."""
    (tmp_path / ".carrick").mkdir()
    keys = tmp_path / ".carrick" / "keys.toml"
    keys.write_text('[secret_keys]\ndev = "from-file"\nmy-env = "hyphen"\n')
    keys.chmod(0o600)

    assert carrick("keys", "show")[1] == "from-file\n"
    assert carrick("keys", "show", "-e", "my_env")[1] == "hyphen\n"
    monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", "from-setting")
    assert json.loads(carrick("keys", "show", "--json")[1])["secret_key"] == "from-setting"


def test_a_missing_key_says_where_it_is_looked_for(carrick: Run) -> None:
    """The sentence names the variable and the file."""
    code, out, err = carrick("connections", "list", "-e", "prod")

    assert (code, out) == (1, "")
    assert "CARRICK_SECRET_KEY_PROD" in err
    assert "keys.toml" in err


def test_a_server_that_does_not_answer_is_said_with_how_to_start_one(
    carrick: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence and a hint, never a traceback."""
    monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", "key")
    monkeypatch.setenv("CARRICK_SERVER_URL", "http://127.0.0.1:1")

    code, out, err = carrick("integrations", "list")

    assert (code, out) == (1, "")
    assert "No Carrick server answers at http://127.0.0.1:1" in err
    assert "carrick serve" in err
    assert "Traceback" not in err


def test_a_wrong_setting_is_named(carrick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and what it takes."""
    monkeypatch.setenv("CARRICK_PORT", "ninety")

    code, _, err = carrick("keys", "show")

    assert code == 1
    assert "CARRICK_PORT" in err


def test_a_project_with_problems_is_not_sent(
    carrick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deploying asks no server before the project reads well."""
    monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", "key")
    (tmp_path / "crm" / "on_events").mkdir(parents=True)
    (tmp_path / "crm" / "on_events" / "f.py").write_text("X = 1")

    code, _, err = carrick("deploy")

    assert code == 1
    assert "crm/on_events/f.py:1: This file has no event function." in err


@pytest.mark.parametrize("text", ["{", "[]", "@missing.json"])
def test_metadata_that_is_no_json_object_is_refused(carrick: Run, text: str) -> None:
    """It is refused before anything runs."""
    code, _, err = carrick(
        "dryrun", "check-account", "c", "--metadata", text, "--project", str(TIDY)
    )

    assert code in (1, 2)
    assert "Traceback" not in err


def test_a_dry_run_of_an_unknown_function_lists_those_there_are(carrick: Run) -> None:
    """A misspelt name needs no server to be noticed."""
    code, _, err = carrick("dryrun", "chek-account", "c", "--project", str(TIDY))

    assert code == 1
    assert "stripe/check-account" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("connections", "delete", "c"),
        ("integrations", "delete", "i"),
        ("cleanups", "force", "1", "--reason", "x"),
        ("rollback", "1"),
        ("dryrun", "check-account", "c", "--live", "--project", str(TIDY)),
    ],
)
def test_nobody_is_asked_without_a_terminal(carrick: Run, arguments: tuple[str, ...]) -> None:
    """What asks says that it takes --yes, and does nothing."""
    code, _, err = carrick(*arguments)

    assert code == 2
    assert "--yes" in err


# --- providers and doctor -------------------------------------------------------------------


def test_the_catalogue_is_listed_without_a_server(carrick: Run) -> None:
    """Providers are data that is installed."""
    code, out, _ = carrick("providers", "list", "--json")

    assert code == 0
    assert "salesforce" in [one["name"] for one in json.loads(out)]
    assert "salesforce" in carrick("providers", "list", "sales")[1]


def test_an_unknown_provider_ends_with_1(carrick: Run) -> None:
    """One sentence says so."""
    code, _, err = carrick("providers", "show", "nope")

    assert code == 1
    assert "nope" in err


def test_a_providers_file_is_checked(carrick: Run, tmp_path: Path) -> None:
    """A file that the server would refuse is refused here, with the entry named."""
    (tmp_path / "good.yaml").write_text(
        "acme:\n  display_name: Acme\n  auth_mode: API_KEY\n"
        "  proxy:\n    base_url: https://api.acme.example\n"
    )
    (tmp_path / "bad.yaml").write_text("acme:\n  auth_mode: TELEPATHY\n")

    assert carrick("providers", "check", "good.yaml")[0] == 0
    code, _, err = carrick("providers", "check", "bad.yaml")
    assert code == 1
    assert "acme" in err


def test_every_fault_of_a_file_has_its_line(carrick: Run, tmp_path: Path) -> None:
    """Two mistakes are two lines; a file without any provider is not in order."""
    (tmp_path / "bad.yaml").write_text("a: 1\nb: 2\n")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")

    code, _, err = carrick("providers", "check", "bad.yaml")
    assert (code, err.splitlines()) == (
        1,
        [
            "Error: bad.yaml: a: must be a map of the provider's keys",
            "  bad.yaml: b: must be a map of the provider's keys",
        ],
    )
    code, _, err = carrick("providers", "check", "empty.yaml")
    assert (code, err) == (1, "Error: empty.yaml holds no providers.\n")


def test_the_doctor_looks_at_everything(carrick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a server is a note, not a failure."""
    monkeypatch.setenv("CARRICK_SERVER_URL", "http://127.0.0.1:1")

    code, out, _ = carrick("doctor", "--json")

    findings = {one["what"]: one["state"] for one in json.loads(out)}
    assert code == 0
    assert findings["python"] == findings["sqlite"] == findings["data directory"] == "ok"
    assert findings["server"] == "note"
    assert "isolation" in findings


@pytest.mark.parametrize(
    ("mishap", "what", "said"),
    [
        ("damaged", "database", "carrick restore"),
        ("newer", "database", "later version"),
        ("keys lost", "database", "encrypted with key"),
        ("other key", "database", "encrypted with key"),
        ("keys torn", "keys", "not valid TOML"),
    ],
)
def test_the_doctor_finds_what_keeps_a_server_from_starting(
    carrick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mishap: str, what: str, said: str
) -> None:
    """And says why in its table, not in a log on the same stream."""
    monkeypatch.setenv("CARRICK_SERVER_URL", "http://127.0.0.1:1")
    settings = Settings(data_dir=tmp_path / ".carrick")
    asyncio.run(started(settings))
    assert carrick("doctor")[0] == 0
    match mishap:
        case "damaged":
            settings.database_file.write_bytes(b"x" * 4096)
        case "newer":
            with contextlib.closing(sqlite3.connect(settings.database_file)) as database:
                database.execute("UPDATE alembic_version SET version_num = 'later'")
                database.commit()
        case "keys lost":
            settings.key_file.unlink()
        case "other key":
            monkeypatch.setenv("CARRICK_ENCRYPTION_KEY", base64.b64encode(b"k" * 32).decode())
            settings.key_file.unlink()
        case _:
            settings.key_file.write_text("active = [")

    code, out, err = carrick("doctor", "--json")

    findings = {one["what"]: one for one in json.loads(out)}
    assert (code, err) == (1, "")
    assert findings[what]["state"] == "bad"
    assert said in findings[what]["message"]


async def started(settings: Settings) -> None:
    """Start a server for the first time and stop it."""
    async with running(settings):
        pass


def test_the_doctor_looks_for_postgres(carrick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away is found here, before a server is started."""
    monkeypatch.setenv("CARRICK_DATABASE_URL", "postgresql://carrick:secret@127.0.0.1:1/carrick")
    code, out, _ = carrick("doctor", "--json")
    [found] = [one for one in json.loads(out) if one["what"] == "database"]
    assert (code, found["state"]) == (1, "bad")
    assert "does not answer" in found["message"]
    assert "secret" not in out


# --- providers ------------------------------------------------------------------------------


def test_a_catalogue_of_ones_own_is_imported(carrick: Run, tmp_path: Path) -> None:
    """Without a server; with a summary, and like warnings as one line."""
    (tmp_path / "many.json").write_text(json.dumps(many_providers(1000)))
    code, out, err = carrick("providers", "import", "many.json", "--name", "vendors")
    assert code == 0, err
    assert "Imported 1000 providers from many.json as vendors." in out
    assert "1000 added: vendor-0000, vendor-0001" in out
    odd = "Warning: odd_key: is not a key of this format; kept and ignored"
    assert err.splitlines() == [f"{odd} (vendor-0000, vendor-0001, vendor-0002 and 997 more)"]
    listed = json.loads(carrick("providers", "imports", "--json")[1])
    assert [(one["name"], one["providers"]) for one in listed] == [("vendors", 1000)]
    found = json.loads(carrick("providers", "list", "vendor-0009", "--json")[1])
    assert [(one["display_name"], one["origin"]) for one in found] == [("Twin 9", "imported")]
    assert carrick("providers", "show", "vendor-0123")[0] == 0


def test_an_import_that_is_wrong_in_one_entry_changes_nothing(carrick: Run, tmp_path: Path) -> None:
    """File, entry and key are named; what was imported before stays."""
    path = tmp_path / "mine.yaml"
    path.write_text("acme: {auth_mode: NONE}")
    assert carrick("providers", "import", "mine.yaml")[0] == 0
    path.write_text("beta: {auth_mode: NONE}\nacme: {auth_mode: NONE, proxy: {}}")
    code, _, err = carrick("providers", "import", "mine.yaml")
    assert (code, "mine.yaml: acme.proxy.base_url: is missing" in err) == (1, True), err
    found = json.loads(carrick("providers", "list", "--json")[1])
    origins = {one["name"]: one["origin"] for one in found}
    assert (origins["acme"], "beta" in origins) == ("imported", False)


@pytest.mark.parametrize(("text", "fault"), [("", "holds no providers"), ("- a", "must be a map")])
def test_an_import_of_nothing_is_refused(
    carrick: Run, tmp_path: Path, text: str, fault: str
) -> None:
    """It would remove what was there before."""
    (tmp_path / "mine.yaml").write_text(text)
    code, _, err = carrick("providers", "import", "mine.yaml")
    assert (code, fault in err) == (1, True), err
    assert carrick("providers", "import", "absent.yaml")[0] == 1


def test_an_import_can_be_removed(carrick: Run, tmp_path: Path) -> None:
    """Built-in providers that it had replaced are there again."""
    text = "github: {alias: github, display_name: Mine}\nacme: {auth_mode: NONE}"
    (tmp_path / "mine.yaml").write_text(text)
    out = carrick("providers", "import", "mine.yaml")[1]
    assert "1 added: acme" in out
    assert "1 replaced: github" in out
    assert carrick("providers", "remove", "mine", "--yes")[0] == 0
    found = json.loads(carrick("providers", "list", "github", "--json")[1])
    assert found[0]["display_name"] == "GitHub"
    code, _, err = carrick("providers", "remove", "mine", "--yes")
    assert (code, "no import named 'mine'" in err) == (1, True)


def test_the_servers_own_file_is_over_what_is_imported(
    carrick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets a file for one machine means that machine; it may build on an import."""
    (tmp_path / "mine.yaml").write_text("acme: {auth_mode: NONE, docs: https://a.example}")
    assert carrick("providers", "import", "mine.yaml")[0] == 0
    own = tmp_path / "own.yaml"
    own.write_text("acme: {alias: acme, display_name: Ours}")
    monkeypatch.setenv("CARRICK_PROVIDERS_FILE", str(own))
    shown = json.loads(carrick("providers", "show", "acme", "--json")[1])
    assert (shown["display_name"], shown["docs"]) == ("Ours", "https://a.example")
    found = json.loads(carrick("providers", "list", "acme", "--json")[1])
    assert found[0]["origin"] == "file"


def test_a_check_keeps_nothing(carrick: Run, tmp_path: Path) -> None:
    """What is odd is a warning, and a failure only for who asks for that."""
    (tmp_path / "mine.yaml").write_text("acme: {display_name: A, auth_mode: NONE, colour: red}")
    code, out, err = carrick("providers", "check", "mine.yaml")
    assert (code, "in order: acme." in out) == (0, True)
    assert "Warning: colour: is not a key of this format" in err
    assert carrick("providers", "check", "mine.yaml", "--strict")[0] == 1
    assert not (tmp_path / ".carrick").exists()
