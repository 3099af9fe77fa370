"""`create_on_event`: how a function says which event it handles, and what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

from carrick.model.event import Declaration, Event
from carrick.sdk.context import EventContext
from carrick.sdk.errors import CarrickUsageError
from carrick.sdk.host import Facts, Host
from carrick.sdk.types import M

if TYPE_CHECKING:
    from pydantic import BaseModel

ModelT = TypeVar("ModelT", bound="BaseModel")
EventName: TypeAlias = Literal[
    "validate-connection", "post-connection-creation", "pre-connection-deletion"
]
Handler: TypeAlias = Callable[[EventContext[M]], Awaitable[None]]

#: Seconds one attempt may take at most.
MAX_TIMEOUT_S = 3600.0
_MAX_TIMEOUTS = {Event.VALIDATE_CONNECTION: 45.0}
_MAX_ATTEMPTS = 100
#: Seconds between two attempts at most: a week.
_MAX_WAIT_S = 7 * 24 * 3600.0


class EventFunction(Generic[M]):
    """A function bound to an event: its declaration, and `exec`, the function itself."""

    def __init__(
        self, function: Handler[M], declaration: Declaration, metadata: type[M] | None
    ) -> None:
        self.exec = function
        self.metadata = metadata
        self._declaration = declaration
        self.__name__ = getattr(function, "__name__", "exec")
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    @cached_property
    def declaration(self) -> Declaration:
        """What the function says about itself, with the schema of its metadata model."""
        if self.metadata is None:
            return self._declaration
        schema = cast("type[BaseModel]", self.metadata).model_json_schema()
        return replace(self._declaration, metadata_schema=schema)

    @property
    def event(self) -> Event:
        """The event it handles."""
        return self._declaration.event

    def context(self, host: Host, facts: Facts) -> EventContext[M]:
        """Return a context of the kind the function declared."""
        return EventContext(host, facts, metadata=self.metadata)

    def __repr__(self) -> str:
        return f"<EventFunction {self.__name__} on {self.event.value}>"


@overload
def create_on_event(
    *,
    event: EventName,
    description: str,
    metadata: type[ModelT],
    version: str | None = None,
    timeout: float | None = None,
    attempts: int | None = None,
    waits: Sequence[float] | None = None,
    on_reconnect: bool = False,
    credentials: bool = False,
    variables: Sequence[str] = (),
    on_unknown: Literal["resend", "park"] = "resend",
    isolation: Literal["deployment", "run"] = "deployment",
) -> Callable[[Callable[[EventContext[ModelT]], Awaitable[None]]], EventFunction[ModelT]]: ...


@overload
def create_on_event(
    *,
    event: EventName,
    description: str,
    metadata: None = None,
    version: str | None = None,
    timeout: float | None = None,
    attempts: int | None = None,
    waits: Sequence[float] | None = None,
    on_reconnect: bool = False,
    credentials: bool = False,
    variables: Sequence[str] = (),
    on_unknown: Literal["resend", "park"] = "resend",
    isolation: Literal["deployment", "run"] = "deployment",
) -> Callable[
    [Callable[[EventContext[dict[str, Any]]], Awaitable[None]]], EventFunction[dict[str, Any]]
]: ...


def create_on_event(
    *,
    event: str,
    description: str,
    metadata: type[Any] | None = None,
    version: str | None = None,
    timeout: float | None = None,
    attempts: int | None = None,
    waits: Sequence[float] | None = None,
    on_reconnect: bool = False,
    credentials: bool = False,
    variables: Sequence[str] = (),
    on_unknown: Literal["resend", "park"] = "resend",
    isolation: Literal["deployment", "run"] = "deployment",
) -> Any:
    """Bind an async function to an event of a connection's life.

    Args:
        event: `validate-connection`, `post-connection-creation` or `pre-connection-deletion`.
        description: What the function does, in a sentence.
        metadata: A pydantic model through which the function sees the connection's metadata.
        version: The author's own version of the function.
        timeout: Seconds one attempt may take.
        attempts: How often the function is tried before it fails or parks.
        waits: Seconds before the second, third, ... attempt; the last one repeats.
        on_reconnect: Whether a setup also runs after a reconnect.
        credentials: Whether the function may read the connection's credentials.
        variables: Environment variables that the function may read.
        on_unknown: What a retry does with a write whose outcome is unknown: send it again with the
            same idempotency key, or stop there for a person.
        isolation: Whether runs share a process with others of the deployment or get their own.

    Raises:
        CarrickUsageError: The declaration or the function does not fit; the message says how.
    """
    bound = _event(event)
    declaration = Declaration(
        event=bound,
        description=_description(description),
        version=_version(version),
        timeout_s=_timeout(bound, timeout),
        attempts=_attempts(bound, attempts),
        waits_s=_waits(bound, waits),
        on_reconnect=_on_reconnect(bound, on_reconnect),
        credentials=_flag("credentials", credentials),
        variables=_variables(variables),
        on_unknown=_choice("on_unknown", on_unknown, ("resend", "park")),
        isolation=_choice("isolation", isolation, ("deployment", "run")),
    )
    _demand_model(metadata)

    def bind(function: Callable[[EventContext[Any]], Awaitable[None]]) -> EventFunction[Any]:
        _demand_async(function)
        _demand_one_argument(function)
        return EventFunction(function, declaration, metadata)

    return bind


def _event(event: object) -> Event:
    names = [known.value for known in Event]
    if event in names:
        return Event(event)
    close = get_close_matches(str(event), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise CarrickUsageError(f"There is no event {event!r}.{hint} Use one of {', '.join(names)}.")


def _description(description: object) -> str:
    if isinstance(description, str) and description.strip():
        return description.strip()
    raise CarrickUsageError(
        'Say what the function does: create_on_event(..., description="Register the webhook").'
    )


def _version(version: object) -> str | None:
    if version is None or (isinstance(version, str) and version):
        return version
    raise CarrickUsageError(f"version is text such as '1.2.0', not {version!r}.")


def _timeout(event: Event, timeout: object) -> float | None:
    limit = _MAX_TIMEOUTS.get(event, MAX_TIMEOUT_S)
    if timeout is None:
        return None
    if _is_number(timeout) and 0 < float(cast("float", timeout)) <= limit:
        return float(cast("float", timeout))
    raise CarrickUsageError(
        f"timeout is a number of seconds above 0 and at most {limit:g} for {event.value}, "
        f"not {timeout!r}."
    )


def _attempts(event: Event, attempts: object) -> int | None:
    if attempts is None:
        return None
    if event is Event.VALIDATE_CONNECTION:
        raise CarrickUsageError(
            "attempts cannot be set for validate-connection: somebody is waiting. It is tried "
            "again within 45 s while the provider does not answer."
        )
    is_count = isinstance(attempts, int) and not isinstance(attempts, bool)
    if is_count and 1 <= cast("int", attempts) <= _MAX_ATTEMPTS:
        return cast("int", attempts)
    raise CarrickUsageError(f"attempts is a number from 1 to {_MAX_ATTEMPTS}, not {attempts!r}.")


def _waits(event: Event, waits: object) -> tuple[float, ...] | None:
    if waits is None:
        return None
    if event is Event.VALIDATE_CONNECTION:
        raise CarrickUsageError("waits cannot be set for validate-connection: somebody is waiting.")
    given = list(waits) if isinstance(waits, Sequence) and not isinstance(waits, str) else []
    if given and all(_is_number(wait) and 0 <= wait <= _MAX_WAIT_S for wait in given):
        return tuple(float(wait) for wait in given)
    raise CarrickUsageError(
        f"waits is a list of seconds between attempts such as [1, 4, 16], not {waits!r}."
    )


def _on_reconnect(event: Event, on_reconnect: object) -> bool:
    flag = _flag("on_reconnect", on_reconnect)
    if flag and event is not Event.POST_CONNECTION_CREATION:
        raise CarrickUsageError(
            "on_reconnect is for post-connection-creation alone: validate-connection always runs "
            "on a reconnect, pre-connection-deletion never does."
        )
    return flag


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise CarrickUsageError(f"{name} is True or False, not {value!r}.")


def _variables(variables: object) -> tuple[str, ...]:
    if isinstance(variables, str) or not isinstance(variables, Sequence):
        raise CarrickUsageError(
            f'variables is a list of names such as ["APP_URL"], not {variables!r}.'
        )
    if not all(isinstance(name, str) and name for name in variables):
        raise CarrickUsageError("variables holds the names of environment variables, as text.")
    return tuple(dict.fromkeys(variables))


_Choice = TypeVar("_Choice", bound=str)


def _choice(name: str, value: _Choice, allowed: tuple[_Choice, ...]) -> _Choice:
    if value in allowed:
        return value
    raise CarrickUsageError(f"{name} is {' or '.join(map(repr, allowed))}, not {value!r}.")


def _demand_model(metadata: object) -> None:
    if metadata is None:
        return
    if isinstance(metadata, type):
        from pydantic import BaseModel  # late: functions without a model do not pay for it

        if issubclass(metadata, BaseModel):
            return
    raise CarrickUsageError(
        f"metadata is a class derived from pydantic.BaseModel, not {metadata!r}."
    )


def _demand_async(function: object) -> None:
    name = getattr(function, "__name__", repr(function))
    if isinstance(function, EventFunction):
        raise CarrickUsageError(f"{name} is bound to {function.event.value} already.")
    if not callable(function):
        raise CarrickUsageError("create_on_event(...) is a decorator: write it above an async def.")
    if not inspect.iscoroutinefunction(function):
        raise CarrickUsageError(
            f"{name} must be an async function: write `async def {name}(ctx: EventContext)`, and "
            "call blocking libraries through asyncio.to_thread."
        )


def _demand_one_argument(function: Callable[..., Any]) -> None:
    name = getattr(function, "__name__", "the function")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values())
    takes_one = bool(parameters) and parameters[0].kind in kinds
    rest = parameters[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one for one in rest if one.default is one.empty and one.kind not in variadic]
    if not takes_one or needed:
        raise CarrickUsageError(
            f"{name} must take one argument, the context: "
            f"`async def {name}(ctx: EventContext) -> None`."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
