"""The provider catalogue: what is built in, with one file of the user's on top."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from carrick.errors import ProvidersInvalid, UnknownProvider
from carrick.model.provider import Provider
from carrick.providers.definition import read_entry
from carrick.providers.findings import Findings

_DATA = Path(__file__).parent / "data"
_SHOWN_FAULTS = 20


class Catalogue:
    """Every provider there is, by name. Read only."""

    def __init__(self, providers: Iterable[Provider], warnings: Iterable[str] = ()) -> None:
        self._providers = {
            provider.name: provider for provider in sorted(providers, key=lambda each: each.name)
        }
        #: What was odd and harmless in the files it was read from.
        self.warnings = tuple(warnings)

    def __len__(self) -> int:
        return len(self._providers)

    def get(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            UnknownProvider: There is none by that name.
        """
        provider = self._providers.get(name)
        if provider is None:
            raise UnknownProvider(f"Unknown provider {name}")
        return provider

    def find(self, name: str) -> Provider | None:
        """Return a provider, or `None`."""
        return self._providers.get(name)

    def all(self) -> list[Provider]:
        """Return every provider, by name."""
        return list(self._providers.values())

    def search(self, text: str) -> list[Provider]:
        """Return the providers whose name or display name holds the text, in any case."""
        wanted = text.casefold()
        return [
            provider
            for provider in self._providers.values()
            if wanted in provider.name.casefold() or wanted in provider.display_name.casefold()
        ]

    def with_definitions(self, entries: Mapping[str, Any], *, origin: str) -> Catalogue:
        """Return a catalogue with more entries; one of the same name replaces the old one.

        `alias: x` copies entry `x` of the same file, else of this catalogue, and puts the
        entry's own keys on top. `alias` with the entry's own name changes single keys of the
        entry that is replaced.

        Raises:
            ProvidersInvalid: Each fault names origin, entry and key.
        """
        findings = Findings(origin)
        added: list[Provider] = []
        for name, entry in entries.items():
            if not isinstance(entry, Mapping):
                findings.fault(str(name), "must be a map of the provider's keys")
                continue
            resolved = self._resolve(str(name), entries, findings, ())
            provider = None if resolved is None else read_entry(str(name), resolved, findings)
            if provider is not None:
                added.append(provider)
        if findings.faults:
            raise _refusal(findings.faults)
        merged = {**self._providers, **{provider.name: provider for provider in added}}
        return Catalogue(merged.values(), (*self.warnings, *findings.warnings))

    def _resolve(
        self, name: str, entries: Mapping[str, Any], findings: Findings, seen: tuple[str, ...]
    ) -> dict[str, Any] | None:
        """Return an entry with its alias followed; the `alias` key itself is gone."""
        entry = entries[name]
        if not isinstance(entry, Mapping):
            return None  # noted at that entry
        own = {str(key): value for key, value in entry.items() if key != "alias"}
        target = entry.get("alias")
        if target is None:
            return own
        if target in seen:
            findings.fault(f"{name}.alias", f"goes in a circle: {' → '.join((*seen, name))}")
            return None
        original = self._providers.get(str(target))
        base: Mapping[str, Any] | None = original.definition if original else None
        if target != name and target in entries:
            base = self._resolve(str(target), entries, findings, (*seen, name))
            if base is None:
                return None
        if base is None:
            findings.fault(f"{name}.alias", f"there is no provider named {target!r} to start from")
            return None
        return {**base, **own}


def load_catalogue(extra_file: Path | None = None) -> Catalogue:
    """Read the built-in providers and, on top of them, a YAML or JSON file of the user's.

    Raises:
        ProvidersInvalid: A file cannot be read, or an entry is wrong.
    """
    built_in: dict[str, Any] = {}
    for path in sorted(_DATA.glob("*.yaml")):
        built_in.update(read_definitions(path.read_text("utf-8"), origin=path.name))
    catalogue = Catalogue(()).with_definitions(built_in, origin="built-in providers")
    if extra_file is None:
        return catalogue
    try:
        text = extra_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProvidersInvalid(
            f"The providers file {extra_file} cannot be read: {error}. "
            "Correct CARRICK_PROVIDERS_FILE or unset it."
        ) from error
    entries = read_definitions(text, origin=extra_file.name)
    return catalogue.with_definitions(entries, origin=extra_file.name)


def read_definitions(text: str, *, origin: str) -> dict[str, Any]:
    """Parse a provider file: YAML, or JSON when it begins with a brace.

    Raises:
        ProvidersInvalid: The text is neither, or not a map of provider names to definitions.
    """
    try:
        is_json = text.lstrip().startswith("{")
        parsed = json.loads(text) if is_json else yaml.load(text, _Loader)  # noqa: S506 - safe
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ProvidersInvalid(f"{origin}: cannot be parsed: {error}") from error
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise ProvidersInvalid(
            f"{origin}: must be a map from provider names to their definitions, "
            f"not {type(parsed).__name__}"
        )
    return {str(name): entry for name, entry in parsed.items()}


def _refusal(faults: list[str]) -> ProvidersInvalid:
    shown = faults[:_SHOWN_FAULTS]
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more")
    issues = [{"code": "custom", "message": fault, "path": []} for fault in faults]
    return ProvidersInvalid("\n".join(shown), issues=issues)


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML without dates (an API version is text), and with duplicate keys refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name is PyYAML's
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; a key written twice is an error, not a silent replacement."""
        written = [
            (key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)
        ]
        if len(set(written)) < len(written):
            name = next(value for tag, value in written if written.count((tag, value)) > 1)
            raise yaml.MarkedYAMLError(
                None, None, f"the key {name!r} is written twice", node.start_mark
            )
        built: dict[Any, Any] = super().construct_mapping(node, deep)
        return built
