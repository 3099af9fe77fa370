"""Every route, one module per group. The order matters where one path could mean two routes."""

from collections.abc import Iterator

from starlette.routing import BaseRoute

from carrick.api.routes import (
    cleanups,
    connect,
    connect_page,
    connections,
    deployments,
    dryruns,
    environments,
    functions,
    health,
    integrations,
    metadata,
    metrics,
    not_offered,
    notifications,
    oauth,
    operations,
    outbound,
    popups,
    providers,
    proxy,
    sessions,
)

_GROUPS = (
    health,
    metadata,  # before connections, whose ids may be called `metadata`
    connections,
    functions,
    integrations,
    sessions,
    connect,
    oauth,
    outbound,
    providers,
    environments,
    operations,
    cleanups,
    notifications,
    deployments,
    dryruns,
    connect_page,
    metrics,
)


def all_routes() -> Iterator[BaseRoute]:
    """Yield every route in the order in which they are tried, the hottest first."""
    yield proxy.route
    for group in _GROUPS:
        yield from group.routes.routes
    yield popups.route
    yield from not_offered.routes
