"""The auth modes that ask nobody, and what all modes have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from carrick.auth import MODES, ModeContext, Obtained, Steps, mode_for
from carrick.errors import InvalidAuthMode, InvalidBody
from carrick.model.auth import AuthMode, Credentials
from carrick.model.environment import Integration, IntegrationState
from carrick.model.http import OutboundRequest
from carrick.model.provider import FieldSpec, Provider

REQUEST = OutboundRequest("GET", "https://api.example.com/")


def context(auth_mode: AuthMode, **specs: FieldSpec) -> ModeContext:
    return ModeContext(
        provider=Provider("example", "Example", auth_mode, {}, credentials=specs),
        integration=Integration(1, 1, "example", "example", None, IntegrationState.ACTIVE, None),
        connection_config={},
        now=datetime(2026, 1, 5, tzinfo=UTC),
    )


def obtained(steps: Steps) -> Credentials:
    with pytest.raises(StopIteration) as finished:
        next(steps)
    result: Obtained = finished.value.value
    return result.credentials


def test_modes_that_are_not_offered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode is offered under its own name or not at all."""
    assert all(mode_for(name).auth_mode is name for name in MODES)
    monkeypatch.setattr("carrick.auth.MODES", {})
    with pytest.raises(InvalidAuthMode, match="BASIC"):
        mode_for(AuthMode.BASIC)


@pytest.mark.parametrize(
    ("auth_mode", "body"),
    [
        (AuthMode.API_KEY, {"apiKey": "k"}),
        (AuthMode.BASIC, {"username": "u", "password": ""}),
        (AuthMode.BASIC, {"username": "", "password": "p"}),
        (AuthMode.NONE, {}),
    ],
)
def test_forms_and_imports_are_taken_alike(auth_mode: AuthMode, body: dict[str, Any]) -> None:
    """Both entrances give the same credentials; they neither expire nor are refreshed."""
    mode, ctx = mode_for(auth_mode), context(auth_mode)
    credentials = obtained(mode.from_input(ctx, body))
    assert credentials == Credentials(auth_mode, body)
    assert obtained(mode.from_import(ctx, {**body, "type": auth_mode.value})) == credentials
    assert mode.refresh(ctx, credentials) is None


@pytest.mark.parametrize(
    ("auth_mode", "body", "paths"),
    [
        (AuthMode.API_KEY, {}, [["apiKey"]]),
        (AuthMode.API_KEY, {"apiKey": "x" * 1025}, [["apiKey"]]),
        (AuthMode.API_KEY, {"apiKey": "k", "other": 1}, [[]]),
        (AuthMode.BASIC, {}, [["username"], ["password"]]),
        (AuthMode.BASIC, {"username": "u", "password": None}, [["password"]]),
        (AuthMode.NONE, {"apiKey": "k"}, [[]]),
    ],
)
def test_every_fault_of_a_form_is_reported(
    auth_mode: AuthMode, body: dict[str, Any], paths: list[list[str]]
) -> None:
    """All faults are told at once, and an import's are told under `credentials`."""
    mode, ctx = mode_for(auth_mode), context(auth_mode)
    with pytest.raises(InvalidBody) as caught:
        mode.from_input(ctx, body)
    assert [one["path"] for one in caught.value.issues or ()] == paths
    with pytest.raises(InvalidBody) as caught:
        mode.from_import(ctx, body)
    assert [one["path"][1:] for one in caught.value.issues or ()] == paths


def test_the_definition_says_what_a_key_looks_like() -> None:
    """Patterns and choices of the provider definition hold on the server."""
    pattern = context(AuthMode.API_KEY, apiKey=FieldSpec("apiKey", "API Key", pattern="^sk-"))
    mode = mode_for(AuthMode.API_KEY)
    assert obtained(mode.from_input(pattern, {"apiKey": "sk-1"})).values == {"apiKey": "sk-1"}
    with pytest.raises(InvalidBody) as caught:
        mode.from_input(pattern, {"apiKey": "pk-1"})
    assert (caught.value.issues or ())[0]["message"].startswith("API Key")
    choice = context(AuthMode.API_KEY, apiKey=FieldSpec("apiKey", enum=("a", "b")))
    with pytest.raises(InvalidBody):
        mode.from_input(choice, {"apiKey": "c"})


def test_how_requests_are_authorized() -> None:
    """Basic adds its header; keys are placed by the provider definition; none adds nothing."""
    basic = Credentials(AuthMode.BASIC, {"username": "us\u00e9r", "password": "p:w"})
    authorized = mode_for(AuthMode.BASIC).authorize(context(AuthMode.BASIC), basic, REQUEST)
    assert authorized.headers == {"Authorization": "Basic dXPDqXI6cDp3"}
    for auth_mode in (AuthMode.API_KEY, AuthMode.NONE):
        credentials = Credentials(auth_mode, {"apiKey": "k"})
        mode = mode_for(auth_mode)
        assert mode.authorize(context(auth_mode), credentials, REQUEST) is REQUEST


def test_what_templates_may_name() -> None:
    """Every field has its own name, and stands under `credentials` as well."""
    values = mode_for(AuthMode.API_KEY).template_values(
        Credentials(AuthMode.API_KEY, {"apiKey": "k"})
    )
    assert values == {"apiKey": "k", "credentials": {"apiKey": "k"}}
    basic = Credentials(AuthMode.BASIC, {"username": "u", "password": "p"})
    assert mode_for(AuthMode.BASIC).template_values(basic)["username"] == "u"
    assert mode_for(AuthMode.NONE).template_values(Credentials(AuthMode.NONE)) == {}
