"""Mint signed tokens: those of a provider definition, assertions, and a client's own (RFC 7523)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from carrick.auth.mode import ModeContext
from carrick.auth.templates import filled
from carrick.errors import InvalidAuthMode, SigningKeyInvalid

#: How long an assertion counts when its definition does not say.
_ASSERTION_LIFETIME = timedelta(minutes=5)
_TOKEN_LIFETIME = timedelta(minutes=10)
_BY_PROTOCOL = {"RSA": "RS256", "HMAC": "HS256", "EC": "ES256"}
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}
#: The key type of an algorithm, by its first letters.
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "HS": "oct", "Ed": "OKP"}
_MOMENTS = ("iat", "exp", "nbf")


@dataclass(frozen=True)
class Minted:
    """A token of our own making, and when it ends."""

    token: str = field(repr=False)
    expires_at: datetime


def minted(ctx: ModeContext, values: Mapping[str, Any]) -> Minted:
    """Mint the token that a definition describes under `signature` and `token`.

    Args:
        ctx: The mode's surroundings.
        values: What its templates may name.

    Raises:
        InvalidAuthMode: The definition asks for a signature that is not offered.
        SigningKeyInvalid: The key is none the algorithm can sign with.
    """
    signature = ctx.provider.definition.get("signature") or {}
    token = ctx.provider.definition.get("token") or {}
    protocol = str(signature.get("protocol") or "RSA")
    header = filled(ctx, token.get("header") or {}, values)
    header.setdefault("alg", _BY_PROTOCOL.get(protocol, protocol))
    header.setdefault("typ", "JWT")
    lifetime = token.get("expires_in_ms")
    ends = ctx.now + (timedelta(milliseconds=lifetime) if lifetime else _TOKEN_LIFETIME)
    claims = {**_period(ctx.now, ends), **_claims(filled(ctx, token.get("payload") or {}, values))}
    key = ctx.render(str(token.get("signing_key") or ""), values)
    is_hex = header["alg"].startswith("HS") and _secret_encoding(ctx) == "hex"
    return Minted(_signed(header, claims, _from_hex(key) if is_hex else key.encode()), ends)


def assertion(ctx: ModeContext, values: Mapping[str, Any]) -> str:
    """Mint what a definition describes under `assertion`.

    Raises:
        InvalidAuthMode: It is a SAML assertion; only signed JSON tokens are made here.
        SigningKeyInvalid: The key is none the algorithm can sign with.
    """
    described = ctx.provider.definition["assertion"]
    kind = str(described.get("type") or "jwt")
    if kind.lower() != "jwt":
        raise InvalidAuthMode(f"This server makes no {kind.upper()} assertions.")
    key = ctx.render(str(described.get("key") or ""), values).encode()
    header = filled(ctx, described.get("header") or {}, values)
    header.setdefault("alg", _algorithm_of(key))
    header.setdefault("typ", "JWT")
    seconds = described.get("lifetimeInSeconds")
    ends = ctx.now + (timedelta(seconds=float(seconds)) if seconds else _ASSERTION_LIFETIME)
    named = {
        "iss": described.get("issuer"),
        "aud": described.get("audiences"),
        "recipient": described.get("recipient"),
        "session_index": described.get("sessionIndex"),
        **(described.get("attributes") or {}),
        **(described.get("payload") or {}),
    }
    given = filled(ctx, {name: value for name, value in named.items() if value}, values)
    return _signed(header, {**_period(ctx.now, ends), **_claims(given)}, key)


def client_assertion(
    ctx: ModeContext, client_id: str, audience: str, private_key: str, key_id: str | None = None
) -> str:
    """Mint what proves to a token endpoint that we are the client (RFC 7523 §3).

    Args:
        ctx: The mode's surroundings; its nonce makes the token's id.
        client_id: Who we are.
        audience: The token endpoint.
        private_key: In PEM.
        key_id: Which of the client's keys it is, where it has several.

    Raises:
        SigningKeyInvalid: The key cannot sign.
    """
    key = private_key.encode()
    header = {"alg": _algorithm_of(key), "typ": "JWT"}
    if key_id:
        header["kid"] = key_id
    claims = {
        **_period(ctx.now, ctx.now + _ASSERTION_LIFETIME),
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": random_id(ctx),
    }
    return _signed(header, claims, key)


def random_id(ctx: ModeContext) -> str:
    """Return a UUID that belongs to this context alone."""
    return str(uuid.UUID(hex=ctx.nonce[:32].rjust(32, "0"), version=4))


def _period(start: datetime, end: datetime) -> dict[str, int]:
    return {"iat": int(start.timestamp()), "exp": int(end.timestamp())}


def _claims(given: dict[str, Any]) -> dict[str, Any]:
    """Make moments the numbers they must be (RFC 7519 §2); templates make text of everything."""
    for name in _MOMENTS:
        if isinstance(given.get(name), str) and given[name].isdigit():
            given[name] = int(given[name])
    return given


def _secret_encoding(ctx: ModeContext) -> str:
    definition = ctx.provider.definition
    for part in (definition.get("signature") or {}, definition.get("token") or {}, definition):
        if part.get("hmac_secret_encoding"):
            return str(part["hmac_secret_encoding"])
    return "hex"


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise SigningKeyInvalid("The signing secret is not in hexadecimal digits.") from error


def _signed(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    # Imported here because it takes 0.15 s, which every start would pay.
    from joserfc import jwt
    from joserfc.errors import JoseError

    algorithm = str(header["alg"])
    kind = _KEY_TYPES.get(algorithm[:2])
    if kind is None:
        raise InvalidAuthMode(f"This server cannot sign tokens with {algorithm[:20]}.")
    try:
        return jwt.encode(header, claims, _key(kind, key), algorithms=[algorithm])
    except (JoseError, ValueError, TypeError) as error:
        raise SigningKeyInvalid(f"The key cannot sign with {algorithm}.") from error


def _key(kind: str, key: bytes) -> Any:
    from joserfc import jwk
    from joserfc.errors import JoseError

    if not key:
        raise SigningKeyInvalid("There is no key to sign with.")
    try:
        return jwk.import_key(key if kind == "oct" else _pem(key), kind)  # type: ignore[call-overload]
    except (JoseError, ValueError, TypeError) as error:
        raise SigningKeyInvalid(f"This is not a private key for {kind} signatures.") from error


def _pem(key: bytes) -> bytes:
    """Undo what copying through forms and variables does to line ends."""
    return key.strip().replace(b"\\n", b"\n").replace(b"\r\n", b"\n") + b"\n"


def _algorithm_of(key: bytes) -> str:
    """Return the usual algorithm of a key.

    Raises:
        SigningKeyInvalid: It is no private key.
    """
    for kind in ("RSA", "EC", "OKP"):
        try:
            found = _key(kind, key)
        except SigningKeyInvalid:
            continue
        if kind == "EC":
            return _BY_CURVE.get(found.curve_name, "ES256")
        return "RS256" if kind == "RSA" else "EdDSA"
    raise SigningKeyInvalid("This is not a private key in PEM form.")
