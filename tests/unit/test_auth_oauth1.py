"""OAuth 1.0a signatures, compared with what others published."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest

from carrick.auth.oauth1_signature import HMAC_SHA256, PLAINTEXT, Signer, base_string, signed
from carrick.errors import InvalidAuthMode, OAuthClientMissing
from carrick.model.http import OutboundRequest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def parameters(request: OutboundRequest) -> dict[str, str]:
    found = re.findall(r'(\w+)="([^"]*)"', request.headers["Authorization"])
    return {name: unquote(text) for name, text in found}


def test_the_base_string_of_the_standard() -> None:
    """RFC 5849 §3.4.1.1, with its doubled names, encoded delimiters and empty values."""
    url = "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b"
    given = {
        "oauth_consumer_key": "9djdj82h48djs9d2",
        "oauth_token": "kkk9d7dh3k39sjv7",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": "137131201",
        "oauth_nonce": "7d8f3e4a",
    }
    assert base_string(OutboundRequest("POST", url, FORM, b"c2&a3=2+q"), given) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D"
        "%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e"
        "4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9"
        "d7dh3k39sjv7"
    )


def test_a_signature_that_a_vendor_published() -> None:
    """The example of X's documentation: query, form, percent signs and all."""
    request = OutboundRequest(
        "POST",
        "https://api.twitter.com/1.1/statuses/update.json?include_entities=true",
        FORM,
        b"status=Hello%20Ladies%20%2b%20Gentlemen%2c%20a%20signed%20OAuth%20request%21",
    )
    signer = Signer(
        "xvz1evFS4wEEPTGEFPHBog",
        "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
        "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
        "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
    )
    nonce = "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg"
    now = datetime.fromtimestamp(1318622958, UTC)
    found = parameters(signed(request, signer, now=now, nonce=nonce))
    assert found["oauth_signature"] == "hCtSmYh+iHYCEqBWrE7C7hYmtUk="


NOW = datetime(2026, 1, 5, tzinfo=UTC)
REQUEST = OutboundRequest("POST", "https://api.example.com/x", {}, b"a=1")


def test_a_body_that_is_no_form_is_not_signed() -> None:
    """Only a form's fields count, by content type, whatever the bytes look like."""
    signer = Signer("id", "secret", method=HMAC_SHA256)
    one = signed(REQUEST, signer, now=NOW, nonce="n")
    other = signed(OutboundRequest("POST", REQUEST.url, {}, b"a=2"), signer, now=NOW, nonce="n")
    form = signed(OutboundRequest("POST", REQUEST.url, FORM, b"a=2"), signer, now=NOW, nonce="n")
    assert parameters(one) == parameters(other)
    assert parameters(one)["oauth_signature"] != parameters(form)["oauth_signature"]


def test_a_realm_stands_in_the_header_and_not_in_what_is_signed() -> None:
    """RFC 5849 §3.4.1.3.1 leaves it out."""
    plain = Signer("id", "secret", "token", "hush", HMAC_SHA256)
    named = Signer("id", "secret", "token", "hush", HMAC_SHA256, realm="1234_SB1")
    without = parameters(signed(REQUEST, plain, now=NOW, nonce="n"))
    found = parameters(signed(REQUEST, named, now=NOW, nonce="n"))
    assert found == {**without, "realm": "1234_SB1"}


def test_plaintext_is_both_secrets_escaped() -> None:
    """RFC 5849 §3.4.4."""
    signer = Signer("id", "a&b", "t", "c d", PLAINTEXT)
    assert parameters(signed(REQUEST, signer, now=NOW, nonce="n"))["oauth_signature"] == (
        "a%26b&c%20d"
    )


def test_what_cannot_sign_says_so() -> None:
    """A method nobody knows, and a secret that is no private key."""
    with pytest.raises(InvalidAuthMode, match="MD5"):
        signed(REQUEST, Signer("id", "secret", method="MD5"), now=NOW, nonce="n")
    with pytest.raises(OAuthClientMissing, match="PEM"):
        signed(REQUEST, Signer("id", "secret", method="RSA-SHA1"), now=NOW, nonce="n")
