"""Requests that no route can serve as they were sent."""

from __future__ import annotations

from carrick.errors.base import BadRequest, CarrickError


class InvalidBody(BadRequest):
    """The request body is not what this route takes."""

    code = "invalid_body"


class InvalidJson(BadRequest):
    """The request body is not valid JSON."""

    code = "invalid_json"


class InvalidQuery(BadRequest):
    """The query string is not what this route takes."""

    code = "invalid_query_params"


class InvalidPath(BadRequest):
    """A part of the path is not a valid name."""

    code = "invalid_uri_params"


class InvalidHeaders(BadRequest):
    """A header is missing or not valid."""

    code = "invalid_headers"


class InvalidContentType(CarrickError):
    """Content-Type header must be application/json."""

    code = "invalid_content_type"
    status = 415


class BodyTooLarge(CarrickError):
    """The request body is larger than this server accepts."""

    code = "body_too_large"
    status = 413


class NotFound(CarrickError):
    """There is nothing here by that name."""

    code = "not_found"
    status = 404


class MethodNotAllowed(CarrickError):
    """This path does not answer that method."""

    code = "method_not_allowed"
    status = 405


class TooManyRequests(CarrickError):
    """Too many requests. Wait for as long as the Retry-After header says."""

    code = "too_many_request"
    status = 429
    retryable = True


class NotImplementedHere(CarrickError):
    """Carrick does not offer this part of the API."""

    code = "not_implemented"
    status = 501


class Conflict(CarrickError):
    """Something by that name exists already."""

    code = "conflict"
    status = 409


class ResourceCapped(BadRequest):
    """There are as many of these as there may be. Delete one that is not needed any more."""

    code = "resource_capped"
