"""The journeys that are cut off: how each begins, what it does, and how it may end."""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.integration.server import Answer
from tests.integration.walk import ABSENT, FUNCTIONS, Case, Shown, World

Step = Callable[[World, Case], Awaitable[None]]
Act = Callable[[World, Case], Awaitable[Answer]]


@dataclass(frozen=True)
class Journey:
    """What is cut off, and the two ways in which it may end."""

    act: Act
    #: The points that it passes, in about that order.
    points: str
    #: As it was, and as it is after success. `None`: the journey looks by itself.
    before: Callable[[Case], Shown]
    after: Callable[[Case], Shown]
    prepare: Step | None = None
    #: How the caller hears that the journey ended as it should.
    status: int = 200
    #: What the app is told of it: type, and operation.
    told: tuple[str, ...] = ()
    look: Step | None = None

    @property
    def passed(self) -> list[str]:
        """The names of the points."""
        return self.points.split()


# --- states ---------------------------------------------------------------------------------


def absent(case: Case) -> Shown:
    """There is no such connection, and nothing of it at the provider."""
    return ABSENT


def live(case: Case) -> Shown:
    """Connected to its first account and set up."""
    return Shown(True, case.account.name, setup="done", webhooks=1)


def noted(case: Case) -> Shown:
    """The same, with new metadata."""
    return Shown(True, case.account.name, note="new", setup="done", webhooks=1)


def broken(case: Case) -> Shown:
    """Refused at a reconnect; its webhook is still there."""
    return Shown(True, None, is_broken=True, webhooks=1)


def bare(case: Case) -> Shown:
    """Connected, and its setup is waiting for another try."""
    return Shown(True, case.account.name, setup="pending")


def half_set_up(case: Case) -> Shown:
    """Connected, and its setup is waiting with a webhook left behind."""
    return Shown(True, case.account.name, setup="pending", webhooks=1)


# --- beginnings -----------------------------------------------------------------------------


async def connected(world: World, case: Case) -> None:
    """Connect and set up."""
    answer = await world.connect(case, case.account)
    assert answer.status == 201, answer.text
    await world.settled(case)


async def stuck(world: World, case: Case) -> None:
    """Connect; the setup's first write is answered 500 twice, so that it waits a minute."""
    world.provider.fail("status", path="/webhooks", method="POST", times=2)
    await connected(world, case)


async def stuck_half_way(world: World, case: Case) -> None:
    """Connect; the setup's second write fails twice."""
    world.provider.fail("status", path="/api/echo", method="POST", times=2)
    await connected(world, case)


async def signed_in(world: World, case: Case) -> None:
    """Import an OAuth connection whose access token has ended."""
    case.integration_id = "oauth"
    case.kept[case.account.name] = case.account.access_token
    tokens = {
        "access_token": case.account.access_token,
        "refresh_token": case.account.refresh_token,
    }
    answer = await world.connect(
        case,
        case.account,
        credentials={"type": "OAUTH2", **tokens, "expires_at": "2999-01-01T00:00:00Z"},
        connection_config={},
    )
    assert answer.status == 201, answer.text
    await world.settled(case)
    world.provider.expire(case.account)


async def consented(world: World, case: Case) -> None:
    """Go to the consent page and come back with a code, but do not follow the last redirect."""
    case.integration_id = "oauth"
    begun = await begin_consent(world, case)
    assert begun.status == 302, begun.text
    case.kept["cookie"] = begun.headers["Set-Cookie"].partition(";")[0]
    async with world.server.http.get(
        begun.headers["Location"] + f"&login_hint={case.account.name}", allow_redirects=False
    ) as back:
        case.kept["query"] = urllib.parse.urlsplit(back.headers["Location"]).query


async def own_integration(world: World, case: Case) -> None:
    """Two connections of an integration of their own."""
    case.integration_id = case.name
    await world.server.integrate(case.name)
    every = {"acme": FUNCTIONS, "oauth": FUNCTIONS, case.name: FUNCTIONS}
    assert (await world.deploy(every)).status == 200
    await connected(world, case)
    await world.server.connect(
        case.account, f"{case.name}-twin", provider_config_key=case.integration_id
    )
    await world.settled(case)


async def own_environment(world: World, case: Case) -> None:
    """A connection in an environment of its own."""
    made = await world.server.call("POST", "/environments", {"name": case.name})
    assert made.status in (200, 201), made.text
    case.kept["key"] = key = made.json["data"]["secret_key"]
    assert (await world.ask("PATCH", "/environment/settings", _sink(world), key)).status == 200
    body = {"provider": "api-key", "unique_key": "acme"}
    assert (await world.ask("POST", "/integrations", body, key)).status == 200
    assert (await world.deploy({"acme": FUNCTIONS}, key)).status == 200
    body = world.server.import_body(case.account, case.name)
    assert (await world.ask("POST", "/connections", body, key)).status == 201
    await world.settled(case)


def _sink(world: World) -> dict[str, Any]:
    return {"primary_url": world.provider.notification_url, "on_connection_deletion": True}


# --- journeys -------------------------------------------------------------------------------


async def create(world: World, case: Case) -> Answer:
    """A new connection, through the door of a browser."""
    body = {"end_user": {"id": case.name}, "allowed_integrations": ["acme"]}
    session = await world.server.call("POST", "/connect/sessions", body)
    token = session.json["data"]["token"]
    query = urllib.parse.urlencode(
        {"connect_session_token": token, "params[base_url]": world.provider.url}
    )
    path = f"/api-auth/api-key/acme?{query}"
    return await world.server.call("POST", path, {"apiKey": case.account.api_key}, signed=False)


async def import_(world: World, case: Case) -> Answer:
    """A new connection, by import."""
    return await world.connect(case, case.account)


async def import_with_retries(world: World, case: Case) -> Answer:
    """The setup's second write fails once: it runs twice, and writes once."""
    world.provider.fail("status", path="/api/echo", method="POST", times=1)
    return await world.connect(case, case.account)


async def import_slowly(world: World, case: Case) -> Answer:
    """The setup takes longer than its lease lives between two renewals."""
    world.provider.fail("slow", path="/api/echo", method="POST", times=1, delay_s=2.4)
    return await world.connect(case, case.account)


async def import_refused(world: World, case: Case) -> Answer:
    """A key that the provider does not know."""
    credentials = {"type": "API_KEY", "apiKey": "no-such-key"}
    return await world.connect(case, case.account, credentials=credentials)


async def import_undecided(world: World, case: Case) -> Answer:
    """A provider that asks to be left alone for longer than a caller waits."""
    world.provider.fail(
        "status", path="/api/me", status=429, headers={"Retry-After": "60"}, times=1
    )
    return await world.connect(case, case.account)


async def reconnect(world: World, case: Case) -> Answer:
    """The same account again, with new metadata."""
    return await world.connect(
        case, case.account, metadata={"note": "new", **await _kept(world, case)}
    )


async def reconnect_as_another(world: World, case: Case) -> Answer:
    """Another account, which the check refuses."""
    return await world.connect(case, case.other, metadata={"note": "theirs"})


async def write_metadata(world: World, case: Case) -> Answer:
    """Metadata, from the app's own server."""
    body = {
        "connection_id": case.name,
        "provider_config_key": case.integration_id,
        "metadata": {"note": "new"},
    }
    return await world.server.call("PATCH", "/connections/metadata", body)


async def delete(world: World, case: Case) -> Answer:
    """Deletion with cleanup."""
    return await world.server.delete(case.name, case.integration_id)


async def delete_integration(world: World, case: Case) -> Answer:
    """Deletion of an integration and all its connections."""
    return await world.server.call("DELETE", f"/integrations/{case.integration_id}")


async def delete_environment(world: World, case: Case) -> Answer:
    """Deletion of an environment and everything in it."""
    return await world.server.call("DELETE", f"/environments/{case.name}")


async def refresh(world: World, case: Case) -> Answer:
    """New credentials for a connection, asked for by the app."""
    path = f"/connections/{case.name}?provider_config_key=oauth&force_refresh=true"
    return await world.server.call("GET", path)


async def refresh_slowly(world: World, case: Case) -> Answer:
    """A token endpoint that takes longer than the lease lives between two renewals."""
    world.provider.fail("slow", path="/oauth/token", times=1, delay_s=3.4)
    return await refresh(world, case)


async def refresh_refused(world: World, case: Case) -> Answer:
    """A token endpoint that fails, whoever asks."""
    world.provider.fail("status", path="/oauth/token", times=None)
    return await refresh(world, case)


async def begin_consent(world: World, case: Case) -> Answer:
    """The way out to the consent page."""
    body = {"end_user": {"id": case.name}, "allowed_integrations": ["oauth"]}
    session = await world.server.call("POST", "/connect/sessions", body)
    query = f"connect_session_token={session.json['data']['token']}"
    url = f"{world.server.url}/oauth/connect/oauth?{query}"
    async with world.server.http.get(url, allow_redirects=False) as got:
        return Answer(got.status, dict(got.headers), await got.text())


async def come_back(world: World, case: Case) -> Answer:
    """The callback."""
    path = f"/oauth/callback?{case.kept['query']}"
    return await world.server.call(
        "GET", path, headers={"Cookie": case.kept["cookie"]}, signed=False
    )


async def deploy(world: World, case: Case) -> Answer:
    """Another version of every function."""
    return await world.deploy(_all_of_version(case.name))


async def roll_back(world: World, case: Case) -> Answer:
    """The deployment before the one that was just made."""
    listed = (await world.server.call("GET", "/deployments?limit=2")).json["data"]
    return await world.server.call("POST", f"/deployments/{listed[1]['number']}/activate", {})


async def _kept(world: World, case: Case) -> dict[str, str]:
    seen = (await world.server.get(case.name, case.integration_id)).json
    return {"webhook_id": seen["metadata"]["webhook_id"]}


def _all_of_version(version: str) -> dict[str, dict[str, str]]:
    functions = {
        name: source.replace("@create_on_event(", f'@create_on_event(version="{version}", ')
        for name, source in FUNCTIONS.items()
    }
    return {"acme": functions, "oauth": functions}


async def deployed_once_more(world: World, case: Case) -> None:
    """A connection, and a deployment to go back from."""
    await connected(world, case)
    assert (await deploy(world, case)).status == 200


async def look_at_functions(world: World, case: Case) -> None:
    """One deployment is active, whole, and what it holds runs."""
    deployments = (await world.server.call("GET", "/deployments?limit=100")).json["data"]
    assert [one["state"] for one in deployments].count("active") == 1
    versions = set()
    for integration_id in ("acme", "oauth"):
        path = f"/integrations/{integration_id}/functions"
        found = (await world.server.call("GET", path)).json["data"]
        assert sorted(one["name"] for one in found) == sorted(FUNCTIONS)
        versions |= {one["version"] for one in found}
    assert len(versions) == 1
    case.kept["version"] = versions.pop()
    another = world.case(case.name)
    await connected(world, another)
    assert await world.shown(another) == live(another)


async def look_at_twin(world: World, case: Case) -> None:
    """Both connections of an integration went, and the integration with them; or neither."""
    shown = await world.shown(case)
    named = f"WHERE integration_id = '{case.name}'"
    states = await world.read(f"SELECT DISTINCT state FROM integrations {named}")
    assert states == [("gone" if shown == ABSENT else "active",)]
    hooks = [one for one in world.provider.webhooks if case.name in one.url]
    assert len(hooks) == (0 if shown == ABSENT else 2)


async def look_at_tokens(world: World, case: Case) -> None:
    """What is stored works: the newest token, or one that can be refreshed."""
    # What the killed server asked for may still be under way, and would be newer than ours.
    slow = [one for one in world.provider.calls_to("POST", "/oauth/token") if one.fault == "slow"]
    await world.provider.until(lambda: all(call.status is not None for call in slow))
    answer = await refresh(world, case)
    assert answer.status == 200, answer.text
    assert answer.json["credentials"]["access_token"] == case.account.access_token


async def look_at_environment(world: World, case: Case) -> None:
    """The environment, its integration and its connection went; or none of them."""
    gone = await world.shown(case) == ABSENT
    for table, column in (("environments", "name"), ("connections", "connection_id")):
        found = await world.read(f"SELECT state FROM {table} WHERE {column} = '{case.name}'")
        assert found == [("gone" if gone else "active",)]


CONNECT = "candidate-obtained candidate-verified verdict-reached before-promote after-promote"
REFUSED = "verdict-reached before-refuse after-refuse"
NOTIFY = "notification-written notification-claimed notification-sent notification-recorded"
EVENT = "event-taken attempt-begun attempt-ended last-look before-settle after-settle"
WRITE = "before-intent before-send after-answer before-record after-record"
COMMIT = "before-commit after-commit"

#: Points are named where a journey differs from the others; `make faults` walks all of them.
JOURNEYS = {
    "create": Journey(create, CONNECT, absent, live, told=("creation",)),
    "import": Journey(
        import_,
        f"{CONNECT} wake-up-enqueued {EVENT} {WRITE} after-record:2 metadata-written {NOTIFY} "
        f"{COMMIT}",
        *(absent, live),
        status=201,
        told=("creation",),
    ),
    "import-with-retries": Journey(
        import_with_retries,
        "before-settle after-settle attempt-begun:2 before-send:3 after-answer:3 attempt-ended:2",
        *(absent, live),
        status=201,
        told=("creation",),
    ),
    "import-slowly": Journey(
        import_slowly, "lease-renewal", absent, live, status=201, told=("creation",)
    ),
    "import-refused": Journey(import_refused, REFUSED, absent, absent, status=400),
    "import-undecided": Journey(
        import_undecided, "verdict-reached candidate-left", absent, absent, status=503
    ),
    "reconnect": Journey(
        reconnect,
        f"mailbox-taken {CONNECT} last-look {NOTIFY}",
        *(live, noted, connected),
        status=201,
        told=("override",),
    ),
    "reconnect-as-another": Journey(
        reconnect_as_another,
        f"{REFUSED} last-look {NOTIFY}",
        *(live, broken, connected),
        status=400,
        told=("override",),
    ),
    "write-metadata": Journey(write_metadata, COMMIT, live, noted, connected),
    "delete": Journey(
        delete,
        f"delete-marked after-delete wake-up-enqueued {EVENT} {WRITE} after-cleanup "
        "connection-erased",
        *(live, absent, connected),
        told=("deletion",),
    ),
    "delete-stuck": Journey(
        delete,
        "delete-marked after-delete after-cleanup connection-erased",
        *(bare, absent, stuck),
        told=("deletion",),
    ),
    "delete-half-set-up": Journey(
        delete,
        "delete-marked after-delete attempt-begun before-send after-answer before-settle "
        "after-settle attempt-begun:2 after-cleanup connection-erased",
        *(half_set_up, absent, stuck_half_way),
        told=("deletion",),
    ),
    "delete-integration": Journey(
        delete_integration,
        "delete-marked:2 integration-marked connection-erased connection-erased:2 "
        "integration-erased",
        *(live, absent, own_integration),
        told=("deletion", "deletion"),
        look=look_at_twin,
    ),
    "delete-environment": Journey(
        delete_environment,
        "environment-marked connection-erased environment-erased",
        *(live, absent, own_environment),
        status=204,
        told=("deletion",),
        look=look_at_environment,
    ),
    "refresh": Journey(
        refresh,
        "refresh-leased refresh-asked refresh-answered refresh-stored",
        *(live, live, signed_in),
        look=look_at_tokens,
    ),
    "refresh-slowly": Journey(
        refresh_slowly, "refresh-lease-renewal", live, live, signed_in, look=look_at_tokens
    ),
    "refresh-refused": Journey(
        refresh_refused,
        "refresh-asked refresh-failed",
        *(live, broken, signed_in),
        status=424,
        told=("refresh",),
    ),
    "begin-consent": Journey(begin_consent, "oauth-state-stored", absent, absent, status=302),
    "come-back": Journey(
        come_back,
        "oauth-state-taken candidate-obtained before-promote after-promote",
        *(absent, live, consented),
        told=("creation",),
    ),
    "deploy": Journey(
        deploy,
        "bundle-unpacked bundle-inspected deployment-written deployment-activated after-deploy",
        *(live, live, connected),
        look=look_at_functions,
    ),
    "roll-back": Journey(
        roll_back,
        "before-rollback after-rollback",
        *(live, live, deployed_once_more),
        look=look_at_functions,
    ),
}


async def cut_off(world: World, name: str, point: str, passing: int = 1) -> bool:
    """Cut a journey off at a point, hold what is left to the model; say whether it was cut off."""
    journey, case = JOURNEYS[name], world.case(name)
    if journey.prepare is not None:
        await journey.prepare(world, case)
    begun = await world.shown(case)
    assert begun == journey.before(case), begun
    known = set(await world.news(case))

    heard, was_cut = await world.kill_at(point, passing, case, lambda: journey.act(world, case))

    shown = await world.shown(case)
    news = [one for key, one in (await world.news(case)).items() if key not in known]
    expected = journey.told if world.database_url is None else ()
    told = tuple(sorted(one["operation"] for one in news))
    if heard is not None:
        assert heard.status == journey.status, heard.text
        assert shown == journey.after(case)
        assert told == expected, told
    else:
        assert shown in (journey.before(case), journey.after(case)), shown
        if journey.before(case) != journey.after(case):
            assert told == (expected if shown == journey.after(case) else ())
    await world.expect_nothing_half_done(case)
    if journey.look is not None:
        await journey.look(world, case)
    if shown.setup == "pending":  # its next try would meet the faults of another case
        await delete(world, case)
        await world.settled(case)
    return was_cut
