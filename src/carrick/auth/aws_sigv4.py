"""AWS_SIGV4: an assumed role of the end user's AWS account, and every request signed with it.

The integration has AWS keys of its own. They may assume roles whose trust policy names them and
an external id that belongs to one connection, which STS answers with keys for an hour.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from carrick.auth.aws_signature import AwsKeys, signed
from carrick.auth.expiry import read_moment
from carrick.auth.inputs import Text, issue, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, named_values
from carrick.auth.signed_token import random_id
from carrick.auth.token_answer import read_token_answer
from carrick.auth.xml import from_xml
from carrick.errors import (
    AwsConfigMissing,
    AwsRegionMissing,
    InvalidAuthMode,
    InvalidBody,
    ProviderAnswerInvalid,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundAnswer, OutboundRequest

_FIELDS = (Text("role_arn", 2048), Text("region", 64, optional=True))
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_LIFETIME = timedelta(hours=1)
_STS_VERSION = "2011-06-15"
_SESSION = "carrick"


@dataclass(frozen=True)
class _Config:
    """What the integration brings: keys to assume roles with, and where."""

    keys: AwsKeys = field(repr=False)
    service: str
    sts_endpoint: str | None


class AwsSigV4:
    """Keys of an assumed role; refreshing assumes it again."""

    auth_mode = AuthMode.AWS_SIGV4

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Assume the role.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
            AwsConfigMissing: The integration has no keys.
            AwsRegionMissing: Nobody says which region.
        """
        values = read_texts(body, _FIELDS, specs=ctx.provider.credentials)
        config = _config(ctx)
        region = _region(ctx, values.get("region"))
        return _assumed(ctx, config, values["role_arn"], region, _external_id(ctx))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: only AWS makes these keys.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("Connections of this provider cannot be imported.")

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Assume the role again."""
        values = credentials.values
        role, region = str(values["role_arn"]), str(values["region"])
        return _assumed(ctx, _config(ctx), role, region, str(values["external_id"]))

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Leave the request alone: it is signed when it is complete."""
        return request

    def sign(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Sign the whole request for the connection's region and service."""
        values = credentials.values
        keys = AwsKeys(
            str(values["access_key_id"]),
            str(values["secret_access_key"]),
            str(values["session_token"]) or None,
        )
        return signed(request, keys, str(values["service"]), str(values["region"]), ctx.now)

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return every field under its name and under `credentials`."""
        return named_values(credentials)


def _config(ctx: ModeContext) -> _Config:
    given = {**ctx.integration.custom, **ctx.integration.integration_config}
    key_id, secret = given.get("aws_access_key_id"), given.get("aws_secret_access_key")
    if not key_id or not secret:
        raise AwsConfigMissing(
            f"The integration {ctx.integration.integration_id!r} has no aws_access_key_id and "
            "aws_secret_access_key to assume roles with."
        )
    keys = AwsKeys(key_id, secret, given.get("aws_session_token") or None)
    return _Config(keys, given.get("service") or "execute-api", given.get("sts_endpoint") or None)


def _region(ctx: ModeContext, given: str | None) -> str:
    developer = {**ctx.integration.custom, **ctx.integration.integration_config}
    region = (
        ctx.previous_config.get("region")
        or given
        or ctx.connection_config.get("region")
        or developer.get("default_region")
    )
    if not region:
        raise AwsRegionMissing
    if not _REGION.fullmatch(str(region)):
        message = "must be the code of an AWS region, such as eu-central-1"
        raise InvalidBody(issues=[issue("custom", message, ("region",))])
    return str(region)


def _external_id(ctx: ModeContext) -> str:
    """Return the id in the role's trust policy: the connection's own, for all of its life."""
    kept = ctx.previous_config.get("external_id")
    if kept:
        return str(kept)
    try:
        return str(uuid.UUID(str(ctx.connection_config.get("external_id"))))
    except ValueError:
        return random_id(ctx)


def _assumed(
    ctx: ModeContext, config: _Config, role_arn: str, region: str, external_id: str
) -> Steps:
    answer = yield _request(ctx, config, role_arn, region, external_id)
    fields = read_token_answer(answer, _secrets(config), parse=_parse)
    found = _keys_in(fields)
    values = {
        "role_arn": role_arn,
        "region": region,
        "service": config.service,
        "access_key_id": found["AccessKeyId"],
        "secret_access_key": found["SecretAccessKey"],
        "session_token": found["SessionToken"],
        "external_id": external_id,
        "raw": fields,
    }
    expires_at = read_moment(found.get("Expiration")) or ctx.now + _LIFETIME
    credentials = Credentials(AuthMode.AWS_SIGV4, values, expires_at)
    return Obtained(credentials, {"external_id": external_id, "region": region})


def _request(
    ctx: ModeContext, config: _Config, role_arn: str, region: str, external_id: str
) -> OutboundRequest:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    url = config.sts_endpoint or f"https://sts.{region}.{suffix}/"
    params = {
        "Action": "AssumeRole",
        "Version": _STS_VERSION,
        "RoleArn": role_arn,
        "RoleSessionName": _SESSION,
        "ExternalId": external_id,
        "DurationSeconds": str(int(_LIFETIME.total_seconds())),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/xml"}
    request = OutboundRequest("POST", url, headers, urlencode(params).encode())
    return signed(request, config.keys, "sts", region, ctx.now)


def _parse(answer: OutboundAnswer) -> dict[str, Any] | None:
    """Read an answer of STS, an error as `error` and `message` like everybody else's."""
    try:
        document = from_xml(answer.body)
    except ValueError:
        return None
    refusal = document.get("ErrorResponse")
    if isinstance(refusal, dict):
        error = refusal.get("Error")
        said = error if isinstance(error, dict) else {}
        return {"error": said.get("Code") or "unknown", "message": said.get("Message")}
    assumed = document.get("AssumeRoleResponse")
    result = assumed.get("AssumeRoleResult") if isinstance(assumed, dict) else None
    return result if isinstance(result, dict) else None


def _keys_in(fields: Mapping[str, Any]) -> Mapping[str, str]:
    found = fields.get("Credentials")
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    if isinstance(found, dict) and all(isinstance(found.get(n), str) and found[n] for n in names):
        return found
    raise ProviderAnswerInvalid("AWS answered without the keys of the role.")


def _secrets(config: _Config) -> Iterator[str]:
    yield config.keys.secret
    if config.keys.session_token:
        yield config.keys.session_token
