"""A provider as the API shows it: the whole definition, in the reader's language."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from carrick.model.provider import Provider

LANGUAGES = ("en", "es", "fr", "de")
_TRANSLATED_PARTS = ("connection_config", "credentials", "integration_config")


def public_definition(provider: Provider, base_url: str, language: str = "en") -> dict[str, Any]:
    """Return what `GET /providers/:name` answers.

    Args:
        provider: The provider.
        base_url: Address under which others reach this server.
        language: One of `LANGUAGES`; fields are shown in it where the definition has it.
    """
    shown = {key: value for key, value in provider.definition.items() if key != "translations"}
    overlay = (provider.definition.get("translations") or {}).get(language)
    if isinstance(overlay, Mapping):
        for part in _TRANSLATED_PARTS:
            if isinstance(shown.get(part), Mapping) and isinstance(overlay.get(part), Mapping):
                shown[part] = _overlaid(shown[part], overlay[part])
    shown["display_name"] = provider.display_name
    shown["name"] = provider.name
    shown["logo_url"] = logo_url(provider.name, base_url)
    return shown


def logo_url(name: str, base_url: str) -> str:
    """Return the address of a provider's logo."""
    return f"{base_url.rstrip('/')}/images/template-logos/{quote(name)}.svg"


def choose_language(accept_language: str | None, offered: Collection[str] = LANGUAGES) -> str:
    """Return the offered language an `Accept-Language` header likes best, else English."""
    best, best_weight = "en", 0.0
    for item in (accept_language or "").split(","):
        tag, _, rest = item.strip().partition(";")
        language = tag.strip().lower().split("-")[0]
        weight = _weight(rest)
        if language in offered and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _overlaid(fields: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**field, **texts[name]}
        if isinstance(field, Mapping) and isinstance(texts.get(name), Mapping)
        else field
        for name, field in fields.items()
    }
