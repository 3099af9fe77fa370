"""Bodies, signatures, addresses and verdicts of notifications."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carrick.errors import EgressDenied, ProviderTimeout, ProviderUnreachable
from carrick.model.connection import EndUser
from carrick.model.environment import Environment
from carrick.model.http import OutboundAnswer
from carrick.notify import (
    ConnectionFacts,
    Fault,
    Notification,
    addresses,
    cleanup_parked,
    connection_created,
    connection_deleted,
    connection_overridden,
    creation_failed,
    refresh_failed,
    setup_failed,
    signature_headers,
    stable_json,
)
from carrick.notify.verdict import judge_answer, judge_silence
from carrick.store.notifications import StoredNotification
from carrick.testing.clock import FakeChance

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
KEY = "11111111-2222-4333-8444-555555555555"
VECTOR = {
    "type": "auth",
    "from": "nango",
    "connectionId": "c1",
    "providerConfigKey": "gh",
    "authMode": "OAUTH2",
    "provider": "github",
    "environment": "dev",
    "operation": "creation",
    "success": True,
    "tags": {"end_user_id": "u1"},
}


def _environment(**settings: Any) -> Environment:
    return Environment(1, "uuid", "dev", settings)


def _facts(**changes: Any) -> ConnectionFacts:
    values: dict[str, Any] = {
        "environment": _environment(primary_url="https://a.example"),
        "integration_id": "gh",
        "connection_id": "c1",
        "provider": "github",
        "auth_mode": "OAUTH2",
        "row_id": 7,
        "tags": {"end_user_id": "u1"},
    }
    return ConnectionFacts(**{**values, **changes})


def _stored(attempt: int = 0, created_at: datetime = NOW) -> StoredNotification:
    return StoredNotification(
        "id",
        1,
        7,
        "gh",
        "c1",
        "k",
        "https://a.example",
        "{}",
        "waiting",
        attempt,
        NOW,
        None,
        1,
        created_at,
        None,
    )


# --- bodies ---------------------------------------------------------------------------------


def test_signatures_match_the_published_vector() -> None:
    """The body and both legacy signatures are those the official client verifies."""
    body = stable_json(VECTOR)
    headers = signature_headers(KEY, body.encode(), message_id="m", timestamp_s=1)

    assert body == (
        '{"authMode":"OAUTH2","connectionId":"c1","environment":"dev","from":"nango",'
        '"operation":"creation","provider":"github","providerConfigKey":"gh","success":true,'
        '"tags":{"end_user_id":"u1"},"type":"auth"}'
    )
    assert headers["X-Nango-Hmac-Sha256"] == (
        "646e9e0eeee8227dc547508495d4d5abc1b1b64b05491c5e3866976e451c4c1e"
    )
    assert headers["X-Nango-Signature"] == (
        "6e147872de4366174193f87d96e9e6f95ca8cb7e65268fe5e73f86e5e8b2590c"
    )


def test_the_standard_signature_covers_id_time_and_body() -> None:
    """The `webhook-*` headers are those of the Standard Webhooks specification."""
    headers = signature_headers(KEY, b"{}", message_id="msg-1", timestamp_s=1700000000)

    digest = hmac.new(KEY.encode(), b"msg-1.1700000000.{}", hashlib.sha256).digest()
    assert headers["webhook-id"] == "msg-1"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_json_is_written_as_javascript_would() -> None:
    """Keys are sorted by UTF-16 unit at every depth, 1.0 is 1, and nothing is escaped."""
    value = {"b": 1.0, "a": [{"z": "ü/\u2028", "y": None}], "\uff5e": 1, "\U0001f600": 2}

    assert stable_json(value) == (
        '{"a":[{"y":null,"z":"ü/\u2028"}],"b":1,"\U0001f600":2,"\uff5e":1}'
    )


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e16, "10000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (-2.5e-9, "-2.5e-9"),
        (12345.678, "12345.678"),
        (True, "true"),
    ],
)
def test_numbers_are_written_as_javascript_would(number: float, written: str) -> None:
    """As `JSON.stringify` does: an exponent only where it has one, and in its form."""
    assert stable_json({"n": number}) == f'{{"n":{written}}}'


@pytest.mark.parametrize(
    ("notification", "type_", "operation", "success"),
    [
        (connection_created(_facts()), "auth", "creation", True),
        (creation_failed(_facts(), Fault("unknown", "d")), "auth", "creation", False),
        (connection_overridden(_facts()), "auth", "override", True),
        (connection_overridden(_facts(), Fault("x", "d")), "auth", "override", False),
        (refresh_failed(_facts(), Fault("x", "d")), "auth", "refresh", False),
        (connection_deleted(_facts()), "auth", "deletion", True),
    ],
)
def test_auth_bodies_have_the_contracts_keys(
    notification: Notification, type_: str, operation: str, success: bool
) -> None:
    """Every auth notification says what, of which connection, and whether it went well."""
    body = notification.body

    assert {**VECTOR, "type": type_, "operation": operation, "success": success}.items() <= (
        body.items()
    )
    assert ("error" in body) is not success


@pytest.mark.parametrize("build", [setup_failed, cleanup_parked])
def test_lifecycle_bodies_name_function_and_operation(build: Any) -> None:
    """A failed setup and a parked cleanup say which function and which log entry."""
    notification = build(
        _facts(), function="post-setup", operation_id="op_1", fault=Fault("timeout", "d" * 9000)
    )

    assert notification.body["type"] == "lifecycle"
    assert notification.body["operation"] == build.__name__
    assert notification.body["function"] == "post-setup"
    assert notification.body["operationId"] == "op_1"
    assert len(notification.body["error"]["description"]) == 2000
    assert addresses(notification, {}) == ("https://a.example",)


def test_the_end_user_is_described_when_there_is_one() -> None:
    """`endUser` has camelCase names and leaves out what is not known."""
    end_user = EndUser("u1", email="a@b.co", tags={"plan": "pro"}, organization_id="o1")

    body = connection_created(_facts(end_user=end_user)).body

    assert body["endUser"] == {
        "endUserId": "u1",
        "endUserEmail": "a@b.co",
        "organizationId": "o1",
        "tags": {"plan": "pro"},
    }
    assert "endUser" not in connection_created(_facts()).body
    assert json.loads(stable_json(body)) == body


# --- addresses ------------------------------------------------------------------------------


def test_the_connections_own_address_stands_in_for_all_others() -> None:
    """An override replaces the settings' address and both of the environment."""
    environment = _environment(primary_url="https://p", secondary_url="https://s")
    facts = _facts(environment=environment, webhook_url_override="https://o")

    assert addresses(connection_created(facts), {"dev": "https://given"}) == ("https://o",)


def test_the_settings_address_goes_before_the_environments() -> None:
    """`CARRICK_WEBHOOK_URL_<ENVIRONMENT>` wins; its name has underscores for hyphens."""
    environment = Environment(1, "u", "my-shop", {"primary_url": "https://p"})

    notification = connection_created(_facts(environment=environment))

    assert addresses(notification, {"my_shop": "https://given"}) == ("https://given",)
    assert addresses(notification, {"dev": "https://other"}) == ("https://p",)


def test_both_addresses_of_the_environment_are_told_once_each() -> None:
    """Primary and secondary are both told, but not twice when they are the same."""
    both = _facts(environment=_environment(primary_url="https://p", secondary_url="https://s"))
    same = _facts(environment=_environment(primary_url="https://p", secondary_url="https://p"))

    assert addresses(connection_created(both), {}) == ("https://p", "https://s")
    assert addresses(connection_created(same), {}) == ("https://p",)
    assert addresses(connection_created(_facts(environment=_environment())), {}) == ()


@pytest.mark.parametrize(
    ("notification", "gate", "by_default"),
    [
        (connection_created, "on_auth_creation", True),
        (lambda facts: refresh_failed(facts, Fault("x", "y")), "on_auth_refresh_error", True),
        (connection_deleted, "on_connection_deletion", False),
    ],
)
def test_gates_turn_kinds_on_and_off(notification: Any, gate: str, by_default: bool) -> None:
    """Each kind obeys its own setting and has the contract's default without one."""

    def told(**settings: Any) -> bool:
        environment = _environment(primary_url="https://p", **settings)
        return addresses(notification(_facts(environment=environment)), {}) != ()

    assert told() is by_default
    assert told(**{gate: True})
    assert not told(**{gate: False})


def test_an_override_cannot_be_turned_off() -> None:
    """A reconnect is always told when there is an address."""
    environment = _environment(primary_url="https://p", on_auth_creation=False)

    assert addresses(connection_overridden(_facts(environment=environment)), {}) == ("https://p",)


# --- verdicts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (301, "failed"),
        (400, "failed"),
        (404, "failed"),
        (408, "waiting"),
        (429, "waiting"),
        (500, "waiting"),
        (503, "waiting"),
    ],
)
def test_an_answer_decides(status: int, state: str) -> None:
    """2xx delivers, 408, 429 and 5xx are tried again, everything else is final."""
    result = judge_answer(_stored(), OutboundAnswer(status, {}, b"secret"), NOW, FakeChance())

    assert result.state == state
    assert result.attempt == 1
    assert result.last_answer == {"status": status}
    assert (result.finished_at is None) is (state == "waiting")


def test_waits_double_up_to_an_hour() -> None:
    """The wait after each attempt doubles from three seconds and ends at an hour."""
    waits = [
        (judge_silence(_stored(n), ProviderTimeout(), NOW, FakeChance()).due_at - NOW).seconds
        for n in (0, 1, 2, 10, 11, 5000)
    ]

    assert waits == [3, 6, 12, 3072, 3600, 3600]


def test_waits_are_spread() -> None:
    """Jitter moves a wait, so that many notifications do not come back as one."""
    result = judge_silence(_stored(), ProviderTimeout(), NOW, FakeChance(lean=1))

    assert result.due_at == NOW + timedelta(seconds=3.6)


@pytest.mark.parametrize("value", ["120", "Mon, 05 Jan 2026 09:02:00 GMT"])
def test_retry_after_is_honoured(value: str) -> None:
    """A receiver that asks to be left alone is left alone, by seconds or by date."""
    answer = OutboundAnswer(429, {"retry-after": value}, b"")

    assert judge_answer(_stored(), answer, NOW, FakeChance()).due_at == NOW + timedelta(minutes=2)


@pytest.mark.parametrize("value", ["soon", "-5", "", "Mon, 05 Jan 2026 08:00:00 GMT"])
def test_a_useless_retry_after_is_ignored(value: str) -> None:
    """What cannot be understood, or lies in the past, changes nothing."""
    answer = OutboundAnswer(503, {"retry-after": value}, b"")

    assert judge_answer(_stored(), answer, NOW, FakeChance()).due_at == NOW + timedelta(seconds=3)


def test_after_a_day_it_is_over() -> None:
    """The last attempt is at 24 hours at the latest, and after it the notification failed."""
    late = NOW - timedelta(hours=23, minutes=59, seconds=58)
    last = judge_silence(_stored(30, late), ProviderTimeout(), NOW, FakeChance())
    over = judge_silence(_stored(31, late), ProviderTimeout(), last.due_at, FakeChance())

    assert last.state == "waiting"
    assert last.due_at == late + timedelta(hours=24)
    assert over.state == "failed"


def test_silence_is_tried_again_and_refusal_is_not() -> None:
    """An unreachable address is tried again; one that may not be called is final."""
    unreachable = judge_silence(_stored(), ProviderUnreachable("no route"), NOW, FakeChance())
    denied = judge_silence(_stored(), EgressDenied("private address"), NOW, FakeChance())
    unknown = judge_silence(_stored(), RuntimeError("boom"), NOW, FakeChance())

    assert unreachable.state == "waiting"
    assert unreachable.last_answer == {"error": "provider_unreachable: no route"}
    assert denied.state == "failed"
    assert unknown.state == "waiting"
    assert unknown.last_answer == {"error": "RuntimeError"}
