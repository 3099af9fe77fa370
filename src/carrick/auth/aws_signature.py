"""Sign a request for AWS (Signature Version 4), with botocore's signer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from carrick.model.http import OutboundRequest

#: What is signed beside `Host`. Everything else may be changed on the way without harm.
_SIGNED = ("content-type", "content-md5")


@dataclass(frozen=True)
class AwsKeys:
    """Keys of an AWS user or of an assumed role."""

    id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def signed(
    request: OutboundRequest, keys: AwsKeys, service: str, region: str, now: datetime
) -> OutboundRequest:
    """Return the request with its signature; nothing may be changed in it afterwards.

    Args:
        request: Complete: address, headers, body.
        keys: Whose keys sign it.
        service: The name under which AWS knows the service.
        region: Where it runs.
        now: The time that is signed, which may be five minutes off.
    """
    url = _canonical(request.url)
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {
        "X-Amz-Date": moment,
        "X-Amz-Content-SHA256": hashlib.sha256(request.body or b"").hexdigest(),
    }
    if keys.session_token:
        added["X-Amz-Security-Token"] = keys.session_token
    kept = {name: text for name, text in request.headers.items() if not _is_of_a_signature(name)}
    request = OutboundRequest(
        request.method, url, {**kept, **added}, request.body, request.client_certificate
    )
    authorization = _authorization(request, keys, service, region, moment)
    return request.with_headers({"Authorization": authorization})


def _authorization(
    request: OutboundRequest, keys: AwsKeys, service: str, region: str, moment: str
) -> str:
    # Imported here because it takes 0.4 s, which every start would pay.
    from botocore.auth import S3SigV4Auth, SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.credentials import (  # type: ignore[import-untyped]
        ReadOnlyCredentials,
    )

    kind = S3SigV4Auth if service == "s3" else SigV4Auth  # S3 signs paths as they are written
    signer: Any = kind(
        ReadOnlyCredentials(keys.id, keys.secret, keys.session_token), service, region
    )
    draft: Any = AWSRequest(request.method, request.url, _to_sign(request.headers), request.body)
    # Its `add_auth` would look at the clock itself.
    draft.context["timestamp"] = moment
    canonical = signer.canonical_request(draft)
    signature = signer.signature(signer.string_to_sign(draft, canonical), draft)
    names = signer.signed_headers(signer.headers_to_sign(draft))
    scope = signer.scope(draft)
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}"


def _to_sign(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in headers.items()
        if name.lower() in _SIGNED or name.lower().startswith("x-amz-")
    }


def _is_of_a_signature(name: str) -> bool:
    return name.lower() in (
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
    )


def _canonical(url: str) -> str:
    """Write the query as AWS does before it verifies: what is sent must be what is signed."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode(pairs, quote_via=quote, safe="-_.~")
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))
