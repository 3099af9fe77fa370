"""Filling `${...}` placeholders in a provider's templates."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from carrick.errors import InvalidConnectionConfig
from carrick.providers import interpolate, resolve

NOW = datetime(2026, 1, 5, 9, 7, 3, 42_000, tzinfo=UTC)


def test_names_and_dot_paths_are_filled() -> None:
    """A name is looked up at the top, a dotted one inside."""
    values = {"apiKey": "k", "connectionConfig": {"region": "eu", "deep": {"er": 7}}}
    template = "${apiKey}/${connectionConfig.region}/${connectionConfig.deep.er}"
    assert interpolate(template, values) == "k/eu/7"


def test_a_key_with_dots_is_found_whole() -> None:
    """Token response metadata is stored under its whole dotted name."""
    values = {"connectionConfig": {"team.id": "T1", "team": {"name": "x"}}}
    assert interpolate("${connectionConfig.team.id}", values) == "T1"
    assert interpolate("${connectionConfig.team.name}", values) == "x"


def test_what_cannot_be_filled_stays_as_text_and_is_named() -> None:
    """Absent, null and structured values leave the placeholder where it is."""
    found = resolve("a ${b} ${c} ${d.e} ${ok}", {"c": None, "d": {"e": {}}, "ok": "!"})
    assert found.text == "a ${b} ${c} ${d.e} !"
    assert found.missing == ("b", "c", "d.e")


@pytest.mark.parametrize("template", ["", "plain", "$", "${", "${a", "a } b", "$ {a}", "cost: $5"])
def test_text_without_a_whole_placeholder_is_left_alone(template: str) -> None:
    """Nothing but a complete `${...}` is a placeholder."""
    assert interpolate(template, {"a": "x"}) == template


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (3, "3"), (1.5, "1.5"), ("", "")]
)
def test_plain_values_become_text(value: Any, text: str) -> None:
    """Booleans and numbers are written the way JSON does."""
    assert interpolate("${a}", {"a": value}) == text


@given(st.text())
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    """What a user enters cannot reach other values."""
    assert interpolate("${a}", {"a": value + "${secret}", "secret": "s"}) == value + "${secret}"


def test_the_left_alternative_is_taken_when_it_can_be_filled() -> None:
    """`left || right` prefers left, whole."""
    template = "https://${connectionConfig.host} || https://example.com"
    assert interpolate(template, {"connectionConfig": {"host": "a.b"}}) == "https://a.b"
    assert interpolate(template, {"connectionConfig": {}}) == "https://example.com"


def test_a_half_filled_left_alternative_is_not_taken() -> None:
    """An address with a hole in it is worse than the other one."""
    assert interpolate("${a}.${b} || c", {"a": "x"}) == "c"


def test_bars_in_plain_text_are_text() -> None:
    """Only templates have alternatives."""
    assert interpolate("a || b", {}) == "a || b"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("${now}", "2026-01-05T09:07:03.042Z"),
        ("${now:YYYY-MM-DD}", "2026-01-05"),
        ("${now:YYYY-MM-DDTHH:mm:ss.SSSZ}", "2026-01-05T09:07:03.042+00:00"),
        ("${now:X}", "1767604023"),
        ("${now:x}", "1767604023042"),
        ("${now+7:days:YYYYMMDD}", "20260112"),
        ("${now-1:hour:H}", "8"),
        ("${now+90:minutes}", "2026-01-05T10:37:03.042Z"),
        ("${now:ddd, D MMM YY h:m A [at] a}", "Mon, 5 Jan 26 9:7 AM at am"),
        ("${now+1:fortnights}", "${now+1:fortnights}"),
    ],
)
def test_now_is_written_and_moved(template: str, text: str) -> None:
    """The moment comes from the values, never from the machine."""
    assert interpolate(template, {"now": NOW}) == text


def test_now_without_a_moment_stays_as_text() -> None:
    """The room has no clock of its own."""
    assert interpolate("${now}", {}) == "${now}"


def test_functions_take_placeholders() -> None:
    """Arguments are templates themselves."""
    values = {"credentials": {"username": "u", "password": "p"}}
    template = "Basic ${base64(${credentials.username}:${credentials.password})}"
    assert interpolate(template, values) == "Basic " + base64.b64encode(b"u:p").decode()


def test_functions_nest_and_digest() -> None:
    """The digests are the standard ones, and one may be the argument of another."""
    digest = hashlib.sha256(b"k")
    values = {"k": "k", "now": NOW}
    assert interpolate("${sha256Hex(${k})}", values) == digest.hexdigest()
    encoded = base64.b64encode(digest.digest()).decode()
    assert interpolate("${sha256Base64(${k})}", values) == encoded
    twice = base64.b64encode(digest.hexdigest().encode()).decode()
    assert interpolate("${base64(${sha256Hex(${k})})}", values) == twice
    signed = hmac.new(b"k", b"a,2026", hashlib.sha1).hexdigest()
    assert interpolate("${hmacSha1Hex(a,${now:YYYY},${k})}", values) == signed


#: RFC 8032 §7.1, test 2: a key, and its signature of the one byte `r`.
SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest.mark.parametrize(
    "key",
    [
        SEED,
        SEED + PUBLIC,
        base64.b64encode(bytes.fromhex(SEED)).decode(),
        "-----BEGIN PRIVATE KEY-----\n"
        + base64.b64encode(bytes.fromhex("302e020100300506032b657004220420" + SEED)).decode()
        + "\n-----END PRIVATE KEY-----\n",
    ],
)
def test_ed25519_signs_with_a_key_in_any_usual_form(key: str) -> None:
    """The signature is the standard's own, in base64."""
    expected = base64.b64encode(bytes.fromhex(SIGNATURE)).decode()
    assert interpolate("${ed25519Sign(${m},${key})}", {"m": "r", "key": key}) == expected


def test_a_fingerprint_is_of_the_public_half() -> None:
    """The private and the public key have the same one: the digest of its DER form."""
    private = RSAKey.generate_key(2048, private=True)
    der = private.as_der(private=False)
    digest = base64.b64encode(hashlib.sha256(der).digest()).decode()
    for pem in (private.as_pem(private=True), private.as_pem(private=False)):
        assert interpolate("${fingerprint(${k})}", {"k": pem.decode()}) == f"SHA256:{digest}"


@pytest.mark.parametrize("key", ["", "short", "00" * 31, "-----BEGIN PRIVATE KEY-----\nx", "é"])
def test_what_is_no_key_leaves_the_function_as_text(key: str) -> None:
    """Nothing is sent that was signed with something else."""
    for template in ("${ed25519Sign(m,${k})}", "${fingerprint(${k})}"):
        assert interpolate(template, {"k": key}) == template


@pytest.mark.parametrize(
    "template", ["${base64(${x})}", "${unknownFunction(a)}", "${hmacSha1Hex(only-one)}"]
)
def test_a_function_that_cannot_be_computed_stays_as_text(template: str) -> None:
    """A missing argument or an unknown function leaves the placeholder where it is."""
    assert interpolate(template, {}) == template


def test_path_and_query_values_are_percent_encoded() -> None:
    """In a URL a value cannot end its segment or its parameter."""
    values = {"a": "x/../y?z", "q": "1&admin=true#"}
    url = interpolate("https://h.example/v1/${a}?q=${q}", values, encode=True)
    assert url == "https://h.example/v1/x%2F..%2Fy%3Fz?q=1%26admin%3Dtrue%23"


def test_a_base_url_is_inserted_verbatim_without_its_last_slash() -> None:
    """The value that is the whole address keeps port and path."""
    values = {"connectionConfig": {"url": "http://127.0.0.1:8000/hub/"}}
    assert (
        interpolate("${connectionConfig.url}/api/${connectionConfig.url}", values, encode=True)
        == "http://127.0.0.1:8000/hub/api/http%3A%2F%2F127.0.0.1%3A8000%2Fhub%2F"
    )


BAD_HOSTS = [
    "evil.com/",
    "evil.com#",
    "evil.com?x=",
    "a@evil.com",
    "evil.com\\",
    "evil .com",
    "evil.com\n",
    "evil.com:8080",
    "evil%2ecom",
    "évil.com",
    "a..b",
    ".a",
    "a.",
    "-a",
    "",
    "[::1]",
    "a" * 300,
]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_part_of_the_host_must_be_a_host(host: str) -> None:
    """Nothing a user enters can make another server the recipient of credentials."""
    with pytest.raises(InvalidConnectionConfig):
        interpolate("https://${a}.zendesk.com/x", {"a": host}, encode=True)


@pytest.mark.parametrize("host", ["acme", "acme-eu.prod", "a_b", "A1"])
def test_a_part_of_the_host_is_inserted_verbatim(host: str) -> None:
    """The template's fixed suffix stays at the end."""
    url = interpolate("https://${a}.zendesk.com/x", {"a": host}, encode=True)
    assert url == f"https://{host}.zendesk.com/x"


def test_a_whole_host_may_be_an_address() -> None:
    """IPv6 in brackets, as URLs write it."""
    assert interpolate("https://${a}:1/", {"a": "[::1]"}, encode=True) == "https://[::1]:1/"
    assert interpolate("https://${a}/", {"a": "10.1.2.3"}, encode=True) == "https://10.1.2.3/"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${a}://h.example", "ftp"),
        ("${a}://h.example", "https://evil.com/"),
        ("https://h.example:${a}/", "80/evil"),
        ("https://h.example:${a}/", "0"),
        ("https://h.example:${a}/", "99999999"),
        ("https://h.example/${a}/x", ".."),
        ("https://${a}@h.example/", "u"),
        ("${a}.example.com", "https://evil"),
    ],
)
def test_every_place_in_a_url_has_its_rule(template: str, value: str) -> None:
    """Scheme, port, path segment and user info are all held."""
    with pytest.raises(InvalidConnectionConfig):
        interpolate(template, {"a": value}, encode=True)


@pytest.mark.parametrize(
    "value",
    [
        "evil.com",
        "ftp://evil.com",
        "https://",
        "https:///x",
        "https://u:p@evil.com",
        "https://a.b/@x",
        "https://a.b?x",
        "https://a.b#x",
        "https://a.b\\c",
        "https://a b",
        "https://a.b\n",
        "javascript:alert(1)",
        "https://a.b:99999",
        "https://[::1",
        "//evil.com",
    ],
)
def test_a_base_url_must_be_a_full_url(value: str) -> None:
    """Host required; no user, query, fragment, space or backslash."""
    with pytest.raises(InvalidConnectionConfig):
        interpolate("${a}/v1", {"a": value}, encode=True)
