"""The small rules that inputs are made of: names, tags, texts that mean a boolean."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

_MOST_TAGS = 10
_TAG_KEY = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-./]*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_TRUE = frozenset({"true", "1", "yes", "on", "y", "enabled"})
_FALSE = frozenset({"false", "0", "no", "off", "n", "disabled"})

CONNECTION_ID = r"""^[a-zA-Z0-9,.;:=+~\[\]|@${}"'\\/_ -]+$"""
#: Of what is made anew: headers lose a blank at either end, so no proxied call could name it.
NEW_CONNECTION_ID = (
    r"""^[a-zA-Z0-9,.;:=+~\[\]|@${}"'\\/_-]([a-zA-Z0-9,.;:=+~\[\]|@${}"'\\/_ -]*"""
    r"""[a-zA-Z0-9,.;:=+~\[\]|@${}"'\\/_-])?$"""
)
INTEGRATION_ID = r"^[a-zA-Z0-9~:.@ _-]+$"
NEW_INTEGRATION_ID = r"^[a-zA-Z0-9~:.@_-]([a-zA-Z0-9~:.@ _-]*[a-zA-Z0-9~:.@_-])?$"
PROVIDER = r"^[a-zA-Z0-9_-]+$"
SCRIPT = r"^[a-zA-Z0-9_-]+$"

ConnectionId = Annotated[str, StringConstraints(pattern=CONNECTION_ID, max_length=255)]
NewConnectionId = Annotated[str, StringConstraints(pattern=NEW_CONNECTION_ID, max_length=255)]
IntegrationId = Annotated[str, StringConstraints(pattern=INTEGRATION_ID, max_length=255)]
NewIntegrationId = Annotated[str, StringConstraints(pattern=NEW_INTEGRATION_ID, max_length=255)]
ProviderName = Annotated[str, StringConstraints(pattern=PROVIDER, max_length=255)]
FunctionName = Annotated[str, StringConstraints(pattern=SCRIPT, max_length=255)]
Text255 = Annotated[str, StringConstraints(min_length=1, max_length=255)]


def _boolean(value: Any) -> Any:
    word = value.lower() if isinstance(value, str) else None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("Invalid option: expected true or false")


#: A boolean as a query string writes it.
StringBool = Annotated[bool, BeforeValidator(_boolean, json_schema_input_type=bool)]


def _number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,15}", value):
        return int(value)
    raise ValueError("Invalid input: expected a whole number")


#: A whole number as a query string writes it.
StringInt = Annotated[int, BeforeValidator(_number, json_schema_input_type=int)]


def _email(value: str) -> str:
    if len(value) < 5 or _EMAIL.fullmatch(value) is None:
        raise ValueError("Invalid email address")
    return value


Email = Annotated[str, StringConstraints(max_length=320), AfterValidator(_email)]


def _tag_keys(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > _MOST_TAGS:
        raise ValueError(f"There may be {_MOST_TAGS} tags at most")
    for key in tags:
        if len(key) > 64 or _TAG_KEY.fullmatch(key) is None:
            raise ValueError(
                f'"{key[:64]}" cannot be a tag: a letter, then letters, digits, _ - . or /, '
                "64 characters at most"
            )
    if len({key.lower() for key in tags}) < len(tags):
        raise ValueError("Two tags differ only in case")
    return tags


def _tags(tags: dict[str, str]) -> dict[str, str]:
    lowered = {key.lower(): value for key, value in _tag_keys(tags).items()}
    if "end_user_email" in lowered:
        _email(lowered["end_user_email"])
    return lowered


#: Tags of a connection; keys are lower-cased.
Tags = Annotated[dict[str, Text255], AfterValidator(_tags)]
#: Tags of an end user; keys keep their case.
EndUserTags = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=255)]], AfterValidator(_tag_keys)
]


def _webhook_url(value: str) -> str:
    if value == "":
        return value
    try:
        parts = urlsplit(value)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError("Invalid URL")
    if host == "nango.dev" or host.endswith(".nango.dev"):
        raise ValueError("This host cannot be notified")
    return value


#: Where notifications go; `""` means nowhere in particular.
WebhookUrl = Annotated[str, Field(max_length=2048), AfterValidator(_webhook_url)]


#: Any JSON object.
JsonMap = dict[str, Any]
