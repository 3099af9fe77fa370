"""The demo must not say that all is well when it is not."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

from rich.console import Console

from carrick.demo.run import example_project
from carrick.demo.show import show
from carrick.demo.timeline import Step
from carrick.testing.fake_provider import Call


def shown(steps: list[Step], problem: str | None = None) -> str:
    output = io.StringIO()
    show(Console(file=output, width=120), steps, 1.5, problem)
    return output.getvalue()


def step_with_call() -> Step:
    step = Step("Connect org-a", 0.25, "POST /connections", "201")
    step.calls.append(
        Call(
            number=1,
            at=datetime(2026, 1, 5, tzinfo=UTC),
            method="POST",
            path="/webhooks",
            query="",
            account="org-a",
            idempotency_key="k1",
            headers={"Authorization": "Bearer secret-token"},
            body="",
            status=201,
        )
    )
    return step


def test_a_step_fails_with_any_of_its_checks() -> None:
    """One check that does not hold is enough."""
    step = Step("Connect", 0.0)
    step.expect("one webhook", 1, 1)
    assert step.ok
    step.expect("accepted", 400, 201)
    assert not step.ok


def test_a_failed_check_is_shown_with_what_was_expected_and_what_was() -> None:
    """A person can see from the output alone what went wrong."""
    step = step_with_call()
    step.expect("one webhook", 2, 1)
    text = shown([step])
    assert "Connect org-a: one webhook" in text
    assert "expected 1" in text
    assert "was      2" in text
    assert "1 of 1 checks failed" in text


def test_the_table_shows_the_calls_the_provider_received() -> None:
    """Each call stands under its step, with account and status and without credentials."""
    step = step_with_call()
    step.expect("accepted", 201, 201)
    text = shown([step])
    assert "POST   /webhooks" in text
    assert "org-a" in text
    assert "1 checks, all as expected" in text
    assert "secret-token" not in text


def test_a_demo_that_ended_early_is_not_called_fine() -> None:
    """When the server does not come up, the reason is shown and no success."""
    text = shown([], problem="the server ended with exit code 1")
    assert "the server ended with exit code 1" in text
    assert "as expected" not in text


def test_a_step_as_json_has_its_calls_without_credentials() -> None:
    """The machine-readable form says the same and is plain JSON."""
    step = step_with_call()
    step.expect("accepted", 201, 201)
    text = json.dumps(step.to_json())
    facts = json.loads(text)
    assert facts["ok"] is True
    assert facts["provider_calls"][0]["idempotency_key"] == "k1"
    assert "secret-token" not in text


def test_the_example_is_found() -> None:
    """The demo deploys the Salesforce example of this checkout."""
    project = example_project()
    assert (project / "salesforce" / "on_events" / "validate_connection.py").is_file()
