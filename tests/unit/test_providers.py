"""The provider catalogue: built-in entries and a user's file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from carrick.errors import ProvidersInvalid, UnknownProvider
from carrick.model.auth import AuthMode
from carrick.model.provider import Provider
from carrick.providers import (
    Catalogue,
    choose_language,
    load_catalogue,
    public_definition,
    read_definitions,
    summarised,
)
from carrick.providers.definition import url_templates
from carrick.providers.interpolate import alternatives, names


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """The built-in providers."""
    return load_catalogue()


def written(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def faults_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(ProvidersInvalid) as caught:
        load_catalogue(written(tmp_path, text))
    return caught.value.message


#: The ones that products ask for most, by auth mode.
EXPECTED = {
    AuthMode.OAUTH2: """salesforce salesforce-sandbox hubspot pipedrive attio zoho-crm close
        outreach salesloft gong-oauth slack microsoft-teams discord zoom calendly front
        google-mail google-calendar google-drive google-sheet google-docs google-ads
        google-analytics microsoft outlook one-drive sharepoint-online notion airtable jira
        confluence linear asana monday clickup github gitlab bitbucket pagerduty figma zendesk
        intercom servicenow stripe-app quickbooks xero sage-intacct-oauth ramp shopify gusto
        deel lever mailchimp linkedin okta dropbox box docusign snowflake""",
    AuthMode.API_KEY: "rippling workable klaviyo openai anthropic",
    AuthMode.BASIC: """twilio freshdesk woocommerce workday bamboohr-basic hibob-service-user
        ukg-pro greenhouse-basic ashby""",
    AuthMode.OAUTH2_CC: "adp personio-v2",
    AuthMode.OAUTH1: "trello",
    AuthMode.APP: "github-app",
    AuthMode.CUSTOM: "github-app-oauth",
    AuthMode.TBA: "netsuite-tba",
    AuthMode.BILL: "bill",
}
OTHERS = """google stripe jupyterhub jupyterhub-oauth api-key basic none unauthenticated oauth2
oauth2-client-credentials copper exact-online coda brex-api-key microsoft-ads sap-odata-oauth2-cc
slack-mcp linear-mcp mcp-generic"""


def test_the_eighty_most_relevant_providers_are_built_in(catalogue: Catalogue) -> None:
    """Each of them under its usual name, authenticating the way its vendor says."""
    expected = {name: mode for mode, names in EXPECTED.items() for name in names.split()}
    found = {name: catalogue.get(name).auth_mode for name in expected}
    assert found == expected
    assert len(found) == 80
    assert {each.name for each in catalogue.all()} >= set(OTHERS.split())


def test_every_built_in_provider_is_complete(catalogue: Catalogue) -> None:
    """Every one has a name, documentation, a category and an address."""
    for provider in catalogue.all():
        _demand_complete(provider)


def _demand_complete(provider: Provider) -> None:
    assert provider.display_name, provider.name
    assert str(provider.definition["docs"]).startswith("https://")
    assert provider.definition["categories"]
    assert provider.proxy["base_url"]
    assert "alias" not in provider.definition
    for spec in (*provider.connection_config.values(), *provider.credentials.values()):
        assert spec.title, (provider.name, spec.name)
        assert spec.description, (provider.name, spec.name)
        example = provider.definition.get("connection_config", {}).get(spec.name, {}).get("example")
        if example and spec.pattern:
            assert re.search(spec.pattern, str(example), re.ASCII), (provider.name, spec.name)


NO_FORM = (
    AuthMode.OAUTH2,
    AuthMode.OAUTH1,
    AuthMode.APP,
    AuthMode.CUSTOM,
    AuthMode.NONE,
    AuthMode.MCP_OAUTH2,
    AuthMode.MCP_OAUTH2_GENERIC,
)


def test_every_form_has_its_fields(catalogue: Catalogue) -> None:
    """Where somebody types credentials in, each field is described and secrets are marked."""
    for provider in catalogue.all():
        fields = provider.credentials
        assert bool(fields) != (provider.auth_mode in NO_FORM), provider.name
        # What opens an AWS account is a role's trust, which is nothing anybody types in.
        if fields and provider.auth_mode is not AuthMode.AWS_SIGV4:
            assert any(field.secret for field in fields.values()), provider.name


def test_oauth_entries_have_their_addresses(catalogue: Catalogue) -> None:
    """Where consent is given and where tokens come from, with https."""
    for provider in catalogue.all():
        wanted = {"authorization_url", "token_url"} if provider.auth_mode in NO_FORM[:2] else set()
        if provider.auth_mode is AuthMode.OAUTH1:
            wanted.add("request_url")
        for key in wanted:
            for template in alternatives(str(provider.definition[key])):
                assert template.startswith(("https://", "${")), (provider.name, key)


def test_built_in_providers_load_without_warnings(catalogue: Catalogue) -> None:
    """What we ship follows our own format."""
    assert catalogue.warnings == ()


def test_values_in_built_in_addresses_are_declared(catalogue: Catalogue) -> None:
    """Each connectionConfig name in an address is described or comes with the token."""
    for provider in catalogue.all():
        declared = {f"connectionConfig.{name}" for name in provider.connection_config}
        declared |= {f"integrationConfig.{name}" for name in provider.integration_config}
        if provider.auth_mode in (AuthMode.APP, AuthMode.CUSTOM):
            declared.add("appPublicLink")  # the integration's own address of its app
        for _, template in url_templates(provider.definition):
            assert names(template) <= declared, provider.name


def test_an_end_user_cannot_choose_where_client_secrets_go(catalogue: Catalogue) -> None:
    """In OAuth 2.0 token addresses, what a browser may send is fenced in by a suffix or pattern."""
    for provider in catalogue.all():
        if provider.auth_mode is not AuthMode.OAUTH2:
            continue
        for alternative in alternatives(str(provider.definition["token_url"])):
            for name in names(alternative):
                key = name.removeprefix("connectionConfig.")
                spec = provider.connection_config.get(key)
                if spec is not None and not spec.automated:
                    assert spec.pattern or spec.enum, (provider.name, key)


def test_salesforce_lives_at_its_instance_url(catalogue: Catalogue) -> None:
    """The address comes with the token and is not asked for."""
    provider = catalogue.get("salesforce")
    assert provider.proxy["base_url"] == "${connectionConfig.instance_url}"
    assert provider.connection_config["instance_url"].automated
    sandbox = catalogue.get("salesforce-sandbox")
    assert sandbox.proxy == provider.proxy
    assert "test.salesforce.com" in sandbox.definition["token_url"]


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        (
            "{auth_mode: NONE, proxy: {base_url: 'https://${connectionConfig.x}.a'}}",
            "acme.proxy: uses connectionConfig.x, which neither",
        ),
        (
            "{auth_mode: OAUTH2, token_params: {a: ['${base64(${connectionConfig.a.b})}']}}",
            "acme.token_params: uses connectionConfig.a.b, which neither",
        ),
        (
            "{auth_mode: OAUTH2, credentials: {a: {type: string}}}",
            "acme.credentials: is not asked for by auth mode OAUTH2",
        ),
        (
            "{auth_mode: CUSTOM, token_url: {APP: 'https://a.example/tokens'}}",
            "acme.installation_check_url: is missing; nobody can connect",
        ),
        ("{auth_mode: NONE, colour: red}", "acme.colour: is not a key of this format"),
        (
            "{auth_mode: NONE, connection_facts: [{set: {a: '${claims.a}'}, ask: 1}]}",
            "acme.connection_facts.0.ask: is not a key of this format",
        ),
    ],
)
def test_what_is_odd_is_warned_about(tmp_path: Path, entry: str, warning: str) -> None:
    """It works, but probably not as its author meant."""
    text = f"acme: {{display_name: A, {entry.removeprefix('{')}"
    warnings = load_catalogue(written(tmp_path, text)).warnings
    assert [one for one in warnings if warning in one] == list(warnings)
    assert warnings


@pytest.mark.parametrize(
    "filled",
    [
        "connection_config: {x: {type: string}}",
        "token_response_metadata: [x]",
        "redirect_uri_metadata: [x]",
        "connection_facts: [{set: {x: '${claims.x}'}}]",
    ],
)
def test_a_value_that_is_filled_is_not_warned_about(tmp_path: Path, filled: str) -> None:
    """Whoever fills it: a form, the token's answer, the callback, or the facts."""
    entry = "display_name: A, auth_mode: OAUTH2, token_url: 'https://${connectionConfig.x}.a'"
    text = f"acme: {{{entry}, {filled}}}"
    assert load_catalogue(written(tmp_path, text)).warnings == ()


def test_many_like_warnings_become_one_line() -> None:
    """A foreign catalogue may hold one unknown key a thousand times."""
    warnings = [f"f.yaml: p{number}.colour: is not a key" for number in range(1000)]
    lines = summarised([*warnings, "f.yaml: p1: display_name is missing"])
    assert lines == [
        "colour: is not a key (p0, p1, p2 and 997 more)",
        "display_name is missing (p1)",
    ]


def test_an_unknown_provider_is_an_error_or_nothing(catalogue: Catalogue) -> None:
    """`get` refuses, `find` shrugs."""
    assert catalogue.find("nope") is None
    with pytest.raises(UnknownProvider, match="nope"):
        catalogue.get("nope")


def test_search_looks_at_name_and_display_name(catalogue: Catalogue) -> None:
    """In any case, by part of a word; a dot is a dot."""
    assert [each.name for each in catalogue.search("SALESF")] == [
        "salesforce",
        "salesforce-sandbox",
    ]
    assert "google-mail" in [each.name for each in catalogue.search("gmail")]
    assert catalogue.search("s.ack") == []


def test_a_users_file_adds_and_overrides(tmp_path: Path) -> None:
    """An entry of the same name replaces the built-in one, the others stay."""
    path = written(
        tmp_path,
        """
        acme:
          display_name: Acme
          auth_mode: API_KEY
          credentials: {apiKey: {type: string, title: Key, description: The key}}
          proxy: {base_url: "https://api.acme.example", headers: {x-key: "${apiKey}"}}
        github:
          display_name: Fake GitHub
          auth_mode: OAUTH2
          token_url: http://127.0.0.1:9000/token
          proxy: {base_url: "http://127.0.0.1:9000"}
        """,
    )
    catalogue = load_catalogue(path)
    assert catalogue.get("acme").credentials["apiKey"].title == "Key"
    assert catalogue.get("github").proxy == {"base_url": "http://127.0.0.1:9000"}
    assert catalogue.get("slack").display_name == "Slack"
    assert catalogue.warnings == ()


def test_json_is_read_as_well(tmp_path: Path) -> None:
    """The same map, in JSON."""
    entry = {"acme": {"display_name": "A", "auth_mode": "NONE", "proxy": {"base_url": "http://a"}}}
    catalogue = load_catalogue(written(tmp_path, json.dumps(entry), "mine.json"))
    assert catalogue.get("acme").auth_mode is AuthMode.NONE


def test_an_alias_copies_and_its_own_keys_win(tmp_path: Path) -> None:
    """Aliases follow aliases, in any order, to the file's own entries first."""
    path = written(
        tmp_path,
        """
        c: {alias: b, docs: https://c}
        b: {alias: github, display_name: B}
        github: {alias: github, display_name: Mine, proxy: {base_url: "http://127.0.0.1:1"}}
        """,
    )
    catalogue = load_catalogue(path)
    built_in = load_catalogue().get("github")
    assert catalogue.get("c").display_name == "B"
    assert catalogue.get("c").proxy == {"base_url": "http://127.0.0.1:1"}
    assert catalogue.get("c").definition["docs"] == "https://c"
    assert catalogue.get("github").display_name == "Mine"
    assert catalogue.get("github").definition["token_url"] == built_in.definition["token_url"]


def test_overriding_an_entry_leaves_its_built_in_aliases_alone(tmp_path: Path) -> None:
    """Only what the file names changes."""
    path = written(tmp_path, "salesforce: {alias: salesforce, display_name: Mine}")
    catalogue = load_catalogue(path)
    assert catalogue.get("salesforce-sandbox").display_name == "Salesforce (sandbox)"
    assert catalogue.get("salesforce").proxy["base_url"] == "${connectionConfig.instance_url}"


def test_unknown_keys_are_warnings(tmp_path: Path) -> None:
    """A newer or foreign key does not keep the file from loading, and it is kept."""
    path = written(
        tmp_path,
        """
        acme:
          auth_mode: NONE
          surprise: 1
          proxy: {base_url: "https://a", other: x}
          connection_config: {a: {type: string, mystery: 1, format: phone}}
        """,
    )
    catalogue = load_catalogue(path)
    text = "\n".join(catalogue.warnings)
    for key in ("acme.surprise", "acme.proxy.other", "acme.connection_config.a.mystery"):
        assert f"mine.yaml: {key}: " in text
    assert "only hostname, uri, uuid, email are enforced" in text
    assert "display_name is missing" in text
    assert catalogue.get("acme").definition["surprise"] == 1


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("acme: 5", "mine.yaml: acme: must be a map"),
        ("acme: {display_name: A}", "acme.auth_mode: is missing; set one of OAUTH2"),
        ("github: {display_name: A}", "`alias: github` changes single keys"),
        ("acme: {auth_mode: MAGIC}", "acme.auth_mode: must be one of OAUTH2"),
        ("acme: {auth_mode: NONE, disable_pkce: 'yes'}", "disable_pkce: must be true or false"),
        ("acme: {auth_mode: NONE, token_params: [a]}", "acme.token_params: must be a map"),
        ("acme: {auth_mode: NONE, default_scopes: {a: b}}", "default_scopes: must be a list"),
        ("acme: {auth_mode: NONE, proxy: {}}", "acme.proxy.base_url: is missing"),
        ("acme: {auth_mode: NONE, proxy: {base_url: api.a}}", "must begin with https://"),
        ("acme: {auth_mode: NONE, proxy: {base_url: 'ftp://a'}}", "must begin with https://"),
        ("acme: {auth_mode: NONE, token_url: 'https://${a'}", "has a ${ without its }"),
        ("acme: {auth_mode: NONE, token_url: '${a}.evil.com'}", "would decide the server"),
        ("acme: {auth_mode: NONE, token_url: '${a}${b}'}", "would decide the server"),
        ("acme: {auth_mode: NONE, token_url: 'https://${a}@b'}", "would decide the server"),
        ("acme: {auth_mode: NONE, connection_config: {a: text}}", "connection_config.a: must be"),
        (
            "acme: {auth_mode: NONE, connection_config: {a: {pattern: '['}}}",
            "connection_config.a.pattern: is not a valid regular expression",
        ),
        (
            "acme: {auth_mode: NONE, proxy: {base_url: 'http://a', headers: {x: [1]}}}",
            "acme.proxy.headers.x: must be text",
        ),
        (
            "acme: {auth_mode: NONE, proxy: {base_url: 'http://a', verification: {method: GET}}}",
            "acme.proxy.verification.endpoints: is missing",
        ),
        ("acme: {auth_mode: NONE, connection_facts: [a]}", "connection_facts.0: must be a map"),
        ("acme: {auth_mode: NONE, connection_facts: [{}]}", "connection_facts.0.set: is missing"),
        (
            "acme: {auth_mode: NONE, connection_facts: [{set: {a: b}}]}",
            "connection_facts.0.set.a: must be a template",
        ),
        (
            "acme: {auth_mode: NONE, connection_facts: [{set: {a: {value: '${b}', match: '['}}}]}",
            "connection_facts.0.set.a.match: is not a valid regular expression",
        ),
        (
            "acme: {auth_mode: NONE, connection_facts: [{base_url_override: a, set: {a: '${b}'}}]}",
            "connection_facts.0.base_url_override: must begin with https://",
        ),
        ("acme: {alias: nope}", "acme.alias: there is no provider named 'nope'"),
        ("a: {alias: b}\nb: {alias: a}", "goes in a circle"),
        ("bad name: {auth_mode: NONE}", "may hold letters, digits"),
        ("a: {auth_mode: NONE, auth_mode: BASIC}", "the key 'auth_mode' is written twice"),
        ("a: {auth_mode: NONE}\na: {auth_mode: NONE}", "the key 'a' is written twice"),
        ("a: [", "mine.yaml: cannot be parsed"),
        ("- a", "mine.yaml: must be a map from provider names"),
        ("{", "mine.yaml: cannot be parsed"),
        ('{"a": {}, "a": {}}', "the key 'a' is written twice"),
        ('{"a": {"auth_mode": "NONE", "auth_mode": "BASIC"}}', "'auth_mode' is written twice"),
        ("acme: {auth_mode: NONE, more: &m [*m]}", "acme: is nested more than 100 deep, or inside"),
        ("acme: &a {auth_mode: NONE, more: *a}", "acme: is nested more than 100 deep, or inside"),
        ("acme: {token_expiration_buffer: .inf}", "acme: holds inf, which is no number"),
        ('{"acme": {"more": NaN}}', "acme: holds nan, which is no number"),
        ('{"acme": {"display_name": "\\ud800"}}', "acme: holds half of a surrogate pair"),
        ("acme: {more: !!set {a, b}}", "acme: holds a set, which JSON has not"),
        ("acme: {more: {.nan: 1}}", "acme: holds nan, which is no number"),
    ],
)
def test_faults_name_file_entry_and_key(tmp_path: Path, entry: str, fault: str) -> None:
    """What is wrong is said with where it is and what it must be."""
    assert fault in faults_of(tmp_path, entry)


def test_a_file_that_unfolds_to_a_billion_values_is_refused(tmp_path: Path) -> None:
    """A few lines of YAML can say one value over and over; nobody waits for all of them."""
    lines = ["acme:", "  auth_mode: NONE", "  b0: &b0 [x]"]
    lines += [f"  b{n + 1}: &b{n + 1} [{', '.join([f'*b{n}'] * 9)}]" for n in range(20)]
    assert "acme: the file unfolds to more than 2,000,000 values" in faults_of(
        tmp_path, "\n".join(lines)
    )


def test_a_key_that_is_written_twice_is_found(tmp_path: Path) -> None:
    """The place is that of the second one."""
    text = "a: {auth_mode: NONE}\nb:\n  docs: x\n  auth_mode: NONE\n  docs: y\n"
    assert faults_of(tmp_path, text).endswith("written twice at line 5, column 3")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to load a file once per mistake."""
    message = faults_of(tmp_path, "a: {auth_mode: X}\nb: {auth_mode: NONE, proxy: 1}\nc: 3")
    assert {line.split(": ")[1] for line in message.splitlines()} == {"a.auth_mode", "b.proxy", "c"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the setting that points at it."""
    with pytest.raises(ProvidersInvalid, match="CARRICK_PROVIDERS_FILE"):
        load_catalogue(tmp_path / "absent.yaml")


def test_dates_and_versions_stay_text() -> None:
    """An API version that looks like a date is not turned into one."""
    read = read_definitions("a: {version: 2023-06-01}", origin="x")
    assert read == {"a": {"version": "2023-06-01"}}


def test_an_empty_file_adds_nothing(tmp_path: Path) -> None:
    """A file of comments is a valid file."""
    assert len(load_catalogue(written(tmp_path, "# nothing yet\n"))) == len(load_catalogue())


def test_a_thousand_entries_load(tmp_path: Path) -> None:
    """Aliases of one another included."""
    entries: dict[str, Any] = {
        f"p{number}": {"alias": f"p{number - 1}"} if number % 2 else {"alias": "github"}
        for number in range(1, 1001)
    }
    entries["p0"] = {"alias": "slack"}
    catalogue = load_catalogue(written(tmp_path, json.dumps(entries)))
    assert catalogue.get("p999").display_name == "GitHub"


def test_token_urls_may_differ_by_mode(tmp_path: Path) -> None:
    """Providers with an app and a user token name an address for each."""
    text = "a: {auth_mode: CUSTOM, token_url: {OAUTH2: 'https://a', APP: 'https://b'}}"
    provider = load_catalogue(written(tmp_path, text)).get("a")
    assert [template for _, template in url_templates(provider.definition)] == [
        "https://a",
        "https://b",
    ]


@pytest.mark.parametrize("host", ["https://api.github.com", "https://github.acme.example/api/v3"])
def test_an_app_at_github_is_asked_whose_installation_it_is(tmp_path: Path, host: str) -> None:
    """Files for other readers do not say how; where tokens come from says it."""
    at = "installations/${connectionConfig.installation_id}"
    urls = {"OAUTH2": "https://a.example", "APP": f"{host}/app/{at}/access_tokens"}
    entry = {"display_name": "A", "auth_mode": "CUSTOM", "token_url": urls}
    catalogue = load_catalogue(written(tmp_path, json.dumps({"a": entry})))
    found = catalogue.get("a").definition
    assert found["installation_check_url"] == f"{host}/user/{at}/repositories"
    assert catalogue.warnings == ()


def test_the_public_definition_shows_everything(catalogue: Catalogue) -> None:
    """The whole entry, its name and its logo; it can be written as JSON."""
    shown = public_definition(catalogue.get("zendesk"), "https://c.example/", "en")
    assert shown["name"] == "zendesk"
    assert shown["logo_url"] == "https://c.example/images/template-logos/zendesk.svg"
    assert shown["connection_config"]["subdomain"]["suffix"] == ".zendesk.com"
    assert shown["token_url"].startswith("https://${connectionConfig.subdomain}")
    for provider in catalogue.all():
        json.dumps(public_definition(provider, "http://c", "de"))


def test_the_public_definition_speaks_the_readers_language(tmp_path: Path) -> None:
    """Texts of fields are replaced where the definition has them, nothing else is."""
    path = written(
        tmp_path,
        """
        a:
          auth_mode: NONE
          connection_config:
            x: {type: string, title: Name, description: D}
            y: {type: string, title: Other, description: D}
          translations: {de: {connection_config: {x: {title: Bezeichnung}}}}
        """,
    )
    provider = load_catalogue(path).get("a")
    german = public_definition(provider, "http://c", "de")
    assert german["connection_config"]["x"] == {
        "type": "string",
        "title": "Bezeichnung",
        "description": "D",
    }
    assert german["connection_config"]["y"]["title"] == "Other"
    assert "translations" not in german
    english = public_definition(provider, "http://c", "en")
    assert english["connection_config"]["x"]["title"] == "Name"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("en;q=0.2, fr;q=0.8", "fr"),
        ("ja, es;q=0.1", "es"),
        ("ja", "en"),
        ("fr;q=x", "en"),
        ("*", "en"),
    ],
)
def test_the_best_liked_language_is_chosen(header: str | None, language: str) -> None:
    """By weight, English when none of ours is liked."""
    assert choose_language(header) == language
