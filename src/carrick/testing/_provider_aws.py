"""The fake provider as a corner of AWS: STS that lets roles be assumed, calls signed with SigV4.

The signature is computed again from the request as it arrived, by the rules AWS publishes for
Signature Version 4, not by the library that made it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from aiohttp import web

from carrick.model.clock import Chance, Clock
from carrick.testing._provider_accounts import Account, Accounts, same_text

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
)
_ROLE = re.compile(r"arn:aws:iam::\d{12}:role/(.+)")
_CLOCK_SKEW = timedelta(minutes=5)
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True)
class _Session:
    """Temporary keys of an assumed role."""

    secret: str
    token: str
    account: Account
    ends_at: datetime


@dataclass
class Aws:
    """Keys in circulation, and the external id each role was first assumed with."""

    clock: Clock
    chance: Chance
    accounts: Accounts
    #: The product's own keys, which may assume roles.
    key_id: str = "AKIDFAKEPROVIDER0001"
    secret: str = "fake-aws-secret-key-of-the-product"  # noqa: S105 - it protects nothing
    trusted_ids: dict[str, str] = field(default_factory=dict)
    _sessions: dict[str, _Session] = field(default_factory=dict)

    def role_of(self, account: Account) -> str:
        """Return the role that opens an account."""
        return f"arn:aws:iam::123456789012:role/{account.name}"

    def session_secrets(self) -> list[str]:
        """Return what nobody else may know of the sessions that are open."""
        return [text for one in self._sessions.values() for text in (one.secret, one.token)]

    def end(self, account: Account) -> None:
        """End the temporary keys of an account's role."""
        for key_id, session in list(self._sessions.items()):
            if session.account is account:
                del self._sessions[key_id]

    def signer_of(self, request: web.Request, body: bytes) -> Account | None:
        """Return the account whose role signed a call, if the signature is right."""
        parts = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        session = self._sessions.get(parts[1]) if parts else None
        if session is None or session.ends_at <= self.clock.now():
            return None
        shown = request.headers.get("X-Amz-Security-Token", "")
        if not same_text(shown, session.token):
            return None
        return session.account if self._is_signed(request, body, session.secret) else None

    async def sts(self, request: web.Request) -> web.StreamResponse:
        """Answer AssumeRole."""
        body = await request.read()
        parts = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        if parts is None or parts[1] != self.key_id or parts[4] != "sts":
            return _refusal(403, "InvalidClientTokenId", "The security token is invalid.")
        if not self._is_signed(request, body, self.secret):
            return _refusal(403, "SignatureDoesNotMatch", "The signature does not match.")
        fields = dict(parse_qsl(body.decode(errors="replace")))
        role = _ROLE.fullmatch(fields.get("RoleArn", ""))
        account = self.accounts.by_name.get(role[1]) if role else None
        external_id = fields.get("ExternalId", "")
        if fields.get("Action") != "AssumeRole" or account is None or not external_id:
            return _refusal(403, "AccessDenied", "Not authorized to perform sts:AssumeRole")
        if self.trusted_ids.setdefault(account.name, external_id) != external_id:
            return _refusal(403, "AccessDenied", "Not authorized to perform sts:AssumeRole")
        return self._assumed(account, fields)

    def _assumed(self, account: Account, fields: dict[str, str]) -> web.StreamResponse:
        ends_at = self.clock.now() + timedelta(seconds=float(fields["DurationSeconds"]))
        key_id = f"ASIA{self.chance.token_hex(8).upper()}"
        secret, token = self.chance.token_hex(20), self.chance.token_hex(60)
        self._sessions[key_id] = _Session(secret, token, account, ends_at)
        return _xml(
            200,
            f'<AssumeRoleResponse xmlns="{_NAMESPACE}"><AssumeRoleResult><AssumedRoleUser>'
            f"<Arn>{escape(fields['RoleArn'])}/{escape(fields['RoleSessionName'])}</Arn>"
            f"</AssumedRoleUser><Credentials><AccessKeyId>{key_id}</AccessKeyId>"
            f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
            f"<Expiration>{ends_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            "</AssumeRoleResult></AssumeRoleResponse>",
        )

    def _is_signed(self, request: web.Request, body: bytes, secret: str) -> bool:
        parts = _AUTHORIZATION.fullmatch(request.headers["Authorization"])
        assert parts is not None
        _, day, region, service, names, signature = parts.groups()
        moment = request.headers.get("X-Amz-Date", "")
        if not self._is_timely(moment, day) or "host" not in names.split(";"):
            return False
        key = f"AWS4{secret}".encode()
        for word in (day, region, service, "aws4_request"):
            key = _hmac(key, word)
        digest = hashlib.sha256(_canonical(request, body, names).encode()).hexdigest()
        scope = f"{day}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        return hmac.compare_digest(_hmac(key, text).hex(), signature)

    def _is_timely(self, moment: str, day: str) -> bool:
        try:
            at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return False
        return moment.startswith(day) and abs(self.clock.now() - at) < _CLOCK_SKEW


def _canonical(request: web.Request, body: bytes, names: str) -> str:
    raw_path, _, raw_query = request.path_qs.partition("?")
    pairs = [
        (quote(name, safe="-_.~"), quote(text, safe="-_.~"))
        for name, text in parse_qsl(raw_query, keep_blank_values=True)
    ]
    query = "&".join(f"{name}={text}" for name, text in sorted(pairs))
    lines = [request.method, quote(raw_path, safe="/-_.~"), query]
    for name in names.split(";"):
        text = ",".join(" ".join(each.split()) for each in request.headers.getall(name, []))
        lines.append(f"{name}:{text}")
    return "\n".join([*lines, "", names, hashlib.sha256(body).hexdigest()])


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _refusal(status: int, code: str, message: str) -> web.StreamResponse:
    return _xml(
        status,
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error></ErrorResponse>",
    )


def _xml(status: int, text: str) -> web.StreamResponse:
    return web.Response(text=text, status=status, content_type="text/xml")
