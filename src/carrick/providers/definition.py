"""Read one entry of a provider file: what is wrong is collected, what is unknown is a warning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from carrick.model.auth import AuthMode
from carrick.model.provider import FieldSpec, Provider
from carrick.providers import keys
from carrick.providers.address import Place, places
from carrick.providers.findings import Findings
from carrick.providers.interpolate import alternatives, parse, parts_as_text
from carrick.providers.lint import check_whole

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,255}")
_ADDRESSES = (
    "authorization_url",
    "token_url",
    "refresh_url",
    "request_url",
    "registration_url",
    "installation_check_url",
    "mcp_server_url",
)
#: Where GitHub, on whatever host, gives tokens of an installation and shows it to a user.
_TOKENS = "/app/installations/${connectionConfig.installation_id}/access_tokens"
_REPOSITORIES = "/user/installations/${connectionConfig.installation_id}/repositories"
_FORMATS = ("hostname", "uri", "uuid", "email")


def read_entry(name: str, entry: Mapping[str, Any], findings: Findings) -> Provider | None:
    """Turn one resolved entry into a provider, or note why it cannot be one."""
    before = len(findings.faults)
    if not _NAME.fullmatch(name):
        findings.fault(name, "a provider name may hold letters, digits, _ and - only")
    mode = _auth_mode(name, entry, findings)
    _check_keys(name, entry, keys.ENTRY, findings)
    proxy = entry.get("proxy")
    if isinstance(proxy, Mapping):
        _check_proxy(f"{name}.proxy", proxy, findings)
    _check_facts(f"{name}.connection_facts", entry.get("connection_facts"), findings)
    specs = {
        part: _read_fields(f"{name}.{part}", entry.get(part), findings)
        for part in ("connection_config", "credentials", "integration_config", "assertion_option")
    }
    if mode is AuthMode.API_KEY and "apiKey" not in specs["credentials"]:
        findings.warn(f"{name}.credentials", "apiKey is not described; forms cannot ask for it")
    if mode is None or len(findings.faults) > before:
        return None
    if mode is AuthMode.CUSTOM:
        entry = _with_installation_check(name, entry, findings)
    check_whole(name, entry, mode, findings)
    if "display_name" not in entry:
        findings.warn(name, "display_name is missing; the name is shown instead")
    return Provider(
        name=name,
        display_name=_text(entry.get("display_name", name)),
        auth_mode=mode,
        definition=entry,
        connection_config=specs["connection_config"],
        credentials=specs["credentials"],
        integration_config=specs["integration_config"],
        assertion_option=specs["assertion_option"],
    )


def _with_installation_check(
    name: str, entry: Mapping[str, Any], findings: Findings
) -> Mapping[str, Any]:
    """Return an entry that says who may speak for an installation, as far as that can be known."""
    if entry.get("installation_check_url"):
        return entry
    urls = entry.get("token_url")
    tokens = str(urls.get(AuthMode.APP) if isinstance(urls, Mapping) else urls)
    if tokens.endswith(_TOKENS):
        return {**entry, "installation_check_url": tokens.removesuffix(_TOKENS) + _REPOSITORIES}
    findings.warn(
        f"{name}.installation_check_url",
        "is missing; nobody can connect until it says whose installation it is",
    )
    return entry


def url_templates(definition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every URL template of a definition with the key it stands under."""
    for key in _ADDRESSES:
        yield from _templates(key, definition.get(key))
    steps = definition.get("additional_steps")
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        if isinstance(step, Mapping):
            yield from _templates(f"additional_steps.{index}.token_url", step.get("token_url"))
    facts = definition.get("connection_facts")
    for index, step in enumerate(facts if isinstance(facts, list) else ()):
        if isinstance(step, Mapping):
            base = step.get("base_url_override")
            yield from _templates(f"connection_facts.{index}.base_url_override", base)
    proxy = definition.get("proxy")
    if not isinstance(proxy, Mapping):
        return
    yield from _templates("proxy.base_url", proxy.get("base_url"))
    verification = proxy.get("verification")
    if isinstance(verification, Mapping):
        base = verification.get("base_url_override")
        yield from _templates("proxy.verification.base_url_override", base)
        for endpoint in texts(verification.get("endpoints")):
            yield from _templates("proxy.verification.endpoints", endpoint)


def texts(value: Any) -> list[str]:
    """Return what a definition gives as one text or as a list of them."""
    if value is None:
        return []
    return [_text(item) for item in (value if isinstance(value, list) else [value])]


def _templates(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _templates(f"{key}.{name}", inner)


def _auth_mode(name: str, entry: Mapping[str, Any], findings: Findings) -> AuthMode | None:
    if "auth_mode" not in entry:
        findings.fault(
            f"{name}.auth_mode",
            f"is missing; set {keys.EXPECTED['mode']}, or `alias: <provider>` to start from "
            f"another entry (`alias: {name}` changes single keys of the built-in one)",
        )
        return None
    try:
        return AuthMode(entry["auth_mode"])
    except ValueError:
        return None  # the key's own check names it


def _check_keys(
    where: str, entry: Mapping[str, Any], kinds: Mapping[str, str], findings: Findings
) -> None:
    for key, value in entry.items():
        kind = kinds.get(key)
        if kind is None:
            findings.warn(f"{where}.{key}", "is not a key of this format; kept and ignored")
        elif value is not None and not keys.fits(kind, value):
            shown = type(value).__name__
            findings.fault(
                f"{where}.{key}", f"must be {keys.EXPECTED[kind]}, not {shown} {value!r:.60}"
            )
        elif kind in ("url", "urls"):
            for inner, template in _templates(f"{where}.{key}", value):
                _check_url(inner, template, findings)


def _check_url(where: str, template: str, findings: Findings) -> None:
    for alternative in alternatives(template):
        if _has_unfinished(alternative):
            findings.fault(where, f"has a ${{ without its }} in {alternative!r}")
        elif not re.match(r"https?://|\$\{", alternative):
            findings.fault(
                where, f"must begin with https://, http:// or a ${{placeholder}}: {alternative!r}"
            )
        elif Place.AMBIGUOUS in places(parts_as_text(parse(alternative))):
            findings.fault(
                where,
                "has a placeholder that would decide the server together with other text; let it "
                "be the whole address, the host, the port, or part of path or query: "
                f"{alternative!r}",
            )


def _has_unfinished(template: str) -> bool:
    return any(isinstance(part, str) and "${" in part for part in parse(template))


def _check_proxy(where: str, proxy: Mapping[str, Any], findings: Findings) -> None:
    _check_keys(where, proxy, keys.PROXY, findings)
    if not proxy.get("base_url"):
        findings.fault(f"{where}.base_url", "is missing; set the address API calls go to")
    for part in ("headers", "query"):
        values = proxy.get(part)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if not isinstance(value, str | int | float | bool):
                findings.fault(f"{where}.{part}.{key}", "must be text")
    verification = proxy.get("verification")
    if isinstance(verification, Mapping):
        _check_keys(f"{where}.verification", verification, keys.VERIFICATION, findings)
        if not verification.get("endpoints"):
            findings.fault(f"{where}.verification.endpoints", "is missing; list at least one path")


def _check_facts(where: str, value: Any, findings: Findings) -> None:
    for index, step in enumerate(value if isinstance(value, list) else ()):
        place = f"{where}.{index}"
        if not isinstance(step, Mapping):
            findings.fault(place, "must be a map such as {endpoint: /me, set: {…}}")
            continue
        _check_keys(place, step, keys.FACT, findings)
        choice = step.get("choose")
        if isinstance(choice, Mapping):
            _check_keys(f"{place}.choose", choice, keys.CHOICE, findings)
        if not step.get("set"):
            findings.fault(f"{place}.set", "is missing; name the keys of connection_config to fill")
        for name, fact in step["set"].items() if isinstance(step.get("set"), Mapping) else ():
            _check_fact(f"{place}.set.{name}", fact, findings)


def _check_fact(where: str, fact: Any, findings: Findings) -> None:
    if isinstance(fact, Mapping):
        _check_keys(where, fact, keys.FACT_VALUE, findings)
        _pattern(f"{where}.match", fact.get("match"), findings)
    template = fact.get("value") if isinstance(fact, Mapping) else fact
    if not isinstance(template, str) or "${" not in template:
        findings.fault(where, "must be a template such as ${answer.id}, or {value: …, match: …}")


def _read_fields(where: str, value: Any, findings: Findings) -> dict[str, FieldSpec]:
    specs: dict[str, FieldSpec] = {}
    for key, raw in value.items() if isinstance(value, Mapping) else ():
        name = str(key)
        if not isinstance(raw, Mapping):
            findings.fault(f"{where}.{name}", "must be a map such as {type: string, title: …}")
            continue
        _check_keys(f"{where}.{name}", raw, keys.FIELD, findings)
        specs[name] = _read_field(f"{where}.{name}", name, raw, findings)
    return specs


def _read_field(where: str, name: str, raw: Mapping[str, Any], findings: Findings) -> FieldSpec:
    pattern = _pattern(f"{where}.pattern", raw.get("pattern"), findings)
    format_ = raw.get("format")
    if format_ is not None and format_ not in _FORMATS:
        findings.warn(f"{where}.format", f"only {', '.join(_FORMATS)} are enforced")
        format_ = None
    default = raw.get("default_value")
    return FieldSpec(
        name=name,
        title=_text(raw.get("title", "")),
        description=_text(raw.get("description", "")),
        pattern=pattern,
        format=format_,
        enum=tuple(texts(raw.get("enum"))),
        default_value=None if default is None else _text(default),
        optional=raw.get("optional") is True,
        automated=raw.get("automated") is True,
        hidden=raw.get("hidden") is True,
        secret=raw.get("secret") is True,
        prefix=raw.get("prefix"),
        suffix=raw.get("suffix"),
    )


def _pattern(where: str, value: Any, findings: Findings) -> str | None:
    """Return a regular expression as Python writes it, or note why it is none."""
    if not isinstance(value, str):
        return None
    pattern = value.replace("(?<", "(?P<").replace("(?P<=", "(?<=").replace("(?P<!", "(?<!")
    try:
        re.compile(pattern, re.ASCII)
    except re.error as error:
        findings.fault(where, f"is not a valid regular expression: {error}")
    return pattern


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
