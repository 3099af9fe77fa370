"""What is believed of an MCP server's documents, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from carrick.auth.mcp_discovery import SignIn, discover
from carrick.errors import ProviderAnswerInvalid
from carrick.model.http import OutboundAnswer

SERVER = "https://mcp.example.com/v1"
DOCUMENT = {
    "issuer": "https://mcp.example.com",
    "authorization_endpoint": "https://mcp.example.com/authorize",
    "token_endpoint": "https://mcp.example.com/token",
}


def answered(pages: Mapping[str, Any]) -> tuple[SignIn, list[str]]:
    """Run the discovery against pages by address; what is not there is not found."""
    steps, asked = discover(SERVER), []
    try:
        request = next(steps)
        while True:
            asked.append(request.url)
            page = pages.get(request.url)
            status = 404 if page is None else 200
            request = steps.send(OutboundAnswer(status, {}, json.dumps(page or {}).encode()))
    except StopIteration as finished:
        found: SignIn = finished.value
        return found, asked


def test_a_server_without_a_document_is_its_own_authorization_server() -> None:
    """As in the first version of MCP; the well-known places are asked first."""
    well_known = "https://mcp.example.com/.well-known"
    found, asked = answered({f"{well_known}/oauth-authorization-server": DOCUMENT})
    assert (found.issuer, found.resource) == ("https://mcp.example.com", SERVER)
    assert asked == [
        f"{well_known}/oauth-protected-resource/v1",
        f"{well_known}/oauth-protected-resource",
        SERVER,
        f"{well_known}/oauth-authorization-server",
    ]


def test_a_server_may_describe_itself_as_openid_providers_do() -> None:
    """RFC 8414 §5, with the path before the well-known part."""
    about = {"authorization_servers": ["https://login.example.com/t"], "resource": SERVER}
    document = {**DOCUMENT, "issuer": "https://login.example.com/t"}
    found, asked = answered(
        {
            "https://mcp.example.com/.well-known/oauth-protected-resource/v1": about,
            "https://login.example.com/t/.well-known/openid-configuration": document,
        }
    )
    assert found.issuer == "https://login.example.com/t"
    assert len(asked) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"token_endpoint": "http://mcp.example.com/token"},
        {"registration_endpoint": "http://mcp.example.com/register"},
        {"authorization_endpoint": "https://mcp.example.com/ || https://evil.example"},
        {"issuer": "https://mcp.example.com.evil.example"},
        {"issuer": None},
    ],
)
def test_what_does_not_hold_together_is_refused(changes: dict[str, Any]) -> None:
    """Plain HTTP behind https, a template, somebody else's name, none."""
    place = "https://mcp.example.com/.well-known/oauth-authorization-server"
    with pytest.raises(ProviderAnswerInvalid):
        answered({place: {**DOCUMENT, **changes}})


def test_a_server_that_says_nothing_is_refused() -> None:
    """There is nowhere to go."""
    with pytest.raises(ProviderAnswerInvalid, match="does not say how to sign in"):
        answered({})
