"""Functions of templates that work on keys: `ed25519Sign` and `fingerprint`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import textwrap
from typing import Any

#: What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 §7).
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


def ed25519_sign(message: bytes, key: bytes) -> str:
    """Return a message's Ed25519 signature (RFC 8032) in base64.

    Args:
        message: What is signed.
        key: The private key: PEM, or its 32 bytes (or 64, with the public half) in base64 or hex.

    Raises:
        ValueError: It is no such key.
    """
    private_key = _imported("OKPKey", _as_pem(key)).private_key
    if private_key is None or not hasattr(private_key, "sign"):
        raise ValueError("no private Ed25519 key")
    return base64.b64encode(private_key.sign(message)).decode()


def fingerprint(key: bytes) -> str:
    """Return `SHA256:` and the digest in base64 of an RSA key's public half as DER.

    Args:
        key: The key as PEM, private or public.

    Raises:
        ValueError: It is no RSA key.
    """
    der: bytes = _imported("RSAKey", key).as_der(private=False)
    return f"SHA256:{base64.b64encode(hashlib.sha256(der).digest()).decode()}"


def _imported(kind: str, pem: bytes) -> Any:
    from joserfc import jwk  # here because it takes 0.1 s, which every start would pay
    from joserfc.errors import JoseError

    try:
        return getattr(jwk, kind).import_key(pem)
    except (JoseError, TypeError) as error:
        raise ValueError("the key cannot be read") from error


def _as_pem(key: bytes) -> bytes:
    text = key.decode(errors="replace").strip()
    if text.startswith("-----BEGIN"):
        return key
    try:
        is_hex = len(text) in (64, 128)
        raw = bytes.fromhex(text) if is_hex else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError("the key is neither PEM nor base64 nor hex") from error
    if len(raw) not in (32, 64):
        raise ValueError("an Ed25519 key has 32 bytes")
    body = base64.b64encode(_PKCS8 + raw[:32]).decode()
    lines = "\n".join(textwrap.wrap(body, 64))
    return f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n".encode()
