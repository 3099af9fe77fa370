"""JupyterHub as an OAuth server: its own login and consent pages, and what becomes of it after."""

from __future__ import annotations

import pytest
from tests.real.actors import Carrick, Hub
from tests.real.browser import Browser, Page, browser

pytestmark = pytest.mark.real


async def consent(
    person: Browser, carrick: Carrick, hub: Hub, user: str, connection_id: str | None = None
) -> Page:
    """Connect as an end user's browser does: sign in at the hub, consent, and come back."""
    token = await carrick.open_session(connection_id)
    url = f"{carrick.server.url}/oauth/connect/jupyterhub?connect_session_token={token}"
    page = await person.open(url)
    if page.url.path == "/hub/login":
        page = await person.submit(page, username=user, password=hub.facts.password)
    if page.url.path == "/hub/api/oauth2/authorize":  # asked until there is such a token
        page = await person.submit(page)
    assert page.url.path == "/oauth/callback", page.html
    return page


async def connected(carrick: Carrick, hub: Hub, user: str) -> str:
    """Connect somebody and return the connection's id."""
    before = await carrick.connections()
    async with browser() as person:
        page = await consent(person, carrick, hub, user)
    assert page.status == 200, page.html
    [made] = set(await carrick.connections()) - set(before)
    return made


async def test_a_connection_lives_its_whole_life_by_consent(oauth: Carrick, hub: Hub) -> None:
    """Sign in, consent, be set up, come back, be refused as somebody else, clean up."""
    before = await hub.tokens("alice")
    connection_id = await connected(oauth, hub, "alice")
    connection = await oauth.until_set_up(connection_id)
    assert connection["setup"] == "done"
    token_id = connection["metadata"]["token_id"]
    assert (await hub.tokens("alice"))[token_id] == f"carrick {connection_id}"
    first = connection["credentials"]["access_token"]

    async with browser() as alice:
        page = await consent(alice, oauth, hub, "alice", connection_id)
    assert page.status == 200, page.html
    _, connection = await oauth.get(connection_id)
    assert connection["credentials"]["access_token"] != first
    assert connection["metadata"]["token_id"] == token_id

    async with browser() as bob:
        page = await consent(bob, oauth, hub, "bob", connection_id)
    assert page.status == 400
    assert "not the account" in page.html
    status, body = await oauth.get(connection_id)
    assert (status, body["error"]["code"]) == (424, "invalid_credentials")
    assert (await oauth.get(connection_id, force=True))[0] == 424
    assert (await oauth.proxied(connection_id, "/hub/api/user"))[0] == 424

    # Nobody but cleanup may use what was there before; it does.
    status, body = await oauth.delete(connection_id)
    assert (status, body["cleanup"]) == (200, "done")
    left = [note for one, note in (await hub.tokens("alice")).items() if one not in before]
    assert set(left) == {""}, "only the tokens of the two consents"
    assert (await oauth.get(connection_id))[0] == 404


async def test_only_the_right_password_leads_to_the_consent_page(oauth: Carrick, hub: Hub) -> None:
    """Until the hub is satisfied, nothing comes back and there is no connection."""
    await hub.withdraw_consent("bob")
    before = await oauth.connections()
    token = await oauth.open_session()
    url = f"{oauth.server.url}/oauth/connect/jupyterhub?connect_session_token={token}"
    async with browser() as somebody:
        page = await somebody.open(url)
        page = await somebody.submit(page, username="bob", password="not this one")
        assert (page.url.path, page.status) == ("/hub/login", 403)
        assert "Invalid username or password" in page.html
        assert await oauth.connections() == before
        page = await somebody.submit(page, username="bob", password=hub.facts.password)
        assert page.url.path == "/hub/api/oauth2/authorize"
        page = await somebody.submit(page)
        assert (page.url.path, page.status) == ("/oauth/callback", 200)
    assert len(await oauth.connections()) == len(before) + 1


async def test_a_refused_reconnect_can_leave_the_account_in_use(oauth: Carrick, hub: Hub) -> None:
    """With `on_refused_reconnect = "keep"` the connection goes on as the user it was made for."""
    connection_id = await connected(oauth, hub, "alice")
    before = await oauth.until_set_up(connection_id)
    settings = "/integrations/jupyterhub"
    assert (await oauth.call("PATCH", settings, {"on_refused_reconnect": "keep"}))[0] == 200
    try:
        async with browser() as bob:
            page = await consent(bob, oauth, hub, "bob", connection_id)
    finally:
        await oauth.call("PATCH", settings, {"on_refused_reconnect": "auth_error"})
    assert page.status == 400
    assert "not the account" in page.html
    status, after = await oauth.get(connection_id)
    assert status == 200, after
    assert after["credentials"] == before["credentials"]
    status, user = await oauth.proxied(connection_id, "/hub/api/user")
    assert (status, user["name"]) == (200, "alice")


async def test_a_token_revoked_at_the_hub_is_healed_by_a_reconnect(
    oauth: Carrick, hub: Hub
) -> None:
    """The hub's own refusal reaches the caller; nothing can be refreshed; consent mends it."""
    connection_id = await connected(oauth, hub, "alice")
    await oauth.until_set_up(connection_id)
    await hub.withdraw_consent("alice")
    status, body = await oauth.proxied(connection_id, "/hub/api/user")
    assert (status, body) == (403, {"status": 403, "message": None}), "as the hub says it"
    # There is no refresh token, so the provider's word is all there is to go by.
    assert (await oauth.get(connection_id, force=True))[0] == 200

    async with browser() as alice:
        page = await consent(alice, oauth, hub, "alice", connection_id)
    assert page.status == 200, page.html
    status, user = await oauth.proxied(connection_id, "/hub/api/user")
    assert (status, user["name"]) == (200, "alice")


async def test_cleanup_that_is_no_longer_allowed_to_is_not_lost(oauth: Carrick, hub: Hub) -> None:
    """A deletion whose token the hub refuses keeps what is left to do, for a person to see."""
    connection_id = await connected(oauth, hub, "alice")
    token_id = (await oauth.until_set_up(connection_id))["metadata"]["token_id"]
    await hub.withdraw_consent("alice")
    status, body = await oauth.delete(connection_id)
    assert (status, body["cleanup"]) == (200, "retrying")
    _, listed = await oauth.call("GET", "/cleanups")
    [cleanup] = [one for one in listed["data"] if one["connection_id"] == connection_id]
    assert cleanup["error_message"] == "the provider answered 403"
    assert token_id in await hub.tokens("alice")
    await hub.remove_token("alice", token_id)
    given_up = {"reason": "Removed by hand at the hub."}
    status, body = await oauth.call("POST", f"/cleanups/{cleanup['id']}/force", given_up)
    assert status == 200, body
    _, listed = await oauth.call("GET", "/cleanups")
    assert connection_id not in [one["connection_id"] for one in listed["data"]]
