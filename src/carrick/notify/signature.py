"""Signatures of a notification: the two that existing clients check, and the standard one."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature_headers(
    key: str, body: bytes, *, message_id: str, timestamp_s: int
) -> dict[str, str]:
    """Return the headers that prove where a body comes from.

    The `webhook-*` headers follow standardwebhooks.com; their secret is the signing key's own
    bytes, `whsec_` + base64(key) in the notation of its libraries.
    """
    secret = key.encode()
    stamped = f"{message_id}.{timestamp_s}.".encode() + body
    standard = base64.b64encode(hmac.digest(secret, stamped, hashlib.sha256)).decode()
    return {
        "X-Nango-Signature": hashlib.sha256(secret + body).hexdigest(),
        "X-Nango-Hmac-Sha256": hmac.new(secret, body, hashlib.sha256).hexdigest(),
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{standard}",
    }
