"""The popup: out to the provider's consent page, back to the callback, and the outcome told.

Whatever goes wrong on these routes is told to the socket that waits as well, because the client
that opened it waits for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from carrick.api.access import Rooms, services_of
from carrick.api.auth import Asker
from carrick.api.errors import error_answer
from carrick.api.form_post import FORM, by_a_link
from carrick.api.limits import charge
from carrick.api.origins import base_url_for
from carrick.api.outcomes import (
    Popup,
    error_frame,
    failure_of,
    pending_frame,
    success_frame,
)
from carrick.api.pages import error_page, page_words, pending_page, success_page
from carrick.api.query import texts
from carrick.api.routes.connect import (
    Key,
    Who,
    defaults_of_session,
    demand_hmac,
    demand_no_id,
    demand_possible,
    params_of,
)
from carrick.api.routing import QueryOf, TolerantRoute, query_fields, router
from carrick.api.schemas.connect import PopupQuery
from carrick.auth import POPUPS, client_document
from carrick.errors import (
    CarrickError,
    IntegrationNotAllowed,
    InvalidConnection,
    InvalidQuery,
    NotFound,
    OAuthCallbackInvalid,
    OAuthStateUnknown,
    TooManyRequests,
    Unauthenticated,
)
from carrick.lifecycle.journeys import (
    LIFETIME,
    Awaited,
    Connected,
    ConnectRequest,
    ConsentRequest,
    cookie_name,
)
from carrick.model.environment import Environment

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]

#: Errors of somebody who cannot come from the client's popup in working order.
_AS_JSON = (
    Unauthenticated,
    TooManyRequests,
    IntegrationNotAllowed,
    InvalidConnection,
    InvalidQuery,
)
_SCOPES_OVERRIDE = "oauth_scopes_override"
_WEB = re.compile(r"https?://[^\s\\]+")
#: Names under which providers bring the state back.
_STATES = ("state", "payload", "customField")
_OWN_CLIENT = {
    "oauth_client_id_override": "client_id",
    "oauth_client_secret_override": "client_secret",
}


class PopupRoute(TolerantRoute):
    """A route whose failures are told to the socket that waits, and shown as a page."""

    def get_route_handler(self) -> _Handler:
        """Return the handler with what follows a failure around it."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.path_params.get("key")  # as it came: nobody has looked at it yet
            popup = Popup(integration_id=key[:255] if key else None)
            request.scope.setdefault("state", {})["popup"] = popup
            try:
                popup.id = texts(query_fields(request)).get("ws_client_id")
                return await handler(request)
            except CarrickError as error:
                await _tell(request, popup, error)
                if isinstance(error, _AS_JSON) and not popup.came_back:
                    return error_answer(error)
                return _error_page(request, error)
            except Exception as error:  # told, then left to those who answer such things
                await _tell(request, popup, error)
                raise

        return handle


routes = router("connect", PopupRoute)


@routes.get(
    "/oauth/connect/{key}",
    response_class=Response,
    status_code=302,
    responses={400: {"description": "A page that says why not."}},
)
async def begin_consent(
    request: Request,
    rooms: Rooms,
    asker: Who,
    key: Key,
    query: Annotated[PopupQuery, Depends(QueryOf(PopupQuery))],
) -> Response:
    """Send a browser to the provider's consent page."""
    popup = _popup_of(request)
    popup.connection_id = query.connection_id
    if asker.session is not None:
        demand_no_id(query)
    else:
        given = (query.connection_id,) if query.connection_id else ()
        demand_hmac(rooms, asker, query, key, *given)
    await demand_possible(rooms, asker, key, *POPUPS)
    begun = await rooms.lifecycle.authorize.begin(consent_request(request, asker, key, query))
    answer = RedirectResponse(begun.url, status_code=302)
    answer.headers["Cache-Control"] = "no-store"
    _set_cookie(rooms, answer, begun.cookie_name, begun.cookie, int(LIFETIME.total_seconds()))
    return answer


async def _come_back(request: Request, rooms: Rooms) -> Response:
    """Take a browser back from the provider and connect."""
    popup = _popup_of(request)
    popup.came_back, popup.id = True, None
    answer = texts(query_fields(request))
    state = next((answer[name] for name in _STATES if answer.get(name)), None)
    if state is None:
        charge(request, None)
        return _without_state(request, answer)
    authorize = rooms.lifecycle.authorize
    try:
        pending = await authorize.take(state)
    except OAuthStateUnknown:
        charge(request, None)
        raise
    popup.id = pending.popup_id
    popup.integration_id, popup.connection_id = pending.integration_id, pending.connection_id
    name = cookie_name(state)
    cookie = request.cookies.get(name)
    outcome = await authorize.finish(pending, state, cookie, answer)
    return await _arrived(request, popup, outcome, name, cookie)


async def _arrived(
    request: Request,
    popup: Popup,
    outcome: Connected | Awaited,
    name: str,
    cookie: str | None,
) -> Response:
    rooms = services_of(request)
    nonce, words = rooms.chance.token_hex(16), page_words(request)
    if isinstance(outcome, Awaited):
        frame = pending_frame(outcome.integration_id, outcome.connection_id)
        page = pending_page(nonce, words, frame)
        _set_cookie(rooms, page, name, cookie, outcome.lifetime_s)
    else:
        frame = success_frame(outcome.connection)
        page = success_page(nonce, words, frame)
        _set_cookie(rooms, page, name, None, 0)
    await rooms.popups.tell(popup.id, frame)
    return page


for _path, _name in (
    ("/oauth/callback", "finish_consent"),
    ("/app-auth/connect", "finish_installation"),
):
    routes.add_api_route(
        _path,
        _come_back,
        methods=["GET"],
        name=_name,
        response_class=Response,
        responses={400: {"description": "A page that says why not."}},
    )


@routes.post(
    "/oauth/callback",
    name="finish_consent_by_form",
    response_class=Response,
    status_code=303,
    responses={400: {"description": "A page that says why not."}},
    openapi_extra={"requestBody": {"content": {FORM: {"schema": {"type": "object"}}}}},
)
async def come_back_by_form(request: Request) -> Response:
    """Take a browser back from a provider that answers by a form."""
    popup = _popup_of(request)
    popup.came_back, popup.id = True, None
    return await by_a_link(request)


@routes.get("/oauth/client-metadata/{environment}/{key}", response_model=dict[str, Any])
async def show_client(request: Request, rooms: Rooms, environment: str, key: Key) -> Response:
    """Say who we are to an authorization server that reads it instead of registering us."""
    every = await rooms.environments.list()
    found = next((one for one in every if one.uuid == environment), None)
    integration = await rooms.integrations.get(found.row_id, key) if found else None
    if found is None or integration is None:
        return error_answer(NotFound())
    base_url = base_url_for(request, rooms.settings)
    shown = client_document(_document_of(base_url, found, key), _callback_of(base_url, found))
    return JSONResponse(shown, headers={"Cache-Control": "max-age=300"})


def _callback_of(base_url: str, environment: Environment) -> str:
    own = environment.settings.get("callback_url")
    return str(own or f"{base_url}/oauth/callback")


def _document_of(base_url: str, environment: Environment, key: str) -> str:
    place = f"{environment.uuid}/{quote(key, safe='')}"
    return f"{base_url}/oauth/client-metadata/{place}"


def _without_state(request: Request, answer: Mapping[str, str]) -> Response:
    """Send somebody back who changed an installation at the provider, without us.

    Raises:
        OAuthStateUnknown: It is nobody like that.
    """
    referer = request.headers.get("referer", "")
    if answer.get("setup_action") and _WEB.match(referer):
        # With a fragment of its own, or browsers would carry ours along, and a token in it.
        back = f"{referer.partition('#')[0]}#"
        return RedirectResponse(back, status_code=302, headers={"Cache-Control": "no-store"})
    raise OAuthStateUnknown("The provider brought no state back. Start again from the app.")


def consent_request(request: Request, asker: Asker, key: str, query: PopupQuery) -> ConsentRequest:
    """Return what a browser, and the session it came with, want connected."""
    session = asker.session
    base_url = base_url_for(request, services_of(request).settings)
    params = params_of(query)
    scopes = params.pop(_SCOPES_OVERRIDE, None) if params is not None else None
    trusted = dict(defaults_of_session(asker, key))
    authorization_params = _without(query.authorization_params, "response_type")
    user_scope = query.user_scope
    if session is not None:
        defaults = session.integrations_config_defaults.get(key, {})
        # What may be asked for is the session maker's decision, by whatever name.
        own = _without(authorization_params, "scope")
        authorization_params = defaults.get("authorization_params") or own
        user_scope = defaults.get("user_scopes")
    elif scopes:
        trusted[_SCOPES_OVERRIDE] = scopes
    if user_scope:
        authorization_params = {"user_scope": user_scope, **authorization_params}
    return ConsentRequest(
        connect=ConnectRequest(
            environment=asker.environment,
            integration_id=key,
            source="oauth",
            body={},
            connection_id=query.connection_id,
            reconnect_row_id=session.reconnect_row_id if session else None,
            connection_config=params,
            trusted_config=trusted,
            tags=session.brought_tags if session else None,
            end_user=session.end_user if session else None,
            webhook_url_override=session.webhook_url_override if session else None,
        ),
        redirect_uri=_callback_of(base_url, asker.environment),
        client_document=_document_of(base_url, asker.environment, key),
        authorization_params=authorization_params,
        config_override={
            own: text for name, own in _OWN_CLIENT.items() if (text := query.credentials.get(name))
        },
        refresh_token_override=query.credentials.get("oauth_refresh_token_override"),
        session_row_id=session.row_id if session else None,
        popup_id=query.ws_client_id,
    )


def _without(params: Mapping[str, str], name: str) -> dict[str, str]:
    return {each: text for each, text in params.items() if each != name}


def _set_cookie(
    rooms: Rooms, answer: Response, name: str, value: str | None, lifetime_s: int
) -> None:
    """Give the browser a cookie for the callback; without a value, take it back."""
    secure = rooms.settings.base_url.startswith("https:")
    answer.set_cookie(
        name,
        value or "",
        max_age=lifetime_s,
        path="/",
        secure=secure,
        httponly=True,
        # Some providers come back by a form, which a browser counts as another site's request.
        samesite="none" if secure else "lax",
    )


def _popup_of(request: Request) -> Popup:
    popup: Popup = request.scope["state"]["popup"]
    return popup


async def _tell(request: Request, popup: Popup, error: Exception) -> None:
    frame = error_frame(popup, failure_of(error))
    await services_of(request).popups.tell(popup.id, frame)


def _error_page(request: Request, error: CarrickError) -> Response:
    failure = failure_of(error)
    details = error.payload if isinstance(error, OAuthCallbackInvalid) else None
    nonce = services_of(request).chance.token_hex(16)
    return error_page(nonce, page_words(request), failure.text, failure.type, details)
