"""What may be stored as connection_config."""

from __future__ import annotations

from typing import Any

import pytest

from carrick.errors import CarrickError, InvalidConnectionConfig, MissingConnectionConfig
from carrick.model.provider import Provider
from carrick.providers import Catalogue, check_connection_config, load_catalogue

CATALOGUE = load_catalogue()


def provider_with(fields: dict[str, Any], base_url: str = "https://a.example") -> Provider:
    entry = {
        "display_name": "Acme",
        "auth_mode": "NONE",
        "connection_config": fields,
        "proxy": {"base_url": base_url},
    }
    return Catalogue(()).with_definitions({"acme": entry}, origin="test").get("acme")


def browser(provider: Provider, **config: Any) -> dict[str, Any]:
    return check_connection_config(provider, config, from_browser=True)


def imported(provider: Provider, **config: Any) -> dict[str, Any]:
    return check_connection_config(provider, config, from_browser=False)


def test_a_browser_may_send_declared_values() -> None:
    """And they are stored as sent."""
    assert browser(CATALOGUE.get("zendesk"), subdomain="acme") == {"subdomain": "acme"}


@pytest.mark.parametrize("value", ["https://acme.zendesk.com", "acme.zendesk.com", " acme "])
def test_decoration_is_not_stored(value: str) -> None:
    """Prefix and suffix are shown around the input; people type them nevertheless."""
    assert browser(CATALOGUE.get("zendesk"), subdomain=value) == {"subdomain": "acme"}


def test_a_browser_may_not_send_undeclared_values() -> None:
    """The refusal names the key and what is asked for."""
    with pytest.raises(InvalidConnectionConfig, match=r"webhook_url is not .* takes subdomain"):
        browser(CATALOGUE.get("zendesk"), subdomain="acme", webhook_url="https://evil.com")


def test_a_browser_may_not_send_automated_values() -> None:
    """Salesforce itself says where an organisation lives."""
    with pytest.raises(InvalidConnectionConfig, match="instance_url is set by the server"):
        browser(CATALOGUE.get("salesforce"), instance_url="https://evil.com")


def test_a_browser_may_not_choose_where_a_client_secret_goes() -> None:
    """The login host must be one of Salesforce's own."""
    salesforce = CATALOGUE.get("salesforce")
    assert browser(salesforce, hostname="https://acme.my.salesforce.com") == {
        "hostname": "acme.my.salesforce.com"
    }
    for host in ("evil.com", "salesforce.com.evil.com", "evil.com/.salesforce.com"):
        with pytest.raises(InvalidConnectionConfig):
            browser(salesforce, hostname=host)


def test_an_import_may_set_automated_and_undeclared_values() -> None:
    """They are kept as they are."""
    config = {"instance_url": "http://127.0.0.1:9000", "anything": {"a": [1]}}
    assert imported(CATALOGUE.get("salesforce"), **config) == config


@pytest.mark.parametrize("value", ["evil", "https://u@evil.com", "https://evil.com/?", 5, True, []])
def test_an_import_may_not_set_a_broken_address(value: Any) -> None:
    """What becomes an address is checked whoever sends it."""
    with pytest.raises(InvalidConnectionConfig, match="instance_url"):
        imported(CATALOGUE.get("salesforce"), instance_url=value)


def test_undeclared_values_in_an_address_are_checked_too() -> None:
    """The template decides, not the description."""
    provider = provider_with({}, "https://${connectionConfig.host}/v1")
    assert imported(provider, host="a.example") == {"host": "a.example"}
    with pytest.raises(InvalidConnectionConfig, match=r"connection_config\.host must be a host"):
        imported(provider, host="a.example/evil")


def test_what_the_server_presets_wins_and_may_be_anything() -> None:
    """A connect session's defaults come from the developer."""
    values = check_connection_config(
        CATALOGUE.get("zendesk"),
        {"subdomain": "mine"},
        from_browser=True,
        preset={"subdomain": "theirs", "internal": 1},
    )
    assert values == {"subdomain": "theirs", "internal": 1}


def test_a_preset_satisfies_what_is_required() -> None:
    """The end user is not asked for it again."""
    values = check_connection_config(
        CATALOGUE.get("zendesk"), {}, from_browser=True, preset={"subdomain": "theirs"}
    )
    assert values == {"subdomain": "theirs"}


@pytest.mark.parametrize("config", [{}, {"subdomain": ""}, {"subdomain": None}])
def test_required_values_must_be_there(config: dict[str, Any]) -> None:
    """An empty input is none."""
    for is_browser in (True, False):
        if is_browser and config.get("subdomain", "") is None:
            continue
        with pytest.raises(MissingConnectionConfig, match="Zendesk needs subdomain") as caught:
            check_connection_config(CATALOGUE.get("zendesk"), config, from_browser=is_browser)
        assert caught.value.issues is not None
        assert caught.value.issues[0]["path"] == ["connection_config", "subdomain"]


def test_defaults_fill_in_what_was_not_sent() -> None:
    """Hidden fields included."""
    provider = provider_with({"a": {"default_value": "x", "hidden": True}, "b": {"optional": True}})
    assert browser(provider) == {"a": "x"}
    assert browser(provider, a="y") == {"a": "y"}


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        ({"pattern": "^[a-z]+$"}, "abc", "ABC"),
        ({"pattern": "^[a-z]+$"}, "abc", "abc\nd"),
        ({"pattern": r"^\d+$"}, "123", "١٢٣"),
        ({"pattern": "^(?<first>a)b$"}, "ab", "b"),
        ({"enum": ["eu", "us"]}, "eu", "mars"),
        ({"format": "hostname"}, "a.example", "https://a.example"),
        ({"format": "hostname"}, "a.example", "a.example:80"),
        ({"format": "uri"}, "https://a.example/x", "a.example"),
        ({"format": "uuid"}, "8eaef023-2b34-4da1-9baa-8bc8c9d6a490", "8eaef"),
        ({"format": "email"}, "a@b.example", "a@b"),
        ({}, "x", "a\x00b"),
        ({}, "x", "y" * 9000),
    ],
)
def test_field_descriptions_hold_on_the_server(spec: dict[str, Any], good: str, bad: str) -> None:
    """Pattern, enum and format are rules, not hints to a form."""
    provider = provider_with({"a": spec})
    for is_browser in (True, False):
        assert check_connection_config(provider, {"a": good}, from_browser=is_browser)["a"] == good
        with pytest.raises(InvalidConnectionConfig, match=r"connection_config\.a "):
            check_connection_config(provider, {"a": bad}, from_browser=is_browser)


def test_numbers_and_booleans_of_an_import_become_text() -> None:
    """Declared fields are text; JSON callers often send other kinds."""
    provider = provider_with({"a": {"pattern": "^[0-9]+$"}, "b": {}})
    assert imported(provider, a=7, b=True) == {"a": "7", "b": "true"}


def test_structures_are_not_values() -> None:
    """Neither in declared fields nor from a browser."""
    provider = provider_with({"a": {}})
    for check in (browser, imported):
        with pytest.raises(InvalidConnectionConfig, match="a must be text"):
            check(provider, a=["x"])


def test_a_path_value_cannot_climb() -> None:
    """Two dots are not encoded by URL rules, so they are refused."""
    provider = provider_with({"tenant": {}}, "https://a.example/${connectionConfig.tenant}/v1")
    assert browser(provider, tenant="x/y") == {"tenant": "x/y"}
    with pytest.raises(InvalidConnectionConfig, match="tenant"):
        browser(provider, tenant="..")


def test_the_number_of_values_is_bounded() -> None:
    """An import cannot store a database in one connection."""
    with pytest.raises(CarrickError, match="100 keys"):
        imported(provider_with({}), **{f"k{number}": "v" for number in range(101)})
