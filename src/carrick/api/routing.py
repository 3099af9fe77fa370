"""Routes whose fixed parts match in any case, and query strings as documented parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, NotRequired, TypeVar

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from carrick.api.errors import invalid
from carrick.api.issues import issues_of
from carrick.api.query import parse_query
from carrick.errors import InvalidQuery

Q = TypeVar("Q", bound=BaseModel)
_SURROGATE = re.compile("[\ud800-\udfff]")


class ErrorContent(TypedDict):
    """What went wrong."""

    code: str
    message: NotRequired[str]
    errors: NotRequired[list[dict[str, Any]]]
    payload: NotRequired[Any]


class ErrorAnswer(TypedDict):
    """The envelope of every error."""

    error: ErrorContent


class Strict(BaseModel):
    """An input in which unknown keys, near-miss types and unstorable text are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unstorable(cls, value: Any) -> Any:
        if not _is_storable(value):
            raise ValueError("Text may not hold U+0000 or half of a surrogate pair")
        return value


class NoQuery(Strict):
    """A route that takes no query string."""


class QueryOf(Generic[Q]):
    """A dependency: the query string as a model, brackets and repeated keys included."""

    def __init__(self, model: type[Q]) -> None:
        self.model = model

    async def __call__(self, request: Request) -> Q:
        """Read the query string.

        Raises:
            InvalidQuery: It does not fit the model.
        """
        return read_query(request, self.model)


def query_fields(request: Request) -> dict[str, Any]:
    """Return the parsed query string, read once per request."""
    state = request.scope.setdefault("state", {})
    if "query" not in state:
        state["query"] = parse_query(request.scope["query_string"])
    fields: dict[str, Any] = state["query"]
    return fields


def read_query(request: Request, model: type[Q]) -> Q:
    """Return the query string as a model.

    Raises:
        InvalidQuery: It does not fit.
    """
    try:
        return model.model_validate(query_fields(request))
    except ValidationError as error:
        invalid(InvalidQuery, issues_of(error.errors(), model))


class TolerantRoute(APIRoute):
    """A route that matches in any case and documents the query string it reads."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)
        parameters = [
            parameter
            for each in self.dependant.dependencies
            if isinstance(each.call, QueryOf)
            for parameter in _documented(each.call.model)
        ]
        if parameters:
            self.openapi_extra = {**(self.openapi_extra or {}), "parameters": parameters}


def router(tag: str, route_class: type[TolerantRoute] = TolerantRoute) -> APIRouter:
    """Return a router for one group of routes."""
    return APIRouter(
        route_class=route_class,
        tags=[tag],
        responses={
            "4XX": {"model": ErrorAnswer, "description": "The request cannot be met as it is."},
            "5XX": {"model": ErrorAnswer, "description": "The server, or a provider, failed."},
        },
    )


def answer(content: Any, status: int = 200) -> Response:
    """Return JSON as it stands: what an answer looks like is decided by its schema's builder."""
    return JSONResponse(content, status_code=status)


def wrapped(content: Any, status: int = 200) -> Response:
    """Return `{"data": ...}`."""
    return answer({"data": content}, status)


def _is_storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and (value.isascii() or not _SURROGATE.search(value))
    if isinstance(value, dict):
        return all(_is_storable(name) and _is_storable(inner) for name, inner in value.items())
    return not isinstance(value, list) or all(_is_storable(inner) for inner in value)


def _documented(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return [
        _parameter(name, field, required=name in required)
        for name, field in schema.get("properties", {}).items()
    ]


def _parameter(name: str, field: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "in": "query", "required": required}
    if "description" in field:
        found["description"] = field["description"]
    if field.get("type") == "object":
        found |= {"style": "deepObject", "explode": True}
    found["schema"] = _without_null(field)
    return found


def _without_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that does not offer `null`, which a query string cannot say."""
    schema = {key: value for key, value in field.items() if key != "title"}
    kinds = [each for each in schema.pop("anyOf", ()) if each.get("type") != "null"]
    if schema.get("default", ...) is None:
        del schema["default"]
    if len(kinds) > 1:
        return {**schema, "anyOf": kinds}
    return {**kinds[0], **schema} if kinds else schema
