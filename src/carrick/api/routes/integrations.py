"""Integrations: an environment's use of one provider."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey, BySessionOrKey
from carrick.api.routing import NoQuery, QueryOf, answer, router, wrapped
from carrick.api.schemas.connections import DeletionAnswer
from carrick.api.schemas.integrations import (
    IntegrationAnswer,
    IntegrationCreation,
    IntegrationObject,
    IntegrationPatch,
    IntegrationQuery,
    IntegrationsAnswer,
    QuickstartCreation,
    integration_object,
    secrets_object,
)
from carrick.api.schemas.primitives import IntegrationId
from carrick.environments import IntegrationChanges, NewIntegration
from carrick.errors import InvalidBody, NotFound, UnknownIntegration
from carrick.model.environment import Integration

routes = router("integrations")

_READ_SECRETS = "environment:integrations:read_credentials"
Key = Annotated[IntegrationId, Path(description="The integration's id.")]


@routes.get("/integrations", response_model=IntegrationsAnswer)
async def list_integrations(
    rooms: Rooms,
    asker: Annotated[
        Asker,
        Depends(
            BySessionOrKey(
                "environment:integrations:list", "environment:integrations:list_credentials"
            )
        ),
    ],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
) -> Response:
    """List the environment's integrations; a connect session sees those it allows."""
    found = await rooms.integrations.list(asker.environment.row_id)
    allowed = asker.session.allowed_integrations if asker.session else None
    return wrapped(
        [
            _shown(rooms, integration)
            for integration in found
            if allowed is None or integration.integration_id in allowed
        ]
    )


@routes.post("/integrations", response_model=IntegrationAnswer)
async def create_integration(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:integrations:create"))],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
    body: IntegrationCreation,
) -> Response:
    """Configure a provider for the environment."""
    new = NewIntegration(
        integration_id=body.unique_key,
        provider=body.provider,
        display_name=body.display_name,
        credentials=body.credentials.model_dump() if body.credentials else None,
        integration_config=body.integration_config,
        custom=body.custom,
        forward_webhooks=body.forward_webhooks,
        override_hosts=body.override_hosts,
        on_refused_reconnect=body.on_refused_reconnect,
        function_concurrency=body.function_concurrency,
        functions_per_minute=body.functions_per_minute,
    )
    return wrapped(_shown(rooms, await rooms.integrations.create(asker.environment.row_id, new)))


@routes.post("/integrations/quickstart", response_model=IntegrationAnswer)
async def create_quickstart(
    asker: Annotated[Asker, Depends(ByKey("environment:integrations:create"))],
    body: QuickstartCreation,
) -> Response:
    """Refuse: Carrick has no apps of its own at providers that integrations could share."""
    raise InvalidBody(
        f"There is no shared app for {body.provider}. Register your own with the provider and "
        "create the integration with its credentials."
    )


@routes.get("/integrations/{unique_key}", response_model=IntegrationAnswer)
async def get_integration(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:integrations:read", _READ_SECRETS))],
    unique_key: Key,
    query: Annotated[IntegrationQuery, Depends(QueryOf(IntegrationQuery))],
) -> Response:
    """Return an integration, with its webhook address and secrets when asked for."""
    integration = await rooms.integrations.get(asker.environment.row_id, unique_key)
    if integration is None:
        raise NotFound(f'Integration "{unique_key}" does not exist')
    shown = _shown(rooms, integration)
    provider = rooms.catalogue.find(integration.provider)
    if "webhook" in query.include:
        routed = provider is not None and provider.definition.get("webhook_routing_script")
        address = (
            f"{rooms.settings.base_url}/webhook/{asker.environment.uuid}/"
            f"{quote(integration.integration_id, safe='')}"
        )
        shown["webhook_url"] = address if routed else None
    if "credentials" in query.include and asker.may(_READ_SECRETS):
        shown["credentials"] = secrets_object(integration, provider)
    return wrapped(shown)


@routes.patch("/integrations/{unique_key}", response_model=IntegrationAnswer)
async def update_integration(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:integrations:update"))],
    unique_key: Key,
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
    body: IntegrationPatch,
) -> Response:
    """Change an integration; what is not named stays."""
    changes = IntegrationChanges(
        integration_id=body.unique_key,
        display_name=body.display_name,
        credentials=body.credentials.model_dump(exclude_none=True) if body.credentials else None,
        integration_config=body.integration_config,
        custom=body.custom,
        forward_webhooks=body.forward_webhooks,
        override_hosts=body.override_hosts,
        on_refused_reconnect=body.on_refused_reconnect,
        function_concurrency=body.function_concurrency,
        functions_per_minute=body.functions_per_minute,
    )
    changed = await rooms.integrations.update(asker.environment.row_id, unique_key, changes)
    return wrapped(_shown(rooms, changed))


@routes.delete("/integrations/{unique_key}", response_model=DeletionAnswer)
async def delete_integration(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:integrations:delete"))],
    unique_key: Key,
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
) -> Response:
    """Delete an integration; each of its connections is cleaned up first."""
    try:
        deletion = await rooms.lifecycle.delete_integration(asker.environment, unique_key)
    except UnknownIntegration as error:
        raise NotFound(f'Integration "{unique_key}" does not exist') from error
    return answer({"success": True, "cleanup": deletion.state})


def _shown(rooms: Rooms, integration: Integration) -> IntegrationObject:
    provider = rooms.catalogue.find(integration.provider)
    return integration_object(integration, provider, rooms.settings.base_url)
