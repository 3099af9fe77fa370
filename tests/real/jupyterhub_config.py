"""Configuration of the JupyterHub that the `real` tests drive: two users, two services, no proxy.

JupyterHub's usual front is a Node.js proxy; the hub's own port serves the whole REST API, so the
tests talk to that and tell the hub that somebody else looks after the routes.
"""

from __future__ import annotations

import os
from typing import Any

from jupyterhub.proxy import Proxy  # type: ignore[import-not-found,unused-ignore]

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 - put there by traitlets


class RoutesElsewhere(Proxy):  # type: ignore[misc]
    """Remember routes and forward nothing."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._routes: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Note a route."""
        self._routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Forget a route."""
        self._routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return the routes noted so far."""
        return self._routes


c.JupyterHub.proxy_class = RoutesElsewhere
c.JupyterHub.hub_bind_url = os.environ["HUB_URL"]
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "cookie_secret"
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["HUB_PASSWORD"]
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.oauth_require_pkce = True
c.Authenticator.allowed_users = {"alice", "bob"}
c.JupyterHub.services = [
    {"name": "harness", "api_token": os.environ["HUB_HARNESS_TOKEN"]},
    # Carrick as an OAuth client: the token of a service is its client secret.
    {
        "name": "carrick",
        "oauth_client_id": "service-carrick",
        "api_token": os.environ["HUB_CLIENT_SECRET"],
        "oauth_redirect_uri": os.environ["HUB_REDIRECT_URI"],
        "oauth_client_allowed_scopes": ["read:users:name!user", "tokens!user"],
    },
]
c.JupyterHub.load_roles = [
    {"name": "harness", "services": ["harness"], "scopes": ["admin:users", "tokens"]},
    {
        "name": "may-connect",
        "users": ["alice", "bob"],
        "scopes": ["access:services!service=carrick"],
    },
]
