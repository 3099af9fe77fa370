"""An integration's own inputs are held to what the provider's definition says."""

from __future__ import annotations

from typing import Any

import pytest

from carrick.environments.integration_config import resolve_integration_config
from carrick.errors import InvalidBody
from carrick.model.auth import AuthMode
from carrick.model.provider import FieldSpec, Provider


def _provider(**fields: dict[str, Any]) -> Provider:
    specs = {
        name: FieldSpec(
            name, **{key: value for key, value in entry.items() if key != "visible_when"}
        )
        for name, entry in fields.items()
    }
    return Provider(
        "acme",
        "Acme",
        AuthMode.API_KEY,
        {"integration_config": fields},
        integration_config=specs,
    )


def _paths(error: InvalidBody) -> list[list[str]]:
    return [issue["path"] for issue in error.issues or ()]


def test_unknown_keys_are_refused() -> None:
    """A key the definition does not have is named in the issues."""
    with pytest.raises(InvalidBody, match="Unrecognized key") as caught:
        resolve_integration_config(_provider(), {"region": "eu"})

    assert _paths(caught.value) == [["integration_config", "region"]]


def test_defaults_fill_in_and_required_fields_must_be_there() -> None:
    """A default is taken when nothing is given; a field without one must be given."""
    provider = _provider(region={"default_value": "eu"}, account={}, note={"optional": True})

    assert resolve_integration_config(provider, {"account": "a"}) == {
        "region": "eu",
        "account": "a",
    }
    with pytest.raises(InvalidBody, match="account is required"):
        resolve_integration_config(provider, {"account": ""})


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        ({"enum": ("eu", "us")}, "eu", "mars"),
        ({"pattern": "^[a-z]+$"}, "abc", "ABC"),
        ({"format": "uri"}, "https://a.example/x", "ftp://a.example"),
        ({"format": "uri"}, "http://localhost:8080", "https://"),
        ({"format": "uri"}, "https://a.example", "http://[broken"),
    ],
)
def test_values_must_fit(spec: dict[str, Any], good: str, bad: str) -> None:
    """Enum, pattern and format are enforced."""
    provider = _provider(field=spec)

    assert resolve_integration_config(provider, {"field": good}) == {"field": good}
    with pytest.raises(InvalidBody) as caught:
        resolve_integration_config(provider, {"field": bad})
    assert _paths(caught.value) == [["integration_config", "field"]]


def test_a_hidden_field_is_neither_asked_for_nor_kept() -> None:
    """A field counts only while the field that controls it has the right value."""
    provider = _provider(
        kind={"enum": ("own", "ours")},
        key={"visible_when": {"field": "kind", "equals": "own"}},
    )

    assert resolve_integration_config(provider, {"kind": "ours", "key": "k"}) == {"kind": "ours"}
    assert resolve_integration_config(provider, {"kind": "own", "key": "k"}) == {
        "kind": "own",
        "key": "k",
    }
    with pytest.raises(InvalidBody, match="key is required"):
        resolve_integration_config(provider, {"kind": "own"})


def test_a_change_keeps_what_it_does_not_mention() -> None:
    """On an update fields that are not sent keep their value, and defaults do not come back."""
    provider = _provider(a={}, b={"optional": True, "default_value": "x"})

    assert resolve_integration_config(provider, {"a": "2"}, {"a": "1"}) == {"a": "2"}
    assert resolve_integration_config(provider, {"b": "y"}, {"a": "1"}) == {"a": "1", "b": "y"}


def test_every_fault_is_told() -> None:
    """All faults are reported at once."""
    provider = _provider(a={}, b={"enum": ("1",)})

    with pytest.raises(InvalidBody) as caught:
        resolve_integration_config(provider, {"b": "2", "c": "3"})

    assert sorted(path[1] for path in _paths(caught.value)) == ["a", "b", "c"]
