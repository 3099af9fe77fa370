"""Connections that are completed at the provider's own time: begun here, installed over there."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.routes.connect import Key, Who, demand_hmac, demand_no_id, demand_possible
from carrick.api.routes.oauth import consent_request
from carrick.api.routing import QueryOf, answer, router
from carrick.api.schemas.connect import NothingInput, OutboundAnswer, PopupQuery
from carrick.errors import InvalidAuthMode
from carrick.model.auth import AuthMode

routes = router("connect")


@routes.post("/auth/oauth-outbound/{key}", response_model=OutboundAnswer)
async def connect_outbound(
    request: Request,
    rooms: Rooms,
    asker: Who,
    key: Key,
    *,
    query: Annotated[PopupQuery, Depends(QueryOf(PopupQuery))],
    body: NothingInput | None = None,
) -> Response:
    """Expect an installation that the user makes at the provider, within a week.

    Nothing is connected until the provider's callback brings the state of `installUrl` back.
    """
    if asker.session is not None:
        demand_no_id(query)
    else:
        query.connection_id = query.connection_id or rooms.chance.uuid4()
        demand_hmac(rooms, asker, query, key, query.connection_id)
    await demand_possible(rooms, asker, key, AuthMode.OAUTH2)
    integration = await rooms.integrations.get(asker.environment.row_id, key)
    provider = rooms.catalogue.get(integration.provider) if integration else None
    if provider is None or provider.definition.get("installation") != "outbound":
        raise InvalidAuthMode("Installations of this provider are not begun by the provider.")
    # The session ends in half an hour, and the installation may take longer.
    wanted = replace(consent_request(request, asker, key, query), session_row_id=None)
    begun = await rooms.lifecycle.authorize.begin(replace(wanted, is_outbound=True, popup_id=None))
    return answer(
        {
            "connectionId": begun.connection_id,
            "providerConfigKey": key,
            "isPending": True,
            "installUrl": begun.url,
        }
    )
