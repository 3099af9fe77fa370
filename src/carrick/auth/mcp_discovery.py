"""Find out how an MCP server wants to be signed in to (RFC 9728, RFC 8414).

What comes back was written by a server that an end user named. It is held to what the standards
say, may decide nothing but addresses, and every address is still subject to this server's policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from carrick.auth.popup import Asking
from carrick.errors import ProviderAnswerInvalid
from carrick.model.http import OutboundAnswer, OutboundRequest

#: An address as it may stand in a document: nothing in it that a template would read.
_ADDRESS = re.compile(r"https?://[^\s${}|\\<>\"]{1,2000}")
_RESOURCE_METADATA = re.compile(r'resource_metadata\s*=\s*"([^"]+)"', re.IGNORECASE)
_JSON = {"Accept": "application/json"}
_MOST_SCOPES = 50


@dataclass(frozen=True)
class SignIn:
    """How a server is signed in to."""

    issuer: str
    authorization_url: str
    token_url: str
    registration_url: str | None
    #: What tokens are asked for (RFC 8707).
    resource: str
    scopes: tuple[str, ...] = ()
    #: How clients may identify themselves at the token endpoint.
    auth_methods: tuple[str, ...] = ()
    #: Whether a client may be named by the address of a document about it.
    takes_documents: bool = False
    #: Whether it names itself in every callback (RFC 9207).
    names_itself: bool = False


def discover(server_url: str) -> Asking[SignIn]:
    """Ask an MCP server, and the authorization server it names, how to sign in.

    Raises:
        ProviderAnswerInvalid: They do not say, or what they say does not hold together.
    """
    server_url = server_url.rstrip("/")
    protected = yield from _protected(server_url)
    if protected is None:  # servers of the first version of MCP are their own authorization server
        issuer, resource = _origin(server_url), server_url
        scopes: tuple[str, ...] = ()
    else:
        issuer = _first_server(protected)
        resource = _fitting_resource(protected.get("resource"), server_url)
        scopes = tuple(_texts(protected.get("scopes_supported")))[:_MOST_SCOPES]
    for url in _of_issuer(issuer):
        document = yield from _document(url)
        if document is not None:
            found = _read(document, issuer, resource, scopes)
            _demand_encrypted(server_url, found)
            return found
    raise ProviderAnswerInvalid(f"{_host(issuer)} does not say how to sign in.")


def _protected(server_url: str) -> Asking[Mapping[str, Any] | None]:
    """Return what the server says about itself: at the well-known places, or where it points to."""
    path = urlsplit(server_url).path
    well_known = f"{_origin(server_url)}/.well-known/oauth-protected-resource"
    for url in dict.fromkeys((f"{well_known}{path}", well_known)):
        document = yield from _document(url)
        if document is not None and document.get("authorization_servers"):
            return document
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    answer = yield OutboundRequest("POST", server_url, headers, ping)
    pointed = _RESOURCE_METADATA.search(answer.header("www-authenticate") or "")
    if answer.status != 401 or pointed is None:
        return None
    return (yield from _document(_usable(pointed[1], "resource_metadata")))


def _document(url: str) -> Asking[Mapping[str, Any] | None]:
    answer: OutboundAnswer = yield OutboundRequest("GET", url, _JSON)
    if not answer.ok:
        return None
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _of_issuer(issuer: str) -> Iterator[str]:
    """Yield where an authorization server may describe itself (RFC 8414 §3.1, §5)."""
    origin, path = _origin(issuer), urlsplit(issuer).path.rstrip("/")
    yield f"{origin}/.well-known/oauth-authorization-server{path}"
    yield f"{origin}/.well-known/openid-configuration{path}"
    if path:
        yield f"{origin}{path}/.well-known/openid-configuration"


def _read(
    document: Mapping[str, Any], issuer: str, resource: str, scopes: tuple[str, ...]
) -> SignIn:
    said = document.get("issuer")
    if not isinstance(said, str) or said.rstrip("/") != issuer.rstrip("/"):
        raise ProviderAnswerInvalid(f"{_host(issuer)} describes another authorization server.")
    methods = document.get("code_challenge_methods_supported")
    if methods is not None and "S256" not in _texts(methods):
        raise ProviderAnswerInvalid(f"{_host(issuer)} does not offer PKCE with S256.")
    registers = bool(document.get("registration_endpoint"))
    return SignIn(
        issuer=said,
        authorization_url=_address(document, "authorization_endpoint"),
        token_url=_address(document, "token_endpoint"),
        registration_url=_address(document, "registration_endpoint") if registers else None,
        resource=resource,
        scopes=scopes,
        auth_methods=tuple(_texts(document.get("token_endpoint_auth_methods_supported"))),
        takes_documents=document.get("client_id_metadata_document_supported") is True,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _demand_encrypted(server_url: str, sign_in: SignIn) -> None:
    """Demand https of everything that an https server points to: codes and tokens go there."""
    pointed = (sign_in.authorization_url, sign_in.token_url, sign_in.registration_url)
    if server_url.startswith("https:") and not all(
        url is None or url.startswith("https:") for url in pointed
    ):
        raise ProviderAnswerInvalid(f"{_host(server_url)} is signed in to without encryption.")


def _first_server(protected: Mapping[str, Any]) -> str:
    servers = _texts(protected.get("authorization_servers"))
    return _usable(servers[0] if servers else None, "authorization_servers")


def _fitting_resource(said: Any, server_url: str) -> str:
    """Return the name of the resource: the server itself, or what it lies below."""
    if said is None:
        return server_url
    resource = _usable(said, "resource")
    inside = f"{server_url}/".startswith(f"{resource.rstrip('/')}/")
    if not inside or _origin(resource) != _origin(server_url):
        raise ProviderAnswerInvalid(f"{_host(server_url)} describes another resource.")
    return resource


def _address(document: Mapping[str, Any], name: str) -> str:
    return _usable(document.get(name), name)


def _usable(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise ProviderAnswerInvalid(f"The server's metadata has no usable {name}.")
    return value


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "The server")[:253]
