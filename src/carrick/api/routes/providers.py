"""The provider catalogue."""

from __future__ import annotations

import re
from typing import Annotated, Any
from xml.sax.saxutils import escape

from fastapi import Depends, Path
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import ByKey, BySessionOrKey
from carrick.api.routing import NoQuery, QueryOf, Strict, answer, router, wrapped
from carrick.api.schemas.primitives import INTEGRATION_ID, ProviderName
from carrick.errors import NotFound
from carrick.model.provider import Provider
from carrick.providers import choose_language, public_definition

routes = router("providers")

_LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img">'
    '<rect width="64" height="64" rx="14" fill="hsl({hue} 45% 42%)"/>'
    '<text x="32" y="43" font-family="system-ui,sans-serif" font-size="30" font-weight="600" '
    'fill="#fff" text-anchor="middle">{letter}</text></svg>'
)


class ProvidersQuery(Strict):
    """What the names of providers must match."""

    search: Annotated[str, StringConstraints(pattern=INTEGRATION_ID, max_length=255)] | None = None


@routes.get(
    "/providers",
    response_model=dict[str, list[dict[str, Any]]],
    dependencies=[Depends(BySessionOrKey())],
)
async def list_providers(
    request: Request,
    rooms: Rooms,
    query: Annotated[ProvidersQuery, Depends(QueryOf(ProvidersQuery))],
) -> Response:
    """List the catalogue, or what of it matches a search."""
    found = rooms.catalogue.all()
    if query.search is not None:
        # The pattern above leaves no character of a regular expression but the dot.
        wanted = re.compile(query.search, re.IGNORECASE)
        found = [provider for provider in found if wanted.search(provider.name)]
    return wrapped([_shown(request, rooms, provider) for provider in found])


@routes.get("/providers.json", response_model=dict[str, Any])
async def list_definitions(rooms: Rooms) -> Response:
    """Return the whole catalogue as a map, for tools."""
    return answer({provider.name: dict(provider.definition) for provider in rooms.catalogue.all()})


@routes.get(
    "/providers/{provider}",
    response_model=dict[str, Any],
    dependencies=[Depends(BySessionOrKey()), Depends(QueryOf(NoQuery))],
)
async def get_provider(
    request: Request, rooms: Rooms, provider: Annotated[ProviderName, Path()]
) -> Response:
    """Return one provider's definition, in the reader's language."""
    return wrapped(_shown(request, rooms, _find(rooms, provider)))


@routes.get(
    "/providers/{provider}/templates",
    response_model=dict[str, list[Any]],
    dependencies=[Depends(ByKey())],
)
async def list_templates(provider: Annotated[ProviderName, Path()]) -> Response:
    """List ready-made functions: Carrick has none."""
    return wrapped([])


@routes.get("/images/template-logos/{provider}.svg", include_in_schema=False)
async def get_logo(rooms: Rooms, provider: Annotated[ProviderName, Path()]) -> Response:
    """Draw a provider's initial: the vendors' own logos are theirs to give."""
    found = _find(rooms, provider)
    hue = sum(map(ord, found.name)) * 37 % 360
    letter = escape(found.display_name[:1].upper())
    return Response(
        _LOGO.format(hue=hue, letter=letter),
        media_type="image/svg+xml",
        headers={"Cache-Control": "public, max-age=86400"},
    )


def _find(rooms: Rooms, name: str) -> Provider:
    found = rooms.catalogue.find(name)
    if found is None:
        raise NotFound(f"Unknown provider {name}")
    return found


def _shown(request: Request, rooms: Rooms, provider: Provider) -> dict[str, Any]:
    language = choose_language(request.headers.get("accept-language"))
    return public_definition(provider, rooms.settings.base_url, language)
