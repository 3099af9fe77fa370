"""The fake provider's OAuth 1.0a side: it recomputes every signature before it believes one.

What is verified is what arrived: method, address, query, form fields, the parameters of the
header. A nonce counts once, an old timestamp not at all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from aiohttp import web

from carrick.model.clock import Chance, Clock
from carrick.testing._provider_accounts import Account, Accounts

#: Seconds a timestamp may be off.
_SKEW_S = 300
_FORM = "application/x-www-form-urlencoded"
_SIGNED = ("HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT")


class SignatureRefused(Exception):
    """The signature, or what it is about, is not right; the text says what."""


@dataclass
class SigningToken:
    """A token with its secret: whose it is, and what it still needs or only works for."""

    secret: str
    account: Account | None = None
    callback: str = ""
    verifier: str = ""
    #: The account a signature has to name, for token-based authentication.
    realm: str | None = None


@dataclass
class OAuth1:
    """Clients, tokens and nonces of one fake provider."""

    clock: Clock
    chance: Chance
    accounts: Accounts
    client_id: str
    client_secret: str
    #: With it `RSA-SHA1` can be verified.
    public_key: str | None = None
    request_tokens: dict[str, SigningToken] = field(default_factory=dict)
    tokens: dict[str, SigningToken] = field(default_factory=dict)
    _nonces: set[tuple[str, str]] = field(default_factory=set)

    def issue(self, account: Account, *, realm: str | None = None) -> tuple[str, str]:
        """Return a token of an account and its secret."""
        name, secret = self.chance.token_hex(16), self.chance.token_hex(20)
        self.tokens[name] = SigningToken(secret, account, realm=realm)
        return name, secret

    def revoke(self, account: Account) -> None:
        """End every token of an account."""
        self.tokens = {
            name: token for name, token in self.tokens.items() if token.account is not account
        }

    async def signed_by(self, request: web.Request) -> Account | None:
        """Return whose token signed an API call; `None` when none did or it is not right."""
        if not request.headers.get("Authorization", "").lower().startswith("oauth "):
            return None
        if request.path.startswith("/oauth1/"):
            return None
        try:
            given = await self._verified(request, self.tokens)
        except SignatureRefused:
            return None
        return self.tokens[given["oauth_token"]].account

    # --- the three legs ---------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the three legs."""
        return [
            web.route("*", "/oauth1/request_token", self.request_token),
            web.get("/oauth1/authorize", self.authorize),
            web.route("*", "/oauth1/access_token", self.access_token),
        ]

    async def request_token(self, request: web.Request) -> web.StreamResponse:
        """Give a client that signed a token without an owner."""
        try:
            given = await self._verified(request, None)
        except SignatureRefused as refusal:
            return _refused(refusal)
        name, secret = self.chance.token_hex(16), self.chance.token_hex(20)
        callback = given.get("oauth_callback", "")
        if not callback:
            return _refused(SignatureRefused("parameter_absent"))
        self.request_tokens[name] = SigningToken(secret, callback=callback)
        return _form(oauth_token=name, oauth_token_secret=secret, oauth_callback_confirmed="true")

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Consent at once, as the account named by `login_hint` or else the first one."""
        name = request.query.get("oauth_token", "")
        token = self.request_tokens.get(name)
        hint = request.query.get("login_hint", "")
        account = self.accounts.by_name.get(hint) or next(iter(self.accounts), None)
        if token is None:
            return web.json_response({"error": "unknown request token"}, status=400)
        joint = "&" if "?" in token.callback else "?"
        answer = {"denied": name}
        if account is not None and not request.query.get("deny"):
            token.account, token.verifier = account, self.chance.token_hex(8)
            answer = {"oauth_token": name, "oauth_verifier": token.verifier}
        location = f"{token.callback}{joint}{urlencode(answer)}"
        return web.Response(status=302, headers={"Location": location})

    async def access_token(self, request: web.Request) -> web.StreamResponse:
        """Exchange a request token that was consented to, once."""
        try:
            given = await self._verified(request, self.request_tokens)
            token = self.request_tokens.pop(given["oauth_token"])
            if token.account is None or given.get("oauth_verifier") != token.verifier:
                raise SignatureRefused("verifier_invalid")
        except SignatureRefused as refusal:
            return _refused(refusal)
        name, secret = self.issue(token.account)
        return _form(oauth_token=name, oauth_token_secret=secret, user_id=token.account.user_id)

    # --- signatures -------------------------------------------------------------------------

    async def _verified(
        self, request: web.Request, tokens: Mapping[str, SigningToken] | None
    ) -> dict[str, str]:
        """Return the parameters of a signature that is right.

        Raises:
            SignatureRefused: It is not.
        """
        given = _parameters(request.headers.get("Authorization", ""))
        token = SigningToken("")
        if tokens is not None:
            if given.get("oauth_token", "") not in tokens:
                raise SignatureRefused("token_rejected")
            token = tokens[given["oauth_token"]]
        if given.get("oauth_consumer_key") != self.client_id:
            raise SignatureRefused("consumer_key_unknown")
        if token.realm is not None and (
            given.get("realm") != token.realm or given["oauth_signature_method"] != "HMAC-SHA256"
        ):
            raise SignatureRefused("realm or signature method rejected")
        self._demand_fresh(given)
        if not await self._fits(request, given, token.secret):
            raise SignatureRefused("signature_invalid")
        return given

    def _demand_fresh(self, given: Mapping[str, str]) -> None:
        stamp, nonce = given.get("oauth_timestamp", ""), given.get("oauth_nonce", "")
        if not stamp.isdigit() or abs(int(stamp) - self.clock.now().timestamp()) > _SKEW_S:
            raise SignatureRefused("timestamp_refused")
        if len(nonce) < 8 or (stamp, nonce) in self._nonces:
            raise SignatureRefused("nonce_used")
        self._nonces.add((stamp, nonce))

    async def _fits(self, request: web.Request, given: Mapping[str, str], secret: str) -> bool:
        # Not the code that signs: Authlib's own reading of a request that arrived.
        from authlib.oauth1.rfc5849 import signature as rules  # type: ignore[import-untyped]

        method = given.get("oauth_signature_method")
        said = given.get("oauth_signature", "")
        if method == "PLAINTEXT":
            return hmac.compare_digest(rules.plaintext_signature(self.client_secret, secret), said)
        url = f"{request.scheme}://{request.host}{request.raw_path}"
        pairs = [(name, value) for name, value in given.items() if name != "oauth_signature"]
        pairs += parse_qsl(urlsplit(url).query, keep_blank_values=True)
        if request.content_type == _FORM:
            pairs += parse_qsl((await request.read()).decode(), keep_blank_values=True)
        # It unescapes these once more, as it expects them in the form of the header.
        text = rules.construct_base_string(request.method, url, _escaped(pairs))
        if method == "RSA-SHA1":
            from authlib.oauth1.rfc5849.rsa import verify_sha1  # type: ignore[import-untyped]

            verified: bool = verify_sha1(base64.b64decode(said), text.encode(), self.public_key)
            return verified
        if method not in _SIGNED:
            return False
        key = rules.plaintext_signature(self.client_secret, secret).encode()
        digest = hashlib.sha1 if method == "HMAC-SHA1" else hashlib.sha256
        expected = base64.b64encode(hmac.digest(key, text.encode(), digest)).decode()
        return hmac.compare_digest(expected, said)


def _escaped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    from authlib.oauth1.rfc5849.util import escape  # type: ignore[import-untyped]

    return [(name, escape(value) if name.startswith("oauth_") else value) for name, value in pairs]


def _parameters(header: str) -> dict[str, str]:
    """Read an `Authorization: OAuth a="b", ...` header."""
    _, _, listed = header.partition(" ")
    found = {}
    for part in listed.split(","):
        name, _, value = part.strip().partition("=")
        found[name] = unquote(value.strip('"'))
    return found


def _form(**fields: Any) -> web.Response:
    return web.Response(text=urlencode(fields), content_type=_FORM)


def _refused(refusal: SignatureRefused) -> web.Response:
    problem = urlencode({"oauth_problem": str(refusal)})
    return web.Response(text=problem, content_type=_FORM, status=401)
