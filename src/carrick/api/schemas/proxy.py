"""The headers that steer a proxied call."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from typing_extensions import TypedDict

from carrick.api.schemas.primitives import ConnectionId, IntegrationId, StringInt

_MOST_RETRIES = 20
_Flag = Literal["true", "false", ""]


class ProxyHeaders(BaseModel):
    """What is read of a proxied call's headers; the official client sends some of them empty."""

    model_config = ConfigDict(extra="ignore", strict=True)

    integration_id: IntegrationId = Field(alias="provider-config-key")
    connection_id: ConnectionId = Field(alias="connection-id")
    retries: Annotated[StringInt, Field(ge=0, le=_MOST_RETRIES)] = 0
    base_url_override: Annotated[str, Field(alias="base-url-override", max_length=2048)] = ""
    decompress: _Flag = ""
    retry_on: Annotated[
        str,
        Field(alias="retry-on"),
        StringConstraints(pattern=r"^(\d{3}(,\d{3})*)?$", max_length=255),
    ] = ""
    forward_on_redirect: Annotated[_Flag, Field(alias="forward-headers-on-redirect")] = ""
    activity_log_id: Annotated[str, Field(alias="nango-activity-log-id", max_length=255)] = ""
    is_sync: Annotated[_Flag, Field(alias="nango-is-sync")] = ""
    is_dry_run: Annotated[_Flag, Field(alias="nango-is-dry-run")] = ""

    @field_validator("base_url_override")
    @classmethod
    def _is_web_address(cls, value: str) -> str:
        if value and not value.lower().startswith(("https://", "http://")):
            raise ValueError("Invalid URL")
        return value

    @property
    def retry_statuses(self) -> tuple[int, ...]:
        """Further statuses to try again on."""
        return tuple(int(text) for text in self.retry_on.split(",") if text)


class Unreached(TypedDict):
    """What is answered when no provider did, beside the usual envelope."""

    message: str
    code: str
    status: int
    method: str
