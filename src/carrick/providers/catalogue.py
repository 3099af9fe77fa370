"""The provider catalogue: what is built in, with what users add on top."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from carrick.errors import ProvidersInvalid, UnknownProvider
from carrick.model.provider import Provider
from carrick.providers.definition import read_entry
from carrick.providers.findings import Findings
from carrick.providers.parsing import read_definitions

_DATA = Path(__file__).parent / "data"
_SHOWN_FAULTS = 20


class Catalogue:
    """Every provider there is, by name.

    Three layers, each over the one before: what is built in, what was imported, and the file of
    the server's own. What is imported may change while the catalogue is in use; it is kept as the
    text it was stored as, and read when somebody asks for it.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        warnings: Iterable[str] = (),
        *,
        own: Iterable[Provider] = (),
    ) -> None:
        self._built_in = {provider.name: provider for provider in providers}
        self._own = {provider.name: provider for provider in own}
        self._imported: dict[str, str | Provider | None] = {}
        self._names: list[str] | None = None
        #: What was odd and harmless in the files it was read from.
        self.warnings = tuple(warnings)

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        """Return the name of every provider, in order."""
        if self._names is None:
            layers = (self._built_in, self._imported, self._own)
            self._names = sorted(set().union(*layers))
        return self._names

    def get(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            UnknownProvider: There is none by that name.
        """
        provider = self.find(name)
        if provider is None:
            raise UnknownProvider(f"Unknown provider {name}")
        return provider

    def find(self, name: str) -> Provider | None:
        """Return a provider, or `None`."""
        return self._own.get(name) or self._read_imported(name) or self._built_in.get(name)

    def all(self) -> list[Provider]:
        """Return every provider, by name."""
        found = (self.find(name) for name in self.names())
        return [provider for provider in found if provider is not None]

    def search(self, text: str) -> list[Provider]:
        """Return the providers whose name or display name holds the text, in any case."""
        wanted = text.casefold()
        return [
            provider
            for provider in self.all()
            if wanted in provider.name.casefold() or wanted in provider.display_name.casefold()
        ]

    def put_imported(self, definitions: Mapping[str, str]) -> None:
        """Take what is imported now, in place of what was: JSON text by name, aliases followed."""
        self._imported = dict(definitions)
        self._names = None

    def with_imported(self, definitions: Mapping[str, str]) -> Catalogue:
        """Return this catalogue as it would be with other imports; see `put_imported`."""
        catalogue = Catalogue(self._built_in.values(), self.warnings, own=self._own.values())
        catalogue.put_imported(definitions)
        return catalogue

    def origin(self, name: str) -> str:
        """Say which layer a provider comes from."""
        if name in self._own:
            return "file"
        return "imported" if name in self._imported else "built in"

    def _read_imported(self, name: str) -> Provider | None:
        """Return an imported provider; one that this version cannot read is as good as absent."""
        stored = self._imported.get(name)
        if isinstance(stored, str):
            entry = json.loads(stored)
            stored = self._imported[name] = read_entry(name, entry, Findings("imported"))
        return stored

    def with_definitions(self, entries: Mapping[str, Any], *, origin: str) -> Catalogue:
        """Return a catalogue with more entries; one of the same name replaces the old one.

        `alias: x` copies entry `x` of the same file, else of this catalogue, and puts the
        entry's own keys on top. `alias` with the entry's own name changes single keys of the
        entry that is replaced.

        Raises:
            ProvidersInvalid: Each fault names origin, entry and key.
        """
        added, warnings = self.read(entries, origin=origin)
        merged = {**self._built_in, **{provider.name: provider for provider in added}}
        return Catalogue(merged.values(), (*self.warnings, *warnings), own=self._own.values())

    def read(self, entries: Mapping[str, Any], *, origin: str) -> tuple[list[Provider], list[str]]:
        """Return the providers of a file that may start from this catalogue's, and its warnings.

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
        return added, findings.warnings

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
        original = self.find(str(target))
        base: Mapping[str, Any] | None = original.definition if original else None
        if target != name and target in entries:
            base = self._resolve(str(target), entries, findings, (*seen, name))
            if base is None:
                return None
        if base is None:
            findings.fault(f"{name}.alias", f"there is no provider named {target!r} to start from")
            return None
        return {**base, **own}


def load_catalogue(
    extra_file: Path | None = None, imported: Mapping[str, str] | None = None
) -> Catalogue:
    """Read the built-in providers and, on top, what was imported and a file of the user's.

    Raises:
        ProvidersInvalid: A file cannot be read, or an entry is wrong.
    """
    built_in, warnings = _built_in()
    catalogue = Catalogue(built_in, warnings)
    catalogue.put_imported(imported or {})
    if extra_file is None:
        return catalogue
    entries = read_file(extra_file, hint="Correct CARRICK_PROVIDERS_FILE or unset it.")
    own, more = catalogue.read(entries, origin=extra_file.name)
    catalogue = Catalogue(built_in, (*warnings, *more), own=own)
    catalogue.put_imported(imported or {})
    return catalogue


@cache
def _built_in() -> tuple[tuple[Provider, ...], tuple[str, ...]]:
    """Read what Carrick comes with, which nothing changes while it runs, and its warnings."""
    entries: dict[str, Any] = {}
    for path in sorted(_DATA.glob("*.yaml")):
        entries.update(read_definitions(path.read_text("utf-8"), origin=path.name))
    providers, warnings = Catalogue(()).read(entries, origin="built-in providers")
    return tuple(providers), tuple(warnings)


def read_file(path: Path, *, hint: str = "") -> dict[str, Any]:
    """Read a provider file.

    Raises:
        ProvidersInvalid: It cannot be read, or is not a map of provider names to definitions.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ProvidersInvalid(
            f"The providers file {path} cannot be read: {reason}. {hint}".strip()
        ) from error
    return read_definitions(text, origin=path.name)


def _refusal(faults: list[str]) -> ProvidersInvalid:
    shown = faults[:_SHOWN_FAULTS]
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more")
    issues = [{"code": "custom", "message": fault, "path": []} for fault in faults]
    return ProvidersInvalid("\n".join(shown), issues=issues)
