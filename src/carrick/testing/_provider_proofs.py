"""What callers of the fake provider sign: tokens, client assertions, user name tokens.

Nothing is taken on trust: every signature is verified with the key that was registered, every
digest is computed again. What was seen once can be ended, as when a session is revoked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from joserfc import jwk, jwt
from joserfc.errors import JoseError

from carrick.model.clock import Chance, Clock
from carrick.testing._provider_accounts import Account, Accounts, same_text

KeyKind = Literal["EC", "HMAC"]
_ALGORITHMS = {"EC": "ES256", "HMAC": "HS256"}
#: How far clocks may differ, and how long a user name token counts.
_FRESH = timedelta(minutes=5)
_WSSE = re.compile(r'UsernameToken (?:\w+="[^"]*"(?:, )?)+')
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class _Key:
    account: Account
    kind: KeyKind
    verifies: Any


@dataclass
class Proofs:
    """Keys of the accounts, and which of their proofs have ended."""

    clock: Clock
    chance: Chance
    accounts: Accounts
    _keys: dict[str, _Key] = field(default_factory=dict)
    _written: dict[tuple[str, KeyKind], str] = field(default_factory=dict)
    _seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _ended: set[str] = field(default_factory=set)
    _assertion_ids: set[str] = field(default_factory=set)

    def key_of(self, account: Account, kind: KeyKind) -> str:
        """Register a key of an account, once, and return the secret half: PEM, or hex digits."""
        known = self._written.get((account.name, kind))
        if known is not None:
            return known
        if kind == "HMAC":
            text = self.chance.token_hex(32)
            verifies: Any = jwk.OctKey.import_key(bytes.fromhex(text))
        else:
            key = jwk.ECKey.generate_key("P-256")
            text = key.as_pem(private=True).decode()
            verifies = jwk.ECKey.import_key(key.as_pem(private=False))
        self._written[account.name, kind] = text
        self._keys[key_id(account, kind)] = _Key(account, kind, verifies)
        return text

    def end(self, account: Account) -> None:
        """End what an account has shown so far; what it signs from now on works."""
        self._ended |= self._seen.pop(account.name, set())

    def signer_of(self, token: str) -> Account | None:
        """Return the account whose key signed a token that counts now."""
        if token.count(".") != 2 or token in self._ended:
            return None
        claims, key = self._verified(token)
        if key is None or claims.get("iss") != key.account.name:
            return None
        self._seen[key.account.name].add(token)
        return key.account

    def client_of(self, assertion: str, audience: str) -> Account | None:
        """Return the account that an assertion proves to be the client (RFC 7523 §3), once."""
        claims, key = self._verified(assertion)
        if key is None or not (
            claims.get("iss") == claims.get("sub") == key.account.username
            and claims.get("aud") == audience
            and isinstance(claims.get("jti"), str)
            and claims["jti"] not in self._assertion_ids
        ):
            return None
        self._assertion_ids.add(claims["jti"])
        return key.account

    def username_token_of(self, header: str) -> Account | None:
        """Return the account a user name token belongs to, if its digest is right and fresh."""
        if not _WSSE.fullmatch(header):
            return None
        said = dict(_ATTRIBUTE.findall(header))
        account = next((one for one in self.accounts if one.username == said.get("Username")), None)
        nonce, created = said.get("Nonce", ""), said.get("Created", "")
        if account is None or nonce in self._ended or len(nonce) < 16:
            return None
        text = (nonce + created + account.password).encode()
        hexadecimal = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        digest = base64.b64encode(hexadecimal.encode()).decode()
        if not same_text(digest, said.get("PasswordDigest", "")) or not self._is_fresh(created):
            return None
        self._seen[account.name].add(nonce)
        return account

    def _verified(self, token: str) -> tuple[dict[str, Any], _Key | None]:
        """Return the claims of a token signed with a registered key, if its time has not passed."""
        nobody: tuple[dict[str, Any], None] = ({}, None)
        try:
            key = self._keys[str(_header(token).get("kid"))]
            decoded = jwt.decode(token, key.verifies, algorithms=[_ALGORITHMS[key.kind]])
        except (JoseError, ValueError, KeyError):
            return nobody
        claims = decoded.claims
        now = self.clock.now().timestamp()
        issued, ends = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or not isinstance(ends, int):
            return nobody
        is_timely = issued <= now + _FRESH.total_seconds() and now < ends
        return (claims, key) if is_timely else nobody

    def _is_fresh(self, created: str) -> bool:
        try:
            moment = datetime.fromisoformat(created)
        except ValueError:
            return False
        return abs(self.clock.now() - moment) < _FRESH


def key_id(account: Account, kind: KeyKind) -> str:
    """Return the name under which an account's key is known."""
    return f"{account.name}/{kind}"


def _header(token: str) -> dict[str, Any]:
    encoded = token.partition(".")[0]
    found = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    return found if isinstance(found, dict) else {}
