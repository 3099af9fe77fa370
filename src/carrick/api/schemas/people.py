"""End users and organisations as callers write them and as they are shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints
from typing_extensions import TypedDict

from carrick.api.routing import Strict
from carrick.api.schemas.primitives import Email, EndUserTags, Text255
from carrick.model.connection import EndUser

_UpTo255 = Annotated[str, StringConstraints(max_length=255)]


class EndUserInput(Strict):
    """The customer's user who authorises."""

    id: Text255
    email: Email | None = None
    display_name: _UpTo255 | None = None
    tags: EndUserTags | None = None


class OrganizationInput(Strict):
    """The organisation an end user belongs to."""

    id: _UpTo255
    display_name: _UpTo255 | None = None


class OrganizationObject(TypedDict):
    """An organisation as it is shown."""

    id: str
    display_name: str | None


class EndUserObject(TypedDict):
    """An end user as it is shown."""

    id: str
    display_name: str | None
    email: str | None
    tags: dict[str, str] | None
    organization: OrganizationObject | None


def end_user_of(
    end_user: EndUserInput | None, organization: OrganizationInput | None = None
) -> EndUser | None:
    """Return the end user that inputs describe."""
    if end_user is None:
        return None
    return EndUser(
        id=end_user.id,
        email=end_user.email,
        display_name=end_user.display_name,
        tags=end_user.tags or {},
        organization_id=organization.id if organization else None,
        organization_display_name=organization.display_name if organization else None,
    )


def end_user_object(end_user: EndUser | None) -> EndUserObject | None:
    """Return an end user as the wire shows it."""
    if end_user is None:
        return None
    organization: OrganizationObject | None = None
    if end_user.organization_id is not None:
        organization = {
            "id": end_user.organization_id,
            "display_name": end_user.organization_display_name,
        }
    return {
        "id": end_user.id,
        "display_name": end_user.display_name,
        "email": end_user.email,
        "tags": dict(end_user.tags) or None,
        "organization": organization,
    }
