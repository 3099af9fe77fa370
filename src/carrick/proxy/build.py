"""Turn a call into the request that is sent: address, query, headers and body, with credentials.

What carries credentials wins over what the caller sent; everything else the caller may replace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from carrick.auth import ModeContext, SigningMode, mode_for
from carrick.errors import InvalidPath, MissingConnectionConfig
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest
from carrick.providers.definition import texts
from carrick.providers.interpolate import alternatives, names, resolve
from carrick.proxy.call import ProxyCall, Target
from carrick.proxy.hosts import Allowed, Origin

_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Characters that mean something in a URL or are encoded already; the rest is encoded.
_SAFE = "/%:@!$&'()*+,;=~-._[]?"

#: A caller may set these only where the provider's definition and auth mode do not.
_GUARDED = frozenset({"authorization", "cookie", "user-agent"})
_NOT_SECRET = frozenset({"now", "random", "endpoint", "method"})


def build_request(
    call: ProxyCall,
    target: Target,
    credentials: Credentials,
    *,
    now: datetime,
    random: str,
    nonce: str = "",
    trusted: bool = False,
) -> OutboundRequest:
    """Return the request for a call.

    Args:
        call: What was asked.
        target: Whose account it is for.
        credentials: What is injected.
        now: Stands for `${now}`.
        random: Stands for `${random}`, stable within the call.
        nonce: Another random text, for this try alone: a signature counts once.
        trusted: The call comes from the provider's own definition: its templates are filled, its
            headers win, and its address needs no permission.

    Raises:
        MissingConnectionConfig: The provider's address cannot be filled in.
        InvalidConnectionConfig: A value may not stand in the address.
        BaseUrlOverrideNotAllowed: The address is none that may receive the credentials.
        InvalidPath: The endpoint cannot be sent.
    """
    values = template_values(target, credentials, now=now, random=random)
    values |= {"method": call.method.upper(), "endpoint": call.endpoint}
    if trusted:
        call = _filled(call, values)
    url = _address(call, target, values, trusted=trusted)
    request = OutboundRequest(call.method.upper(), _with_query(url, call, target, values))
    body, content_type = _body(call, target, values)
    request = replace(request, body=body)
    context = ModeContext(
        target.provider, target.integration, target.connection_config, now, nonce=nonce
    )
    mode = mode_for(target.provider.auth_mode)
    request = mode.authorize(context, credentials, request)
    request = request.with_headers(_provider_headers(target, values))
    request = request.with_headers(_caller_headers(call, target, request, trusted=trusted))
    if content_type and not _has(request.headers, "content-type"):
        request = request.with_headers({"content-type": content_type})
    return mode.sign(context, credentials, request) if isinstance(mode, SigningMode) else request


def template_values(
    target: Target, credentials: Credentials, *, now: datetime, random: str
) -> dict[str, Any]:
    """Return what the names in a provider's proxy templates stand for."""
    integration = target.integration
    developer = {**integration.custom, **integration.integration_config}
    secrets = integration.credentials or {}
    return {
        **developer,
        "clientId": secrets.get("client_id"),
        "clientSecret": secrets.get("client_secret"),
        "credentials": dict(credentials.values),
        **mode_for(target.provider.auth_mode).template_values(credentials),
        "integrationConfig": developer,
        "connectionConfig": dict(target.connection_config),
        "metadata": dict(target.metadata or {}),
        "now": now,
        "random": random,
    }


def allowed_hosts(target: Target, values: Mapping[str, Any]) -> Allowed:
    """Return the servers that may receive the target's credentials."""
    proxy = target.provider.proxy
    found = [
        resolve(alternative, values, encode=True)
        for alternative in alternatives(str(proxy.get("base_url") or ""))
    ]
    return Allowed.of(
        (each.text for each in found if each.text and not each.missing),
        texts(proxy.get("hosts")),
        target.integration.override_hosts,
    )


# --- address --------------------------------------------------------------------------------


def _address(call: ProxyCall, target: Target, values: Mapping[str, Any], *, trusted: bool) -> str:
    if _CONTROL.search(call.endpoint):
        raise InvalidPath("The endpoint holds control characters")
    if _ABSOLUTE.match(call.endpoint):
        url, is_own = call.endpoint, False
    elif call.base_url_override:
        url, is_own = _joined(call.base_url_override, call.endpoint), False
    else:
        url, is_own = _joined(_base_url(target, values), call.endpoint), True
    url, _, _ = url.partition("#")
    path, question, query = url.partition("?")
    url = quote(path, safe=_SAFE) + question + quote(query, safe=_SAFE)
    if not is_own and not trusted and not _is_open(target):
        allowed_hosts(target, values).demand(Origin.of(url))
    return url


def _base_url(target: Target, values: Mapping[str, Any]) -> str:
    template = str(target.provider.proxy.get("base_url") or "")
    found = resolve(template, values, encode=True)
    if not found.text:
        raise MissingConnectionConfig(
            f"The provider {target.provider.name} has no base URL; call a complete https:// "
            "address of an allowed host or pass base_url_override"
        )
    if found.missing:
        absent = ", ".join(
            name.replace("connectionConfig", "connection_config") for name in found.missing
        )
        raise MissingConnectionConfig(
            f"The address of {target.provider.display_name} cannot be filled in: {absent} is "
            "missing"
        )
    return found.text


def _joined(base_url: str, endpoint: str) -> str:
    base, endpoint = base_url.strip().rstrip("/"), endpoint.strip()
    if endpoint == "" or endpoint[0] in "?#":
        return base + endpoint
    return f"{base}/{endpoint.lstrip('/')}"


def _is_open(target: Target) -> bool:
    """Whether nothing secret is sent at all, so that any server may be called."""
    proxy = target.provider.proxy
    templates = [
        str(value)
        for part in ("headers", "query", "body")
        for value in (proxy.get(part) or {}).values()
    ]
    return target.provider.auth_mode is AuthMode.NONE and not any(map(is_secret, templates))


def is_secret(template: str) -> bool:
    """Whether a template reads anything that is not public about the call."""
    return any(
        name not in _NOT_SECRET and not name.startswith(("connectionConfig.", "metadata."))
        for name in names(template)
    )


# --- query ----------------------------------------------------------------------------------


def _with_query(url: str, call: ProxyCall, target: Target, values: Mapping[str, Any]) -> str:
    """Add the call's params and the provider's; the endpoint's own query stays as written.

    Where a name is given twice, the provider's entry wins if it carries credentials, else loses.
    """
    base, _, own = url.partition("?")
    params = list(_pairs(call.params))
    given = [*parse_qsl(own, keep_blank_values=True), *params]
    names_given = {name for name, _ in given}
    provided: dict[str, str] = {}
    for name, template in _entries(target, "query"):
        found = resolve(template, values)
        if not found.missing and (name not in names_given or is_secret(template)):
            provided[name] = found.text
    if provided.keys() & names_given:
        own, params = "", [pair for pair in given if pair[0] not in provided]
    written = urlencode([*params, *provided.items()], quote_via=quote, safe="")
    query = "&".join(piece for piece in (own, written) if piece)
    return f"{base}?{query}" if query else base


def _pairs(params: Mapping[str, Any] | str | None) -> Iterator[tuple[str, str]]:
    if isinstance(params, str):
        yield from parse_qsl(params.lstrip("?"), keep_blank_values=True)
        return
    for name, value in (params or {}).items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if item is not None:
                yield str(name), _as_text(item)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


# --- headers --------------------------------------------------------------------------------


def _entries(target: Target, part: str) -> Iterator[tuple[str, str]]:
    entries = target.provider.proxy.get(part)
    for name, template in entries.items() if isinstance(entries, Mapping) else ():
        yield str(name), _as_text(template)


def _provider_headers(target: Target, values: Mapping[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, template in _entries(target, "headers"):
        found = resolve(template, values)
        if not found.missing:
            headers[name] = found.text
    return headers


def _caller_headers(
    call: ProxyCall, target: Target, request: OutboundRequest, *, trusted: bool
) -> dict[str, str]:
    """Return the caller's headers without those that carry or identify us.

    `Host` and everything that belongs to the connection itself is dropped by `egress`.
    """
    if trusted:
        return dict(call.headers)
    secret = {name.lower() for name, text in _entries(target, "headers") if is_secret(text)}
    present = {name.lower() for name in request.headers}
    refused = secret | (_GUARDED & present)
    return {name: value for name, value in call.headers.items() if name.lower() not in refused}


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(each.lower() == name for each in headers)


# --- body -----------------------------------------------------------------------------------


def _body(
    call: ProxyCall, target: Target, values: Mapping[str, Any]
) -> tuple[bytes | None, str | None]:
    """Return the body with the provider's own entries, and its type when the body is new."""
    own = {}
    for name, template in _entries(target, "body"):
        found = resolve(template, values)
        if not found.missing:
            own[name] = found.text
    if not own or call.method.upper() in ("GET", "HEAD", "DELETE"):
        return call.body, None
    if "x-www-form-urlencoded" in _content_type(call):
        given = dict(parse_qsl((call.body or b"").decode(errors="replace"), keep_blank_values=True))
        return urlencode({**given, **own}).encode(), None
    try:
        document = json.loads(call.body) if call.body else {}
    except ValueError:
        return call.body, None
    if not isinstance(document, dict):
        return call.body, None
    return json.dumps({**document, **own}).encode(), "application/json"


def _content_type(call: ProxyCall) -> str:
    found = (value for name, value in call.headers.items() if name.lower() == "content-type")
    return next(found, "")


# --- calls from the provider's own definition -----------------------------------------------


def _filled(call: ProxyCall, values: Mapping[str, Any]) -> ProxyCall:
    base = call.base_url_override
    headers = {name: resolve(str(text), values).text for name, text in call.headers.items()}
    return replace(
        call,
        endpoint=resolve(call.endpoint, values, encode=True).text,
        base_url_override=resolve(base, values, encode=True).text if base else None,
        headers=headers,
        body=_filled_body(call, values),
    )


def _filled_body(call: ProxyCall, values: Mapping[str, Any]) -> bytes | None:
    if call.body is None:
        return None
    document = _deep(json.loads(call.body), values)
    if "x-www-form-urlencoded" in _content_type(call):
        return urlencode(document).encode()
    return json.dumps(document).encode()


def _deep(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return resolve(value, values).text
    if isinstance(value, dict):
        return {name: _deep(inner, values) for name, inner in value.items()}
    return [_deep(inner, values) for inner in value] if isinstance(value, list) else value
