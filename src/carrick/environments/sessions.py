"""Connect sessions: a permission to connect that lasts half an hour, known only by its hash."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from carrick.errors import InvalidBody, InvalidSessionTokenFormat, UnknownSessionToken
from carrick.model.clock import Chance, Clock
from carrick.model.connection import EndUser
from carrick.model.environment import ConnectSession
from carrick.store import integrations
from carrick.store import sessions as table
from carrick.store.unit import Store, Tx
from carrick.vault import hash_token

TOKEN_PREFIX = "nango_connect_session_"  # noqa: S105 - not a secret, the clients look for it
LIFETIME = timedelta(minutes=30)
#: Expired sessions are kept that long, so that the log can still say whose they were.
_KEPT = timedelta(days=31)
_TOKEN = re.compile(re.escape(TOKEN_PREFIX) + r"[a-f0-9]{64}")
_MOST_TAGS = 10
_LONGEST_KEY = 64
_LONGEST_VALUE = 255


@dataclass(frozen=True)
class NewSession:
    """A session somebody asks for."""

    end_user: EndUser | None = None
    #: `None` or nothing in it: every integration.
    allowed_integrations: Sequence[str] | None = None
    integrations_config_defaults: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    webhook_url_override: str | None = None
    #: The connection it reconnects.
    reconnect_row_id: int | None = None
    operation_id: str | None = None


class ConnectSessions:
    """The connect sessions of environments."""

    def __init__(self, store: Store, clock: Clock, chance: Chance) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance

    async def create(self, environment_id: int, new: NewSession) -> tuple[ConnectSession, str]:
        """Make a session and return it with its token, which is not kept.

        Raises:
            InvalidBody: It names an integration that does not exist; `issues` says where.
        """
        token = TOKEN_PREFIX + self._chance.token_hex(32)
        allowed = list(new.allowed_integrations or ())

        async def unit(tx: Tx) -> ConnectSession:
            await _check_integrations(tx, environment_id, new)
            values = {
                "environment_id": environment_id,
                "allowed_integrations": allowed or None,
                "integrations_config_defaults": dict(new.integrations_config_defaults),
                "overrides": dict(new.overrides),
                "tags": dict(new.tags),
                "webhook_url_override": new.webhook_url_override,
                "reconnect_row_id": new.reconnect_row_id,
                "operation_id": new.operation_id,
                "expires_at": tx.now + LIFETIME,
            }
            return await table.insert_session(tx, hash_token(token), values, new.end_user)

        return await self._store.write(unit), token

    async def by_token(self, token: str) -> ConnectSession:
        """Return the session of a token.

        Raises:
            InvalidSessionTokenFormat: It does not look like one.
            UnknownSessionToken: There is no such session, or it has expired.
        """
        if not _TOKEN.fullmatch(token):
            raise InvalidSessionTokenFormat

        async def unit(tx: Tx) -> ConnectSession | None:
            return await table.by_token_hash(tx, hash_token(token))

        session = await self._store.read(unit)
        if session is None or session.expires_at <= self._clock.now():
            raise UnknownSessionToken
        return session

    async def delete(self, session: ConnectSession) -> None:
        """End a session: its token opens nothing any more."""

        async def unit(tx: Tx) -> None:
            await table.delete_session(tx, session.row_id)

        await self._store.write(unit)

    async def delete_expired(self) -> int:
        """Delete the sessions that expired a month ago and return how many there were."""

        async def unit(tx: Tx) -> int:
            return await table.delete_expired(tx, tx.now - _KEPT)

        return await self._store.write(unit)


def session_tags(end_user: EndUser | None, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags a connection made in a session gets: what is known of the end user, the
    end user's own tags while there is room for them, and the explicit ones, which win.

    Raises:
        InvalidBody: There would be more than ten.
    """
    explicit = {key.lower(): value for key, value in tags.items()}
    merged = _known_of(end_user) if end_user is not None else {}
    own = {
        key.lower()[:_LONGEST_KEY]: value[:_LONGEST_VALUE]
        for key, value in (end_user.tags if end_user is not None else {}).items()
        if value
    }
    if len({**merged, **own, **explicit}) <= _MOST_TAGS:
        merged.update(own)
    merged.update(explicit)
    if len(merged) > _MOST_TAGS:
        message = f"There may be {_MOST_TAGS} tags, those of the end user included"
        raise InvalidBody(
            message, issues=[{"code": "too_big", "message": message, "path": ["tags"]}]
        )
    return merged


def _known_of(end_user: EndUser) -> dict[str, str]:
    known = {
        "end_user_id": end_user.id,
        "end_user_email": end_user.email,
        "end_user_display_name": end_user.display_name,
        "organization_id": end_user.organization_id,
        "organization_display_name": end_user.organization_display_name,
    }
    return {key: value for key, value in known.items() if value}


async def _check_integrations(tx: Tx, environment_id: int, new: NewSession) -> None:
    allowed = list(new.allowed_integrations or ())
    named: list[tuple[str, list[str]]] = [
        *((name, ["allowed_integrations", str(at)]) for at, name in enumerate(allowed)),
        *((n, ["integrations_config_defaults", n]) for n in new.integrations_config_defaults),
        *((name, ["overrides", name]) for name in new.overrides),
    ]
    known = await integrations.known_ids(tx, environment_id, [name for name, _ in named])
    message = "Integration does not exist"
    issues = [
        {"code": "custom", "message": message, "path": path}
        for name, path in named
        if name not in known
    ]
    if issues:
        raise InvalidBody(message, issues=issues)
