"""Declaring event functions: what is accepted, and what a wrong declaration is told."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.sdk_host import FACTS, MemoryHost

from carrick.model.event import Event
from carrick.sdk import CarrickUsageError, EventContext, EventFunction, create_on_event

declare: Any = create_on_event


class Metadata(BaseModel):
    webhook_id: str | None = None


async def handler(ctx: EventContext) -> None:
    """Do nothing."""


def test_a_declaration_carries_everything_that_was_said() -> None:
    """Every argument arrives in the declaration, with the schema of the metadata model."""
    bound = create_on_event(
        event="post-connection-creation",
        description=" Register the webhook ",
        version="1.2.0",
        metadata=Metadata,
        timeout=60,
        attempts=3,
        waits=[1, 2],
        on_reconnect=True,
        credentials=True,
        variables=["APP_URL", "APP_URL"],
        on_unknown="park",
        isolation="run",
    )(handler_with_model)
    declaration = bound.declaration
    assert declaration.event is Event.POST_CONNECTION_CREATION
    assert declaration.description == "Register the webhook"
    assert (declaration.version, declaration.timeout_s, declaration.attempts) == ("1.2.0", 60.0, 3)
    assert declaration.waits_s == (1.0, 2.0)
    assert declaration.on_reconnect
    assert declaration.credentials
    assert declaration.variables == ("APP_URL",)
    assert (declaration.on_unknown, declaration.isolation) == ("park", "run")
    assert declaration.metadata_schema is not None
    assert "webhook_id" in declaration.metadata_schema["properties"]


async def handler_with_model(ctx: EventContext[Metadata]) -> None:
    """Do nothing."""


def test_exec_is_the_decorated_function() -> None:
    """The decorator returns an object whose `exec` is the function, with its name and docstring."""
    bound = create_on_event(event="validate-connection", description="Check")(handler)
    assert isinstance(bound, EventFunction)
    assert bound.exec is handler
    assert bound.__name__ == "handler"
    assert bound.__doc__ == "Do nothing."
    assert bound.__module__ == __name__


def test_the_functions_context_reads_metadata_as_the_declared_model() -> None:
    """A context made by the function is of the kind that the function declared."""
    bound = create_on_event(event="validate-connection", description="Check", metadata=Metadata)(
        handler_with_model
    )
    assert bound.context(MemoryHost(), FACTS).connection_id == "customer-1"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"event": "post-connection-created"}, "Did you mean 'post-connection-creation'?"),
        ({"event": None}, "Use one of validate-connection"),
        ({"description": "  "}, "Say what the function does"),
        ({"description": None}, "Say what the function does"),
        ({"version": 2}, "version is text"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": True}, "above 0"),
        ({"timeout": float("nan")}, "above 0"),
        ({"timeout": 4000}, "at most 3600"),
        ({"event": "validate-connection", "timeout": 46}, "at most 45 for validate-connection"),
        ({"attempts": 0}, "from 1 to 100"),
        ({"attempts": 2.5}, "from 1 to 100"),
        ({"event": "validate-connection", "attempts": 2}, "somebody is waiting"),
        ({"waits": []}, "waits is a list of seconds"),
        ({"waits": "1,2"}, "waits is a list of seconds"),
        ({"waits": [-1]}, "waits is a list of seconds"),
        ({"event": "validate-connection", "waits": [1]}, "somebody is waiting"),
        ({"event": "validate-connection", "on_reconnect": True}, "post-connection-creation alone"),
        ({"credentials": 1}, "credentials is True or False"),
        ({"variables": "APP_URL"}, "variables is a list of names"),
        ({"variables": [1]}, "names of environment variables"),
        ({"on_unknown": "retry"}, "'resend' or 'park'"),
        ({"isolation": "none"}, "'deployment' or 'run'"),
        ({"metadata": dict}, "derived from pydantic.BaseModel"),
        ({"metadata": Metadata()}, "derived from pydantic.BaseModel"),
    ],
)
def test_a_wrong_declaration_is_told_what_to_write(given: dict[str, Any], told: str) -> None:
    """Every argument that does not fit is refused with a sentence that says what does."""
    arguments = {"event": "post-connection-creation", "description": "Set up", **given}
    with pytest.raises(CarrickUsageError) as caught:
        declare(**arguments)
    assert told in str(caught.value)


def not_async(ctx: Any) -> None: ...


async def no_argument() -> None: ...


async def two_arguments(ctx: Any, other: Any) -> None: ...


async def keyword_only(*, ctx: Any) -> None: ...


async def generator(ctx: Any) -> Any:
    yield


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (not_async, "async def not_async(ctx"),
        (generator, "must be an async function"),
        (no_argument, "must take one argument"),
        (two_arguments, "must take one argument"),
        (keyword_only, "must take one argument"),
        ("text", "is a decorator"),
    ],
)
def test_a_function_of_the_wrong_kind_is_refused(function: Any, told: str) -> None:
    """Only an async function of one argument can be bound; others are told what to write."""
    with pytest.raises(CarrickUsageError) as caught:
        declare(event="validate-connection", description="Check")(function)
    assert told in str(caught.value)


def test_a_function_is_bound_once() -> None:
    """A second decorator on the same function is refused."""
    bound = declare(event="validate-connection", description="Check")(handler)
    with pytest.raises(CarrickUsageError, match="bound to validate-connection already"):
        declare(event="validate-connection", description="Check")(bound)


def test_importing_carrick_loads_no_server() -> None:
    """What authors import must not drag in the web framework, the store, or pydantic."""
    heavy = ["sqlalchemy", "fastapi", "aiohttp", "pydantic", "asyncio", "msgspec"]
    code = f"import carrick, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_what_they_say() -> None:
    """`__all__` of the package and of the SDK names things that exist, in order."""
    import carrick
    import carrick.sdk

    for module in (carrick, carrick.sdk):
        assert list(module.__all__) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
