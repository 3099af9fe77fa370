"""The fake provider's accounts: who they are, which credentials they hold, what those still open.

A token is a grant with an end; taking a grant away (expiry, revocation, rotation) is the only way
a credential stops working, so what a test switched off stays off.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from carrick.model.clock import Chance, Clock

GrantKind = Literal["access", "refresh", "code"]


@dataclass
class Account:
    """One customer's account at the fake provider, with the newest credentials it was given."""

    name: str
    user_id: str
    organization_id: str
    email: str
    access_token: str
    refresh_token: str
    api_key: str
    username: str
    password: str

    def to_json(self) -> dict[str, Any]:
        """Return the account as plain data, credentials included."""
        return asdict(self)


@dataclass
class Grant:
    """A token or code in circulation: whose it is and until when it opens anything."""

    kind: GrantKind
    account: Account
    ends_at: datetime | None
    code_challenge: str | None = None
    scope: str | None = None
    redirect_uri: str | None = None


@dataclass
class TokenRefused(Exception):
    """The token endpoint says no, in the words of RFC 6749 §5.2."""

    error: str
    description: str
    status: int = 400


@dataclass
class Accounts:
    """Every account and every grant of one fake provider."""

    clock: Clock
    chance: Chance
    token_lifetime_s: float = 3600.0
    rotate_refresh_tokens: bool = False
    #: Seconds for which a refresh token that was replaced still works.
    refresh_grace_s: float = 0.0
    by_name: dict[str, Account] = field(default_factory=dict)
    _grants: dict[str, Grant] = field(default_factory=dict)

    def add(
        self, name: str, *, organization_id: str | None = None, api_key: str | None = None
    ) -> Account:
        """Open an account that can be used at once."""
        slug = hashlib.sha256(name.encode()).hexdigest()
        account = Account(
            name=name,
            user_id=f"005{slug[:12]}",
            organization_id=organization_id or f"00D{slug[12:24]}",
            email=f"owner@{name}.example",
            access_token="",
            refresh_token="",
            api_key=api_key or f"key-{self.chance.token_hex(16)}",
            username=f"{name}-user",
            password=self.chance.token_hex(12),
        )
        self.by_name[name] = account
        self.issue(account, refresh=True)
        return account

    def issue(self, account: Account, *, refresh: bool) -> None:
        """Give an account a new access token, and a new refresh token if asked."""
        ends_at = self.clock.now() + timedelta(seconds=self.token_lifetime_s)
        account.access_token = self._grant("access", account, ends_at)
        if refresh:
            account.refresh_token = self._grant("refresh", account, None)

    def issue_code(
        self,
        account: Account,
        *,
        redirect_uri: str | None = None,
        code_challenge: str | None = None,
        scope: str | None = None,
    ) -> str:
        """Return an authorization code that can be exchanged once within a minute."""
        code = self._grant("code", account, self.clock.now() + timedelta(seconds=60))
        self._grants[code].redirect_uri = redirect_uri
        self._grants[code].code_challenge = code_challenge
        self._grants[code].scope = scope
        return code

    def scope_of_code(self, code: str) -> str | None:
        """Return what a code was asked for at the consent page, if anything."""
        grant = self._live(code, "code")
        return grant.scope if grant is not None else None

    def expire(self, account: Account) -> None:
        """End every access token of an account; its refresh tokens live on."""
        for token, grant in list(self._grants.items()):
            if grant.account is account and grant.kind == "access":
                del self._grants[token]

    def revoke(self, account: Account) -> None:
        """End every token of an account, as when a customer removes the app."""
        for token, grant in list(self._grants.items()):
            if grant.account is account:
                del self._grants[token]

    def revoke_token(self, token: str) -> None:
        """End one token; a refresh token takes its account's access tokens along."""
        grant = self._grants.pop(token, None)
        if grant is not None and grant.kind == "refresh":
            self.expire(grant.account)

    def redeem_code(self, code: str, redirect_uri: str | None, verifier: str | None) -> Account:
        """Exchange an authorization code for tokens, once.

        Raises:
            TokenRefused: Unknown or used code, another redirect_uri, or a wrong code verifier.
        """
        grant = self._live(code, "code")
        self._grants.pop(code, None)
        if grant is None:
            raise TokenRefused("invalid_grant", "the authorization code is unknown or used")
        if grant.redirect_uri is not None and grant.redirect_uri != redirect_uri:
            raise TokenRefused("invalid_grant", "redirect_uri is not the one the code was made for")
        if grant.code_challenge is not None and grant.code_challenge != _challenge(verifier or ""):
            raise TokenRefused("invalid_grant", "the code verifier does not match")
        self.issue(grant.account, refresh=True)
        return grant.account

    def redeem_refresh_token(self, token: str) -> Account:
        """Exchange a refresh token for a new access token.

        Raises:
            TokenRefused: The refresh token is not one that still works.
        """
        grant = self._live(token, "refresh")
        if grant is None:
            raise TokenRefused("invalid_grant", "the refresh token is unknown or revoked")
        if self.rotate_refresh_tokens:
            self._replace(token, grant)
        self.issue(grant.account, refresh=self.rotate_refresh_tokens)
        return grant.account

    def _replace(self, token: str, grant: Grant) -> None:
        if self.refresh_grace_s <= 0:
            del self._grants[token]
        elif grant.ends_at is None:
            grant.ends_at = self.clock.now() + timedelta(seconds=self.refresh_grace_s)

    def identify(self, authorization: str | None, api_key: str | None) -> Account | None:
        """Return whose credentials a request carries; `None` when they open nothing."""
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() == "basic":
            return self._by_password(*decode_basic(value))
        if scheme.lower() in ("bearer", "token"):
            grant = self._live(value, "access")
            return grant.account if grant is not None else self._by_api_key(value)
        return self._by_api_key(api_key) if api_key else None

    def __iter__(self) -> Iterator[Account]:
        return iter(self.by_name.values())

    def _grant(self, kind: GrantKind, account: Account, ends_at: datetime | None) -> str:
        token = f"{kind}-{self.chance.token_hex(20)}"
        self._grants[token] = Grant(kind, account, ends_at)
        return token

    def _live(self, token: str, kind: GrantKind) -> Grant | None:
        grant = self._grants.get(token)
        if grant is None or grant.kind != kind:
            return None
        ended = grant.ends_at is not None and grant.ends_at <= self.clock.now()
        return None if ended else grant

    def _by_api_key(self, key: str) -> Account | None:
        return next((account for account in self if account.api_key == key), None)

    def _by_password(self, username: str, password: str) -> Account | None:
        return next(
            (one for one in self if one.username == username and one.password == password), None
        )


def decode_basic(value: str) -> tuple[str, str]:
    """Return username and password of a Basic header's value; empty ones if it is malformed."""
    try:
        username, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return username, password


def same_text(one: str, other: str) -> bool:
    """Compare two secrets without telling by timing where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
