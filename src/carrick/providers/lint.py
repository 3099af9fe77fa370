"""What is odd about an entry as a whole: names nothing fills, inputs that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from carrick.model.auth import AuthMode
from carrick.providers.findings import Findings
from carrick.providers.interpolate import names

_CONFIG = "connectionConfig."
#: Modes whose credentials are typed into a form; the others come by a flow of their own.
_TYPED = frozenset(
    {
        AuthMode.API_KEY,
        AuthMode.AWS_SIGV4,
        AuthMode.BASIC,
        AuthMode.BILL,
        AuthMode.JWT,
        AuthMode.OAUTH2_CC,
        AuthMode.SIGNATURE,
        AuthMode.TBA,
        AuthMode.TWO_STEP,
    }
)
#: What a mode puts into `connection_config` by itself.
_BY_MODE: Mapping[AuthMode, frozenset[str]] = {
    AuthMode.APP: frozenset({"installation_id", "appPublicLink"}),
    AuthMode.CUSTOM: frozenset({"installation_id", "appPublicLink"}),
    AuthMode.TBA: frozenset({"accountId"}),
    AuthMode.OAUTH2_CC: frozenset({"oauth_scopes"}),
}
_FILLING = ("token_response_metadata", "redirect_uri_metadata", "webhook_response_metadata")
#: Not templates.
_PROSE = frozenset({"connection_config", "credentials", "integration_config", "assertion_option"})


def check_whole(name: str, entry: Mapping[str, Any], mode: AuthMode, findings: Findings) -> None:
    """Warn about values that nothing can fill and about inputs that a mode does not take."""
    declared = set(_declared(entry)) | _BY_MODE.get(mode, frozenset())
    for key, value in entry.items():
        if key in _PROSE or key == "translations":
            continue
        for used in sorted(_used(value)):
            if not _is_declared(used, declared):
                findings.warn(
                    f"{name}.{key}",
                    f"uses connectionConfig.{used}, which neither connection_config nor "
                    "token_response_metadata, redirect_uri_metadata or connection_facts fills",
                )
    if entry.get("credentials") and mode not in _TYPED:
        findings.warn(f"{name}.credentials", f"is not asked for by auth mode {mode.value}")


def _declared(entry: Mapping[str, Any]) -> Iterator[str]:
    proxy = entry.get("proxy")
    also = proxy.get("connection_config") if isinstance(proxy, Mapping) else None
    for fields in (entry.get("connection_config"), also):
        yield from (str(name) for name in fields or () if isinstance(fields, Mapping))
    for key in _FILLING:
        listed = entry.get(key)
        yield from (str(item) for item in listed or () if isinstance(listed, list))
    for step in entry.get("connection_facts") or ():
        keys = step.get("set") if isinstance(step, Mapping) else None
        yield from (str(name) for name in keys or () if isinstance(keys, Mapping))


def _is_declared(used: str, declared: set[str]) -> bool:
    """Whether a name, or an outer part of it, is declared."""
    pieces = used.split(".")
    return any(".".join(pieces[:count]) in declared for count in range(len(pieces), 0, -1))


def _used(value: Any) -> set[str]:
    """Return the connectionConfig names in every template below a value."""
    if isinstance(value, str):
        if _CONFIG not in value:
            return set()
        found = (name for name in names(value) if name.startswith(_CONFIG))
        return {name.removeprefix(_CONFIG) for name in found}
    if isinstance(value, Mapping):
        return set().union(*map(_used, value.values()))
    if isinstance(value, list):
        return set().union(*map(_used, value))
    return set()
