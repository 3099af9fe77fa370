"""Sign a request the OAuth 1.0a way (RFC 5849 §3.4), over the address and body that are sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from carrick.errors import InvalidAuthMode, OAuthClientMissing
from carrick.model.http import OutboundRequest

HMAC_SHA1 = "HMAC-SHA1"
HMAC_SHA256 = "HMAC-SHA256"
RSA_SHA1 = "RSA-SHA1"
PLAINTEXT = "PLAINTEXT"
#: What a definition may ask for.
METHODS = (HMAC_SHA1, HMAC_SHA256, RSA_SHA1, PLAINTEXT)

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Signer:
    """Who signs: the client, and the token it acts for, if there is one yet.

    With `RSA-SHA1` the client's secret is its private key in PEM form.
    """

    client_id: str
    client_secret: str = field(repr=False)
    token: str = ""
    token_secret: str = field(default="", repr=False)
    method: str = HMAC_SHA1
    realm: str | None = None


def signed(
    request: OutboundRequest,
    signer: Signer,
    *,
    now: datetime,
    nonce: str,
    more: Mapping[str, str] | None = None,
) -> OutboundRequest:
    """Return a request with its signature in the `Authorization` header.

    Args:
        request: What is sent, complete: query and form fields are signed as well.
        signer: Who signs.
        now: Part of what is signed.
        nonce: Random, used for nothing else.
        more: Further `oauth_` parameters.

    Raises:
        InvalidAuthMode: The signature method is none that is offered.
        OAuthClientMissing: The client's secret is no private key, and has to be one.
    """
    from authlib.oauth1.rfc5849.parameters import (  # type: ignore[import-untyped]
        prepare_headers,  # here because it takes 0.1 s, which every start would pay
    )

    parameters = {
        "oauth_consumer_key": signer.client_id,
        "oauth_nonce": nonce,
        "oauth_signature_method": signer.method,
        "oauth_timestamp": str(int(now.timestamp())),
        "oauth_version": "1.0",
        **({"oauth_token": signer.token} if signer.token else {}),
        **(more or {}),
    }
    parameters["oauth_signature"] = _signature(request, signer, parameters)
    header: str = prepare_headers(list(parameters.items()), realm=signer.realm)["Authorization"]
    return request.with_headers({"Authorization": header})


def base_string(request: OutboundRequest, parameters: Mapping[str, str]) -> str:
    """Return the text that is signed (RFC 5849 §3.4.1)."""
    from authlib.oauth1.rfc5849.signature import (  # type: ignore[import-untyped]
        normalize_base_string_uri,
        normalize_parameters,
    )
    from authlib.oauth1.rfc5849.util import escape  # type: ignore[import-untyped]

    pairs = [*parameters.items(), *_pairs(urlsplit(request.url).query), *_form_fields(request)]
    uri = normalize_base_string_uri(request.url)
    return "&".join(escape(part) for part in (request.method, uri, normalize_parameters(pairs)))


def _signature(request: OutboundRequest, signer: Signer, parameters: Mapping[str, str]) -> str:
    from authlib.oauth1.rfc5849.signature import (
        hmac_sha1_signature,
        plaintext_signature,
        rsa_sha1_signature,
    )

    secrets = (signer.client_secret, signer.token_secret)
    signature: str
    match signer.method:
        case "HMAC-SHA1":
            signature = hmac_sha1_signature(base_string(request, parameters), *secrets)
        case "HMAC-SHA256":
            # Its key is the plaintext signature: both secrets, escaped and joined.
            key = plaintext_signature(*secrets).encode()
            text = base_string(request, parameters).encode()
            signature = base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
        case "RSA-SHA1":
            try:
                signature = rsa_sha1_signature(base_string(request, parameters), secrets[0])
            except (ValueError, TypeError) as error:
                raise OAuthClientMissing(
                    "RSA-SHA1 signs with a private key: set it, in PEM form, as the "
                    "integration's client_secret."
                ) from error
        case "PLAINTEXT":
            signature = plaintext_signature(*secrets)
        case _:
            raise InvalidAuthMode(f"This server cannot sign by {signer.method[:50]}.")
    return signature


def _form_fields(request: OutboundRequest) -> list[tuple[str, str]]:
    """Return the fields of a body that is a form; no other body is signed."""
    kind = next(
        (text for name, text in request.headers.items() if name.lower() == "content-type"), ""
    )
    if request.body is None or kind.partition(";")[0].strip().lower() != _FORM:
        return []
    return _pairs(request.body.decode("utf-8", errors="replace"))


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True)
